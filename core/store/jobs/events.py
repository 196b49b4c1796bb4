"""What workers say: the lines of a job's log and of `--json`, and how far a job is. Written and read here only.

Other programs read these lines: a key that is there stays, with its meaning.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from streamscope.core.errors import NO_FAULT, Fault, UsageError
from streamscope.core.model.recipe import UNSAID_PROTOCOL, Capture, Objective, Protocol, Recipe, SetKey
from streamscope.core.schema import MalformedError, build_known, parse_json, parse_object
from streamscope.core.store.records import LATEST

LastWord = Literal["done", "failed", "stopped"]
LAST_WORDS: tuple[LastWord, ...] = ("done", "failed", "stopped")
"""How a worker may say that a job ended."""
DeviceMemory = Mapping[str, tuple[float, float]]
"""Bytes in use, by whomever, and in all of each CUDA device, by the device's name."""


@dataclass(frozen=True)
class Report:
    """How far a job is. Without a rate nothing was measured yet, so there is no share, unit or time left either."""

    done: int = 0
    """FZs stored."""
    total: int = 0
    """FZs requested; 0 when they are not counted yet."""
    share: float | None = None
    """Of the work, 0 to 1: FZs differ in what they cost."""
    rate: float | None = None
    """`unit`s a second."""
    unit: str = ""
    eta: float | None = None
    """Seconds left."""
    message: str = ""

    def numbers(self) -> dict[str, Any]:
        """As JSON, without the message."""
        counted = {"done": self.done, "total": self.total}
        if self.rate is None:
            return counted
        return {**counted, "share": self.share, "rate": self.rate, "unit": self.unit, "eta": self.eta}


@dataclass(frozen=True)
class Counts:
    """What one of several processes at a job has done, for whoever adds it up. All but `done` and `steps` are costs."""

    spent: float = 0.0
    inside: float = 0.0
    """Within the batches that are under way."""
    again: float = 0.0
    """On FZs of undefined rows, optimised once more."""
    done: float = 0.0
    """FZs."""
    steps: float = 0.0
    """Image-steps."""
    due: float = 0.0
    """Of all FZs of undefined rows that were begun once more."""

    def to_json(self) -> dict[str, float]:
        return dict(vars(self))


@dataclass(frozen=True)
class JobStarted:
    """The work was counted; the first batch comes next."""

    key: SetKey
    blocks: tuple[str, ...]
    tensors: tuple[str, ...]
    batch: int
    channels: Mapping[str, tuple[int, ...]]
    missing: int
    """FZs that are not stored."""
    devices: tuple[str, ...] = ()
    """One a worker process, where there are several."""


@dataclass(frozen=True)
class JobProgressed:
    report: Report
    device_memory: DeviceMemory = field(default_factory=dict)
    counts: Counts | None = None
    """Of the process that says so; None for what several together have done."""


@dataclass(frozen=True)
class BatchDone:
    """One batch was optimised (`fz`) or measured (`measure`), and is stored."""

    kind: Literal["fz", "measure"]
    block: str
    tensor: str
    retry: int
    count: int
    """Channels."""
    channels: tuple[int, int]
    """The first and the last."""
    seconds: float
    flagged: Mapping[str, int] = field(default_factory=dict)
    """FZs by what is wrong with them."""
    mean_steps: float | None = None
    """Steps an image, where those that converge stop early."""
    device: str = ""
    """What did it, where several are at work."""


@dataclass(frozen=True)
class WaitStarted:
    """All that is left is being done by others: `batch` is the first of it, `holder` the host and process doing it."""

    batch: str
    holder: str

    def __str__(self) -> str:
        return f"waiting for {self.batch}, held by {self.holder}"


@dataclass(frozen=True)
class BatchLost:
    """Another took over `batch`, as that of a worker that is gone: `holder` is the host and process doing it now, ""
    when it is done."""

    batch: str
    holder: str

    def __str__(self) -> str:
        if not self.holder:
            return f"{self.batch}: another has done it meanwhile"
        return f"{self.batch}: taken over by {self.holder}, and left to it"


