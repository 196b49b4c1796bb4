"""The figure of a block's evidence: who is drawn how, who is named, and what the caption counts."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from streamscope.core.analysis.evidence import Evidence, read_evidence
from streamscope.core.report.evidence_figure import DRAWN_PAIRS, VERDICTS, evidence_caption, evidence_figure
from streamscope.core.report.figures import picture
from streamscope.core.table.frame import Frame, build_frame
from tests.support.app_store import fill, make_info, open_store
from tests.support.photographs import commit_made_up, with_centres
from tests.support.scans import write_scan

BLOCK = "2.0"
VERDICT = np.array(["yes", "yes", "no", "no", "no", "undecided", "undecided", "yes"], dtype=object)


def of_verdicts(evidence: Evidence, fz: list[float]) -> Evidence:
    rows = Frame({**evidence.rows.columns, "verdict": VERDICT.copy()})
    return replace(evidence, rows=rows, fz=np.array(fz))


@pytest.fixture
def evidence(tmp_path: Path) -> Evidence:
    """Eight channels: 0, 1 and 7 decided for, of which 7 has no statistic; every second invariant by photographs."""
    info = with_centres(make_info())
    store = open_store(tmp_path / "cache", info)
    fzset = fill(store, info, [BLOCK])
    scan = write_scan(store, info, tmp_path / "images")
    commit_made_up(scan, BLOCK, range(8))
    found = read_evidence(fzset, info.block(BLOCK), build_frame(info, fzset, [BLOCK], None, scan), scan)
    return of_verdicts(found, [0.5, 0.4, 0.1, -0.2, -0.1, 0.2, 0.3, np.nan])


def without_photographs(evidence: Evidence) -> Evidence:
    columns = dict(evidence.rows.columns)
    columns |= {name: np.full(8, np.nan) for name in columns if name.startswith("photo_")}
    nothing = np.full(8, np.nan), np.full(len(evidence.pairs_photo), np.nan)
    return replace(evidence, rows=Frame(columns), photo=nothing[0], pairs_photo=nothing[1], photographs=None)


def clouds(ax: Axes) -> list[tuple[str, int]]:
    """The colour and the number of points of all that is scattered in a pair of axes."""
    found = [drawn for drawn in ax.collections if isinstance(drawn, PathCollection)]
    sizes = [len(np.asarray(drawn.get_offsets())) for drawn in found]
    colours = [to_hex(tuple(np.atleast_2d(np.asarray(drawn.get_facecolor()))[0].tolist())) for drawn in found]
    return list(zip(colours, sizes, strict=True))


def points(ax: Axes, face: str) -> int:
    return sum(size for colour, size in clouds(ax) if colour == to_hex(face))


def named(figure: Figure) -> set[str]:
    return {text.get_text() for ax in figure.axes for text in ax.texts}


def test_channels_are_drawn_by_verdict_before_all_pairs_and_the_decided_ones_are_named(evidence: Evidence) -> None:
    figure = evidence_figure(evidence)
    (ax,) = figure.axes
    assert {name: points(ax, style.face) for name, style in VERDICTS.items()} == {"yes": 2, "no": 3, "undecided": 2}
    assert named(figure) == {"0", "1"}
    assert max(size for _, size in clouds(ax)) == evidence.known_pairs.sum() == 56
    pairs, *channels = ax.collections
    assert all(pairs.get_zorder() < drawn.get_zorder() for drawn in channels)
    assert "standard deviations" in ax.get_ylabel()
    assert "own FZ" in ax.get_xlabel()


def test_verdicts_differ_in_lightness_alone() -> None:
    def lightness(colour: str) -> float:
        red, green, blue = (int(to_hex(colour)[place : place + 2], 16) / 255 for place in (1, 3, 5))
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    levels = sorted(lightness(style.face) for style in VERDICTS.values())
    assert min(np.diff(levels)) > 0.1


def test_the_caption_counts_channels_seeds_images_and_pairs(evidence: Evidence) -> None:
    said = evidence_caption(evidence)
    for part in (
        "7 of the 8 channels of 2.0, by FZs (1 seed: 0) and by photographs (24 images)",
        "Numbered: 2 that the seeds decide for: 0-1",
        "pale: 3 decided against; hollow: 2 undecided",
        "Diamonds: 4 that photographs alone call scale invariant",
        "56 pairs of one channel's I with another's B",
    ):
        assert part in said
    assert "Not shown" not in said
    unread = replace(evidence, photo=np.where(np.arange(8) == 4, np.nan, evidence.photo))
    assert "Not shown: 1 that too few images excite, or whose patches are not read" in evidence_caption(unread)


def test_many_pairs_are_thinned_and_still_counted(evidence: Evidence) -> None:
    random = np.random.default_rng(0)
    many = replace(evidence, pairs_fz=random.normal(size=9000), pairs_photo=random.normal(size=9000))
    (ax,) = evidence_figure(many).axes
    assert max(size for _, size in clouds(ax)) == DRAWN_PAIRS
    assert "9,000 pairs" in evidence_caption(many)
    assert "2,000 of them drawn" in evidence_caption(many)


def test_without_photographs_fzs_stand_alone_beside_their_pairs(evidence: Evidence) -> None:
    bare = without_photographs(evidence)
    figure = evidence_figure(bare)
    histogram, ax = figure.axes
    assert {name: points(ax, style.face) for name, style in VERDICTS.items()} == {"yes": 2, "no": 3, "undecided": 2}
    assert sum(bar.get_height() for bar in histogram.patches if isinstance(bar, Rectangle)) == pytest.approx(56, abs=2)
    assert named(figure) == {"0", "1"}
    assert "photograph" not in evidence_caption(bare)


def test_a_block_of_which_little_is_known_is_drawn_too(evidence: Evidence) -> None:
    for whole in (evidence, without_photographs(evidence)):
        for little in (replace(whole, fz=np.full(8, np.nan)), replace(whole, pairs_fz=np.full(56, np.nan))):
            assert picture("png", "made up", partial(evidence_figure, little))
            assert evidence_caption(little)


@pytest.mark.parametrize(("kind", "start"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")])
def test_a_figure_is_the_same_file_every_time(evidence: Evidence, kind: str, start: bytes) -> None:
    first, again = (picture(kind, "resnet18 · made up", lambda: evidence_figure(evidence)) for _ in range(2))
    assert first == again
    assert first.startswith(start)


def test_labels_of_neighbours_do_not_cover_each_other(evidence: Evidence) -> None:
    crowded = replace(of_verdicts(evidence, [0.50, 0.5, 0.1, -0.2, -0.1, 0.2, 0.3, 0.503]), photo=np.full(8, 1.0))
    figure = evidence_figure(crowded)
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(boxes) == 3
    assert not any(one.overlaps(other) for n, one in enumerate(boxes) for other in boxes[:n])
