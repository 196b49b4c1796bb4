"""A store with something of everything that a report shows, all made up: for its tests, and for looking at one.

python -m tests.support.report_store CACHE [--large | CHANNELS]     then: streamscope report --cache CACHE --out DIR

CHANNELS: one block (1.1) of so many.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from streamscope.core.measures.ablation import ZOOMS, zoom_result
from streamscope.core.measures.matching import Balance, Matching, RandomSets
from streamscope.core.measures.tuning import SCALES
from streamscope.core.model.blocks import TENSORS, ModelInfo
from streamscope.core.model.recipe import Recipe, SetKey
from streamscope.core.store import FZSet, Marks, Store
from streamscope.core.store.ablations import Ablation, Controls, write_ablation
from streamscope.core.store.layout import CURVES, SHAMS, response_folder
from streamscope.core.store.sets.responses import READ_OUT, SHAM_TRANSFORMS, commit_responses
from streamscope.core.table.frame import Frame, build_frame
from tests.support.app_store import RESNET18, commit_fzs, fill, make_info, open_store
from tests.support.command_line import run_without_torch
from tests.support.photographs import commit_made_up
from tests.support.scans import write_scan

NOTE = "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'> M < 1 & so on"
BLOCKS = ("1.1", "2.0", "2.1")


def fill_everything(root: Path, info: ModelInfo, images: Path, blocks: Sequence[str] = BLOCKS) -> FZSet:
    """FZs and measures of three sets, a scan, curves and shams on both, what its patches say of the first block, and an
    ablation; the set of seed 0."""
    store = open_store(root, info)
    fzset = fill(store, info, blocks)
    other_set(store, info, SetKey(Recipe(steps=2560), seed=1), blocks)
    other_set(store, info, SetKey(Recipe(steps=2560), capture="lucent"), blocks)
    scan = write_scan(store, info, images)
    for block in blocks:
        channels = list(range(info.block(block).channels))
        for on in ("in", "block"):
            places = {
                fzset.path: fzset.responses_place(CURVES, block, on, "", 0),
                scan.path: scan.responses_place(CURVES, block, on, ""),
            }
            for base, place in places.items():
                folder = response_folder(base, CURVES, block, on)
                commit_responses(folder, place, {}, channels, SCALES, made_up_curves(len(channels), on))
            random = np.random.default_rng(len(channels))
            shams = random.normal(0.6, 0.8, (len(channels), len(READ_OUT), len(SHAM_TRANSFORMS)))
            places = {
                fzset.path: fzset.responses_place(SHAMS, block, on, "", 0),
                scan.path: scan.responses_place(SHAMS, block, on, ""),
            }
            for base, place in places.items():
                folder = response_folder(base, SHAMS, block, on)
                commit_responses(folder, place, {}, channels, list(SHAM_TRANSFORMS), shams)
    commit_made_up(scan, blocks[0], range(info.block(blocks[0]).channels))
    models = store.folder(info)
    assert models is not None
    write_ablation(models, made_up_ablation(info, blocks[-1], fzset))
    fzset.mark_completed("made-up")
    return fzset


def other_set(store: Store, info: ModelInfo, key: SetKey, blocks: Sequence[str]) -> FZSet:
    """A set whose mix ratios differ from those of `fill` by some noise."""
    fzset = store.set(info, key, create=True)
    for block in blocks:
        count = info.block(block).channels
        channels = list(range(count))
        for tensor in TENSORS[:2]:
            commit_fzs(fzset, info.source(block, tensor), channels)
        noise = np.random.default_rng(key.seed + 10 * (key.capture == "lucent"))
        for tensor in TENSORS[:2]:
            found = store.set(info, SetKey(Recipe(steps=2560))).measured(block, tensor)
            assert found is not None
            plain, scaled = found.plain.copy(), found.scaled
            plain[:, 2] *= noise.lognormal(0, 0.25, plain[:, 2].shape)
            fzset.commit_measures(block, tensor, channels, plain, scaled)
    return fzset


def made_up_curves(count: int, on: str) -> np.ndarray:
    """(count, 4, K): bumps over scale, wider in `pre` and `out`; the last channel is nowhere positive."""
    octaves = np.log2(np.array(SCALES))
    peak = {"in": -0.3, "block": 0.4}[on]
    curves = np.empty((count, len(READ_OUT), len(SCALES)))
    for channel in range(count):
        for axis, read in enumerate(READ_OUT):
            centre = peak + {"in": -0.3, "block": 0.3}.get(read, 0)
            width = 0.4 if read in ("in", "block") else 0.9
            curves[channel, axis] = (3 + channel % 5) * np.exp(-(((octaves - centre) / width) ** 2)) - 0.2
    curves[-1] = -1
    curves[:, READ_OUT.index("out")] = np.maximum(curves[:, READ_OUT.index("pre")], 0)
    return curves


def made_up_ablation(info: ModelInfo, block: str, fzset: FZSet) -> Ablation:
    random = np.random.default_rng(0)
    chosen = (1, 3)
    sets = tuple((0, 2 + n) for n in range(min(10, info.block(block).channels - 2)))
    zooms = []
    for zoom in ZOOMS:
        chances = [0.9 - 0.4 * (zoom - 1), 0.8 - 0.7 * (zoom - 1), *[0.86 - 0.45 * (zoom - 1)] * len(sets)]
        zooms.append(
            zoom_result(
                zoom,
                info.input_size,
                random.random((len(chances), 200)) < np.array(chances)[:, None],
                0,
                random.random((2, 200)) < 0.8 - 0.4 * (zoom - 1),
            )
        )
    balance = Balance(tuple(0.01 * n for n in range(len(sets))), (0.0,) * len(sets))
    return Ablation(
        model=info.name,
        fingerprint=info.fingerprint,
        block=block,
        channels=chosen,
        selected="scale_invariant",
        fzset=fzset.path.name,
        folder="/somewhere/photographs",
        images=200,
        images_sha256="0" * 64,
        classes=10,
        unreadable=(),
        seed=0,
        controls=Controls(sets),
        means=(0.5, 0.7),
        control_means=tuple((0.5, 0.7) for _ in sets),
        zooms=tuple(zooms),
        device="cpu",
        seconds=1.0,
        created=1.0,
        variances=(0.5, 0.7),
        control_variances=tuple((0.5, 0.7) for _ in sets),
        matching=Matching(0.4, (3,), info.block(block).channels - 2, 0.9, balance),
        random=RandomSets(((0, 2), (2, 4)), Balance((0.5, -0.5), (0.5, -0.5))),
    )


@dataclass(frozen=True)
class Made:
    """A filled store, the report of two blocks of it, and the user's marks that are in it."""

    cache: Path
    marks: Path
    out: Path
    info: ModelInfo

    def arguments(self, out: Path) -> list[str]:
        chosen = ["--block", "1.1", "--block", "2.0", "--seed", "0", "--capture", "exact", "--top", "4"]
        return ["report", "--cache", str(self.cache), "--out", str(out), *chosen]

    def rows(self, block: str) -> Frame:
        """The channel table of a block."""
        store = Store.open(self.cache)
        marks = Marks(self.marks, self.info.fingerprint)
        fzset = store.set(self.info, SetKey(Recipe(steps=2560)))
        return build_frame(self.info, fzset, [block], marks, store.choose_scan(self.info))


def make_report(root: Path) -> Made:
    """A report of blocks 1.1 and 2.0 by a process of its own, which must not import torch."""
    made = Made(root / "cache", root / "marks", root / "report", make_info())
    fill_everything(made.cache, made.info, root / "photographs", ("1.1", "2.0"))
    marks = Marks(made.marks, made.info.fingerprint)
    marks.mark("2.0", [3], "keep")
    marks.tag("2.0", [3], ["edge", "late"])
    marks.note("2.0", 3, NOTE)
    marks.mark("2.0", [5], "reject")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STREAMSCOPE_MARKS", str(made.marks))
        done = run_without_torch(*made.arguments(made.out))
    assert done.returncode == 0, done.stderr
    return made


def main() -> None:
    root, *how = Path(sys.argv[1]), *sys.argv[2:]
    if how and how[0].isdigit():
        count = int(how[0])
        fill_everything(root, make_info((("1.0", count), ("1.1", count))), root.parent / "images", ("1.1",))
        return
    info = make_info(RESNET18, 224) if "--large" in how else make_info()
    fill_everything(root, info, root.parent / "images")


if __name__ == "__main__":
    main()
