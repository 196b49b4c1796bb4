"""How a worker process shares the CPU with whoever types."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

NICENESS = 10
"""Of a queue's worker on the CPU: it takes whatever nobody else wants, and next to nothing otherwise."""
AUTOGROUP = Path("/proc/self/autogroup")
"""Where Linux groups processes by session, a process's niceness counts within its group only, and the group has its
own, 0 at first."""


def give_way(niceness: int = NICENESS) -> None:
    """Lets other processes go first from now on, those of other sessions too. No way back without privileges."""
    os.nice(max(0, niceness - os.nice(0)))
    keep_niceness()


def keep_niceness() -> None:
    """Makes the niceness that this process has count beyond its session, which was begun for it."""
    niceness = os.nice(0)
    if niceness > 0:
        # Not there where grouping is off, and not written where a container forbids it.
        with suppress(OSError):
            AUTOGROUP.write_text(str(niceness))
