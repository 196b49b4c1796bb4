"""Is what is stored intact, and where it belongs? Reads every byte; removes only what it is told to."""

from __future__ import annotations

import io
import math
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import cast

from PIL import Image

from streamscope.core.errors import DamageError, MisplacedError, StoreError, UsageError
from streamscope.core.files import read_regular
from streamscope.core.model.blocks import TENSORS, ModelInfo, Tensor
from streamscope.core.model.recipe import PROTOCOLS
from streamscope.core.store.ablations import read_ablation
from streamscope.core.store.files.atomic import remove_folder
from streamscope.core.store.files.checksums import ARRAY_LIMIT, DIFFERS, EXTRA, MISSING, SUMS, folder_damage, read_sums
from streamscope.core.store.files.disk_errors import is_unreadable, reason, writing
from streamscope.core.store.files.documents import read_document, read_record
from streamscope.core.store.layout import (
    CURVES,
    PHOTOGRAPHS,
    SHAMS,
    BatchFolder,
    ModelFolder,
    ResponseKind,
    RetryFolder,
    ScanFolder,
    SetFolder,
    channel_range,
    inside,
)
from streamscope.core.store.records import AliasRecord, Place, SetRecord
from streamscope.core.store.renamed import renamed
from streamscope.core.store.scans.patches import patches_files
from streamscope.core.store.scans.photographs import photographs_place, read_photographs
from streamscope.core.store.scans.scan import Described, Scan, read_finished, result_files, robust_files
from streamscope.core.store.sets.batches import read_activations, read_fzs, read_measures
from streamscope.core.store.sets.documents import read_completed, read_key
from streamscope.core.store.sets.fz_set import FZSet
from streamscope.core.store.sets.pairs import read_pairs
from streamscope.core.store.sets.responses import read_batch
from streamscope.core.store.store import (
    FORMAT,
    Store,
    alias_name,
    read_format,
    read_info,
)

PlaceOf = Callable[[ResponseKind, str, Tensor, str], Place]


@dataclass(frozen=True)
class Problem:
    """Something that is not as it was written: `path` is what, `removes` what `drop` takes away so that it is made
    again."""

    path: Path
    what: str
    removes: Path | None
    """None for what could not be read, is of a later version, or lies under a wrong name only: it may be intact."""
    part: BatchFolder | ScanFolder | None = None
    """The batch of a set, or the scan, that it is in."""

    def __str__(self) -> str:
        return f"{self.path} {self.what}"


def verify(store: Store) -> Iterator[Problem]:
    """Everything in the store that is not as it was written: a flipped byte, a missing, extra or truncated file, and
    what is of another place; and what cannot be read. Of a bundle, which lacks much on purpose: of what it has."""
    yield from _verify_format(store.root)
    if store.bundle is not None:
        yield from _verify_bundle(store.root / "models")
        return
    for model in inside(store.root / "models"):
        yield from _entry(model) or _verify_model(ModelFolder(model))
    for alias in inside(store.root / "aliases"):
        yield from _verify_alias(alias)


def drop(problem: Problem) -> list[Path]:
    """Removes what is damaged, and returns what was removed.

    With a batch of FZs goes what was measured on them: made again on another device they may come out otherwise.
    Nothing goes of what could not be read. Raises StoreError. Marks are elsewhere and stay.
    """
    if problem.removes is None:
        return []
    removed, part = [problem.removes], problem.part
    # A scan that lacks a part is not finished; the next one makes the part again. Finished ones of 0.2.0 lack one.
    if isinstance(part, ScanFolder) and problem.removes in _needed(part) and os.path.lexists(part.finished):
        removed.append(part.finished)
    if isinstance(part, BatchFolder) and part.kind == "fzs" and problem.removes == part.path:
        removed += _read_on(part)
    for path in removed:
        if path.is_dir() and not path.is_symlink():
            remove_folder(path)
        else:
            with writing(path):
                path.unlink(missing_ok=True)
    return removed


def _needed(folder: ScanFolder) -> list[Path]:
    """What is directly in a scan's folder, but what a finished scan may lack."""
    return [path for path in inside(folder.path) if path not in folder.later]


def _verify_format(root: Path) -> Iterator[Problem]:
    path = root / "store.json"
    try:
        if read_format(root) != FORMAT:
            yield Problem(path, "is of another version", None)
    except FileNotFoundError:
        return
    except (OSError, StoreError) as error:
        yield _problem(path, error)


