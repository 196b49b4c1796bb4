"""What a network is shown: colours less their mean, over their deviation."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from streamscope.core.model.blocks import ModelInfo


@dataclass(frozen=True)
class Normalisation:
    """Of images (n, 3, side, side) in 0..1; `mean` and `std` (3,) of the colours, on the images' device."""

    mean: torch.Tensor
    std: torch.Tensor

    @classmethod
    def of(cls, info: ModelInfo, device: torch.device) -> Normalisation:
        return cls(torch.tensor(info.mean, device=device), torch.tensor(info.std, device=device))

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        return (images - self.mean[:, None, None]) / self.std[:, None, None]
