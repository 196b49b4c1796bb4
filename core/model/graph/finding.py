"""The graph of any network: written down at once where its structure is known, else captured."""

from __future__ import annotations

from torch import nn

from streamscope.core.model.graph.capture import capture
from streamscope.core.model.graph.resnets import is_resnet, resnet_graph
from streamscope.core.model.graph.values import NetworkGraph


def network_graph(module: nn.Module, side: int) -> NetworkGraph:
    """Of a network in eval mode, for images of `side` px. Raises UnreadableNetworkError."""
    return resnet_graph(module, side) if is_resnet(module) else capture(module, side)
