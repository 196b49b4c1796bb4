"""The store: a folder that commands, jobs and the app meet in."""

from __future__ import annotations

import os
from collections.abc import Hashable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamscope import __version__
from streamscope.core.errors import (
    CacheError,
    DamageError,
    MisplacedError,
    NewerError,
    ReadOnlyError,
    StoreError,
    StreamscopeError,
)
from streamscope.core.files import read_regular
from streamscope.core.model.blocks import ModelInfo
from streamscope.core.model.descriptions import bundled_description
from streamscope.core.model.recipe import Capture, Objective, Protocol, SetKey
from streamscope.core.schema import build, parse_object
from streamscope.core.store.bundles.record import BUNDLE, MARKS, BundleRecord, read_bundle
from streamscope.core.store.files.atomic import make_folder, write_file
from streamscope.core.store.files.checksums import RECORD_LIMIT, sha256
from streamscope.core.store.files.clock import FolderClock
from streamscope.core.store.files.disk_errors import read_error, reason
from streamscope.core.store.files.documents import (
    encode,
    malformed,
    read_document,
    read_record,
    write_described_folder,
    write_document,
)
from streamscope.core.store.files.listing import Listings, Problems
from streamscope.core.store.layout import ModelFolder, ScanFolder, SetFolder
from streamscope.core.store.records import AliasRecord, FormatRecord
from streamscope.core.store.scans.scan import Described, Scan
from streamscope.core.store.sets.documents import read_key
from streamscope.core.store.sets.fz_set import FZSet
from streamscope.core.text import file_name

if TYPE_CHECKING:
    from streamscope.core.store.ablations import Ablation

FORMAT = 1
SHORT = 12
"""Hex digits of a fingerprint in a folder's name."""


