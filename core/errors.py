"""Every error a user can cause. The message says what was wrong, with the value, and what to do."""


class StreamscopeError(Exception):
    """Base of all errors shown to a user as one line; exit code 1."""

    exit_code = 1


class UsageError(StreamscopeError):
    """What was asked for makes no sense (unknown block, malformed range, steps <= 0); exit code 2."""

    exit_code = 2


class WeightsError(StreamscopeError):
    """Weights cannot be read, do not fit the architecture, or cannot be downloaded."""


class StoreError(StreamscopeError):
    """The store cannot be read or written, or something in it is damaged."""


class DiskFullError(StoreError):
    """No space is left for what a job has to write."""


class ImageError(StreamscopeError):
    """A real image cannot be read, is no image, or is not the one that was scanned."""


class FilterError(UsageError):
    """A filter expression is malformed; `position` is the 0-based column of the offending text."""

    def __init__(self, message: str, expression: str, position: int) -> None:
        self.expression = expression
        self.position = position
        self.reason = message
        where = "" if message.endswith("at the end") else f" at column {position + 1}"
        super().__init__(f"filter: {message}{where}: {expression!r}")
