"""Which of a channel's FZs its row of the table is read from: the first, or one optimised again with a later seed."""

from __future__ import annotations

from collections.abc import Mapping

from streamscope.core.model.blocks import Tensor
from streamscope.core.store.sets.batches import FZRecord
from streamscope.core.store.sets.fz_set import FZSet
from streamscope.core.table.columns import Value


def retry_of(row: Mapping[str, Value]) -> int:
    """The retry that a row's FZ(I) and FZ(B) are of, by its `fz_seed` and its set's `seed`; 0 where there are none."""
    used, seed = row.get("fz_seed"), row.get("seed")
    return used - seed if isinstance(used, int) and isinstance(seed, int) else 0


def shown_fz(fzset: FZSet, block: str, tensor: Tensor, channel: int, retry: int) -> tuple[int, FZRecord] | None:
    """The FZ of a tensor to show beside a row that is read from `retry`, and its own retry; None where none is stored.

    FZ(O) is never optimised again, so that of a retried row is its first.
    """
    target = fzset.target(block, tensor)
    for shown in (retry, 0) if retry and tensor != "out" else (0,):
        record = fzset.fzs(target, shown).get(channel)
        if record is not None:
            return shown, record
    return None
