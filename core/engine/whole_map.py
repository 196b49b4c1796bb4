"""What a channel FZ is optimised for: the mean over space of a channel, in place of its centre neuron.

For looking at only: nothing is measured on channel FZs. Parameters, transforms and draws are those of the neuron's FZ.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from streamscope.core.engine.cone.cone import Cone
from streamscope.core.engine.cone.intervals import Bounds, masked
from streamscope.core.engine.cone.operations import Operation


class WholeMap(Cone):
    """A cone of every neuron of a tensor: reads the whole image and gives each channel's mean over its map.

    Images that the network sees at different sizes share a pass, as in a cone; each is averaged over its own map.
    """

    def _positions(self, sides: Sequence[int]) -> tuple[Bounds, Sequence[int]]:
        self._areas = torch.tensor([side**2 for side in sides], dtype=torch.float32, device=self.network.device)
        return (0, max(sides)), [0] * len(sides)

    def _reading(self, end: Operation, last: torch.Tensor, size_index: torch.Tensor | None) -> torch.Tensor:
        if end.axes is None:
            return self._geometry.as_map(last).float().mean(dim=(2, 3))
        box = self._plan.box(end)
        assert box is not None
        total = masked(last.float(), box, end.axes, size_index).sum(dim=end.axes)
        return total / (self._areas[0] if size_index is None else self._areas[size_index][:, None])
