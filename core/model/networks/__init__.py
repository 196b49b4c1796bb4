"""Networks beside torchvision's ResNets and the demo, by the names that `--model` takes. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from streamscope.core.model.networks.entries import NetworkEntry, Release, build

__all__ = ["NETWORKS", "NetworkEntry", "Release", "build"]

NETWORKS: Mapping[str, NetworkEntry] = MappingProxyType({})
