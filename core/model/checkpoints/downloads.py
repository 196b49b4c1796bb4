"""Weights that torchvision has, downloaded once."""

from __future__ import annotations

import io
import urllib.error
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

import torch
import torchvision

from streamscope.core.errors import DownloadError, WeightsError

Progress = Callable[[int, int], None]
"""Called with bytes done and bytes in all while weights are downloaded."""


def torchvision_weights(name: str, release: str) -> Any:
    """torchvision's entry for the weights of an architecture, by the name of their release; "" for the default."""
    known = torchvision.models.get_model_weights(name)
    return known[release] if release else known.DEFAULT


def download(name: str, release: str, progress: Progress | None) -> dict[str, torch.Tensor]:
    """The state dict of `torchvision_weights`, from the user's cache of torch.hub or the network.

    Raises DownloadError, WeightsError.
    """
    weights = torchvision_weights(name, release)
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
