"""`streamscope evidence`: a block's table, one channel's card, the figure as a file, and what is said to be missing."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from streamscope.core.analysis.evidence import TESTS
from streamscope.core.model.recipe import Recipe, SetKey
from streamscope.core.store import Store
from streamscope.core.store.ablations import write_ablation
from streamscope.core.table.frame import build_frame
from tests.support.app_store import fill, make_info, open_store
from tests.support.command_line import Run
from tests.support.photographs import commit_made_up, with_centres
from tests.support.report_store import made_up_ablation, other_set
from tests.support.scans import write_scan

KEY = SetKey(Recipe(steps=2560))
BLOCK = "2.0"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    info = with_centres(make_info())
    found = open_store(tmp_path / "cache", info)
    fill(found, info, [BLOCK])
    return found


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    return Run(tmp_path / "cache", capsys, ("--seed", "0"))


def photograph(store: Store, tmp_path: Path) -> None:
    info = with_centres(make_info())
    other_set(store, info, replace(KEY, seed=1), [BLOCK])
    commit_made_up(write_scan(store, info, tmp_path / "images"), BLOCK, range(8))


def test_a_block_is_a_row_a_channel_by_verdict(run: Run, store: Store, tmp_path: Path) -> None:
    photograph(store, tmp_path)
    code, out, _ = run("evidence", "--block", BLOCK, "--json", model=None)
    assert code == 0
    told = json.loads(out)
    assert (told["block"], told["seeds"], told["images"], told["pairs"]) == (BLOCK, [0, 1], 24, 56)
    channels = told["channels"]
    assert sorted(row["channel"] for row in channels) == list(range(8))
    order = ["yes", "undecided", "no", None]
    ranks = [order.index(row["verdict"]) for row in channels]
    assert ranks == sorted(ranks)
    info = with_centres(make_info())
    frame = build_frame(info, store.set(info, KEY), [BLOCK], None, store.choose_scan(info))
    for row in channels:
        assert row["photo_evidence"] == pytest.approx(
            min(frame["photo_block_larger"][row["channel"]], frame["photo_in_smaller"][row["channel"]]), rel=1e-4
        )
        assert row["photo_invariant"] == bool(frame["photo_invariant"][row["channel"]])
        assert 0 <= row["fz_above_pairs"] <= 1
        assert set(row["for"]) | set(row["against"]) <= set(TESTS)
    code, out, _ = run("evidence", "--block", BLOCK, model=None)
    assert code == 0
    lines = out.splitlines()
    assert [int(line.split()[0]) for line in lines[1:9]] == [row["channel"] for row in channels]
    assert "by seeds 0, 1; 24 images scanned" in out
    assert "by FZs and by photographs" in out


def test_one_channel_is_a_card(run: Run, store: Store, tmp_path: Path) -> None:
    photograph(store, tmp_path)
    code, out, _ = run("evidence", "--block", BLOCK, "--channel", 2, model=None)
    assert code == 0
    for said in (
        "channel 2",
        "(2) M",
        "B prefers I's patches larger",
        "p against mates",
        "seed 1",
        "robust",
        "against:",
    ):
        assert said in out
    assert "no ablation of 2.0 has channel 2 among those ablated: run 'streamscope" in out
    code, out, _ = run("evidence", "--block", BLOCK, "--channel", 2, "--json", model=None)
    told = json.loads(out)
    assert (code, told["channel"], told["block"]) == (0, 2, BLOCK)
    assert {finding["topic"] for finding in told["findings"]} == {"FZs", "seeds", "photographs", "MEIs"}
    assert {"photo B", "photo I"} <= set(told["for"])
    assert all(finding["speaks"] in ("for", "against", "") for finding in told["findings"])


@pytest.mark.parametrize(("ending", "start"), [("png", b"\x89PNG"), ("PDF", b"%PDF"), ("svg", b"<?xml")])
def test_the_figure_is_a_file_with_what_it_was_made_from_beside_it(
    run: Run, store: Store, tmp_path: Path, ending: str, start: bytes
) -> None:
    photograph(store, tmp_path)
    out = tmp_path / f"figure.{ending}"
    code, said, err = run("evidence", "--block", BLOCK, "--out", out, model=None)
    assert code == 0
    assert out.read_bytes().startswith(start)
    meta = json.loads((tmp_path / f"figure.{ending}.meta.json").read_text())
    assert (meta["block"], meta["seeds"], meta["format"]) == (BLOCK, [0, 1], ending.lower())
    assert meta["caption"] == said.strip()
    assert "56 pairs" in said
    assert err[-1] == f"wrote the evidence of 8 channels to {out}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--out", "figure.jpg"), "cannot draw figure.jpg: the figure is a png, svg or pdf; let FILE end so"),
        (("--out", "figure"), "cannot draw figure: the figure is a png, svg or pdf"),
        (("--out", "figure.png", "--channel", "1"), "--out draws the whole block; leave out --channel"),
        (("--channel", "8"), "channel 8 is out of range; block 2.0 has channels 0-7"),
        (("--out", "missing/figure.png"), "there is no folder missing; make it first"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(
    run: Run, store: Store, arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = run("evidence", "--block", BLOCK, *arguments, model=None)
    assert (code, len(err)) == (2, 1)
    assert message in err[0]
    assert not list(tmp_path.glob("figure*"))


def test_a_block_that_is_not_computed_is_said_with_the_command_that_does(run: Run, store: Store) -> None:
    code, out, err = run("evidence", "--block", "1.1", model=None)
    assert (code, out) == (1, "")
    assert "no channel of 1.1 is computed" in err[0]
    assert "compute --block 1.1" in err[0]
    code, _, err = run("evidence", "--block", "9.9", model=None)
    assert code == 2
    assert "unknown block" in err[0]


def test_what_is_not_stored_is_said_with_how_to_make_it(run: Run, store: Store, tmp_path: Path) -> None:
    code, out, _ = run("evidence", "--block", BLOCK, "--json", model=None)
    assert code == 0
    lacking = " ".join(json.loads(out)["lacking"])
    for said in (
        "only one FZ seed is stored: run 'streamscope",
        "compute --decide --block 2.0",
        "no nulls stored for 2.0 (q against pairs, sham transforms): run 'streamscope",
        "nulls --block 2.0",
        "--pairs --shams'",
        "no images have been scanned",
        "no ablation of 2.0 is stored",
    ):
        assert said in lacking
    info = with_centres(make_info())
    write_scan(store, info, tmp_path / "images")
    lacking = " ".join(json.loads(run("evidence", "--block", BLOCK, "--json", model=None)[1])["lacking"])
    assert "no photographs of 2.0 are read: run 'streamscope" in lacking
    assert "photographs --block 2.0" in lacking
    models = store.folder(info)
    assert models is not None
    write_ablation(models, made_up_ablation(info, BLOCK, store.set(info, KEY)))
    lacking = " ".join(json.loads(run("evidence", "--block", BLOCK, "--json", model=None)[1])["lacking"])
    assert "ablation" not in lacking
    card = json.loads(run("evidence", "--block", BLOCK, "--channel", 1, "--json", model=None)[1])
    assert "ablation" in {finding["topic"] for finding in card["findings"]}


def test_it_runs_without_torch_and_draws_without_photographs(run: Run, store: Store, tmp_path: Path) -> None:
    code, out, _ = run.without_torch("evidence", "--block", BLOCK, "--out", tmp_path / "strip.png", model=None)
    assert code == 0
    assert "photograph" not in out
    assert (tmp_path / "strip.png").read_bytes().startswith(b"\x89PNG")
