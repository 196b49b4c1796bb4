"""Measures accuracy with channels of a block's sum set to their means, against matched controls, across zooms."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from streamscope.core.engine.fourier import from_8_bit
from streamscope.core.engine.network import Network
from streamscope.core.engine.normalisation import Normalisation
from streamscope.core.errors import AmbiguousValuesError, ClassifierError, ImageError, UsageError
from streamscope.core.images.folder import (
    ImagePath,
    Preparation,
    ReadImage,
    contents_digest,
    find_images,
    read_image,
)
from streamscope.core.images.pixels import AS_TRAINED, Interpretation
from streamscope.core.measures.ablation import AblationRequest, crop_side, zoom_result
from streamscope.core.measures.matching import Activity, matched_sets, random_sets
from streamscope.core.model.classes import match_classes
from streamscope.core.store.ablations import Ablation, Controls
from streamscope.core.watch import Watch

BATCH = 64
"""Images decoded and passed through the network together."""


def check_classifier(network: Network) -> int:
    """How many classes a network tells apart. Raises ClassifierError for one that was trained without labels."""
    if network.classes is None:
        raise ClassifierError(
            f"these weights of {network.info.name} have no classifier (fc), and an ablation is measured by accuracy; "
            "everything but 'ablate' works with them"
        )
    return network.classes


def ablate(
    network: Network,
    folder: Path,
    asked: AblationRequest,
    watch: Watch | None = None,
    interpretation: Interpretation = AS_TRAINED,
    class_names: Sequence[str] | None = None,
) -> Ablation:
    """Classifies every image of a labelled folder at every zoom: intact, ablated, and with each control set ablated,
    matched sets and as many random ones.

    Images that cannot be read are left out and named. `watch` counts images, each once a zoom and once for the means.
    `class_names` are the classes' in the order of the scores, where they are others than the weights say, or those say
    none. Raises UsageError for a request or a folder that makes no sense, ClassifierError for weights without one.
    """
    asked.check(network.info)
    started = time.monotonic()
    info = network.info
    count = check_classifier(network)
    found = find_images(folder)
    classes = match_classes([image.label for image in found], class_names or network.class_names, count)
    images = _Images(network, folder, found, watch, 1 + len(asked.zooms), interpretation)
    means, variances, readable = images.moments(asked.block)
    if not readable:
        problem = images.unreadable[0][1]
        kind = AmbiguousValuesError if AmbiguousValuesError.is_meant_by(problem) else UsageError
        raise kind(f"none of the {len(found)} images in {folder} can be read ({problem})")
    channels = tuple(sorted(set(asked.channels)))
    activity = Activity(means, variances, channels)
    controls, matching = matched_sets(activity, asked.controls, asked.seed)
    random = random_sets(activity, asked.controls, asked.seed)
    labels = torch.tensor([classes[image.label] for image in readable], device=network.device)
    ablated = _Ablation(network, asked.block, means, [channels, *controls, *random.sets])
    first_random = 2 + len(controls)
    results = []
    for zoom in asked.zooms:
        right = ablated.right(images, readable, labels, zoom)
        results.append(zoom_result(zoom, info.input_size, right[:first_random], asked.seed, right[first_random:]))
    return Ablation(
        model=info.name,
        fingerprint=info.fingerprint,
        block=asked.block,
        channels=channels,
        selected=asked.selected,
        fzset=asked.fzset,
        folder=str(folder.resolve()),
        images=len(readable),
        images_sha256=contents_digest(images.contents),
        classes=len(set(classes.values())),
        unreadable=tuple(images.unreadable),
        seed=asked.seed,
        controls=Controls(controls),
        means=tuple(means[list(channels)].tolist()),
        control_means=tuple(tuple(means[list(control)].tolist()) for control in controls),
        zooms=tuple(results),
        device=torch.cuda.get_device_name(network.device) if network.device.type == "cuda" else "cpu",
        seconds=time.monotonic() - started,
        created=time.time(),
        interpretation=interpretation,
        resize=info.resize,
        interpolation=info.interpolation,
        graph=info.graph,
        preprocessing=info.preprocessing,
        variances=tuple(variances[list(channels)].tolist()),
        control_variances=tuple(tuple(variances[list(control)].tolist()) for control in controls),
        matching=matching,
        random=random,
        traits=tuple(images.traits.items()),
    )


class _Images:
    """Reads a folder's images batch by batch, the next batch being decoded while the last is computed with."""

    def __init__(
        self,
        network: Network,
        folder: Path,
        found: Sequence[ImagePath],
        watch: Watch | None,
        passes: int,
        interpretation: Interpretation,
    ) -> None:
        self.network, self.folder, self.found = network, folder, found
        self.unreadable: list[tuple[str, str]] = []
        self.traits: Counter[str] = Counter()
        self.contents: list[tuple[str, str]] = []
        """(path, SHA-256) of the readable images."""
        self._preparation = Preparation.of(network.info, interpretation)
        # Other pixels of the same files are other images; those that version 0.2 saw are known by the files alone.
        former = network.info.resize is None and network.info.interpolation == "bilinear"
        if chosen := str(interpretation) if former else str(self._preparation):
            self.contents.append((chosen, ""))
        self._watch, self._done, self._total = watch, 0, passes * len(found)
        self.normalise = Normalisation.of(network.info, network.device)

    @torch.inference_mode()
    def moments(self, block: str) -> tuple[np.ndarray, np.ndarray, list[ImagePath]]:
        """Mean and variance over the images of `out` at the centre neuron, (channels,) float64 each, and the
        readable images."""
        channels = self.network.info.block(block).channels
        mean, squares, count = np.zeros(channels), np.zeros(channels), 0
        readable: list[ImagePath] = []
        for batch, pixels in self.batches(self.found, first=True):
            if len(pixels):
                tensors = self.network.stream.read_block(self.normalise(pixels), block)
                values = tensors.centre("out").double().cpu().numpy()
                # Batches are put together as Chan, Golub and LeVeque do, "Algorithms for computing the sample
                # variance", 1983: a difference of large sums would lose small variances.
                shift = values.mean(axis=0) - mean
                total = count + len(values)
                squares += len(values) * values.var(axis=0) + shift**2 * (count * len(values) / total)
                mean += shift * (len(values) / total)
                count = total
            readable += batch
        return mean, squares / max(count, 1), readable

    def batches(
        self, images: Sequence[ImagePath], first: bool = False
    ) -> Iterator[tuple[list[ImagePath], torch.Tensor]]:
        """Images that could be read, and their pixels (n, 3, side, side) in 0..1. What cannot be read is noted the
        `first` time, and raises ImageError afterwards."""
        with ThreadPoolExecutor() as pool:
            waiting: deque[tuple[Sequence[ImagePath], list[Future[ReadImage]]]] = deque()
            for start in range(0, len(images), BATCH):
                part = images[start : start + BATCH]
                waiting.append((part, [pool.submit(self._read, image) for image in part]))
                if len(waiting) > 1:
                    yield self._collect(*waiting.popleft(), first)
            while waiting:
                yield self._collect(*waiting.popleft(), first)

    def _read(self, image: ImagePath) -> ReadImage:
        return read_image(self.folder / image.path, self._preparation)

    def _collect(
        self, part: Sequence[ImagePath], futures: list[Future[ReadImage]], first: bool
    ) -> tuple[list[ImagePath], torch.Tensor]:
        kept, pixels = [], []
        for image, future in zip(part, futures, strict=True):
            try:
                image_read = future.result()
            except ImageError as error:
                if not first:
                    raise
                self.unreadable.append((image.path, str(error)))
                continue
            kept.append(image)
            pixels.append(image_read.pixels)
            if first:
                self.traits.update(image_read.traits)
                self.contents.append((image.path, image_read.sha256))
        self._done += len(part)
        if self._watch is not None:
            self._watch(self._done, self._total)
        side = self.network.info.input_size
        stacked = np.stack(pixels) if pixels else np.empty((0, side, side, 3), dtype=np.uint8)
        return kept, from_8_bit(stacked).to(self.network.device)


