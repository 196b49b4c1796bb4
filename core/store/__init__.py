"""FZs, measures, jobs and marks on disk. Never imports torch."""

from core.store.batches import FLAGS, SAMPLES, FZRecord
from core.store.disk import Removed, Usage, estimate_bytes, prune, usage
from core.store.integrity import Problem, drop, verify
from core.store.job import (
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
from core.store.judgements import MARKS, Judgement, check_mark, check_tag
from core.store.layout import free_bytes
from core.store.leases import Leases
from core.store.marks import Marks, marks_folder
from core.store.sets import FZSet, Measured, Own
from core.store.store import FORMAT, Store

__all__ = [
    "FINISHED",
    "FLAGS",
    "FORMAT",
    "MARKS",
    "SAMPLES",
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
    "Store",
    "Usage",
    "check_mark",
    "check_tag",
    "create_job",
    "drop",
    "estimate_bytes",
    "free_bytes",
    "job_state",
    "jobs",
    "marks_folder",
    "open_job",
    "prune",
    "read_log",
    "remove_finished",
    "request_stop",
    "usage",
    "verify",
]
