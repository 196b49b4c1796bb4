"""Results of ablations: a document each, in the model's folder under `ablations`."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from streamscope.core.errors import DamageError, MisplacedError
from streamscope.core.images.pixels import AS_TRAINED, Interpretation
from streamscope.core.measures.ablation import Ratio, ZoomResult
from streamscope.core.measures.matching import ChannelSets, Matching, RandomSets, correlation, independent, shared
from streamscope.core.measures.statistics import Proportion, proportion_interval
from streamscope.core.model.blocks import ModelInfo
from streamscope.core.model.preprocessing import Interpolation
from streamscope.core.store.files.atomic import make_folder
from streamscope.core.store.files.documents import from_number, number, read_record, write_document
from streamscope.core.store.layout import ModelFolder
from streamscope.core.store.records import check_identity, checked_time

_LATER: dict[str, Any] = {
    "interpretation": {},
    "resize": None,
    "interpolation": "bilinear",
    "graph": "",
    "preprocessing": "",
    "variances": (),
    "control_variances": (),
    "matching": None,
    "random": None,
}
"""What 0.2.0 does not write, and what it means."""
_RATIOS = ("chosen_to_intact", "controls_to_intact", "chosen_to_controls")


@dataclass(frozen=True)
class Controls:
    """The sets of channels that the chosen ones are compared with, each as large as they are."""

    sets: ChannelSets
    nearest: int | None = None
    """Of how many neighbours in mean activation versions up to 0.2 drew each; None where there is a `Matching`."""


@dataclass(frozen=True)
class Ablation:
    """Accuracy of one model on one labelled image folder with channels of one block's sum set to their means.

    Every value of an ablated channel in the block's output is replaced, at every position, by the mean over the images
    of `out` at the centre neuron, after the activation where there is one; `means` has those of the chosen channels,
    `control_means` those of each control set's.
    """

    model: str
    fingerprint: str
    block: str
    channels: tuple[int, ...]
    selected: str
    """How the channels were chosen: `scale_invariant`, or the options that chose them."""
    fzset: str | None
    """Folder name of the set whose measures the choice looked at; None when it looked at none."""
    folder: str
    images: int
    images_sha256: str
    """Of every image's path and content."""
    classes: int
    unreadable: tuple[tuple[str, str], ...]
    """(path, reason) of images that could not be read and were left out."""
    seed: int
    controls: Controls
    means: tuple[float, ...]
    control_means: tuple[tuple[float, ...], ...]
    zooms: tuple[ZoomResult, ...]
    device: str
    seconds: float
    created: float
    """Seconds since 1970."""
    interpretation: Interpretation = AS_TRAINED
    resize: int | None = None
    interpolation: Interpolation = "bilinear"
    """Where images were not prepared as versions up to 0.2 did, as `images.folder.Preparation` has them."""
    graph: str = ""
    preprocessing: str = ""
    """These as `ModelInfo` has them."""
    variances: tuple[float, ...] = ()
    control_variances: tuple[tuple[float, ...], ...] = ()
    matching: Matching | None = None
    random: RandomSets | None = None
    """These four are empty in what versions up to 0.2 stored."""
    traits: tuple[tuple[str, int], ...] = ()
    """How many images have each `Trait`; not stored."""

    @property
    def name(self) -> str:
        """Of its document: the same question about the same images has one answer, the latest."""
        asked = [self.channels, self.images_sha256, self.seed, len(self.controls.sets), [z.zoom for z in self.zooms]]
        return f"{self.block}-{hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:12]}.json"

    @property
    def overlap(self) -> float:
        """Mean share of channels that two control sets have in common; NaN for one set."""
        return shared(self.controls.sets)

    def to_json(self) -> dict[str, Any]:
        """Whatever 0.2.0 does not know is left out where it is the default, so that it reads the others."""
        found = {**asdict(self), "zooms": [_zoom_to_json(zoom) for zoom in self.zooms]}
        found["interpretation"] = self.interpretation.to_json()
        if self.matching is not None:
            sets, others = self.controls.sets, self.matching.others
            found["matching"] |= {
                "overlap": number(self.overlap),
                "correlation": number(correlation(sets, others)),
                "independent": independent(sets, others),
            }
        del found["traits"]
        return {name: value for name, value in found.items() if name not in _LATER or value != _LATER[name]}


def write_ablation(model: Path, ablation: Ablation) -> Path:
    """Writes it into a model's folder and returns where. Raises StoreError, DiskFullError."""
    path = ModelFolder(model).ablations / ablation.name
    make_folder(path.parent)
    write_document(path, ablation.to_json())
    return path


def read_ablation(path: Path, info: ModelInfo) -> Ablation:
    """Raises OSError, or StoreError when it is damaged, or of another model or question than its place says."""
    record = read_record(path, _Record)
    try:
        matching = record.matching and Matching(**{f.name: getattr(record.matching, f.name) for f in fields(Matching)})
        ablation = Ablation(**{**vars(record), "zooms": tuple(map(_zoom, record.zooms)), "matching": matching})
    except ValueError as error:
        raise DamageError(f"{path} is no ablation ({error})") from error
    said = {"fingerprint": ablation.fingerprint, "graph": ablation.graph, "preprocessing": ablation.preprocessing}
    check_identity(path, said, ablation.model, info)
    checked_time(path, ablation.created)
    if ablation.name != path.name:
        raise MisplacedError(f"{path} is of another ablation ({ablation.name})")
    _check(path, ablation, info)
    return ablation


