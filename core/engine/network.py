"""Loads a network, wherever it comes from: torchvision, timm, this package, one's own code, or one that is there."""

from __future__ import annotations

import copy
import hashlib
from dataclasses import dataclass, replace

import torch
from torch import nn

from streamscope import __version__
from streamscope.core.engine.cone import Cone, FoldedNetwork, Read, fold_network
from streamscope.core.engine.precision import measure_in_float32, step_dtype
from streamscope.core.engine.untrained import check_drawn, untrained
from streamscope.core.errors import UsageError
from streamscope.core.model.blocks import MAX_NAME, TENSORS, Field, ModelInfo, SkipWeights, Target
from streamscope.core.model.checkpoints.downloads import Progress
from streamscope.core.model.checkpoints.key_sets import Expected
from streamscope.core.model.checkpoints.reading import Weights, read_weights
from streamscope.core.model.classifier import class_count, load_weights
from streamscope.core.model.device_names import check_device
from streamscope.core.model.graph.additions import Addition
from streamscope.core.model.graph.identity import graph_text
from streamscope.core.model.graph.operations import BATCH_NORMS, arguments, operation
from streamscope.core.model.graph.resnets import is_resnet
from streamscope.core.model.graph.values import NetworkGraph
from streamscope.core.model.networks import NETWORKS
from streamscope.core.model.preprocessing import Preprocessing, identity_text, usual
from streamscope.core.model.recipe import Capture, Recipe
from streamscope.core.model.sources.building import open_named, open_source
from streamscope.core.model.sources.own import Code, check_answers, settled
from streamscope.core.model.spec import DEMO_MODEL, FORMER_DEMO, MODELS, RESNETS, ModelSpec, architecture_of
from streamscope.core.model.stream import Stream

DEMO_RECIPE = Recipe(name="demo", steps=448, rate=0.3)
"""As `paper`, but quicker. Measured on the FZs of every fourth channel: 0.958 of the mean activation that four times
the steps reach."""


@dataclass(frozen=True)
class Network:
    """A network with frozen weights in eval mode on one device: as it is, folded for cones, and described."""

    info: ModelInfo
    module: nn.Module
    folded: FoldedNetwork
    layout: str = ""
    """What was done to get the weights out of their file; "" for nothing."""
    warnings: tuple[str, ...] = ()
    """Ways in which the file of the weights says that its network is another than this one."""
    class_names: tuple[str, ...] | None = None
    """What its classes are called, in the order of its scores; None where its weights do not say."""

    code: Code | None = None
    """The file that made it, of a network of one's own."""

    @property
    def classes(self) -> int | None:
        """How many classes it tells apart; None for one without a classifier."""
        return class_count(self.module)

    @property
    def device(self) -> torch.device:
        return self.folded.device

    @property
    def stream(self) -> Stream:
        """For images of the input's size."""
        return self.folded.at(self.info.input_size).stream


def load_network(spec: ModelSpec, device: str = "auto", progress: Progress | None = None) -> Network:
    """The network that `spec` names, on `device`. Code of one's own runs.

    Raises UsageError for an unknown model or device, WeightsError when the weights cannot be had or do not fit,
    ArchitectureError when the network cannot be built.
    """
    spec.check_computable()
    place = pick_device(device)
    source = open_source(spec)
    wanted = spec.wanted(source.preprocessing)
    preprocessing = wanted.changed(spec.changes)
    # The scores of an untrained copy are those that its original learnt to give to the classes of these names.
    weights = Weights({}, class_names=source.class_names)
    if spec.untrained_seed is not None:

        def build() -> nn.Module:
            return source.build(preprocessing.size)

        if source.code is not None:
            check_drawn(build, spec.architecture)
        module = untrained(build, spec.untrained_seed, *preprocessing.seen)
    elif spec.weights is None and source.build_trained is not None:
        module = source.build_trained(preprocessing.size)
    else:
        module = source.build(preprocessing.size)
        weights = read_weights(spec, Expected.of(module), preprocessing.mean, preprocessing.std, progress)
        load_weights(module, weights.state, strict=False)
    if source.code is not None:
        check_answers(module, spec.name, preprocessing.size)
    folded = _freeze(module, place, preprocessing.size)
    info = describe(spec.name, module, folded, preprocessing)
    if not spec.says_preprocessing or spec.architecture in NETWORKS:
        info = replace(info, wanted=wanted, code=source.code.digest if source.code else "")
    return Network(info, module.to(place), folded, weights.line, weights.warnings, weights.class_names, source.code)


def network_of(
    module: nn.Module, name: str, preprocessing: Preprocessing | None = None, device: str = "auto"
) -> Network:
    """A network that is there already, as in a notebook: a copy of `module` in eval mode, frozen, on `device`.

    `name` is what it is called in stores and tables, `preprocessing` what it is shown, None for ImageNet's usual.
    Raises ArchitectureError where it does not answer images, UsageError for a name that is none, or another's.
    """
    if not name or not name.isprintable() or len(name) > MAX_NAME:
        raise UsageError(
            f"a network is called by 1 to {MAX_NAME} characters that can be shown, not {name[:MAX_NAME]!r}"
        )
    if architecture_of(name) in (*MODELS, FORMER_DEMO, *NETWORKS):
        raise UsageError(f"{name} is what another network is called; give this one a name of its own")
    place = pick_device(device)
    wanted = preprocessing or usual(name)
    copied = settled(copy.deepcopy(module), name)
    check_answers(copied, name, wanted.size)
    folded = _freeze(copied, place, wanted.size)
    info = replace(describe(name, copied, folded, wanted), wanted=wanted)
    return Network(info, copied.to(place), folded)


