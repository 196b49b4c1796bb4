"""torch-lucent's `render_vis` with a recipe's transforms: what streamscope is measured against."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from streamscope.core.engine.network import Network
from streamscope.core.errors import UsageError
from streamscope.core.model.recipe import Recipe, jitter_for


def last_bn(network: Network, block: str) -> str:
    """Lucent's name of a block's last BN, whose hook it would be given for `block`."""
    name: str = network.stream.addition(block).branch.meta["module"]
    return name.replace(".", "_")


def check_lucent_device(device: torch.device) -> None:
    """Raises UsageError for one that Lucent does not work on: it takes the first CUDA device, or a CPU without any."""
    wanted = "cuda:0" if torch.cuda.is_available() else "cpu"
    if str(device) not in (wanted, wanted.removesuffix(":0")):
        raise UsageError(
            f"torch-lucent works on {wanted} here, not on {device}; use {wanted}, "
            "or hide devices with CUDA_VISIBLE_DEVICES"
        )


def render_lucent(
    network: Network,
    model: nn.Module,
    layer: str,
    channel: int,
    recipe: Recipe,
    field_size: int,
    tick: Callable[[], None] | None = None,
) -> np.ndarray:
    """One FZ of a centre neuron by Lucent's `render_vis` with the recipe's transforms; (side, side, 3) in 0..1."""
    with _quiet():
        from lucent.optvis import objectives, param, render, transform
    from torchvision.transforms import CenterCrop, Normalize

    size, jitter = network.info.input_size, jitter_for(field_size, "paper")
    varied = [transform.random_scale(list(recipe.scales)), transform.random_rotate(list(recipe.degrees))]
    if jitter:
        before = [transform.pad(jitter, mode="reflect"), transform.jitter(jitter)]
        varied = [*before, *varied, transform.jitter(jitter // 2), CenterCrop(size)]
    varied.append(Normalize(network.info.mean, network.info.std))
    neuron: Callable[[Callable[[str], torch.Tensor]], torch.Tensor] = objectives.neuron(layer, channel)

    def objective(features: Callable[[str], torch.Tensor]) -> torch.Tensor:
        if tick is not None:
            tick()
        return neuron(features)

    # In TF32 where a CUDA device has it: torch's default, so that is what Lucent has wherever else it is run.
    with _quiet(), torch.backends.cudnn.flags(enabled=True, allow_tf32=True):
        images = render.render_vis(
            model,
            objectives.Objective(objective),
            param_f=lambda: param.image(size, sd=recipe.sd),
            optimizer=lambda parameters: torch.optim.Adam(parameters, lr=recipe.rate),
            transforms=varied,
            thresholds=(recipe.steps,),
            preprocess=False,
            progress=False,
            show_image=False,
            fixed_image_size=None if size >= 224 else 0,
        )
    return np.asarray(images[-1][0])


class Unaliased(nn.Module):
    """Shows Lucent a block tensor as it is: the network up to the block, then the tensor through `probe`.

    Lucent's own hook on the last BN sees `out`: the block rectifies its sum in place.
    """

    def __init__(self, network: Network, block: str) -> None:
        super().__init__()
        self.probe = nn.Identity()
        self._read: Callable[[torch.Tensor], torch.Tensor] = lambda x: network.stream.read_block(x, block).block

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shown: torch.Tensor = self.probe(self._read(x))
        return shown


@contextmanager
def _quiet() -> Iterator[None]:
    """Lucent's old kornia warns about deprecated torch calls at import and on every use."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
