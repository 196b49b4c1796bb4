"""FZs, measures, jobs and marks on disk. Never imports torch."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from streamscope.core.store.files.atomic import free_bytes
from streamscope.core.store.former import stored_spec
from streamscope.core.store.gone import recall, stored_text
from streamscope.core.store.jobs.job import Job, create_job, open_job, read_log
from streamscope.core.store.jobs.queue import (
    Queue,
    check_resumable,
    device_queue,
    hold,
    in_turn,
    move,
    own_queue,
    queue_of,
    requeue,
    waiting,
)
from streamscope.core.store.jobs.spec import JobSpec
from streamscope.core.store.jobs.state import (
    ACTIVE,
    FINISHED,
    JobState,
    job_state,
    job_states,
    last_words,
    printed,
    remove_finished,
    request_stop,
)
from streamscope.core.store.jobs.watch import JobWatch
from streamscope.core.store.keeping import kept
from streamscope.core.store.leases import Leases
from streamscope.core.store.marks.journal import Marks, marks_folder
from streamscope.core.store.marks.judgements import MARKS, Judgement, check_mark, check_tag
from streamscope.core.store.scans.scan import Extremes, Scan, ScannedImage
from streamscope.core.store.sets.batches import FZRecord
from streamscope.core.store.sets.fz_set import FZSet
from streamscope.core.store.sets.measured import Measured, Own
from streamscope.core.store.store import FORMAT, Store

if TYPE_CHECKING:
    from streamscope.core.store.integrity import Problem, drop, verify
    from streamscope.core.store.usage import Removed, ScanUsage, Usage, estimate_bytes, prune, scan_usage

__all__ = [
    "ACTIVE",
    "FINISHED",
    "FORMAT",
    "MARKS",
    "Extremes",
    "FZRecord",
    "FZSet",
    "Job",
    "JobSpec",
    "JobState",
    "JobWatch",
    "Judgement",
    "Leases",
    "Marks",
    "Measured",
    "Own",
    "Problem",
    "Queue",
    "Removed",
    "Scan",
    "ScanUsage",
    "ScannedImage",
    "Store",
    "Usage",
    "check_mark",
    "check_resumable",
    "check_tag",
    "create_job",
    "device_queue",
    "drop",
    "estimate_bytes",
    "free_bytes",
    "hold",
    "in_turn",
    "job_state",
    "job_states",
    "kept",
    "last_words",
    "marks_folder",
    "move",
    "open_job",
    "own_queue",
    "printed",
    "prune",
    "queue_of",
    "read_log",
    "recall",
    "remove_finished",
    "request_stop",
    "requeue",
    "scan_usage",
    "stored_spec",
    "stored_text",
    "verify",
    "waiting",
]

_LATE = {
    **dict.fromkeys(("Problem", "drop", "verify"), "integrity"),
    **dict.fromkeys(("Removed", "ScanUsage", "Usage", "estimate_bytes", "prune", "scan_usage"), "usage"),
}
"""Imported when they are asked for: the app starts without."""


def __getattr__(name: str) -> Any:
    if name in _LATE:
        return getattr(import_module(f"{__name__}.{_LATE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