@dataclass(frozen=True)
class ProblemOccurred:
    """Something could not be done; the rest goes on."""

    fault: Fault


@dataclass(frozen=True)
class ClusterConnected:
    workers: tuple[str, ...]
    """The device of each."""
    shared_disk: bool
    """Whether all of them store what they compute themselves."""


@dataclass(frozen=True)
class DownloadProgressed:
    """Bytes of the weights."""

    done: int
    total: int
    """0 when nobody knows."""


@dataclass(frozen=True)
class ModelRegistered:
    """The store knows the model from now on."""

    fingerprint: str
    layout: str = ""
    """What was done to get its weights out of their file; "" for nothing."""
    warnings: tuple[str, ...] = ()
    """Ways in which the file says that its network is another."""


@dataclass(frozen=True)
class ProcessFailed:
    """A worker process could not do what it was started for."""

    fault: Fault


@dataclass(frozen=True)
class ProcessEnded:
    """The last word of one of several processes at a job; the others may go on."""

    state: LastWord
    fault: Fault = NO_FAULT


@dataclass(frozen=True)
class JobEnded:
    state: LastWord
    fault: Fault = NO_FAULT
    """What went wrong, or what else is to be said."""
    report: Report | None = None
    """How far it came; None when it ended before its work was counted. Its message is not written."""


Event = (
    JobStarted
    | JobProgressed
    | BatchDone
    | WaitStarted
    | BatchLost
    | ProblemOccurred
    | ClusterConnected
    | DownloadProgressed
    | ModelRegistered
    | ProcessFailed
    | ProcessEnded
    | JobEnded
)


@dataclass(frozen=True)
class LoggedEvent:
    """A line of a job's log."""

    time: float
    """In seconds since 1970."""
    event: Event


def encode_event(event: Event) -> dict[str, Any]:
    """An event as JSON; `event` says of which kind it is."""
    match event:
        case JobStarted(key=key):
            return {
                "event": "started",
                "recipe": key.recipe.to_json(),
                "steps": key.recipe.steps,
                **key.to_json(),
                "blocks": list(event.blocks),
                "tensors": list(event.tensors),
                "batch": event.batch,
                "channels": {block: list(channels) for block, channels in event.channels.items()},
                "missing": event.missing,
                **({"devices": list(event.devices)} if event.devices else {}),
            }
        case JobProgressed(report=report):
            return {
                "event": "progress",
                **report.numbers(),
                "message": report.message,
                **({"device_memory": encode_memory(event.device_memory)} if event.device_memory else {}),
                **({"counts": event.counts.to_json()} if event.counts is not None else {}),
            }
        case BatchDone():
            return {
                "event": event.kind,
                "block": event.block,
                "tensor": event.tensor,
                "retry": event.retry,
                "count": event.count,
                **({"flagged": dict(event.flagged)} if event.flagged else {}),
                **({"mean_steps": event.mean_steps} if event.mean_steps is not None else {}),
                "channels": list(event.channels),
                "seconds": event.seconds,
                **({"device": event.device} if event.device else {}),
            }
        case WaitStarted(batch, holder):
            return {"event": "waiting", "batch": batch, "holder": holder}
        case BatchLost(batch, holder):
            return {"event": "lost", "batch": batch, "holder": holder}
        case ProblemOccurred(fault):
            return {"event": "problem", **encode_fault(fault)}
        case ClusterConnected(workers, shared_disk):
            return {"event": "cluster", "workers": list(workers), "shared_disk": shared_disk}
        case DownloadProgressed(done, total):
            return {"event": "download", "done": done, "total": total}
        case ModelRegistered(fingerprint, layout, warnings):
            said = {"layout": layout, "warnings": list(warnings)}
            return {"event": "model", "fingerprint": fingerprint, **{name: v for name, v in said.items() if v}}
        case ProcessFailed(fault):
            return {"event": "error", **encode_fault(fault)}
        case ProcessEnded(state, fault):
            return {"event": "ended", "state": state, **encode_fault(fault)}
        case JobEnded(state, fault, report):
            return {"event": state, **encode_fault(fault), **(report.numbers() if report is not None else {})}