class Store:
    """Reads and makes what is under `root`. Nothing is created before something is written."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._problems = Problems()
        self._listings = Listings(self._problems)
        self._infos: dict[Path, tuple[tuple[int, int, int], ModelInfo]] = {}
        self._sets: dict[Path, FZSet] = {}
        self._scans: dict[Path, tuple[tuple[int, int], Scan]] = {}
        self.clock = FolderClock(root)
        self._bundle: tuple[BundleRecord | None] | None = None
        self.job_problems = Problems()
        """What is wrong with the records of jobs: not among `problems`, since no job's numbers depend on another's."""

    @classmethod
    def open(cls, root: Path, create: bool = False) -> Store:
        """The store at `root`; a folder that is not there, or empty, is an empty store.

        Raises StoreError when another version wrote it, it cannot be read, or (with `create`) cannot be made.
        """
        path = root / "store.json"
        if os.path.lexists(root) and not root.is_dir():
            what = "a dangling link" if root.is_symlink() else "a file"
            raise CacheError(f"the cache {root} is {what}, not a folder")
        try:
            found = read_format(root)
        except FileNotFoundError:
            if create:
                make_folder(root)
                write_file(path, encode({"format": FORMAT, "by": f"streamscope {__version__}"}))
        except OSError as error:
            raise CacheError(f"cannot read the cache {root}: {reason(error)}") from error
        except DamageError as error:
            raise CacheError(
                f"{path} is damaged; if this version of streamscope wrote the cache, that file can be deleted"
            ) from error
        else:
            if found != FORMAT:
                raise CacheError(
                    f"{root} was written by another version (format {found}; this one reads {FORMAT}), "
                    "which can go on with it"
                )
        store = cls(root)
        if create:
            store.check_writable()
        return store

    @property
    def bundle(self) -> BundleRecord | None:
        """What it says of itself if it is a bundle, which is only read. Raises StoreError."""
        if self._bundle is None:
            try:
                self._bundle = (read_bundle(self.root),)
            except OSError as error:
                raise read_error(self.root / BUNDLE, error) from error
        return self._bundle[0]

    @property
    def bundled(self) -> ModelInfo | None:
        """The model of a bundle; None of any other store. Raises StoreError."""
        return self.model(self.bundle.fingerprint) if self.bundle is not None else None

    def check_writable(self) -> None:
        """Raises ReadOnlyError for a bundle."""
        if self.bundle is not None:
            raise ReadOnlyError("a bundle is read only")

    @property
    def given_marks(self) -> Path | None:
        """The folder of the marks that came with a bundle; None of any other store."""
        return self.root / MARKS if self.bundle is not None else None

    @property
    def problems(self) -> list[StreamscopeError]:
        """An error for each damaged or unreadable thing met while reading; reading went on without it."""
        return self._problems.errors()

    def register(self, info: ModelInfo) -> None:
        """Keeps a model's description, so that its weights are not loaded to show what is stored. Raises StoreError."""
        folder = self._folder(info.identity) or self.root / "models" / model_folder_name(info)
        if self._read_info(folder) != info:
            self.check_writable()
            write_described_folder(folder, ModelFolder(folder).document.name, info.to_json())

    def models(self) -> list[ModelInfo]:
        """Every model that was registered, by name; damaged ones are skipped and go to `problems`."""
        folders = [self.root / "models" / name for name, _ in self._listings.names(self.root / "models")]
        infos = [info for folder in folders if (info := self._read_info(folder))]
        return sorted(infos, key=lambda info: (info.name, info.identity))

    def model(self, identity: str) -> ModelInfo | None:
        """The model of an identity: of the weights' fingerprint, where graph and preprocessing are the defaults."""
        folder = self._folder(identity)
        info = self._read_info(folder) if folder else None
        return info if info and info.identity == identity else None

    def remember(self, spec: str, identity: str, layout: str | None = None, warnings: tuple[str, ...] = ()) -> None:
        """Notes which model `spec` (a name, a weights file with its size and date) stands for, what was done to get the
        weights out of the file and what that says against them; None where it was not read. Raises StoreError."""
        path = self._alias(spec)
        try:
            known = read_record(path, AliasRecord)
            said = (known.layout, known.warnings) if layout is None else (layout, warnings)
            if known == AliasRecord(spec, identity, *said):
                return
        except (OSError, StoreError):
            pass
        self.check_writable()
        make_folder(path.parent)
        # Records are older than layouts.
        more = {name: v for name, v in (("layout", layout), ("warnings", list(warnings))) if v}
        write_document(path, {"spec": spec, "fingerprint": identity, **more})

    def recall(self, spec: str) -> ModelInfo | None:
        """The model that `spec` stands for: the one remembered, else the one whose description comes with the package.

        None when only its weights can tell. A bundled description may be in no folder of the store.
        """
        try:
            alias = read_record(self._alias(spec), AliasRecord)
        except (OSError, StoreError):
            # What it stands for is found out anew.
            alias = None
        info = self.model(alias.fingerprint) if alias is not None and alias.spec == spec else None
        return info or bundled_description(spec)

    def aliases(self) -> list[AliasRecord]:
        """Every name and file of weights that a model was remembered by; unreadable records are skipped."""
        folder = self.root / "aliases"
        found = []
        for name, _ in self._listings.names(folder):
            with suppress(OSError, StoreError):
                found.append(read_record(folder / name, AliasRecord))
        return sorted(found, key=lambda alias: alias.spec)

    def remembered_at(self, spec: str) -> float:
        """When `spec` was remembered last, in seconds since 1970; 0 where it never was."""
        try:
            return self._alias(spec).stat().st_mtime
        except OSError:
            return 0.0

    def sets(self, info: ModelInfo) -> list[FZSet]:
        """The sets on disk, oldest first; unreadable ones are skipped and go to `problems`."""
        folder = self._model_folder(info)
        found = []
        for path in self._inside(folder.sets) if folder else ():
            fzset = self._sets.get(path) or self._read_set(info, path)
            if fzset is not None and SetFolder(path).document.is_file():
                self._sets[path] = fzset
                found.append(fzset)
        return sorted(found, key=lambda s: (s.created_at() or 0.0, s.path.name))

    def set(self, info: ModelInfo, key: SetKey, create: bool = False) -> FZSet:
        """The set of `key`, which need not be on disk; with `create` it is after. Raises StoreError."""
        if create:
            self.check_writable()
            self.register(info)
        folder = self._folder(info.identity) or self.root / "models" / model_folder_name(info)
        path = ModelFolder(folder).sets / key.folder
        fzset = self._sets.setdefault(path, FZSet(info, key, path, self._problems))
        if create:
            fzset.create()
        return fzset

    def fitting_sets(
        self,
        info: ModelInfo,
        *,
        steps: int | None = None,
        seed: int | None = None,
        capture: Capture | None = None,
        protocol: Protocol | None = None,
        settings: Protocol | None = None,
        objective: Objective = "neuron",
        converged: bool | None = None,
    ) -> list[FZSet]:
        """The stored sets that fit what was given, oldest first.

        `converged` is whether a recipe stops what has converged. Channel FZs are found only when `objective` asks for
        them.
        """
        return [
            fzset
            for fzset in self.sets(info)
            if fzset.key.objective == objective
            and steps in (None, fzset.key.recipe.steps)
            and seed in (None, fzset.key.seed)
            and capture in (None, fzset.key.capture)
            and protocol in (None, fzset.key.protocol)
            and settings in (None, fzset.key.recipe.settings)
            and converged in (None, fzset.key.recipe.plateau is not None)
        ]

    def choose_set(self, info: ModelInfo, **given: Any) -> FZSet | None:
        """The stored set that fits what was given (of `fitting_sets`): the only one, else that whose FZs a bundle has,
        else the last completed, else the newest, or None."""

        def rank(fzset: FZSet) -> tuple[bool, float]:
            return self.bundle is not None and fzset.path.name == self.bundle.set, fzset.completed_at() or 0.0

        # They are oldest first, and max keeps the first of equals.
        return max(reversed(self.fitting_sets(info, **given)), key=rank, default=None)

    def scans(self, info: ModelInfo) -> list[Scan]:
        """The finished scans, oldest first; unreadable ones are skipped and go to `problems`."""
        found = [scan for path, stamp in self._finished_scans(info) if (scan := self._read_scan(info, path, stamp))]
        return sorted(found, key=lambda scan: (scan.finished_at, scan.path.name))

    def described_scans(self, info: ModelInfo) -> list[tuple[Path, Described]]:
        """The folder of every scan, finished or not, and of what it is; damaged ones go to `problems`."""
        folder = self._model_folder(info)
        found = []
        for path in self._inside(folder.scans) if folder else ():
            document = ScanFolder(path).document
            try:
                found.append((path, Described.read(path, info)))
                self._problems.clear(document)
            except (OSError, StoreError) as error:
                self._problems.report(document, _problem(document, error))
        return found

    def choose_scan(self, info: ModelInfo, images: Path | None = None) -> Scan | None:
        """The finished scan of a folder of images, or of any: the newest whose images were prepared as the model asks
        for, else the newest; None when there is none, or its list of images is damaged or another scan's."""
        source = None if images is None else Path(os.path.abspath(images))
        found = [scan for scan in reversed(self.scans(info)) if source in (None, scan.source)]
        if not found:
            return None
        chosen = next((scan for scan in found if not scan.other_preparation(info)), found[0])
        listed = chosen.folder.result
        try:
            _ = chosen.images
        except StoreError as error:
            self._problems.report(listed, error)
            return None
        self._problems.clear(listed)
        return chosen

    def ablations(self, info: ModelInfo) -> list[Ablation]:
        """Results of ablations, oldest first; unreadable ones are skipped and go to `problems`."""
        # Reports read them; the app, which starts with this module, does not.
        from streamscope.core.store.ablations import read_ablation

        folder = self._model_folder(info)
        found = []
        for path in self._inside(folder.ablations) if folder else ():
            try:
                found.append(read_ablation(path, info))
                self._problems.clear(path)
            except (OSError, StoreError) as error:
                self._problems.report(path, _problem(path, error))
        return sorted(found, key=lambda ablation: (ablation.created, ablation.name))

    def signature(self, info: ModelInfo | None = None) -> Hashable:
        """Differs whenever a model or (of `info`) a set, a finished scan or what was read of its patches came or went;
        cheap, for polling."""
        models = self._listings.names(self.root / "models")
        folder = self._model_folder(info) if info else None
        if info is None or folder is None:
            return models, (), ()
        scans = [(path, stamp, self._photographs(path)) for path, stamp in self._finished_scans(info)]
        return models, self._listings.names(folder.sets), tuple(scans)

    def folder(self, info: ModelInfo) -> Path | None:
        """Where a model's sets are; None when nothing of it is stored."""
        return self._folder(info.identity)

    def _folder(self, identity: str) -> Path | None:
        """A model's folder is found by its identity: the same weights under two names are one model."""
        ending = f"-{identity[:SHORT]}"
        names = [name for name, _ in self._listings.names(self.root / "models") if name.endswith(ending)]
        return self.root / "models" / names[0] if names else None

    def _model_folder(self, info: ModelInfo) -> ModelFolder | None:
        path = self._folder(info.identity)
        return None if path is None else ModelFolder(path)

    def _inside(self, folder: Path) -> list[Path]:
        return [folder / name for name, _ in self._listings.names(folder)]

    def _alias(self, spec: str) -> Path:
        return self.root / "aliases" / alias_name(spec)

    def _read_info(self, folder: Path) -> ModelInfo | None:
        path = ModelFolder(folder).document
        try:
            state = path.stat()
            stamp = (state.st_mtime_ns, state.st_ino, state.st_size)
            known = self._infos.get(path)
            if known is not None and known[0] == stamp:
                return known[1]
            info = read_info(ModelFolder(folder))
        except (OSError, StoreError) as error:
            if isinstance(error, FileNotFoundError) and not os.path.lexists(folder):
                self._problems.clear(path)
            else:
                self._problems.report(path, _problem(path, error))
            return None
        self._infos[path] = (stamp, info)
        self._problems.clear(path)
        return info

    def _finished_scans(self, info: ModelInfo) -> list[tuple[Path, tuple[int, int]]]:
        """Folders of finished scans, each with what changes when it is scanned anew."""
        folder = self._model_folder(info)
        found = []
        for path in self._inside(folder.scans) if folder else ():
            try:
                state = os.stat(ScanFolder(path).finished)
            except OSError:
                continue
            found.append((path, (state.st_mtime_ns, state.st_ino)))
        return found

    def _photographs(self, scan: Path) -> Hashable:
        folder = ScanFolder(scan).photographs
        return tuple((block, self._listings.names(folder / block)) for block, _ in self._listings.names(folder))

    def _read_scan(self, info: ModelInfo, path: Path, stamp: tuple[int, int]) -> Scan | None:
        known = self._scans.get(path)
        if known is not None and known[0] == stamp:
            return known[1]
        try:
            scan = Scan.open(path, info, self._problems)
        except (OSError, StoreError) as error:
            self._problems.report(path, _problem(path, error))
            return None
        self._scans[path] = (stamp, scan)
        self._problems.clear(path)
        return scan

    def _read_set(self, info: ModelInfo, path: Path) -> FZSet | None:
        document = SetFolder(path).document
        try:
            key = read_key(path, info)
        except (OSError, StoreError) as error:
            if os.path.lexists(path):
                self._problems.report(document, _problem(document, error))
            else:
                self._problems.clear(document)
            return None
        self._problems.clear(document)
        return FZSet(info, key, path, self._problems)


