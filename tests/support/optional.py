"""Values that a test knows to be there where the library may give none."""

from __future__ import annotations

from typing import TypeVar

Value = TypeVar("Value")


def present(value: Value | None) -> Value:
    """The value itself; fails where there is none."""
    assert value is not None
    return value
