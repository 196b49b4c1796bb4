"""How channels answer to altered versions of their MEIs, as it is stored with their scan. Never imports torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from streamscope.core.model.blocks import VERDICT_TENSORS, Tensor
from streamscope.core.store.layout import ResponseKind, response_folder
from streamscope.core.store.sets.responses import ResponseBatch, read_responses

if TYPE_CHECKING:
    from streamscope.core.store.scans.scan import Scan


def mei_responses(scan: Scan, kind: ResponseKind, block: str, on: Tensor, variant: str = "") -> Iterator[ResponseBatch]:
    """Every intact batch of a kind on the MEIs of a block's tensor; what is damaged goes to the scan's problems."""
    folder = response_folder(scan.path, kind, block, on, variant)
    return read_responses(folder, scan.responses_place(kind, block, on, variant), scan.problems)


def missing_mei_responses(scan: Scan, kind: ResponseKind, block: str, variant: str = "") -> list[int]:
    """Channels that lack what is of this kind on the MEIs of `in` or of `block`."""
    stored = [
        {channel for batch in mei_responses(scan, kind, block, on, variant) for channel in batch.channels}
        for on in VERDICT_TENSORS
    ]
    return sorted(set(range(scan.info.block(block).channels)) - (stored[0] & stored[1]))
