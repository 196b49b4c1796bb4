"""Scale tuning curves as they are stored: on FZs in their set, on MEIs in their scan. Never imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from streamscope.core.errors import DamageError
from streamscope.core.measures.extremes import MEIS
from streamscope.core.model.arrays import Float32Array, Float64Array
from streamscope.core.model.blocks import VERDICT_TENSORS, Tensor
from streamscope.core.model.recipe import UNSAID_PROTOCOL, Protocol
from streamscope.core.store.files.listing import Problems
from streamscope.core.store.layout import CURVES
from streamscope.core.store.scans.responses import mei_responses, missing_mei_responses
from streamscope.core.store.sets.fz_set import FZSet
from streamscope.core.store.sets.responses import READ_OUT, ResponseBatch, missing_responses, set_responses

if TYPE_CHECKING:
    from streamscope.core.store.scans.scan import Scan

ANTIALIASED = "antialiased"


def variant(protocol: Protocol, antialias: bool = False, in_scan: bool = False) -> str:
    """Which of several kinds of responses: those of the centred protocol are one kind, antialiased always.

    A set has one protocol, and a scan both.
    """
    if protocol == "centred":
        return protocol if in_scan else ""
    return ANTIALIASED if antialias else ""


@dataclass(frozen=True)
class Curves:
    """Centre activations of n channels of one block over K scales, on the images of its `in` and of its `block`.

    `values[read, on]` is (n, K): the channel's own activation in tensor `read` (in, block, pre or out) for its FZ of
    tensor `on`, or the mean over its 9 MEIs of `on`. On MEIs in, block and out are rectified for each image, then
    averaged, as the robust measures are; pre is averaged as it is. NaN where it was not computed, or a tensor has
    fewer than 9 images that excite it.
    """

    channels: NDArray[np.int64]
    scales: Float64Array
    """(K,) ascending: what the image was really scaled by. Of the paper's protocol the nearest to `SCALES` that whole
    pixels allow."""
    values: Mapping[tuple[str, str], Float32Array]
    antialias: bool
    """Whether images were resized with antialiasing; the S- of the paper's scale criteria is not."""
    images: int
    """How many images each value is the mean of: 1 FZ or 9 MEIs."""

    def of(self, channel: int) -> Mapping[tuple[str, str], Float32Array] | None:
        """One channel's curves, each (K,); None when it has none."""
        found = np.flatnonzero(self.channels == channel)
        return {key: values[found[0]] for key, values in self.values.items()} if len(found) else None


def curves_of(
    source: FZSet | Scan, block: str, antialias: bool = False, protocol: Protocol = UNSAID_PROTOCOL
) -> Curves | None:
    """The stored curves of a block on a set's FZs (those that the table's rows are read from) or on a scan's MEIs.

    `protocol` is for a scan, which belongs to none. None when there are none. What is damaged goes to the source's
    problems. Raises UsageError for an unknown block.
    """
    source.info.block(block)
    if isinstance(source, FZSet):
        protocol = source.key.protocol
        kind = variant(protocol, antialias)
        on_fzs = {on: list(set_responses(source, CURVES, block, on, kind)) for on in VERDICT_TENSORS}
        return _merge(on_fzs, antialias or protocol == "centred", 1, source.problems)
    kind = variant(protocol, antialias, in_scan=True)
    found = {on: list(mei_responses(source, CURVES, block, on, kind)) for on in VERDICT_TENSORS}
    return _merge(found, antialias or protocol == "centred", MEIS, source.problems)


def missing_curves(fzset: FZSet, block: str, antialias: bool = False) -> bool:
    """Whether a stored FZ of the block's `in` or `block` lacks its curve."""
    kind = variant(fzset.key.protocol, antialias)
    return any(missing_responses(fzset, CURVES, block, on, kind) for on in VERDICT_TENSORS)


def missing_mei_curves(
    scan: Scan, block: str, antialias: bool = False, protocol: Protocol = UNSAID_PROTOCOL
) -> list[int]:
    """Channels that lack a curve on the MEIs of `in` or of `block`."""
    return missing_mei_responses(scan, CURVES, block, variant(protocol, antialias, in_scan=True))


def _merge(
    found: Mapping[Tensor, list[ResponseBatch]], antialias: bool, images: int, problems: Problems
) -> Curves | None:
    batches = [batch for several in found.values() for batch in several]
    if not batches:
        return None
    scales = batches[0].versions
    for batch in batches:
        if batch.versions != scales:
            problems.report(batch.path, DamageError(f"{batch.path} is of other scales than {batches[0].path}"))
    batches = [batch for batch in batches if batch.versions == scales]
    channels = sorted({channel for batch in batches for channel in batch.channels})
    place = {channel: row for row, channel in enumerate(channels)}
    shape = len(channels), len(scales)
    values: dict[tuple[str, str], Float32Array] = {
        (read, on): np.full(shape, np.nan, np.float32) for read in READ_OUT for on in VERDICT_TENSORS
    }
    for on, several in found.items():
        for batch in (batch for batch in several if batch.versions == scales):
            rows = [place[channel] for channel in batch.channels]
            for axis, read in enumerate(READ_OUT):
                values[read, on][rows] = batch.values[:, axis]
    return Curves(np.array(channels), np.array(scales, dtype=np.float64), values, antialias, images)
