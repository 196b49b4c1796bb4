"""The residual stream of a network: its blocks, where they lie in the graph, and their four tensors, read exactly.

torchvision's blocks end in an in-place sum and an in-place ReLU, so a forward hook that keeps `bn2`'s output without
copying holds `out` once the pass ends. Here nothing is hooked: the network's graph is run, whose operations give each a
value of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import fx, nn

from streamscope.core.errors import UnreadableNetworkError, UsageError
from streamscope.core.model.blocks import READ, Block
from streamscope.core.model.graph.additions import Addition, find_additions
from streamscope.core.model.graph.finding import network_graph
from streamscope.core.model.graph.geometry import Geometry, MapGeometry
from streamscope.core.model.graph.layers import find_layers, stages
from streamscope.core.model.graph.operations import BATCH_NORMS, operation
from streamscope.core.model.graph.running import GraphRunner
from streamscope.core.model.graph.values import NetworkGraph
from streamscope.core.model.preprocessing import IMAGENET_SIZE


@dataclass(frozen=True)
class BlockTensors:
    """Activations of one block, each (n, channels, side, side), none sharing memory with another."""

    input: torch.Tensor
    """`in`: what bypasses the block (the shortcut BN's output in a downsample block)."""
    block: torch.Tensor
    pre: torch.Tensor
    out: torch.Tensor

    def centre(self, tensor: str) -> torch.Tensor:
        """Centre activations (n, channels) of `in`, `block`, `pre` or `out`: index side // 2 on both axes."""
        values = {"in": self.input, "block": self.block, "pre": self.pre, "out": self.out}[tensor]
        return centre_of(values)


def centre_of(maps: torch.Tensor) -> torch.Tensor:
    """(n, channels) of maps (n, channels, side, side)."""
    return maps[:, :, maps.shape[2] // 2, maps.shape[3] // 2]


MapWatch = Callable[[str, str, torch.Tensor], None]
"""Is shown the map (n, channels, side, side) of a block's `in`, `block` or `pre`, to be read at once: the network goes
on to overwrite it."""


def _split(additions: Sequence[Addition], geometry: Geometry) -> tuple[tuple[Addition, ...], dict[str, str]]:
    """The additions of maps, each with the one before it among these; and why the others are none."""
    previous = {addition.name: addition.previous for addition in additions}
    maps: list[Addition] = []
    elsewhere: dict[str, str] = {}
    for addition in additions:
        try:
            geometry.of(addition.sum)
        except UnreadableNetworkError as error:
            elsewhere[addition.name] = str(error)
            continue
        before = addition.previous
        while before in elsewhere:
            before = None if addition.kind == "simple" else previous[before]
        maps.append(replace(addition, previous=before))
    return tuple(maps), elsewhere


@dataclass(eq=False)
class Stream:
    """Of a network that is shown images of one size."""

    graph: NetworkGraph
    additions: Mapping[str, Addition]
    """By block, in stream order; where a network adds nothing to a stream, its layers instead."""
    geometry: Geometry
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    """Additions of what is no map of channels (a class token alone), and why each is none."""
    _runners: dict[object, GraphRunner] = field(default_factory=dict)

    @classmethod
    def of(cls, module: nn.Module, side: int = IMAGENET_SIZE) -> Stream:
        """Of a network in eval mode. Raises UnreadableNetworkError for one whose operations cannot be told."""
        graph = network_graph(module, side)
        geometry = Geometry(graph)
        maps, elsewhere = _split(find_additions(graph), geometry)
        found = maps or find_layers(graph, geometry)
        if not found:
            raise UnreadableNetworkError("the network has no layer whose output is a map of channels")
        return cls(graph, {addition.name: addition for addition in found}, geometry, elsewhere)

    @property
    def blocks(self) -> tuple[Block, ...]:
        """In stream order: the architecture's, whatever its weights."""
        return tuple(
            Block(
                name,
                found.kind,
                self.map_geometry(name).channels,
                found.previous,
                found.activation,
                found.kind == "layer" or self.field(found, "block").field > self.field(found, "in").field,
            )
            for name, found in self.additions.items()
        )

    @property
    def default_blocks(self) -> tuple[str, ...]:
        """Those studied when none is named: all, but a first one whose input is a max pool, with mostly zero gradients.

        Of a network without a stream, the last layer before each change of the map's side.
        """
        names, first = tuple(self.additions), next(iter(self.additions.values()))
        if first.kind == "layer":
            return stages(tuple(self.additions.values()), self.geometry)
        source = first.stream
        while first.kind == "downsample" and operation(source) in ("conv2d", *BATCH_NORMS):
            (source,) = source.args[:1]  # type: ignore[assignment]
        return names[1:] if operation(source) == "max_pool2d" and len(names) > 1 else names

    def field(self, addition: Addition, tensor: str) -> MapGeometry:
        """Of one of its tensors: where it is laid out, and what its centre neuron sees by the local path."""
        node = {"in": addition.stream, "block": addition.branch}.get(tensor, addition.sum)
        return self.geometry.of(node, instead=addition.sum)

    def addition(self, block: str) -> Addition:
        """Raises UsageError for a block that the network does not have."""
        if block in self.elsewhere:
            raise UsageError(f"block {block!r} cannot be read: {self.elsewhere[block]}")
        if block not in self.additions:
            raise UsageError(f"unknown block {block!r}; this network has {', '.join(self.additions)}")
        return self.additions[block]

    def map_geometry(self, block: str) -> MapGeometry:
        """How the maps of a block's tensors are laid out, and what the centre neuron of its sum sees.

        Raises UsageError for a block that the network does not have.
        """
        return self.geometry.of(self.addition(block).sum)

    def read_block(self, images: torch.Tensor, name: str) -> BlockTensors:
        """Runs `images` (n, 3, side, side; normalised) up to block `name` and returns its four tensors.

        Raises UsageError for a block that the network does not have.
        """
        addition, geometry = self.addition(name), self.map_geometry(name)
        nodes = addition.stream, addition.branch, addition.sum, addition.out
        values = self._runner(nodes).read(images)
        return BlockTensors(*(geometry.as_map(values[node]) for node in nodes))

    def read_centres(self, images: torch.Tensor, watch: MapWatch | None = None) -> dict[str, torch.Tensor]:
        """Centre activations (n, 3, channels) of `in`, `block` and `pre` of every block, from one forward pass.

        `images` (n, 3, side, side; normalised). What the network overwrites is overwritten here too, but only after the
        centres were copied and `watch` was shown the map.
        """
        read: dict[fx.Node, list[tuple[str, str]]] = {}
        for name, addition in self.additions.items():
            nodes = addition.stream, addition.branch, addition.sum
            for tensor, node in zip(READ, nodes, strict=True):
                read.setdefault(node, []).append((name, tensor))
        found: dict[str, dict[str, torch.Tensor]] = {name: {} for name in self.additions}

        def see(node: fx.Node, value: torch.Tensor) -> None:
            for name, tensor in read[node]:
                values = self.map_geometry(name).as_map(value)
                found[name][tensor] = centre_of(values).clone()
                if watch is not None:
                    watch(name, tensor, values)

        self._runner(tuple(read))(images, see)
        return {name: torch.stack([tensors[tensor] for tensor in READ], dim=1) for name, tensors in found.items()}

    def scores(
        self, images: torch.Tensor, block: str, changes: Sequence[Callable[[torch.Tensor], torch.Tensor]]
    ) -> Iterator[torch.Tensor]:
        """Class scores (n, classes) for `images` (n, 3, side, side; normalised), with the stream after a block changed
        in each of the ways: `out` (n, channels, side, side) to another of that shape.

        Raises UsageError for a block that the network does not have, and for a network that gives no scores.
        """
        addition, geometry = self.addition(block), self.map_geometry(block)
        (out,) = self._runner((addition.out,)).read(images).values()
        scores = self.graph.scores
        if scores is None:
            raise UsageError("this network gives no scores of classes")
        after = self._runner((scores,), (addition.out,))
        for change in changes:
            replaced = {addition.out: geometry.from_map(change(geometry.as_map(out)), out)}
            yield after.read(images, replaced)[scores]

    def _runner(self, wanted: tuple[fx.Node, ...], replaced: tuple[fx.Node, ...] = ()) -> GraphRunner:
        if (wanted, replaced) not in self._runners:
            self._runners[wanted, replaced] = GraphRunner(self.graph, wanted, replaced)
        return self._runners[wanted, replaced]
