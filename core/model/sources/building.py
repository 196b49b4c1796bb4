"""Builds the network that a model names, whatever it comes from, and says what it is shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torchvision
from torch import nn

from streamscope.core.model.checkpoints.reading import class_names, imagenet_classes
from streamscope.core.model.demo.network import build as build_demo
from streamscope.core.model.networks import NETWORKS
from streamscope.core.model.networks import build as build_listed
from streamscope.core.model.preprocessing import Preprocessing
from streamscope.core.model.sources.addresses import is_timm
from streamscope.core.model.sources.of_timm import TimmNetwork
from streamscope.core.model.sources.own import Code, OwnNetwork
from streamscope.core.model.spec import DEMO_MODEL, RELEASES, RESNETS, ModelSpec, unknown_model


@dataclass(frozen=True)
class Source:
    """Where a network comes from, ready to build it. Each function makes one in eval mode for an input's side in px."""

    build: Callable[[int], nn.Module]
    """With the weights that it begins training with, drawn with torch's current seed. Raises StreamscopeError."""
    preprocessing: Preprocessing
    """What it is shown where neither its weights nor anybody says otherwise."""
    build_trained: Callable[[int], nn.Module] | None = None
    """With weights that come with it; None where they are read from elsewhere. Raises StreamscopeError."""
    class_names: tuple[str, ...] | None = None
    """What the classes of its own weights are called, in the order of the scores; None where nobody says."""
    code: Code | None = None
    """The file that was run, of a network of one's own."""


def open_source(spec: ModelSpec) -> Source:
    """What builds the network that `spec` names; code of one's own runs here.

    Raises UsageError for a name that there is none of, ArchitectureError where its code or its library is missing or
    fails.
    """
    name = spec.architecture
    if spec.is_own:
        spec.check_computable()
        assert spec.code is not None
        return open_code(name, Code.read(spec.code, spec.pinned))
    if is_timm(name):
        return _timm(name, unread=None not in vars(spec.changes).values())
    names = class_names(name, spec.release) if name == DEMO_MODEL or name in RELEASES else None
    return Source(lambda side: _named(name, side), spec.preprocessing, class_names=names)


def open_named(architecture: str, code: Code | None = None) -> Source:
    """As `open_source`, by what a network that was loaded elsewhere is called there, and its code."""
    if code is not None:
        return open_code(architecture, code)
    if is_timm(architecture):
        return _timm(architecture, unread=True)
    return Source(lambda side: _named(architecture, side), Preprocessing())


def open_code(architecture: str, code: Code) -> Source:
    """A function of one's own, in a file or a module that was read. Its code runs. Raises StreamscopeError."""
    own = OwnNetwork(architecture, code)
    return Source(lambda side: own.build(), own.preprocessing, lambda side: own.build_own(), code=code)


def build_architecture(spec: ModelSpec) -> nn.Module:
    """The network that `spec` names as it is built, in eval mode: with untrained weights, or its function's own.

    Raises StreamscopeError.
    """
    source = open_source(spec)
    return source.build(spec.wanted(source.preprocessing).changed(spec.changes).size)


def _timm(architecture: str, unread: bool) -> Source:
    network = TimmNetwork(architecture)
    names = imagenet_classes() if network.has_imagenet_classes else None
    return Source(network.build, network.preprocessing(unread), network.build_trained, names)


def _named(architecture: str, side: int) -> nn.Module:
    if architecture == DEMO_MODEL:
        return build_demo()
    if architecture in NETWORKS:
        listed: nn.Module = build_listed(NETWORKS[architecture], side)
        return listed
    if architecture not in RESNETS:
        raise unknown_model(architecture)
    module: nn.Module = torchvision.models.get_model(architecture, weights=None)
    return module.eval()
