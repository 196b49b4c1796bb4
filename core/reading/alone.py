"""Work on a store that one process at a time does: others look on, and who loses its lease stops before a commit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from streamscope.core.errors import StoreError
from streamscope.core.store import Leases, kept
from streamscope.core.watch import PhaseWatch


@contextmanager
def alone(
    root: Path, kind: str, key: str, what: str, watch: PhaseWatch, total: int = 1
) -> Iterator[tuple[PhaseWatch, Callable[[], None]]]:
    """Holds the lease `key` of a store for as long as the block takes; `what` is worked on, in words.

    Gives `watch`, and what is to be called before each commit. Both raise StoreError once the lease is another's. While
    a holder is watched who may be dead, `watch` is told none of `total`. Raises StoreError when somebody else is at it.
    """
    leases = Leases(root, kind)

    def wait(seconds: float) -> None:
        watch(0, total, f"watching {what}, held by {leases.holder(key)}")
        time.sleep(seconds)

    if not leases.claim_or_watch(key, wait):
        raise StoreError(
            f"another process ({leases.holder(key)}) is at work on {what}; let it finish, then run this again"
        )

    def check() -> None:
        if key not in leases.held:
            who = leases.holder(key)
            how = f"another process ({who}) took over {what}" if who else f"the lease of {what} was lost"
            raise StoreError(f"{how}; run this again to go on with it")

    def go_on(done: int, total: int, phase: str) -> None:
        check()
        watch(done, total, phase)

    def confirm() -> None:
        leases.renew()
        check()

    with kept(leases):
        yield go_on, confirm