def _check(path: Path, ablation: Ablation, info: ModelInfo) -> None:
    """Raises DamageError where parts do not fit each other or the model."""
    counts = {block.name: block.channels for block in info.blocks}
    random = ablation.random.sets if ablation.random else ()
    sets = (ablation.channels, *ablation.controls.sets, *random)
    count, controls = len(ablation.channels), len(ablation.controls.sets)
    per_channel = [ablation.means, *ablation.control_means]
    if ablation.matching:
        per_channel += [ablation.variances, *ablation.control_variances]
    balances = [(ablation.matching.balance, controls)] if ablation.matching else []
    balances += [(ablation.random.balance, len(random))] if ablation.random else []
    wrong = [
        not all(0 <= channel < counts.get(ablation.block, 0) for channels in sets for channel in channels),
        any(len(channels) != count for channels in (*sets, *per_channel)),
        len(ablation.control_means) != controls or not controls or not ablation.zooms,
        bool(ablation.matching) and len(ablation.control_variances) != controls,
        any(len(values) != n for balance, n in balances for values in (balance.mean, balance.variance)),
        any((len(zoom.controls), len(zoom.random)) != (controls, len(random)) for zoom in ablation.zooms),
        any((zoom.chosen_to_random is None) != (not random) for zoom in ablation.zooms),
        any(
            not 0 <= p.k <= p.n
            for zoom in ablation.zooms
            for p in (zoom.intact, zoom.chosen, *zoom.controls, *zoom.random)
        ),
    ]
    if any(wrong):
        raise DamageError(f"{path} is no ablation (its parts do not fit)")


_Number = float | str | None
"""As `documents.number` writes it."""


@dataclass(frozen=True)
class _ShareRecord:
    right: int
    n: int
    accuracy: _Number


@dataclass(frozen=True)
class _ZoomRecord:
    zoom: float
    true_zoom: float
    crop: int
    intact: _ShareRecord
    chosen: _ShareRecord
    controls: tuple[_ShareRecord, ...]
    controls_at_or_below: int
    chosen_to_intact: tuple[_Number, _Number, _Number]
    controls_to_intact: tuple[_Number, _Number, _Number]
    chosen_to_controls: tuple[_Number, _Number, _Number]
    random: tuple[_ShareRecord, ...] = ()
    random_at_or_below: int | None = None
    chosen_to_random: tuple[_Number, _Number, _Number] | None = None


@dataclass(frozen=True, kw_only=True)
class _MatchingRecord(Matching):
    """With what follows from the sets, for whoever reads the document alone."""

    overlap: _Number
    correlation: _Number
    independent: float


@dataclass(frozen=True)
class _Record:
    """An ablation's document: the fields of `Ablation`, its zooms as they are written."""

    model: str
    fingerprint: str
    block: str
    channels: tuple[int, ...]
    selected: str
    fzset: str | None
    folder: str
    images: int
    images_sha256: str
    classes: int
    unreadable: tuple[tuple[str, str], ...]
    seed: int
    controls: Controls
    means: tuple[float, ...]
    control_means: tuple[tuple[float, ...], ...]
    zooms: tuple[_ZoomRecord, ...]
    device: str
    seconds: float
    created: float
    interpretation: Interpretation = AS_TRAINED
    resize: int | None = None
    interpolation: Interpolation = "bilinear"
    graph: str = ""
    preprocessing: str = ""
    variances: tuple[float, ...] = ()
    control_variances: tuple[tuple[float, ...], ...] = ()
    matching: _MatchingRecord | None = None
    random: RandomSets | None = None


def _zoom_to_json(zoom: ZoomResult) -> dict[str, Any]:
    def share(found: Proportion) -> dict[str, Any]:
        return {"right": found.k, "n": found.n, "accuracy": number(found.share)}

    def ratio(found: Ratio) -> list[float | str | None]:
        return [number(v) for v in asdict(found).values()]

    written = {
        "zoom": zoom.zoom,
        "true_zoom": zoom.true_zoom,
        "crop": zoom.crop,
        "intact": share(zoom.intact),
        "chosen": share(zoom.chosen),
        "controls": [share(found) for found in zoom.controls],
        "controls_at_or_below": zoom.controls_at_or_below,
        **{name: ratio(getattr(zoom, name)) for name in _RATIOS},
    }
    if zoom.chosen_to_random is not None:
        written["random"] = [share(found) for found in zoom.random]
        written["random_at_or_below"] = zoom.random_at_or_below
        written["chosen_to_random"] = ratio(zoom.chosen_to_random)
    return written


def _zoom(record: _ZoomRecord) -> ZoomResult:
    def share(stored: _ShareRecord) -> Proportion:
        return Proportion(stored.right, stored.n, *proportion_interval(stored.right, stored.n))

    def ratio(stored: tuple[_Number, _Number, _Number]) -> Ratio:
        return Ratio(*map(from_number, stored))

    return ZoomResult(
        record.zoom,
        record.true_zoom,
        record.crop,
        share(record.intact),
        share(record.chosen),
        tuple(map(share, record.controls)),
        **{name: ratio(getattr(record, name)) for name in _RATIOS},
        random=tuple(map(share, record.random)),
        chosen_to_random=None if record.chosen_to_random is None else ratio(record.chosen_to_random),
    )
