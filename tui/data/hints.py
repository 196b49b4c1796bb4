"""How a screen says which key makes what is missing."""

from __future__ import annotations

from collections.abc import Callable

KeyOf = Callable[[str], str]
"""The key of an action, as a person would name it; `str` names the action itself."""
