"""What workers say: the lines of a job's log and of `--json`, and how far a job is. Written and read here only.

Other programs read these lines: a key that is there stays, with its meaning.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from streamscope.core.errors import NO_FAULT, Fault, UsageError
from streamscope.core.model.recipe import SetKey

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

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Report:
        """What is missing or no number is unknown."""
        return cls(
            done=int(_number(data.get("done")) or 0),
            total=int(_number(data.get("total")) or 0),
            share=_number(data.get("share")),
            rate=_number(data.get("rate")),
            unit=str(data.get("unit") or ""),
            eta=_number(data.get("eta")),
            message=str(data.get("message") or ""),
        )


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

    def to_json(self) -> dict[str, float]:
        return dict(vars(self))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Counts:
        return cls(**{name: float(data[name]) for name in vars(cls())})


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
        case ModelRegistered(fingerprint):
            return {"event": "model", "fingerprint": fingerprint}
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
    except (KeyError, TypeError, ValueError, UsageError):
        return None


def write_event(event: Event) -> str:
    """An event as a line, without its end."""
    return json.dumps(encode_event(event))


def read_event(line: str | bytes) -> Event | None:
    """The event of a line; None for any other line, such as what a library prints."""
    try:
        return decode_event(json.loads(line))
    except ValueError:
        return None


def encode_fault(fault: Fault) -> dict[str, str]:
    """Its message, and what there is beside it."""
    return {name: text for name, text in vars(fault).items() if text or name == "message"}


def decode_fault(data: Mapping[str, Any]) -> Fault:
    return Fault(*(str(data.get(name) or "") for name in ("message", "kind", "place")))


def encode_memory(memory: DeviceMemory) -> dict[str, list[float]]:
    return {name: list(pair) for name, pair in memory.items()}


def decode_memory(value: Any) -> dict[str, tuple[float, float]]:
    """What is no pair of numbers is left out."""
    memory = {}
    for name, pair in value.items() if isinstance(value, dict) else ():
        used, total = map(_number, pair) if isinstance(pair, list) and len(pair) == 2 else (None, None)
        if used is not None and total is not None:
            memory[str(name)] = (used, total)
    return memory


def _decode(data: Any) -> Event | None:
    match data["event"]:
        case "started":
            key = SetKey.from_json(data)
            return JobStarted(
                key,
                tuple(data["blocks"]),
                tuple(data["tensors"]),
                int(data["batch"]),
                {block: tuple(channels) for block, channels in data["channels"].items()},
                int(data["missing"]),
                tuple(data.get("devices") or ()),
            )
        case "progress":
            counts = data.get("counts")
            return JobProgressed(
                Report.from_json(data),
                decode_memory(data.get("device_memory")),
                Counts.from_json(counts) if counts is not None else None,
            )
        case "fz" | "measure" as kind:
            first, last = data["channels"]
            return BatchDone(
                kind,
                str(data["block"]),
                str(data["tensor"]),
                int(data["retry"]),
                int(data["count"]),
                (int(first), int(last)),
                float(data["seconds"]),
                dict(data.get("flagged") or {}),
                _number(data.get("mean_steps")),
                str(data.get("device") or ""),
            )
        case "waiting":
            return WaitStarted(str(data["batch"]), str(data["holder"]))
        case "lost":
            return BatchLost(str(data["batch"]), str(data["holder"]))
        case "problem":
            return ProblemOccurred(decode_fault(data))
        case "cluster":
            return ClusterConnected(tuple(data["workers"]), bool(data["shared_disk"]))
        case "download":
            return DownloadProgressed(int(data.get("done") or 0), int(data.get("total") or 0))
        case "model":
            return ModelRegistered(str(data["fingerprint"]))
        case "error":
            return ProcessFailed(decode_fault(data))
        case "ended" if data["state"] in LAST_WORDS:
            return ProcessEnded(data["state"], decode_fault(data))
        case "done" | "failed" | "stopped" as state:
            report = Report.from_json({**data, "message": ""}) if "total" in data else None
            return JobEnded(state, decode_fault(data), report)
    return None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None