def read_format(root: Path) -> int:
    """The number of the store's format. Raises OSError, DamageError."""
    path = root / "store.json"
    content = read_regular(path, follow=False, limit=RECORD_LIMIT)
    with malformed(path):
        # Whatever else another version says there, this is how it says which it is.
        data = parse_object(content)
        return build(FormatRecord, {"format": data.get("format")}).format


def read_info(folder: ModelFolder) -> ModelInfo:
    """The description of the model in a folder. Raises OSError, or StoreError when it is damaged or another's."""
    info = read_described(folder)
    if not is_folder_of(info, folder.path):
        raise MisplacedError(f"{folder.document} is of {info.name} {info.identity[:SHORT]}, not of {folder.path.name}")
    return info


def read_described(folder: ModelFolder) -> ModelInfo:
    """As `read_info`, whatever the folder is called."""
    data = read_document(folder.document)
    try:
        return ModelInfo.from_json(data)
    except (DamageError, NewerError) as error:
        raise type(error)(f"{folder.document}: {error}") from error


def is_folder_of(info: ModelInfo, path: Path) -> bool:
    """Whether a folder has the name of a model's: the same weights under two names are one model."""
    return path.name.endswith(f"-{info.identity[:SHORT]}")


def alias_name(spec: str) -> str:
    """Of the file that says what a specification of a model stands for."""
    return f"{sha256(spec.encode(errors='surrogateescape'))}.json"


def model_folder_name(info: ModelInfo) -> str:
    """What a model's folder is called when it is made."""
    return f"{file_name(info.name)}-{info.identity[:SHORT]}"


def _problem(path: Path, error: OSError | StoreError) -> StoreError:
    return read_error(path, error) if isinstance(error, OSError) else error
