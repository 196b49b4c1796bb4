"""timm's networks, by `timm:NAME`. timm is imported only where one of them is built."""

from __future__ import annotations

import difflib
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from typing import Any

from torch import nn

from streamscope.core.errors import ArchitectureError, DownloadError, UsageError, WeightsError
from streamscope.core.model.preprocessing import Preprocessing
from streamscope.core.model.preprocessing_sources import OPTIONS, of_timm
from streamscope.core.model.sources.addresses import TIMM

IMAGENET_CLASSES = "imagenet-1k"
"""What timm calls the classes of ImageNet, in the order in which torchvision has them too."""


_PATIENCE = 10.0
"""Seconds that Hugging Face's server gets to answer."""


class TimmNetwork:
    """One of timm's networks: how it is built, and what it is shown."""

    def __init__(self, name: str) -> None:
        """Raises ArchitectureError without timm, UsageError for a name that it does not have."""
        try:
            import timm
            import timm.data
            import timm.models
        except ModuleNotFoundError as error:
            if error.name != "timm":
                raise
            raise ArchitectureError(
                f"{name} is a network of timm's, which is not installed; install streamscope[timm]"
            ) from error
        self._timm = timm
        self.name = name
        self._bare = name.removeprefix(TIMM)
        architecture = self._bare.partition(".")[0]
        if not timm.is_model(architecture):
            raise UsageError(
                f"timm {timm.__version__} has no {architecture!r}{_nearest(architecture, timm.list_models())}"
            )
        try:
            config = timm.models.get_pretrained_cfg(self._bare)
        except RuntimeError as error:
            tagged = timm.models.list_pretrained(f"{architecture}.*")
            raise UsageError(
                f"timm {timm.__version__} has no weights {self._bare!r}{_nearest(self._bare, tagged)}"
            ) from error
        self._config: dict[str, Any] = config.to_dict() if config is not None else {}

    def preprocessing(self, unread: bool) -> Preprocessing:
        """What its configuration says; the usual one where that is `unread`, since all of it was said.

        Raises UsageError where it is of what cannot be done.
        """
        if unread:
            return Preprocessing()
        try:
            return of_timm(self._config)
        except UsageError as error:
            raise UsageError(f"{self.name} is made for {error}; to go without that, say all of {OPTIONS}") from error

    @property
    def has_imagenet_classes(self) -> bool:
        return bool(self._timm.data.infer_imagenet_subset(self._config) == IMAGENET_CLASSES)

    def build(self, side: int) -> nn.Module:
        """With weights as before training, in eval mode."""
        return self._create(side, pretrained=False)

    def build_trained(self, side: int) -> nn.Module:
        """With timm's own weights, downloaded unless they were before. Raises WeightsError, DownloadError."""
        places = [self._config.get(key) for key in ("file", "hf_hub_id", "url")]
        if not any(places):
            raise WeightsError(f"timm has no weights of {self.name}; pass some with --weights FILE")
        url = self._config.get("url") or f"https://huggingface.co/{self._config.get('hf_hub_id')}"
        try:
            with _at_once():
                return self._create(side, pretrained=True)
        # Half a dozen libraries may be asked, each with errors of its own.
        except Exception as error:
            text = str(error).strip().partition("\n")[0]
            raise DownloadError(
                f"the weights of {self.name} could not be had ({type(error).__name__}: {text})", str(url)
            ) from error

    def _create(self, side: int, pretrained: bool) -> nn.Module:
        sized: Mapping[str, Any] = {}
        if self._config.get("fixed_input_size") and side != self._config["input_size"][-1]:
            # timm resamples position embeddings when it loads its own weights.
            sized = {"img_size": side}
        # What it says of a download is no output of ours.
        with redirect_stdout(sys.stderr):
            module: nn.Module = self._timm.create_model(self._bare, pretrained=pretrained, **sized)
        return module.eval()


@contextmanager
def _at_once() -> Iterator[None]:
    """While this lasts, Hugging Face's downloads fail at once where its server cannot be reached, instead of trying for
    half a minute. What was downloaded before is found even so."""
    try:
        from huggingface_hub import constants
    except ModuleNotFoundError:
        yield
        return
    try:
        urllib.request.urlopen(urllib.request.Request(constants.ENDPOINT, method="HEAD"), timeout=_PATIENCE).close()
    except urllib.error.HTTPError:
        pass  # It answers.
    except OSError:
        before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
        try:
            yield
        finally:
            constants.HF_HUB_OFFLINE = before
        return
    yield


def _nearest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, 3)
    return f"; the nearest are {', '.join(near)}" if near else ""
