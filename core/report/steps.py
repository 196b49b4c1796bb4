"""What a user can do so that a report has more; whoever asks for the report words it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from streamscope.core.analysis.nulls import Lacking


@dataclass(frozen=True)
class Step:
    """What a user can do so that something is stored: `act`, on `blocks` where it names any, in the report's set."""

    act: Literal["scan", "compute", "curves", "photographs", "nulls", "seeds", "decide", "pair", "ablate"]
    blocks: tuple[str, ...] = ()
    nulls: tuple[Lacking, ...] = ()
    """Which nulls."""


Wording = Callable[[Step], str]
"""How to take a step, as a report says it: the command to run, say."""
