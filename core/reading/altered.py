"""What a block says to the stored FZs of a set, altered in ways that no set measures: read anew, and not kept."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from streamscope.core.engine.network import Network
from streamscope.core.images.lanczos import Resampling
from streamscope.core.model.arrays import Float64Array
from streamscope.core.model.blocks import VERDICT_TENSORS, Tensor
from streamscope.core.reading.activations import BlockReader
from streamscope.core.reading.responses import BATCH, batches, own_responses
from streamscope.core.store.sets.fz_set import FZSet
from streamscope.core.store.sets.readings import Readings
from streamscope.core.store.sets.responses import READ_OUT
from streamscope.core.watch import Watch


def read_altered(
    network: Network,
    fzset: FZSet,
    block: str,
    channels: NDArray[np.int64],
    versions: Mapping[str, Mapping[Tensor, Resampling]],
    watch: Watch | None = None,
) -> dict[str, dict[Tensor, Float64Array]]:
    """By version and by tensor of the FZ: what the other tensor of each channel says to it, (C,), NaN where the channel
    is not among `channels`. Of each channel the FZ is read that its row of the table is.

    Raises StoreError when an FZ is missing or damaged.
    """
    readings = Readings(fzset, [fzset.info.block(block)])
    reader = BlockReader(network, block)
    found: dict[str, dict[Tensor, Float64Array]] = {name: {} for name in versions}
    total, done = len(channels) * len(VERDICT_TENSORS), 0
    for on, other in zip(VERDICT_TENSORS, reversed(VERDICT_TENSORS), strict=True):
        target = fzset.target(block, on)
        values = np.full((len(readings), len(versions)), np.nan)
        for together in batches(channels.tolist(), BATCH):
            images = np.stack([fzset.fz_image(target, c, int(readings.retries[c])) for c in together])
            own = own_responses(reader, images, together, [version[on] for version in versions.values()])
            values[together] = own[:, READ_OUT.index(other)]
            done += len(together)
            if watch is not None:
                watch(done, total)
        for column, name in enumerate(versions):
            found[name][on] = values[:, column]
    return found
