"""A set of FZs drawn by hand for the hand-set network: colours and blobs, measured as a job would."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from streamscope.core.engine.network import Network
from streamscope.core.model.blocks import TENSORS
from streamscope.core.model.fz import NO_FLAG, SAMPLES, FZBatch
from streamscope.core.model.recipe import Recipe, SetKey
from streamscope.core.reading.activations import BlockReader
from streamscope.core.reading.scalings import scalings
from streamscope.core.store import FZSet, Store
from tests.support.networks import SCALE_INVARIANT, SKIP, WIDTH

KEY = SetKey(Recipe(name="drawn", steps=1))
CHANNELS = tuple(range(WIDTH))
RADII = {"in": 2.2, "block": 3.4}
"""Of the scale-invariant channel's bright blob, in px."""


def drawn_set(
    root: Path,
    network: Network,
    channels: Sequence[int] = CHANNELS,
    key: SetKey = KEY,
    retry: int = 0,
    colours: Mapping[int, tuple[int, int, int]] | None = None,
) -> FZSet:
    """FZ(I) and FZ(B) of channels of block 1.1, committed and measured."""
    fzset = Store.open(root, create=True).set(network.info, key, create=True)
    for tensor in TENSORS[:2]:
        images = np.stack([_drawing(c, tensor, network.info.input_size, (colours or {}).get(c)) for c in channels])
        zeros = np.zeros(len(channels))
        traces = np.zeros((len(channels), SAMPLES))
        target = fzset.target("1.1", tensor)
        fzset.commit_fzs(FZBatch(target, tuple(channels), images, zeros, traces, (NO_FLAG,) * len(channels)), {}, retry)
        versions = scalings(network.info, "1.1", tensor, key.protocol)
        plain, scaled, *others = BlockReader(network, "1.1").read_each(images, [None, *versions.values()])
        further = dict(zip(list(versions)[1:], others, strict=True))
        fzset.commit_measures("1.1", tensor, channels, plain, scaled, retry, further)
    return fzset


def _drawing(channel: int, tensor: str, side: int, colour: tuple[int, int, int] | None) -> np.ndarray:
    image = np.zeros((side, side, 3), dtype=np.uint8)
    if colour is not None:
        image[:] = colour
    elif channel == SKIP:
        image[:, :, 0] = 255
    elif channel == SCALE_INVARIANT:
        y, x = np.mgrid[:side, :side] - (side - 1) / 2
        image[np.hypot(x, y) <= RADII[tensor]] = 255
    else:
        image[:] = np.random.default_rng([channel, len(tensor)]).integers(0, 256, image.shape)
    return image