def _verify_bundle(models: Path) -> Iterator[Problem]:
    """Whether the files of its folders are those that their checksums are of. Nothing of it is ever removed."""
    for folder, _, names in os.walk(models):
        path = Path(folder)
        if SUMS in names:
            for where, what, _ in folder_damage(path):
                yield Problem(where, what, None)
            continue
        for name in names:
            try:
                read_document(path / name)
            except (OSError, StoreError) as error:
                yield replace(_problem(path / name, error), removes=None)


def _verify_model(model: ModelFolder) -> Iterator[Problem]:
    info = None
    try:
        info = read_info(model)
    except MisplacedError as error:
        if what := renamed(model):
            # Its FZs may be all there are, so nothing of it is removed. What is in it is checked where it is of use.
            yield Problem(model.path, what, None)
            return
        yield _problem(model.document, error)
    except (OSError, StoreError) as error:
        yield _problem(model.document, error)
    for ablation in inside(model.ablations):
        yield from _verify_ablation(ablation, info)
    for fzset in inside(model.sets):
        yield from _entry(fzset) or _verify_set(SetFolder(fzset), info)
    for scan in inside(model.scans):
        yield from _entry(scan) or _verify_scan(ScanFolder(scan), info)


def _verify_alias(path: Path) -> Iterator[Problem]:
    try:
        if alias_name(read_record(path, AliasRecord).spec) != path.name:
            yield Problem(path, "is of another name than its file's", path)
    except (OSError, StoreError) as error:
        yield _problem(path, error)


def _verify_ablation(path: Path, info: ModelInfo | None) -> Iterator[Problem]:
    try:
        if info is not None:
            read_ablation(path, info)
        else:
            read_document(path)
    except (OSError, StoreError) as error:
        yield _problem(path, error)


def _verify_set(folder: SetFolder, info: ModelInfo | None) -> Iterator[Problem]:
    """Whether each batch is where it belongs is known where the model and the set are."""
    fzset = None
    try:
        if info is not None:
            fzset = FZSet(info, read_key(folder.path, info), folder.path)
        else:
            read_document(folder.document)
    except MisplacedError as error:
        if info is not None and _is_misplaced(folder, info):
            yield from _whole(folder.path, _problem(folder.document, error), _verify_parts(folder, None))
            return
        yield _problem(folder.document, error)
    except (OSError, StoreError) as error:
        yield _problem(folder.document, error)
    yield from _verify_parts(folder, fzset)


def _is_misplaced(folder: SetFolder, info: ModelInfo) -> bool:
    """Whether a set is, and not only the description in it: renamed, or put here from another model's folder."""
    key = read_record(folder.document, SetRecord).key
    described = FZSet(info, key, folder.path)
    batches = [batch for retry in folder.stored_retries() for batch in retry.batches()]
    fitting = any(not list(_verify_batch(batch, described)) for batch in batches)
    return not batches or fitting is (key.folder != folder.path.name)


def _whole(folder: Path, problem: Problem, inside: Iterator[Problem]) -> Iterator[Problem]:
    """What is of no use here goes as a whole, or stays as a whole where something in it could not be read."""
    unreadable = [other for other in inside if other.removes is None]
    yield replace(problem, removes=None if unreadable else folder)
    yield from unreadable


def _verify_parts(folder: SetFolder, fzset: FZSet | None) -> Iterator[Problem]:
    if os.path.lexists(folder.completed):
        try:
            read_completed(folder)
        except (OSError, StoreError) as error:
            yield _problem(folder.completed, error)
    for pairs in inside(folder.all_pairs):
        try:
            read_pairs(pairs, fzset.info) if fzset is not None else read_document(pairs)
        except (OSError, StoreError) as error:
            yield _problem(pairs, error)
    retries = folder.stored_retries()
    for batch in (batch for retry in retries for batch in retry.batches()):
        yield from _verify_batch(batch, fzset)
    for retry in retries:
        for kind in (CURVES, SHAMS):
            for path in _committed(retry.path / kind):
                place = None if fzset is None else partial(_responses_place, fzset, retry)
                yield from _verify_responses(path, retry.path, kind, place)


def _verify_scan(folder: ScanFolder, info: ModelInfo | None) -> Iterator[Problem]:
    described = None
    try:
        if info is not None:
            described = Described.read(folder.path, info)
        else:
            read_document(folder.document)
    except MisplacedError as error:
        problem = _problem(folder.document, error, part=folder)
        if not _names_scan(folder):
            yield from _whole(folder.path, problem, _verify_scan_parts(folder, info, None))
            return
        yield problem
    except (OSError, StoreError) as error:
        yield _problem(folder.document, error, part=folder)
    yield from _verify_scan_parts(folder, info, described)


