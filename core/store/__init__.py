"""FZs, measures, jobs and marks on disk. Never imports torch."""

from core.store.batches import FLAGS, SAMPLES, FZRecord
from core.store.disk import Removed, ScanUsage, Usage, estimate_bytes, prune, scan_usage, usage
from core.store.integrity import Problem, drop, verify
from core.store.job import (
    ACTIVE,
    FINISHED,
    Job,
    JobState,
    create_job,
    job_state,
    jobs,
    open_job,
    read_log,
    remove_finished,
    request_stop,
)
from core.store.job_queue import device_queue, hold, in_turn, lease_of, move, queue_of, requeue, waiting
from core.store.judgements import MARKS, Judgement, check_mark, check_tag
from core.store.layout import free_bytes
from core.store.leases import Leases
from core.store.marks import Marks, marks_folder
from core.store.scans import Extremes, Scan, ScannedImage
from core.store.sets import FZSet, Measured, Own
from core.store.store import FORMAT, Store

__all__ = [
    "ACTIVE",
    "FINISHED",
    "FLAGS",
    "FORMAT",
    "MARKS",
    "SAMPLES",
    "Extremes",
    "FZRecord",
    "FZSet",
    "Job",
    "JobState",
    "Judgement",
    "Leases",
    "Marks",
    "Measured",
    "Own",
    "Problem",
    "Removed",
    "Scan",
    "ScanUsage",
    "ScannedImage",
    "Store",
    "Usage",
    "check_mark",
    "check_tag",
    "create_job",
    "device_queue",
    "drop",
    "estimate_bytes",
    "free_bytes",
    "hold",
    "in_turn",
    "job_state",
    "jobs",
    "lease_of",
    "marks_folder",
    "move",
    "open_job",
    "prune",
    "queue_of",
    "read_log",
    "remove_finished",
    "request_stop",
    "requeue",
    "scan_usage",
    "usage",
    "verify",
    "waiting",
]
