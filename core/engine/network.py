"""Loads a network: torchvision's ResNets with downloaded or given weights, or the bundled demo model."""

from __future__ import annotations

import hashlib
import io
import pickle
import pickletools
import urllib.error
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torchvision
from safetensors.torch import load_file
from torch import nn

from streamscope import __version__
from streamscope.core.engine.cone import Cone, FoldedNetwork, fold_network
from streamscope.core.engine.precision import measure_in_float32, step_dtype
from streamscope.core.engine.untrained import untrained
from streamscope.core.errors import DownloadError, MisfitError, UsageError, WeightsError
from streamscope.core.model.blocks import Field, ModelInfo, SkipWeights, Target
from streamscope.core.model.demo import weights_path
from streamscope.core.model.demo.network import INPUT_SIZE, MEAN, STD, build
from streamscope.core.model.device_names import check_device
from streamscope.core.model.recipe import Recipe
from streamscope.core.model.spec import DEMO_MODEL, RESNETS, ModelSpec, architecture_of, check_weights_file
from streamscope.core.model.stream import branch, describe_blocks, residual_blocks

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
IMAGENET_SIZE = 224
DEMO_RECIPE = Recipe(name="demo", steps=448, rate=0.3)
"""As `paper`, but quicker. Measured on all 448 FZs: 0.953 of the mean activation that four times the steps reach."""

Progress = Callable[[int, int], None]
"""Called with bytes done and bytes in all while weights are downloaded."""


@dataclass(frozen=True)
class Network:
    """A network with frozen weights in eval mode on one device: as it is, folded for cones, and described."""

    info: ModelInfo
    module: nn.Module
    folded: FoldedNetwork

    @property
    def device(self) -> torch.device:
        return self.folded.device


def load_network(spec: ModelSpec, device: str = "auto", progress: Progress | None = None) -> Network:
    """The network that `spec` names, on `device`.

    Raises UsageError for an unknown model or device, WeightsError when the weights cannot be had or do not fit.
    """
    place = pick_device(device)
    if spec.untrained_seed is not None:
        module = untrained(lambda: _architecture(spec.architecture), spec.untrained_seed, *_input(spec.name))
    else:
        module = _architecture(spec.name)
        state = _read_state(spec, progress)
        _check_state(module, state, spec)
        module.load_state_dict(state, strict=False)  # Checked above; only num_batches_tracked may be missing.
    folded = _freeze(module, place)
    return Network(describe(spec.name, module, folded), module.to(place), folded)


def rebuild_network(
    architecture: str, state: dict[str, torch.Tensor], info: ModelInfo, device: str = "auto"
) -> Network:
    """A network that was loaded elsewhere, from its architecture's name, its whole state dict and its description."""
    place = pick_device(device)
    module = _architecture(architecture)
    module.load_state_dict(state)
    folded = _freeze(module, place)
    return Network(info, module.to(place), folded)


def _freeze(module: nn.Module, place: torch.device) -> FoldedNetwork:
    measure_in_float32()
    module.eval().requires_grad_(False)
    return fold_network(module, place)


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


def _architecture(name: str) -> nn.Module:
    if name == DEMO_MODEL:
        return build()
    if name not in RESNETS:
        raise UsageError(f"unknown model {name!r}; use one of {', '.join((*RESNETS, DEMO_MODEL))}")
    return torchvision.models.get_model(name, weights=None)


def _read_state(spec: ModelSpec, progress: Progress | None) -> dict[str, torch.Tensor]:
    if spec.weights is not None:
        return read_checkpoint(spec.weights)
    if spec.name == DEMO_MODEL:
        return load_file(weights_path())
    return _download(spec.name, progress)


def read_checkpoint(path: Path) -> dict[str, torch.Tensor]:
    """A state dict from a `.pth` file (weights only: no code in it is run) or a `.safetensors` file.

    Raises WeightsError naming the file for whatever is wrong with it.
    """
    check_weights_file(path)
    try:
        state: Any = load_file(path) if path.suffix == ".safetensors" else _torch_load(path)
    except pickle.UnpicklingError as error:
        if "GLOBAL" in str(error) or _calls_something(path):
            raise WeightsError(
                f"{path} is a pickle that would run code when loaded, so it was not; "
                "save model.state_dict() with torch.save"
            ) from error
        raise WeightsError(f"{path} is not a checkpoint with a torchvision state dict") from error
    except PermissionError as error:
        raise WeightsError(f"{path} may not be read; check its permissions") from error
    except Exception as error:  # bytes that are no checkpoint can trip the unpickler in any way at all
        raise WeightsError(f"{path} is not a checkpoint with a torchvision state dict") from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        raise WeightsError(f"{path} is a training checkpoint; save only its 'state_dict' entry and pass that")
    if not isinstance(state, dict) or not state or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise WeightsError(f"{path} holds no state dict (a dict of tensors); save model.state_dict() with torch.save")
    return state


def _calls_something(path: Path) -> bool:
    """Whether a bare pickle would call what it names; its opcodes are read, not obeyed."""
    try:
        with path.open("rb") as file:
            return any(opcode.name in ("REDUCE", "NEWOBJ", "INST", "OBJ") for opcode, _, _ in pickletools.genops(file))
    except (ValueError, OSError, EOFError):
        return False


def _torch_load(path: Path) -> Any:
    with warnings.catch_warnings():
        # An old pickle protocol is no news to whoever passes the file.
        warnings.simplefilter("ignore")
        return torch.load(path, map_location="cpu", weights_only=True)