def _names_scan(folder: ScanFolder) -> bool:
    """Whether what was written last into a scan says that it is the one of its folder's name."""
    try:
        read_finished(folder.path)
    except (OSError, StoreError):
        return False
    return True


def _verify_scan_parts(folder: ScanFolder, info: ModelInfo | None, described: Described | None) -> Iterator[Problem]:
    if os.path.lexists(folder.finished):
        try:
            read_finished(folder.path)
        except (OSError, StoreError) as error:
            yield _problem(folder.finished, error, part=folder)
    scan = None if info is None or described is None else Scan(folder.path, info, described, math.nan)
    for part in inside(folder.path):
        for path in _committed(part):
            if part.name in (CURVES, SHAMS):
                kind = CURVES if part.name == CURVES else SHAMS
                place = None if scan is None else scan.responses_place
                yield from _verify_responses(path, folder.path, kind, place, folder)
                continue
            if part.name == PHOTOGRAPHS:
                yield from _verify_photographs(path, folder, scan)
                continue
            # What the result was put together from is gone: without it the whole scan is to be made again.
            removes = folder.path if path == folder.result else path
            damage = list(_verify_folder(path, removes, folder))
            yield from damage
            if scan is not None and not damage:
                yield from _verify_arrays(scan, path, removes)


def _verify_arrays(scan: Scan, folder: Path, removes: Path) -> Iterator[Problem]:
    """Whether the result of a scan, or what follows from it, is this scan's."""
    reads: list[Callable[[], object]] = []
    blocks = [block.name for block in scan.info.blocks]
    by_protocol = {scan.folder.robust(protocol): protocol for protocol in PROTOCOLS}
    wanted = dict.fromkeys(by_protocol, robust_files(scan.info)) | {scan.folder.result: result_files(scan.info)}
    wanted[scan.folder.patches] = patches_files(scan.info)
    files = wanted.get(folder)
    if files is not None and files != read_sums(folder).keys():
        yield Problem(folder, f"holds other files than a scan's {folder.name}", removes, scan.folder)
        return
    if folder == scan.folder.result:
        reads = [lambda: scan.images]
        reads += [partial(scan.extremes, block, tensor) for block in blocks for tensor in TENSORS]
        reads += [partial(scan.rho, block) for block in blocks]
    elif folder in by_protocol:
        reads = [partial(scan.robust, block, by_protocol[folder]) for block in blocks]
    elif folder == scan.folder.patches:
        reads = [partial(scan.patches, block, tensor) for block in blocks for tensor in TENSORS]
    for read in reads:
        try:
            read()
        except StoreError as error:
            # A result that is damaged itself was named already.
            if str(folder) in str(error):
                yield _problem(folder, error, removes, scan.folder)
            return


def _verify_responses(
    path: Path, base: Path, kind: ResponseKind, place: PlaceOf | None, part: ScanFolder | None = None
) -> Iterator[Problem]:
    """A batch of responses: `place` gives what its record must say, by kind, block, tensor and variant."""
    damage = list(_verify_folder(path, path, part))
    yield from damage
    if damage or place is None:
        return
    try:
        block, reading, _ = path.relative_to(base / kind).parts
        on, _, variant = reading.removeprefix("on_").partition("-")
        read_batch(path, place(kind, block, cast(Tensor, on), variant))
    except (ValueError, UsageError):
        yield Problem(path, "is of no tensor of the model", path, part)
    except (OSError, StoreError) as error:
        yield _problem(path, error, path, part)


def _verify_photographs(path: Path, folder: ScanFolder, scan: Scan | None) -> Iterator[Problem]:
    """A batch of what a scan's patches were read for."""
    damage = list(_verify_folder(path, path, folder))
    yield from damage
    if damage or scan is None:
        return
    try:
        (block, _) = path.relative_to(folder.photographs).parts
        read_photographs(path, photographs_place(scan, block))
    except (ValueError, UsageError):
        yield Problem(path, "is of no block of the model", path, folder)
    except (OSError, StoreError) as error:
        yield _problem(path, error, path, folder)


def _responses_place(
    fzset: FZSet, retry: RetryFolder, kind: ResponseKind, block: str, on: Tensor, variant: str
) -> Place:
    return fzset.responses_place(kind, block, on, variant, retry.number)


