"""A network's graph: operations, the values that they begin with, and what comes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import fx


@dataclass(frozen=True, eq=False)
class NetworkGraph:
    """For images of one size. Each node of the graph that is a call says in its `meta`

    - `module`, the qualified name of the deepest module that it runs in, and `call`, which of that module's it is,
    - `depends`, whether its value depends on what is on the image,
    - `shape`, of a tensor, -1 for what grows with the batch, and `shape of one`, for a batch of one; not of numbers.
    """

    graph: fx.Graph
    """Of ATen's operations, none of which overwrites anything."""
    constants: Mapping[str, torch.Tensor]
    """By name of a placeholder: the network's own parameters and buffers, and what follows from them alone."""
    image: fx.Node
    side: int
    outputs: tuple[fx.Node, ...]
    fixed: tuple[torch.Tensor, ...] = ()
    """Values that the network is made of and that are in no state dict, in the order of their use."""

    @property
    def scores(self) -> fx.Node | None:
        """The output, where it is one row of numbers an image."""
        (*others, last) = self.outputs or (None,)
        return last if not others and last is not None and len(last.meta.get("shape", ())) == 2 else None