def rebuild_network(
    architecture: str, state: dict[str, torch.Tensor], info: ModelInfo, device: str = "auto", code: Code | None = None
) -> Network:
    """A network that was loaded elsewhere, from its architecture's name, its whole state dict and its description; of
    one's own also from its code, which runs."""
    place = pick_device(device)
    module = open_named(architecture, code).build(info.input_size)
    load_weights(module, state)
    folded = _freeze(module, place, info.input_size)
    return Network(info, module.to(place), folded, code=code)


def _freeze(module: nn.Module, place: torch.device, side: int) -> FoldedNetwork:
    measure_in_float32()
    module.eval().requires_grad_(False)
    return fold_network(module, place, side)


def pick_device(name: str) -> torch.device:
    """`auto` (CUDA when there is one), `cpu`, `cuda` or `cuda:N`. Raises UsageError for anything else or not there."""
    check_device(name)
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"device {name!r} is not there ({torch.cuda.device_count()} CUDA devices found); use cpu")
    return device


def provenance(network: Network) -> dict[str, str]:
    """What an FZ depends on besides its recipe: rounding differs between devices, dtypes and versions."""
    device = network.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    dtype = str(step_dtype(device)).removeprefix("torch.")
    return {"device": name, "dtype": dtype, "engine": __version__, "torch": torch.__version__}


def fingerprint(module: nn.Module) -> str:
    """SHA-256, hex, of every parameter and BN statistic: names, shapes and float32 bytes."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        if not name.endswith("num_batches_tracked"):
            digest.update(f"{name} {tuple(value.shape)}\n".encode())
            digest.update(value.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()


def describe(
    name: str, module: nn.Module, folded: FoldedNetwork, preprocessing: Preprocessing | None = None
) -> ModelInfo:
    """All that is known of a network without running it: blocks, receptive fields, skip weights, fingerprint.

    None for the usual preprocessing of such a network.
    """
    usually = usual(name)
    preprocessing = preprocessing or usually
    folded = folded.at(preprocessing.size)
    stream = folded.stream
    blocks = stream.blocks
    weights = {name: _skip_weights(stream.graph, addition) for name, addition in stream.additions.items()}
    info = ModelInfo(
        name=name,
        fingerprint=fingerprint(module),
        input_size=preprocessing.size,
        mean=preprocessing.mean,
        std=preprocessing.std,
        blocks=blocks,
        # Of ResNets as before: all but the first, though the demo has no pool.
        default_blocks=tuple(b.name for b in blocks[1:]) if is_resnet(module) else stream.default_blocks,
        default_recipe=DEMO_RECIPE if architecture_of(name) == DEMO_MODEL else Recipe(),
        weights={name: found for name, found in weights.items() if found is not None},
        graph="" if architecture_of(name) in (*RESNETS, DEMO_MODEL) else graph_text(stream.graph),
        preprocessing=identity_text(preprocessing.seen, usually.seen),
    ).showing(preprocessing)
    for block in blocks:
        for tensor in TENSORS:
            target = info.source(block.name, tensor)
            if str(target) not in info.fields:
                info.fields[str(target)] = _field(folded, target)
    return info


def _skip_weights(graph: NetworkGraph, addition: Addition) -> SkipWeights | None:
    """None for a block that does not end in a convolution and its batch norm."""
    norm = addition.branch
    if operation(norm) not in BATCH_NORMS:
        return None
    of_norm = arguments(norm)
    convolution = of_norm["input"]
    if operation(convolution) != "conv2d":
        return None
    values = [arguments(convolution)["weight"], of_norm["weight"], of_norm["running_var"]]
    weight, gain, variance = (None if value is None else graph.constants.get(value.name) for value in values)
    if weight is None or gain is None or variance is None:
        return None
    gamma = gain.detach().abs().double()
    mean = weight.detach().abs().double().mean(dim=(1, 2, 3))
    effective = gamma / torch.sqrt(variance.double() + of_norm["eps"]) * mean
    return SkipWeights(*(tuple(v.float().tolist()) for v in (gamma, mean, effective)))


def objective(target: Target, capture: Capture = "exact") -> Read:
    """The tensor that an FZ of `target` is optimised at: `out` before any activation, where its gradient is."""
    if target.tensor == "out":
        return "pre"
    return "aliased" if target.tensor == "block" and capture == "lucent" else target.tensor


def _field(folded: FoldedNetwork, target: Target) -> Field:
    stream, read = folded.stream, objective(target)
    cone = Cone(folded, target.block, read, [stream.graph.side])
    seen = stream.field(stream.addition(target.block), read)
    return Field(cone.origin(), cone.origin() + cone.patch.length, seen.field, seen.middle)