def _committed(folder: Path) -> Iterator[Path]:
    """Every folder with checksums at or under `folder`, and folders that should have them: those with files."""
    if not os.path.isdir(folder):
        return
    paths = inside(folder)
    if any(not os.path.isdir(path) for path in paths) or paths == [folder]:
        yield folder
        return
    for path in paths:
        yield from _committed(path)


def _verify_folder(folder: Path, removes: Path, part: ScanFolder | BatchFolder | None) -> Iterator[Problem]:
    damage = folder_damage(folder)
    # Where all that is wrong is a file too many, the rest is whole.
    whole = all(found.what == EXTRA for found in damage)
    # What could not be read may be intact, and so may all that is beside it.
    known = not any(found.unreadable for found in damage)
    for path, what, unreadable in damage:
        shown = what if unreadable else _truncated(path) or what
        yield Problem(path, shown, (path if whole else removes) if known else None, part)


def _entry(path: Path) -> list[Problem]:
    try:
        if stat.S_ISDIR(path.stat().st_mode):
            return []
    except OSError as error:
        if is_unreadable(error):
            return [_problem(path, error)]
    return [Problem(path, "is a dangling link" if path.is_symlink() else "is a file where a folder should be", path)]


def _problem(
    path: Path, error: OSError | StoreError, removes: Path | None = None, part: BatchFolder | ScanFolder | None = None
) -> Problem:
    """What reading `path` raised; of what could not be read, or is of a later version, nothing is removed."""
    removed = removes or path
    if isinstance(error, OSError):
        if is_unreadable(error):
            return Problem(path, f"cannot be read: {reason(error)}", None, part)
        return Problem(path, MISSING if isinstance(error, FileNotFoundError) else reason(error), removed, part)
    what = str(error).removeprefix("cannot read ")
    if what.startswith(str(path)):
        # Of a batch, the file in it.
        inner, _, what = what.removeprefix(str(path)).lstrip(":").partition(" ")
        path = Path(f"{path}{inner}")
    if what in ("is damaged", "is damaged (its checksum differs)"):
        what = DIFFERS
    return Problem(path, what, removed if isinstance(error, DamageError) else None, part)


def _verify_batch(batch: BatchFolder, fzset: FZSet | None) -> Iterator[Problem]:
    damage = list(_verify_folder(batch.path, batch.path, batch))
    if not damage and fzset is not None:
        yield from _verify_content(batch, fzset)
    elif damage and (os.path.lexists(batch.path) or damage[0].removes is None):
        yield from damage


def _verify_content(batch: BatchFolder, fzset: FZSet) -> Iterator[Problem]:
    """Files may be just as they were written, and still not be what their folder's name says."""
    retry = batch.retry.number
    try:
        target = fzset.target(batch.block, batch.tensor)
        if batch.kind == "fzs":
            if (target.block, target.tensor) != (batch.block, batch.tensor):
                yield Problem(batch.path, f"is of no target of its own: that is {target}", batch.path, batch)
                return
            read_fzs(batch.path, fzset.fz_place(target, retry), 0)
        else:
            place = fzset.measures_place(batch.block, cast(Tensor, batch.tensor), retry)
            read_activations(read_measures(batch.path, place))
    except UsageError:
        yield Problem(batch.path, "is of no tensor of the model", batch.path, batch)
    except (OSError, StoreError) as error:
        yield _problem(batch.path, error, batch.path, batch)


def _truncated(path: Path) -> str | None:
    if path.suffix != ".png":
        return None
    try:
        with Image.open(io.BytesIO(read_regular(path, follow=False, limit=ARRAY_LIMIT))) as image:
            image.load()
    except OSError as error:
        return "is truncated" if "truncated" in str(error) else None
    except (ValueError, SyntaxError):
        return None
    return None


def _read_on(fzs: BatchFolder) -> list[Path]:
    """Batches of measures, curves and shams that share channels (by their names' ranges) with a batch of FZs."""
    blocks = [(fzs.block, fzs.tensor)]
    if fzs.tensor == "out":
        blocks += [(name, "in") for name in _blocks_after(fzs.retry.set.model, fzs.block)]
    channels = channel_range(fzs.path.name)
    return [path for block, tensor in blocks for path in fzs.retry.read_on(block, tensor, *channels)]


def _blocks_after(model: ModelFolder, block: str) -> list[str]:
    """Simple blocks whose `in` FZ is the `out` FZ of `block`; every block where the model's description is damaged."""
    try:
        info = read_info(model)
    except (OSError, StoreError):
        return sorted({path.name for path in model.sets.glob("*/**/measures/*")})
    return [b.name for b in info.blocks if b.previous == block and b.kind == "simple"]