def _check_state(module: nn.Module, state: dict[str, torch.Tensor], spec: ModelSpec) -> None:
    expected = {k: v.shape for k, v in module.state_dict().items() if not k.endswith("num_batches_tracked")}
    given = {k: v.shape for k, v in state.items() if not k.endswith("num_batches_tracked")}
    wrong = [
        ("missing", sorted(expected.keys() - given.keys())),
        ("unexpected", sorted(given.keys() - expected.keys())),
        (
            "of another shape",
            [
                f"{k} {tuple(given[k])} instead of {tuple(expected[k])}"
                for k in sorted(expected.keys() & given.keys())
                if given[k] != expected[k]
            ],
        ),
    ]
    parts = [
        f"{len(keys)} {what} ({', '.join(keys[:3])}{', …' if len(keys) > 3 else ''})" for what, keys in wrong if keys
    ]
    if parts:
        source = spec.weights or "the downloaded file"
        raise MisfitError(f"{source} does not fit {spec.name}: keys {'; '.join(parts)}")
    broken = [k for k, v in state.items() if v.is_floating_point() and not bool(torch.isfinite(v).all())]
    if broken:
        raise WeightsError(f"{spec.weights or spec.name} has weights that are not finite ({', '.join(broken[:3])})")


def _download(name: str, progress: Progress | None) -> dict[str, torch.Tensor]:
    weights = torchvision.models.get_model_weights(name).DEFAULT
    try:
        # torch.hub announces a download on stdout, where only what was asked for belongs.
        with _watched_download(progress), redirect_stdout(io.StringIO()):
            return weights.get_state_dict(progress=progress is not None, check_hash=True)
    except urllib.error.URLError as error:
        reason = error.reason if not isinstance(error, urllib.error.HTTPError) else f"HTTP {error.code}"
        raise DownloadError(f"the weights of {name} could not be downloaded ({reason})", weights.url) from error
    except RuntimeError as error:
        if "invalid hash value" not in str(error):
            raise
        raise WeightsError(f"the download of {weights.url} is damaged (its checksum differs); try again") from error
    except OSError as error:
        raise WeightsError(
            f"the weights of {name} could not be stored in {torch.hub.get_dir()} ({error.strerror})"
        ) from error


@contextmanager
def _watched_download(progress: Progress | None) -> Iterator[None]:
    """torch.hub reports to a tqdm bar only; this hands what it would draw to `progress` instead."""
    if progress is None:
        yield
        return
    report = progress

    class Bar:
        def __init__(self, total: int | None = None, **_: object) -> None:
            self.total, self.done = total or 0, 0

        def update(self, count: int) -> None:
            self.done += count
            report(self.done, self.total)

        def __enter__(self) -> Bar:
            return self

        def __exit__(self, *_: object) -> None:
            return None

    original = torch.hub.tqdm
    torch.hub.tqdm = Bar
    try:
        yield
    finally:
        torch.hub.tqdm = original


def fingerprint(module: nn.Module) -> str:
    """SHA-256, hex, of every parameter and BN statistic: names, shapes and float32 bytes."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        if not name.endswith("num_batches_tracked"):
            digest.update(f"{name} {tuple(value.shape)}\n".encode())
            digest.update(value.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()


def describe(name: str, module: nn.Module, folded: FoldedNetwork) -> ModelInfo:
    """All that is known of a network without running it: blocks, receptive fields, skip weights, fingerprint."""
    size, mean, std = _input(name)
    blocks = describe_blocks(module)
    weights = {block_name: _skip_weights(*branch(block)[-1]) for block_name, block in residual_blocks(module)}
    info = ModelInfo(
        name=name,
        fingerprint=fingerprint(module),
        input_size=size,
        mean=mean,
        std=std,
        blocks=blocks,
        default_blocks=tuple(b.name for b in blocks[1:]),
        default_recipe=DEMO_RECIPE if architecture_of(name) == DEMO_MODEL else Recipe(),
        weights=weights,
    )
    for found in blocks:
        for tensor in ("in", "block", "out"):
            target = info.target(found.name, tensor)
            info.fields[str(target)] = _field(folded, target, size)
    return info


def _input(name: str) -> tuple[int, tuple[float, float, float], tuple[float, float, float]]:
    """Side in px, mean and deviation of the colours of a model's images."""
    if architecture_of(name) == DEMO_MODEL:
        return INPUT_SIZE, MEAN, STD
    return IMAGENET_SIZE, IMAGENET_MEAN, IMAGENET_STD


def _skip_weights(conv: nn.Conv2d, bn: nn.BatchNorm2d) -> SkipWeights:
    gamma = bn.weight.detach().abs().double()
    mean = conv.weight.detach().abs().double().mean(dim=(1, 2, 3))
    gain = gamma / torch.sqrt(bn.running_var.double() + bn.eps) * mean  # type: ignore[union-attr]
    return SkipWeights(*(tuple(v.float().tolist()) for v in (gamma, mean, gain)))


def objective(target: Target, capture: str = "exact") -> Any:
    """The tensor that an FZ of `target` is optimised at: `out` before its ReLU, where gradients live (section 2)."""
    if target.tensor == "block" and capture == "lucent":
        return "aliased"
    return "pre" if target.tensor == "out" else target.tensor


def _field(folded: FoldedNetwork, target: Target, size: int) -> Field:
    cone = Cone(folded, target.block, objective(target), [size])
    return Field(cone.origin(), cone.origin() + cone.patch.length, cone.receptive_field)