def decode_event(data: Any) -> Event | None:
    """Reads `encode_event` back; None for what is malformed or of a kind that this version does not have."""
    try:
        return _decode(data)
    except (MalformedError, UsageError):
        return None


def write_event(event: Event) -> str:
    """An event as a line, without its end."""
    return json.dumps(encode_event(event))


def read_event(line: str | bytes) -> Event | None:
    """The event of a line; None for any other line, such as what a library prints."""
    try:
        return decode_event(parse_json(line))
    except MalformedError:
        return None


def read_logged(line: bytes) -> LoggedEvent | None:
    """The event of a line of a log; None for what is malformed or of a kind that this version does not have."""
    try:
        data = parse_object(line)
        time = checked_time(build_known(_Stamp, data).time)
    except MalformedError:
        return None
    event = decode_event(data)
    return LoggedEvent(time, event) if event is not None else None


def checked_time(time: float) -> float:
    """Seconds since 1970. Raises MalformedError for what is no time."""
    if not 0 <= time < LATEST:
        raise MalformedError(f"{time} is no time")
    return time


def encode_fault(fault: Fault) -> dict[str, str]:
    """Its message, and what there is beside it."""
    return {name: text for name, text in vars(fault).items() if text or name == "message"}


def encode_memory(memory: DeviceMemory) -> dict[str, list[float]]:
    return {name: list(pair) for name, pair in memory.items()}


@dataclass(frozen=True)
class _Stamp:
    """When a line was logged."""

    time: float


@dataclass(frozen=True)
class _Kind:
    """What every line says."""

    event: str


@dataclass(frozen=True)
class _Started:
    """`JobStarted`, with its set as lines have it."""

    recipe: Recipe
    seed: int
    capture: Capture
    objective: Objective
    blocks: tuple[str, ...]
    tensors: tuple[str, ...]
    batch: int
    channels: Mapping[str, tuple[int, ...]]
    missing: int
    devices: tuple[str, ...] = ()
    protocol: Protocol = UNSAID_PROTOCOL


@dataclass(frozen=True)
class _Progressed:
    """`JobProgressed` beside its report."""

    device_memory: DeviceMemory = field(default_factory=dict)
    counts: Counts | None = None


@dataclass(frozen=True)
class _Ended:
    """`ProcessEnded` beside its fault."""

    state: LastWord


def _decode(data: Any) -> Event | None:
    match build_known(_Kind, data).event:
        case "started":
            line = build_known(_Started, data)
            key = SetKey(line.recipe, line.seed, line.capture, line.objective, line.protocol)
            return JobStarted(
                key, line.blocks, line.tensors, line.batch, line.channels, line.missing, devices=line.devices
            )
        case "progress":
            more = build_known(_Progressed, data)
            return JobProgressed(build_known(Report, data), more.device_memory, more.counts)
        case "fz" | "measure" as kind:
            return build_known(BatchDone, {**data, "kind": kind})
        case "waiting":
            return build_known(WaitStarted, data)
        case "lost":
            return build_known(BatchLost, data)
        case "problem":
            return ProblemOccurred(build_known(Fault, data))
        case "cluster":
            return build_known(ClusterConnected, data)
        case "download":
            return build_known(DownloadProgressed, data)
        case "model":
            return build_known(ModelRegistered, data)
        case "error":
            return ProcessFailed(build_known(Fault, data))
        case "ended":
            return ProcessEnded(build_known(_Ended, data).state, build_known(Fault, data))
        case "done" | "failed" | "stopped" as state:
            # The message is the fault's.
            report = replace(build_known(Report, data), message="") if "total" in data else None
            return JobEnded(state, build_known(Fault, data), report)
    return None
