"""Each channel's best patches anywhere in the map, found while a scan's images pass through the network."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from streamscope.core.engine.network import Network
from streamscope.core.measures.places import BestPlaces, Places, inner_places
from streamscope.core.model.blocks import ModelInfo, Target, ranked_targets, ranked_tensor


def map_grids(network: Network) -> dict[Target, tuple[int, int]]:
    """Of every target's map: its places a side, and the px from one to the next."""
    maps = {target: network.stream.map_geometry(target.block) for target in ranked_targets(network.info)}
    return {target: (found.side, round(found.stride)) for target, found in maps.items()}


class PatchFinder:
    """Keeps the best places of every target while `see` is shown the maps of batch after batch."""

    def __init__(self, network: Network) -> None:
        self._info: ModelInfo = network.info
        self._inner = {
            target: _inner(network.info, target, size, stride) for target, (size, stride) in map_grids(network).items()
        }
        self._targets = {(target.block, ranked_tensor(target)): target for target in self._inner}
        self._images: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self._best: dict[Target, BestPlaces] = {}
        self.begin()

    def begin(self) -> None:
        """Forgets all images."""
        self._best = {target: BestPlaces(self._info.target_channels(target)) for target in self._inner}

    @property
    def best(self) -> Mapping[Target, BestPlaces]:
        """Of the images since `begin`."""
        return self._best

    def next_batch(self, images: NDArray[np.int64]) -> None:
        """Says which images (n,) the maps are of that come next; they are later ones than all before."""
        self._images = images

    def see(self, block: str, tensor: str, values: torch.Tensor) -> None:
        """Reads the maps (n, C, side, side) of a block's `in`, `block` or `pre` of a batch."""
        target = self._targets.get((block, tensor))
        if target is None:
            return
        inner = self._inner[target]
        window = values[:, :, inner, inner]

        def locate(images: NDArray[np.int64], channels: NDArray[np.int64]) -> Places:
            chosen = window[torch.from_numpy(images), torch.from_numpy(channels)]
            # Of equal values the first, row by row.
            at = chosen.flatten(1).argmax(dim=1).cpu().numpy()
            places: Places = np.stack([at // window.shape[3], at % window.shape[3]], axis=1) + inner.start
            return places

        # Rows, then columns, the channels innermost as they lie in memory: on a CPU ten times as fast as both at once.
        highest = window.permute(0, 2, 3, 1).amax(dim=1).amax(dim=1)
        self._best[target].add(self._images, highest.float().cpu().numpy(), locate)


def _inner(info: ModelInfo, target: Target, size: int, stride: int) -> slice:
    field = info.field_of(target)
    places = inner_places(size, stride, field.centre, field.size, info.input_size)
    return slice(places.start, places.stop)
