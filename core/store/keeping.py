"""Keeping leases for as long as what they are for takes, whatever takes long in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread

from streamscope.core.errors import StoreError
from streamscope.core.store.leases import Leases

RENEW_SECONDS = 2.0
"""Well within the time after which a lease is anybody's."""


@contextmanager
def kept(leases: Leases, seconds: float = RENEW_SECONDS, beat: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Renews from a thread what `leases` holds, every `seconds`, and gives it back at the end of the block.

    What others took over is no longer `held`: whoever works on it looks there between steps. `beat` is called, in the
    thread, after each renewal; a StoreError of it is for whoever meets it elsewhere.
    """
    over = Event()

    def go_on() -> None:
        while not over.wait(seconds):
            leases.renew()
            with suppress(StoreError):
                beat()

    thread = Thread(target=go_on, daemon=True, name="leases")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        leases.release_all()
