"""Every error a user can cause. The message says what was wrong, with the value.

What helps against it is worded by whoever shows it (a command to type, a key to press): `tui.advice` does so by the
error's class, or by its `kind` where no more is left than a `Fault`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


class StreamscopeError(Exception):
    """Base of all errors shown to a user as one line; exit code 1."""

    exit_code = 1
    kind: ClassVar[str] = ""
    """A word for what is wrong, where something can be advised: it outlives the process that met the error."""
    place = ""
    """Where, if that is needed for the advice."""


@dataclass(frozen=True)
class Fault:
    """What outlives an error: in a job's record, or on the way from one process to another."""

    message: str
    kind: str = ""
    place: str = ""

    @classmethod
    def of(cls, error: StreamscopeError) -> Fault:
        return cls(str(error), error.kind, error.place)


NO_FAULT = Fault("")
"""Nothing went wrong."""


class UsageError(StreamscopeError):
    """What was asked for makes no sense (unknown block, malformed range, steps <= 0); exit code 2."""

    exit_code = 2


class WeightsError(StreamscopeError):
    """Weights cannot be read, do not fit the architecture, or cannot be downloaded."""


class DownloadError(WeightsError):
    """Weights are not here and could not be downloaded from a URL, which is `place`."""

    kind = "download"

    def __init__(self, message: str, url: str) -> None:
        self.place = url
        super().__init__(message)


class MisfitError(WeightsError):
    """Weights are those of another architecture."""

    kind = "misfit"


class ChoiceError(WeightsError):
    """A file holds several networks' weights, and which are meant is not said, or said wrong."""

    kind = "choice of weights"


class ArchitectureError(StreamscopeError):
    """A network cannot be built: its code is gone or fails, its library is missing, or it is not one of images."""


class ClassifierError(WeightsError):
    """What needs a classifier was asked of weights without one."""


class ClassNamesError(UsageError):
    """It is not known which class of a classifier an image is of."""

    kind = "class names"


class UnreadableNetworkError(StreamscopeError):
    """A network whose operations cannot be told."""


class StoreError(StreamscopeError):
    """The store cannot be read or written, or something in it is damaged."""


class HomeError(StoreError):
    """A folder of the user's own is not known; `place` is the variable that may name it."""

    kind = "home"

    def __init__(self, message: str, variable: str) -> None:
        self.place = variable
        super().__init__(message)


class DamageError(StoreError):
    """Something in the store is not what was written."""

    kind = "damage"


class MisplacedError(DamageError):
    """Something in the store is what was written, but of another model, set, tensor or channels than its place."""


class NewerError(StoreError):
    """A later version wrote it, and says of it what this version does not know; it is neither read nor removed."""


class CacheError(StoreError):
    """The folder of the store cannot be used as one."""

    kind = "cache"


class BundleError(StoreError):
    """A file that should be a bundle is none, is damaged, or is more than a bundle may be."""


class ReadOnlyError(StoreError):
    """Something was to be written into a bundle."""

    kind = "read only"


class DiskFullError(StoreError):
    """No space is left for what is to be written at `place`."""

    kind = "disk full"

    def __init__(self, message: str, place: object = "") -> None:
        self.place = str(place)
        super().__init__(message)


class ForeignJobError(StoreError):
    """A job is another user's: it can be looked at, nothing else."""


class SchedulerError(StreamscopeError):
    """A job is to be done by a cluster that nobody has named: what a record says of it does not count."""

    kind = "scheduler"


class ImageError(StreamscopeError):
    """A real image cannot be read, is no image, or is not the one that was scanned."""


class AmbiguousValuesError(ImageError):
    """The numbers of an image could mean several brightnesses; a value range says which."""

    kind = "ambiguous values"
    MARK: ClassVar[str] = "has ambiguous values:"
    """In every such message: what is stored of an image is the message alone."""

    @classmethod
    def is_meant_by(cls, problem: str) -> bool:
        """Whether what was wrong with an image was this."""
        return cls.MARK in problem


class FilterError(UsageError):
    """A filter expression is malformed; `position` is the 0-based column of the offending text."""

    def __init__(self, message: str, expression: str, position: int) -> None:
        self.expression = expression
        self.position = position
        self.reason = message
        where = "" if message.endswith("at the end") else f" at column {position + 1}"
        super().__init__(f"filter: {message}{where}: {expression!r}")
