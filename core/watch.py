"""How whoever waits for something long is told how far it is."""

from __future__ import annotations

from collections.abc import Callable

Watch = Callable[[int, int], None]
"""Called with the steps (images, channels) done and those in all. What it raises, a stop say, ends the work."""
PhaseWatch = Callable[[int, int, str], None]
"""Called with the steps done, the steps in all, and what is being done: each phase counts its own steps."""
