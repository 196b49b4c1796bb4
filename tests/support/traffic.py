"""Counts the bytes that a CUDA step moves and what its convolutions multiply.

`python -m tests.support.traffic`, no GPU needed.

Tensors of the `meta` device have shapes but no values. Every operation counts what it reads and what it writes as if
no cache helped, which is what large maps come to; a convolution's bias counts as the pass of its own that it is.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from streamscope.core.engine.cone import fold_network
from streamscope.core.engine.network import Network, load_network
from streamscope.core.engine.optimiser import Optimiser
from streamscope.core.engine.precision import DTYPES, OVERRIDE
from streamscope.core.engine.transforms.centred import CentredTransform
from streamscope.core.engine.transforms.draws import Draws
from streamscope.core.engine.transforms.lucent import LucentTransform
from streamscope.core.engine.transforms.placement import PatchFormat, Placement
from streamscope.core.model.blocks import TENSORS, Target
from streamscope.core.model.recipe import DEFAULT_PROTOCOL, PROTOCOLS, Protocol
from streamscope.core.model.spec import ModelSpec

META = torch.device("meta")
IMAGES = 128
NOTHING_MOVED = ("aten::empty", "aten::empty_like", "aten::empty_strided", "aten::new_empty", "aten::_unsafe_view")


class Traffic(TorchDispatchMode):
    """Adds up operations, bytes and multiplications (two FLOP each) of convolutions and matrix products."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch gives it no types
        self.operations, self.bytes, self.flop = 0, 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func._schema.name
        view = any(r.alias_info is not None and not r.alias_info.is_write for r in func._schema.returns)
        if view or name in NOTHING_MOVED:
            return out
        written = [t for t in tree_leaves(out) if isinstance(t, torch.Tensor)]
        read = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
        self.operations += 1
        self.bytes += sum(map(size_of, read + written))
        if name == "aten::convolution" and args[2] is not None:
            self.bytes += 2 * size_of(out)
        if flop := flop_registry.get(func._overloadpacket):
            self.flop += flop(*args, **(kwargs or {}), out_val=out)
        return out


def size_of(tensor: torch.Tensor) -> int:
    """Bytes of what a tensor holds, each counted once where it is expanded."""
    held = tensor.element_size()
    for length, stride in zip(tensor.shape, tensor.stride(), strict=True):
        held *= length if stride else 1
    return held


def kernels(counted: list[Traffic]) -> Any:
    """What stands for `FusedTurn` here, where no kernel can run: the same shapes, and what its two kernels move."""

    class Kernels(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, source: torch.Tensor, placement: Placement, shape: PatchFormat) -> torch.Tensor:
            ctx.shape = source.shape
            patch = source.new_empty(len(source), shape.side, shape.side, 3, dtype=shape.dtype).permute(0, 3, 1, 2)
            counted[0].operations += 1
            counted[0].bytes += size_of(source) + size_of(patch)
            return patch

        @staticmethod
        def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
            found = torch.empty(ctx.shape, device=META)
            counted[0].operations += 1
            counted[0].bytes += size_of(gradient) + size_of(found)
            return found, None, None

    return Kernels.apply


def stages(network: Network, target: Target, protocol: Protocol, fused: bool) -> dict[str, Traffic]:
    """What each part of a step of `IMAGES` images moves, its gradient included."""
    recipe = network.info.recipe(protocol, steps=2)
    optimiser = Optimiser(network, target, tuple(range(IMAGES)), recipe, 0, "exact", "neuron", protocol)
    part = optimiser._part(optimiser.channels)
    transform, draws = optimiser.transform, part.draws[0]
    assert isinstance(transform, CentredTransform | LucentTransform)
    counted = [Traffic()]
    if fused:
        transform._turn.use(kernels(counted))
    placement = Placement(draws.theta, draws.down, draws.right, draws.size)
    steps: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "inverse DFT": optimiser.spectrum.image,
        **before_rotation(transform, draws),
        "rotate": lambda x: transform._turn(x, placement),
        "network": lambda x: transform.cone(x, draws.size),
    }
    found = {}
    leaf = part.parameters
    for name, step in steps.items():
        leaf = leaf.detach().requires_grad_(True)
        found[name] = counted[0] = Traffic()
        with found[name]:
            out = step(leaf)
            # What nothing was done to has no gradient of its own to be carried back.
            if out is not leaf:
                out.backward(torch.empty_like(out))
        leaf = out
    found["Adam"] = Traffic()
    # Fused: parameters, gradient and both moments are read, all but the gradient written.
    found["Adam"].operations, found["Adam"].bytes = 1, 7 * size_of(part.parameters)
    return found


def before_rotation(
    transform: CentredTransform | LucentTransform, draws: Draws
) -> dict[str, Callable[[torch.Tensor], torch.Tensor]]:
    """What is done to image patches before they are rotated: `paper` scales them, `centred` rotates and scales in one
    and only reflects them where they end."""
    if isinstance(transform, CentredTransform):
        return {"reflect": transform.source}
    return {"scale": lambda x: transform._resizing(x, draws.rows, draws.columns)}


@click.command()
@click.option("--weights", type=click.Path(path_type=Path), help="ResNet18's; without, the demo model is counted.")
@click.option("--target", "targets", multiple=True, help="As 1.1.block; without, all, and what a whole set comes to.")
@click.option("--protocol", type=click.Choice(PROTOCOLS), default=DEFAULT_PROTOCOL, show_default=True)
@click.option("--dtype", type=click.Choice(list(DTYPES)), default="bfloat16", show_default=True, help="Of the steps.")
@click.option("--operations", is_flag=True, help="Rotate by torch's own operations, as where Triton does not work.")
def main(weights: Path | None, targets: tuple[str, ...], protocol: Protocol, dtype: str, operations: bool) -> None:
    os.environ[OVERRIDE] = dtype
    network = load_network(ModelSpec("resnet18", weights) if weights else ModelSpec("demo"), "cpu")
    module = network.module.to(META)
    network = replace(network, module=module, folded=fold_network(module, META))
    info = network.info
    studied = dict.fromkeys(
        str(info.target(block, tensor, protocol)) for block in info.default_blocks for tensor in TENSORS
    )
    steps = info.recipe(protocol).steps
    images, moved, multiplied = 0, 0.0, 0.0
    for name in targets or studied:
        block, _, tensor = name.rpartition(".")
        target = info.target(block, tensor, protocol)
        found = stages(network, target, protocol, not operations)
        total, flop = sum(t.bytes for t in found.values()), sum(t.flop for t in found.values())
        parts = ", ".join(f"{part} {t.bytes / 1e9:.1f}" for part, t in found.items())
        click.echo(
            f"{name}: {total / 1e9:.1f} GB for {IMAGES} images ({parts}), "
            f"{sum(t.operations for t in found.values())} operations, {flop / IMAGES / 1e9:.2f} GFLOP an image"
        )
        images += info.target_channels(target)
        moved += info.target_channels(target) * steps * total / IMAGES
        multiplied += info.target_channels(target) * steps * flop / IMAGES
    if not targets:
        click.echo(
            f"a whole set ({protocol}): {images:,} FZs of {steps:,} steps, {moved / 1e15:.3g} PB, "
            f"{multiplied / 1e15:.3g} PFLOP"
        )


if __name__ == "__main__":
    main()
