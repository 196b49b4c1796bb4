"""What each channel's row is read from: which retry of its FZs, and the activations on them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from streamscope.core.measures import criteria
from streamscope.core.model.arrays import Float64Array
from streamscope.core.model.blocks import READ, VERDICT_TENSORS, Block, Tensor
from streamscope.core.store.sets.batches import FURTHER
from streamscope.core.store.sets.fz_set import FZSet

ALTERED: dict[Tensor, tuple[str, str, str]] = {
    "in": ("block_on_in_up", "block_on_in_blur", "block_on_in_down"),
    "block": ("in_on_block_down", "in_on_block_blur", "in_on_block_up"),
}
"""What the other tensor says to an FZ that is scaled, blurred and scaled the other way."""

_GAINS = ("block_on_in", "block_on_in_up", "block_on_block", "in_on_block", "in_on_block_down", "in_on_in")
"""What gains are made of."""


class Readings:
    """Centre activations of every channel of some blocks on their own FZs, row by row, NaN where not measured."""

    def __init__(self, fzset: FZSet | None, blocks: Sequence[Block]) -> None:
        self.fzset = fzset
        self.blocks = blocks
        self.first = np.cumsum([0, *(block.channels for block in blocks)])
        names = [f"{x}_on_{y}" for x in ("in", "block", "out") for y in ("in", "block", "out")]
        self.values = {name: self._empty() for name in [*names, *chain.from_iterable(ALTERED.values())]}
        self.measured: dict[Tensor, NDArray[np.bool_]] = {t: np.zeros(len(self), dtype=bool) for t in VERDICT_TENSORS}
        self.retries = np.zeros(len(self), dtype=np.int64)
        """The retry that each row's FZ(I) and FZ(B) come from."""
        if fzset is not None:
            for number in range(len(blocks)):
                self._read(number, "out")
                self._read(number, "in")
                self._read(number, "block")
            for retry in range(1, criteria.MAX_RETRIES + 1):
                self._retry(retry)
            self._leave_out()

    def __len__(self) -> int:
        return int(self.first[-1])

    def rows(self, number: int) -> slice:
        """Rows of the block of that number."""
        return slice(int(self.first[number]), int(self.first[number + 1]))

    @property
    def complete(self) -> NDArray[np.bool_]:
        own = np.isfinite(self.values["out_on_out"]) & self.of_layers
        return (self.measured["in"] & self.measured["block"]) | own

    @property
    def fz_seed(self) -> Float64Array:
        """The seed that each row's FZ(I) and FZ(B) are of, NaN until both are measured."""
        seed = self.fzset.key.seed if self.fzset is not None else 0
        return np.where(self.complete, seed + self.retries, np.nan)

    @property
    def undefined(self) -> NDArray[np.bool_]:
        ratio = criteria.mix_ratio(self.values["out_on_in"], self.values["out_on_block"])
        return self.complete & np.isnan(ratio) & ~self.of_layers

    def digest(self, number: int) -> str:
        """Differs when a channel of the block of that number was measured since, or measured otherwise.

        It is of what gains are made of, each FZ's own channel only: FZs that give the same there to the last bit are
        the same FZs, and give the same of other channels.
        """
        rows = self.rows(number)
        found = hashlib.sha256()
        for values in (self.complete, self.retries, *(self.values[name] for name in _GAINS)):
            found.update(values[rows].astype("<f8").tobytes())
        return found.hexdigest()

    @property
    def of_layers(self) -> NDArray[np.bool_]:
        """Rows of layers of a network that adds nothing to a stream: no measure of the stream is defined there."""
        return np.repeat([block.kind == "layer" for block in self.blocks], [block.channels for block in self.blocks])

    def _leave_out(self) -> None:
        """Empties what measures would be made of that are not defined of a block."""
        scaled = set(chain.from_iterable(ALTERED.values()))
        for number, block in enumerate(self.blocks):
            for name, values in self.values.items():
                undefined = name != "out_on_out" if block.kind == "layer" else not block.widens and name in scaled
                if undefined:
                    values[self.rows(number)] = np.nan

    def _empty(self) -> Float64Array:
        return np.full(len(self), np.nan)

    def _read(self, number: int, tensor: Tensor, retry: int = 0, only: NDArray[np.bool_] | None = None) -> None:
        """Reads one block's FZs of a tensor; `only` those rows of the block."""
        assert self.fzset is not None
        found = self.fzset.own(self.blocks[number].name, tensor, retry=retry)
        if found is None:
            return
        taken = np.ones(len(found.channels), dtype=bool) if only is None else only[found.channels]
        rows = self.first[number] + found.channels[taken]
        for axis, read in enumerate(READ):
            self.values[f"{'out' if read == 'pre' else read}_on_{tensor}"][rows] = found.plain[taken, axis]
        if tensor == "out":
            return
        other = READ.index("block" if tensor == "in" else "in")
        scaled, *further = ALTERED[tensor]
        if found.scaled is not None:
            self.values[scaled][rows] = found.scaled[taken, other]
        for name, kind in zip(further, FURTHER, strict=True):
            # A row that is read from a retry has nothing of the FZ before it.
            self.values[name][rows] = found.further[kind][taken, other] if kind in found.further else np.nan
        self.measured[tensor][rows] = True

    def _retry(self, retry: int) -> None:
        """Replaces rows that the retry before left undefined, where both FZs of this one are measured."""
        assert self.fzset is not None
        waiting = self.undefined & (self.retries == retry - 1)
        # Not `np.unique`, which imports `numpy.ma`: that took as long as reading a small set.
        for number in sorted(set((np.searchsorted(self.first, np.flatnonzero(waiting), side="right") - 1).tolist())):
            both = waiting[self.rows(number)]
            for tensor in VERDICT_TENSORS:
                found = self.fzset.own(self.blocks[number].name, tensor, retry=retry)
                both = both & np.isin(np.arange(len(both)), [] if found is None else found.channels)
            if both.any():
                for tensor in VERDICT_TENSORS:
                    self._read(number, tensor, retry, only=both)
                self.retries[self.rows(number)][both] = retry
