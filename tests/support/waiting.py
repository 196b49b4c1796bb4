"""Waiting for what other processes and threads do, with an end."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE = 60.0
"""Seconds: long for a machine that is busy with other tests."""


def wait_until(condition: Callable[[], bool], what: str | Callable[[], str], seconds: float = PATIENCE) -> None:
    """Returns once the condition holds; fails when it does not within `seconds`.

    It says then what did not come, or what there is instead where that is to be looked up.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds:g} s for {what}" if isinstance(what, str) else what())
        time.sleep(0.05)
