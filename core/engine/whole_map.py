"""What a channel FZ is optimised for: the mean over space of a channel, in place of its centre neuron.

For looking at only: nothing is measured on channel FZs. Parameters, transforms and draws are those of the neuron's FZ.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from streamscope.core.engine.cone import Cone, Interval, map_interval, masked


class WholeMap(Cone):
    """A cone of every neuron of a tensor: reads the whole image and gives each channel's mean over its map.

    Images that the network sees at different sizes share a pass, as in a cone; each is averaged over its own map.
    """

    def _wanted(self, sides: Sequence[int]) -> Interval:
        device = self.network.device
        self._areas = torch.tensor([side**2 for side in sides], dtype=torch.float32, device=device)
        return map_interval((0, max(sides)), [0] * len(sides), sides, device)

    def _reading(self, last: torch.Tensor, size_index: torch.Tensor | None) -> torch.Tensor:
        total = masked(last.float(), self._output, size_index).sum(dim=(2, 3))
        return total / (self._areas[0] if size_index is None else self._areas[size_index][:, None])
