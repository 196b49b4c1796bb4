"""Scans a folder of images in one pass: the centre activation of every tensor of every block, and the best patches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from streamscope.core.engine.fourier import from_8_bit
from streamscope.core.engine.network import Network, provenance
from streamscope.core.engine.normalisation import Normalisation
from streamscope.core.errors import DiskFullError, ImageError
from streamscope.core.images.decoding import Decoded, Decoders, default_workers
from streamscope.core.images.folder import ImagePath
from streamscope.core.images.lanczos import Resampling
from streamscope.core.images.pixels import AS_TRAINED, Interpretation
from streamscope.core.measures.extremes import NONE
from streamscope.core.measures.robust import MeiActivations, RobustMeasures, own_activations, robust_measures
from streamscope.core.model.arrays import Float32Array, Pixels
from streamscope.core.model.blocks import READ, VERDICT_TENSORS, ModelInfo, Target, Tensor
from streamscope.core.model.recipe import PROTOCOLS, Protocol
from streamscope.core.model.stream import MapWatch
from streamscope.core.reading.activations import Patches, Version
from streamscope.core.reading.alone import alone
from streamscope.core.reading.best_patches import PatchFinder, map_grids
from streamscope.core.reading.ranking import rank_and_correlate
from streamscope.core.reading.scalings import scalings
from streamscope.core.store import Scan, Store, free_bytes
from streamscope.core.store.scans.draft import Draft, Seen, image_bytes
from streamscope.core.store.scans.patch_draft import PatchDraft
from streamscope.core.store.sets.batches import SCALED
from streamscope.core.store.usage import remove_leftovers
from streamscope.core.watch import PhaseWatch

BATCH = {"cpu": 32, "cuda": 256}
"""Images a forward pass, by kind of device."""
SPARE_BYTES = 16 * 2**20
"""Room for whatever is small."""


class CentreReader:
    """Reads the centre activations of every tensor of every block, from 8-bit images in one forward pass a batch."""

    def __init__(self, network: Network, batch: int | None = None) -> None:
        """`batch` images pass together; None chooses by the kind of device."""
        self._network = network
        self.batch = batch or BATCH.get(network.device.type, BATCH["cpu"])
        self._normalise = Normalisation.of(network.info, network.device)

    @torch.inference_mode()
    def read(
        self, images: Sequence[Pixels], version: Version | None = None, watch: MapWatch | None = None
    ) -> dict[str, Float32Array]:
        """By block (n, 3, C), axis 1 = READ, for images (side, side, 3) uint8, as they are or altered.

        `watch` is shown the maps on the way.
        """
        pixels = from_8_bit(np.stack(images)).to(self._network.device)
        if isinstance(version, Resampling):
            versions = Patches(version, self._network.device).of(pixels)
        else:
            versions = iter([pixels if version is None else version(pixels)])
        found: dict[str, torch.Tensor] = {}
        for altered in versions:
            # Measured on a CPU: a third less time than with the colours outermost.
            shown = self._normalise(altered).contiguous(memory_format=torch.channels_last)
            for block, values in self._network.stream.read_centres(shown, watch).items():
                found[block] = found[block] + values.float() if block in found else values.float()
        passes = len(version.pairs) if isinstance(version, Resampling) else 1
        return {block: (total if passes == 1 else total / passes).cpu().numpy() for block, total in found.items()}


def scan_images(
    network: Network,
    store: Store,
    folder: Path,
    images: Sequence[ImagePath],
    workers: int | None = None,
    watch: PhaseWatch = lambda done, total, what: None,
    per_chunk: int | None = None,
    batch: int | None = None,
    interpretation: Interpretation = AS_TRAINED,
) -> Scan:
    """Does what is missing of the scan of `images` (of `find_images(folder)`); returns it whole.

    `batch` images pass together and `per_chunk` are committed together; None chooses. Interrupted at any moment and
    called again with the same it goes on, and the result is the same. Raises ImageError when the
    images go away or none can be read, StoreError when somebody else is scanning them or took the scan over meanwhile,
    DiskFullError.
    """
    store.register(network.info)
    models = store.folder(network.info)
    assert models is not None
    draft = Draft(models, network.info, folder, images, per_chunk, interpretation)
    if not draft.complete:
        key = f"scan {network.info.identity} {draft.path.name}"
        with alone(store.root, "scan", key, f"the scan of {folder}", watch, len(images)) as (go_on, confirm):
            _work(network, draft, workers or default_workers(), go_on, confirm, store, batch)
    return draft.scan()


def _work(
    network: Network,
    draft: Draft,
    workers: int,
    watch: PhaseWatch,
    confirm: Callable[[], None],
    store: Store,
    batch: int | None,
) -> None:
    """`confirm` is called before each commit, and raises StoreError when the scan is no longer ours."""
    remove_leftovers(store, draft.path)
    draft.create()
    chunks = _Chunks(draft)
    _check_space(store, chunks)
    reader = CentreReader(network, batch)
    with Decoders(draft.preparation, workers) as decoders:
        if chunks.all:
            _read_chunks(reader, PatchFinder(network), chunks, decoders, watch, confirm)
        if not draft.has_result:
            confirm()
            draft.commit_result(provenance(network), partial(rank_and_correlate, watch=watch), watch)
        if not draft.has_patches:
            confirm()
            chunks.patches.commit(map_grids(network), watch)
        chunks.patches.finish()
        for protocol in PROTOCOLS:
            if not draft.has_robust(protocol):
                robust = _robust(reader, draft.scan(), decoders, watch, protocol)
                confirm()
                draft.commit_robust(robust, protocol)
    if not draft.finished:
        confirm()
        draft.finish()


class _Chunks:
    """The chunks that are still to be read: for their activations, or for their best patches alone."""

    def __init__(self, draft: Draft) -> None:
        self.draft, self.patches = draft, PatchDraft(draft)
        self.unread = set() if draft.has_result else set(draft.missing())
        """Without activations."""
        lacking = {*self.unread, *self.patches.missing(self.unread)}
        self.all = [chunk for chunk in draft.chunks() if chunk in lacking]


def _check_space(store: Store, chunks: _Chunks) -> None:
    draft = chunks.draft
    needed = chunks.patches.chunk_bytes * len(chunks.all)
    if not draft.has_result:
        # The chunks still to come, and all of them put together beside them.
        needed += image_bytes(draft.info) * (sum(map(len, chunks.unread)) + len(draft.images)) + SPARE_BYTES
    free = free_bytes(store.root)
    if needed > free:
        raise DiskFullError(
            f"the scan of {len(draft.images)} images needs about {needed / 1e6:,.0f} MB and {store.root} has "
            f"{free / 1e6:,.0f} MB free"
        )


def _read_chunks(
    reader: CentreReader,
    finder: PatchFinder,
    chunks: _Chunks,
    decoders: Decoders,
    watch: PhaseWatch,
    confirm: Callable[[], None],
) -> None:
    def read(pixels: Mapping[int, Pixels]) -> dict[str, Float32Array]:
        finder.next_batch(np.array(list(pixels)))
        return reader.read(list(pixels.values()), watch=finder.see)

    draft = chunks.draft
    total = len(draft.images)
    done = total - sum(map(len, chunks.all))
    watch(done, total, "images")
    # One stream of images over all chunks: the decoders never wait for a commit.
    decoded = decoders.read(draft.source / draft.images[place].path for chunk in chunks.all for place in chunk)
    for chunk in chunks.all:
        stored = None if chunk in chunks.unread else draft.hashes(chunk)
        seen: list[Seen] = []
        parts: list[dict[str, Float32Array]] = []
        # By place in the chunk.
        pixels: dict[int, Pixels] = {}
        finder.begin()
        for place in chunk:
            image, found = draft.images[place], next(decoded)
            if found.pixels is None:
                _check_source(draft.source, found)
            if stored is not None and image.path in stored:
                _check_unchanged(found, stored[image.path])
            if found.pixels is not None and (stored is None or image.path in stored):
                pixels[place - chunk.start] = found.pixels
            seen.append(Seen(image.path, image.label, found.sha256, found.problem, found.traits))
            if len(pixels) == reader.batch:
                parts.append(read(pixels))
                pixels.clear()
            done += 1
            watch(done, total, "images")
        if pixels:
            parts.append(read(pixels))
        confirm()
        if stored is None:
            draft.commit_chunk(chunk, seen, _joined(draft, parts))
        chunks.patches.commit_chunk(chunk, finder.best)


def _check_source(source: Path, found: Decoded) -> None:
    """One unreadable image is noted; a whole folder that went away would make all of them unreadable."""
    if not source.is_dir():
        raise ImageError(f"{found.problem}; the folder {source} is gone: run the scan again when it is back")


def _check_unchanged(found: Decoded, sha256: str) -> Pixels:
    """The pixels of an image that was read before. Raises ImageError where it is another now."""
    if found.pixels is None or found.sha256 != sha256:
        what = found.problem or f"{found.path} was changed while it was scanned"
        raise ImageError(f"{what}; run the scan again when the images are at rest")
    return found.pixels


def _joined(draft: Draft, parts: Sequence[Mapping[str, Float32Array]]) -> dict[str, Float32Array]:
    if parts:
        return {block.name: np.concatenate([part[block.name] for part in parts]) for block in draft.info.blocks}
    return {block.name: np.empty((0, len(READ), block.channels), np.float32) for block in draft.info.blocks}


def _robust(
    reader: CentreReader, scan: Scan, decoders: Decoders, watch: PhaseWatch, protocol: Protocol
) -> dict[str, RobustMeasures]:
    """M and the criteria by MEIs: forward passes over the scaled images that are an MEI of any channel only."""
    names = [block.name for block in scan.info.blocks]
    meis = {tensor: {name: scan.extremes(name, tensor).top for name in names} for tensor in VERDICT_TENSORS}
    ups, downs = [
        [
            _Scaled(version, other, {name: meis[on][name] for name in alike})
            for version, alike in _scalings(scan.info, on, protocol)
        ]
        for on, other in zip(VERDICT_TENSORS, reversed(VERDICT_TENSORS), strict=True)
    ]
    wanted = np.unique(np.concatenate([scaled.images for scaled in (*ups, *downs)]))
    pixels = _scanned_pixels(scan, wanted, decoders)
    for first in range(0, len(wanted), reader.batch):
        rows = wanted[first : first + reader.batch]
        shown = dict(zip(rows.tolist(), islice(pixels, len(rows)), strict=True))
        for scaled in (*ups, *downs):
            scaled.read(reader, shown)
        watch(min(first + reader.batch, len(wanted)), len(wanted), "most exciting images, scaled")
    up, down = ({name: values for scaled in way for name, values in scaled.values.items()} for way in (ups, downs))
    found = {}
    for name in names:
        matrices = {tensor: scan.activations(name, tensor) for tensor in READ}
        on_in, on_block = meis["in"][name], meis["block"][name]
        found[name] = robust_measures(
            MeiActivations(
                excited_in=scan.extremes(name, "in").top_values,
                excited_block=scan.extremes(name, "block").top_values,
                out_on_in=own_activations(matrices["pre"], on_in),
                out_on_block=own_activations(matrices["pre"], on_block),
                block_on_in=own_activations(matrices["block"], on_in),
                block_on_in_up=up[name],
                in_on_block=own_activations(matrices["in"], on_block),
                in_on_block_down=down[name],
            )
        )
    return found


def _scalings(info: ModelInfo, on: Tensor, protocol: Protocol) -> list[tuple[Version, list[str]]]:
    """How MEIs of a tensor are scaled, and in which blocks: `centred` about the centre of the block's receptive field,
    which several blocks have in common."""
    alike: dict[float | None, list[str]] = {}
    for block in info.blocks:
        about = info.field_of(Target(block.name, on)).centre if protocol == "centred" else None
        alike.setdefault(about, []).append(block.name)
    return [(scalings(info, names[0], on, protocol)[SCALED], names) for names in alike.values()]


def _scanned_pixels(scan: Scan, rows: NDArray[np.int64], decoders: Decoders) -> Iterator[Pixels]:
    chosen = [scan.images[row] for row in rows]
    for scanned, found in zip(chosen, decoders.read(scan.source / image.path for image in chosen), strict=True):
        yield _check_unchanged(found, scanned.sha256)


class _Scaled:
    """Each channel's own activation of one tensor on its MEIs, scaled: filled in as the images pass."""

    def __init__(self, version: Version, tensor: str, meis: Mapping[str, NDArray[np.int64]]) -> None:
        """`meis` by block (9, C): rows of the scan, -1 where there is no image."""
        self._version, self._axis, self._meis = version, READ.index(tensor), meis
        self.values = {block: np.full(rows.shape, np.nan, dtype=np.float32) for block, rows in meis.items()}
        self.images = np.setdiff1d(np.concatenate([rows.ravel() for rows in meis.values()]), [NONE])

    def read(self, reader: CentreReader, shown: Mapping[int, Pixels]) -> None:
        """Reads those of the images (by row) that are wanted."""
        rows = np.intersect1d(list(shown), self.images)
        if not len(rows):
            return
        found = reader.read([shown[row] for row in rows.tolist()], self._version)
        for block, meis in self._meis.items():
            places = np.isin(meis, rows)
            channels = np.nonzero(places)[1]
            self.values[block][places] = found[block][np.searchsorted(rows, meis[places]), self._axis, channels]