class _Ablation:
    """A network with sets of one block's channels held at their means. Nothing in the network is changed."""

    def __init__(self, network: Network, block: str, means: np.ndarray, sets: Sequence[tuple[int, ...]]) -> None:
        device = network.device
        self.network, self.block = network, block
        self.sets = [torch.tensor(channels, device=device) for channels in sets]
        self.values = [torch.tensor(means[list(c)], dtype=torch.float32, device=device) for c in sets]

    @torch.inference_mode()
    def right(self, images: _Images, readable: list[ImagePath], labels: torch.Tensor, zoom: float) -> np.ndarray:
        """Which images are classified right at a zoom, (1 + sets, n) bool: intact, then with each set ablated."""
        found = []
        first = 0
        for batch, pixels in images.batches(readable):
            expected = labels[first : first + len(batch)]
            first += len(batch)
            scores = self._scores(images.normalise(zoom_in(pixels, zoom)))
            found.append(np.stack([(s.argmax(dim=1) == expected).cpu().numpy() for s in scores]))
        return np.concatenate(found, axis=1)

    def _scores(self, normalised: torch.Tensor) -> Iterator[torch.Tensor]:
        held = [partial(_held, *of_set) for of_set in zip(self.sets, self.values, strict=True)]
        changes: list[Callable[[torch.Tensor], torch.Tensor]] = [_intact, *held]
        yield from self.network.stream.scores(normalised, self.block, changes)


def _intact(out: torch.Tensor) -> torch.Tensor:
    return out


def _held(channels: torch.Tensor, values: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    """A map (n, channels, side, side) with some channels at a value each, everywhere."""
    shape = len(out), len(channels), *out.shape[2:]
    return out.index_copy(1, channels, values.view(1, -1, 1, 1).expand(shape))


def zoom_in(pixels: torch.Tensor, zoom: float) -> torch.Tensor:
    """The middle `int(side * (2 - zoom))` px of images (n, 3, side, side), resized back, bilinear."""
    side = pixels.shape[2]
    crop = crop_side(side, zoom)
    if crop == side:
        return pixels
    first = round((side - crop) / 2)
    cut = pixels[:, :, first : first + crop, first : first + crop]
    return F.interpolate(cut, size=(side, side), mode="bilinear", align_corners=False)
