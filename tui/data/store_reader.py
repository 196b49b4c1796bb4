"""Reads the store for the app, in a thread: what is shown is always one whole reading, never a mixture of two."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamscope.core.model.blocks import ModelInfo
from streamscope.core.model.recipe import Capture, Protocol, SetKey
from streamscope.core.store import FZSet, Scan, Store
from streamscope.core.table.frame import BlockSummary, Frame, build_frame, summarise
from streamscope.tui.advice import worded


@dataclass(frozen=True)
class SetChoice:
    """Which stored set was asked for on the command line; None where it does not matter."""

    steps: int | None = None
    seed: int | None = None
    capture: Capture | None = None
    protocol: Protocol | None = None
    recipe: Protocol | None = None
    """Whose settings the recipe has."""
    images: Path | None = None
    converged: bool | None = None
    """True for a set whose FZs stopped when they had converged."""

    @property
    def told(self) -> dict[str, Any]:
        """For `Store.choose_set`, and for `ModelInfo.new_key` when none is stored."""
        return {
            "steps": self.steps,
            "seed": self.seed,
            "capture": self.capture,
            "protocol": self.protocol,
            "settings": self.recipe,
            "converged": self.converged,
        }


@dataclass(frozen=True)
class Reading:
    """What the store held at one moment, without marks: every block of the model, computed or not."""

    info: ModelInfo
    key: SetKey
    stored: bool
    """False when nothing of this set is on disk yet."""
    frame: Frame
    summaries: Mapping[str, BlockSummary]
    sets: tuple[SetKey, ...]
    problems: tuple[str, ...]
    scan: Scan | None = None
    """Where the image-derived columns come from; None when nothing (or not what was asked for) is scanned."""


class StoreReader:
    """Looks whether the store changed, and reads it when it did. For one thread at a time."""

    def __init__(self, root: Path, info: ModelInfo, choice: SetChoice) -> None:
        self._store = Store(root)
        self.info = info
        self._choice = choice
        self._key: SetKey | None = None
        self._source: Path | None = choice.images
        self._signature: Hashable = None

    def use(self, key: SetKey) -> None:
        """Read this set from now on, stored or not."""
        self._key = key

    def read(self) -> Reading | None:
        """A new reading; None when nothing changed since the last. Raises StoreError."""
        fzset = self._set()
        key = fzset.key if fzset is not None else self.info.new_key(**self._choice.told)
        signature = (key, self._store.signature(self.info), fzset.signature() if fzset is not None else None)
        if signature == self._signature:
            return None
        scan = self._scan()
        frame = build_frame(self.info, fzset, [block.name for block in self.info.blocks], scan=scan)
        sets = tuple(stored.key for stored in self._store.sets(self.info) if stored.key.objective == "neuron")
        self._signature = signature
        met = [*self._store.problems, *self._store.job_problems.errors()]
        problems = [worded(problem) for problem in met]
        if scan is not None and (other := scan.other_preparation(self.info)):
            problems.append(f"the scan of {scan.source}: {other}; scan them again")
        return Reading(self.info, key, key in sets, frame, summarise(frame), sets, tuple(problems), scan)

    def _scan(self) -> Scan | None:
        chosen = self._store.choose_scan(self.info, self._source)
        if chosen is not None:
            # Held on to, as the set is; a later scan of the same folder does take its place.
            self._source = chosen.source
        return chosen

    def _set(self) -> FZSet | None:
        if self._key is not None:
            return self._store.set(self.info, self._key)
        fzset = self._store.choose_set(self.info, **self._choice.told)
        if fzset is not None:
            # Held on to: a set that another job completes later must not take this one's place unasked.
            self._key = fzset.key
        return fzset


def set_name(key: SetKey) -> str:
    """A stored set in few characters: `centred 128 seed 0`; `centred, paper 2560 seed 0` where the recipe has the
    settings of the other protocol."""
    capture = "" if key.capture == "exact" else f" {key.capture}"
    own = key.recipe.settings == key.protocol
    return f"{'' if own else f'{key.protocol}, '}{key.recipe.name} {key.recipe.steps} seed {key.seed}{capture}"
