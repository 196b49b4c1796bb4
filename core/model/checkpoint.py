"""Weights of a model: read from a file, checked against its architecture, downloaded. Imports torch."""

from __future__ import annotations

import io
import pickle
import pickletools
import urllib.error
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import torch
import torchvision
from safetensors.torch import load_file
from torch import nn

from streamscope.core.errors import DownloadError, MisfitError, WeightsError
from streamscope.core.model.demo import weights_path
from streamscope.core.model.spec import DEMO_MODEL, ModelSpec, check_weights_file

Progress = Callable[[int, int], None]
"""Called with bytes done and bytes in all while weights are downloaded."""


def read_state(spec: ModelSpec, progress: Progress | None) -> dict[str, torch.Tensor]:
    """The state dict of a model's weights: of its file, the bundled one, or downloaded. Raises WeightsError."""
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


def check_state(module: nn.Module, state: dict[str, torch.Tensor], spec: ModelSpec) -> None:
    """Raises WeightsError where a state dict does not fit a module, or has numbers that are not finite."""
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
            state: dict[str, torch.Tensor] = weights.get_state_dict(progress=progress is not None, check_hash=True)
            return state
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

    # The name by which torch.hub makes its bar, which it does not say that it has.
    hub: Any = torch.hub
    original, hub.tqdm = hub.tqdm, Bar
    try:
        yield
    finally:
        hub.tqdm = original
