"""`streamscope compare` on a real store of the demo model: two protocols, two seeds, and what is not there."""

from __future__ import annotations

import csv
import io
import json
import shlex
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from streamscope.core.engine.network import load_network
from streamscope.core.jobs.worker import run_job
from streamscope.core.model.blocks import VERDICT_TENSORS
from streamscope.core.model.recipe import SetKey
from streamscope.core.model.spec import ModelSpec
from streamscope.core.store import JobSpec, Marks, Store, create_job, marks_folder
from streamscope.tui.cli.main import main
from streamscope.tui.cli.two_sets import spread
from tests.support.command_line import Run
from tests.support.stores import model_files

CRITERIA = ("meets_mix", "meets_block", "meets_input", "scale_invariant")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Of 1.1, channels 0-5 in the paper's set and 2-7 in the centred one, 0-3 in that of seed 1; of 2.0 and 2.1, two
    channels in one of them each."""
    opened = Store.open(tmp_path_factory.mktemp("compare") / "cache", create=True)
    spec = ModelSpec("demo")
    network = load_network(spec, "cpu")
    opened.register(network.info)
    opened.remember(spec.text, network.info.fingerprint)
    paper, centred = (network.info.new_key(protocol=protocol, steps=6) for protocol in ("paper", "centred"))
    sets: dict[SetKey, dict[str, range]] = {
        replace(centred, seed=1): {"1.1": range(4)},
        paper: {"1.1": range(6), "2.1": range(2)},
        centred: {"1.1": range(2, 8), "2.0": range(2)},
    }
    for key, channels in sets.items():
        job = JobSpec.of_set(spec, key, channels, VERDICT_TENSORS, channels, "cpu")
        assert run_job(opened, create_job(opened, job), lambda event: None, network) == 0
    return opened


@pytest.fixture
def run(store: Store, capsys: pytest.CaptureFixture[str]) -> Run:
    return Run(store.root, capsys, ("--device", "cpu"))


def rows(run: Run, *options: object) -> dict[int, dict[str, Any]]:
    """The table's rows of channels 2-5 of 1.1."""
    found = json.loads(run("table", "--block", "1.1", "--channels", "2-5", "--json", *options)[1])
    return {row["channel"]: row for row in found}


def flips(before: dict[int, dict[str, Any]], after: dict[int, dict[str, Any]], name: str) -> tuple[int, int]:
    pairs = [(before[channel][name], after[channel][name]) for channel in before]
    return pairs.count((False, True)), pairs.count((True, False))


def test_two_protocols_are_put_side_by_side_over_the_channels_of_both(run: Run) -> None:
    code, out, err = run("compare", "--protocol", "paper", "centred", "--json")
    assert (code, err) == (0, [])
    found = json.loads(out)
    assert (found["model"], found["differ"], found["attribution"], found["moves"]) == ("demo", "protocol", [], [])
    assert [found["sets"][side]["protocol"] for side in ("before", "after")] == ["paper", "centred"]
    # 2.0 and 2.1 are in one set each.
    [block] = found["blocks"]
    assert (block["block"], block["channels"]) == ("1.1", 4)

    paper, centred = rows(run, "--protocol", "paper"), rows(run, "--protocol", "centred", "--seed", 0)
    for name in CRITERIA:
        assert (block["criteria"][name]["gained"], block["criteria"][name]["lost"]) == flips(paper, centred, name)
        assert block["criteria"][name]["after"] == sum(row[name] is True for row in centred.values())
    kinds = [(paper[channel]["update"], centred[channel]["update"]) for channel in paper]
    for one, counts in block["update"]["transitions"].items():
        assert counts == {other: kinds.count((one, other)) for other in counts}

    def differs(channel: int, name: str) -> bool:
        values = paper[channel][name], centred[channel][name]
        return None not in values and values[0] != values[1]

    changed = [c for c in paper if differs(c, "update") or differs(c, "scale_invariant")]
    assert [change["channel"] for change in found["channels"]] == changed
    for change in found["channels"]:
        assert change["before"]["mix_ratio"] == paper[change["channel"]]["mix_ratio"]
        assert change["after"]["mix_ratio"] == centred[change["channel"]]["mix_ratio"]


def test_the_table_names_both_sets_and_shows_every_block(run: Run) -> None:
    code, out, _ = run("compare", "--protocol", "paper", "centred")
    lines = [line.rstrip() for line in out.splitlines()]
    assert code == 0
    assert lines[0] == "protocol paper: demo recipe, 6 steps, seed 0, capture exact"
    assert lines[1] == "protocol centred: centred recipe, 6 steps, seed 0, capture exact, protocol centred"
    assert lines[3].split("  ")[0] == "block 1.1, 4 channels"
    labels = ("median M", "overwrite", "mix", "skip", "another update", *("(2) mix", "(3) block", "(4) input"))
    for label in (*labels, "scale invariant", "scale metric"):
        assert any(line.startswith(label) for line in lines), label
    assert any("kappa" in line for line in lines)
    assert any("Jaccard" in line for line in lines)


def test_the_other_way_round_gains_are_losses(run: Run) -> None:
    [there] = json.loads(run("compare", "--protocol", "paper", "centred", "--json")[1])["blocks"]
    [back] = json.loads(run("compare", "--protocol", "centred", "paper", "--json")[1])["blocks"]
    for name in CRITERIA:
        one, other = there["criteria"][name], back["criteria"][name]
        assert (one["gained"], one["lost"], one["jaccard"]) == (other["lost"], other["gained"], other["jaccard"])
    assert there["update"]["kappa"] == back["update"]["kappa"]


def test_two_seeds_are_compared_alike_wherever_the_protocol_is_said(run: Run, store: Store) -> None:
    seeds = ("compare", "--seed", "0", "1")
    for words in ((*seeds, "--protocol", "centred"), ("--protocol", "centred", *seeds)):
        code, out, err = run(*words, "--json")
        assert (code, err) == (0, [])
        found = json.loads(out)
        assert [found["sets"][side]["seed"] for side in ("before", "after")] == [0, 1]
        assert [(block["block"], block["channels"]) for block in found["blocks"]] == [("1.1", 2)]
    # Of the paper's protocol no other seed is stored, so that there is one pair only.
    assert json.loads(run(*seeds, "--json")[1]) == found


def test_a_file_is_written_with_what_it_is_of(run: Run, tmp_path: Path) -> None:
    code, out, err = run("compare", "--protocol", "paper", "centred", "--out", tmp_path / "changes.csv")
    assert (code, out) == (0, "")
    assert err == [f"wrote csv of 4 compared channels to {tmp_path / 'changes.csv'}"]
    written = (tmp_path / "changes.csv").read_text()
    assert run("compare", "--protocol", "paper", "centred", "--format", "csv")[1] == written
    listed = json.loads(run("compare", "--protocol", "paper", "centred", "--json")[1])["channels"]
    found = list(csv.DictReader(io.StringIO(written)))
    assert [int(row["channel"]) for row in found] == [change["channel"] for change in listed]
    assert [row["flipped"] for row in found] == [";".join(change["flipped"]) for change in listed]
    assert {row["by"] for row in found} <= {""}
    meta = json.loads((tmp_path / "changes.csv.meta.json").read_text())
    assert (meta["differ"], meta["format"], meta["sets"]["after"]["protocol"]) == ("protocol", "csv", "centred")
    assert run("compare", "--protocol", "paper", "centred", "--out", tmp_path / "all.json")[0] == 0
    assert json.loads((tmp_path / "all.json").read_text())["channels"] == listed


def test_channels_are_selected_as_elsewhere_by_the_first_set(run: Run, store: Store) -> None:
    def channels(*options: object) -> int:
        [block] = json.loads(run("compare", "--protocol", "paper", "centred", *options, "--json")[1])["blocks"]
        count: int = block["channels"]
        return count

    assert channels("--block", "1.1", "--channels", "0-3") == 2
    assert channels("--filter", "channel > 2") == 3
    lowest, second, *_ = sorted(row["mix_ratio"] for row in rows(run, "--protocol", "paper").values())
    assert lowest < second
    assert channels("--filter", f"mix_ratio > {(lowest + second) / 2}") == 3
    info = store.models()[0]
    Marks(marks_folder(), info.identity, info.name).mark("1.1", [4, 7], "keep")
    assert channels("--marked") == 1


def chain(found: dict[str, Any]) -> list[str]:
    """The names of the steps of 1.1, of which each begins where the one before ends."""
    [attribution] = found["attribution"]
    steps = attribution["steps"]
    [block] = found["blocks"]
    for name in CRITERIA:
        criteria = [step["criteria"][name] for step in steps]
        assert criteria[0]["before"] == block["criteria"][name]["before"]
        assert criteria[-1]["after"] == block["criteria"][name]["after"]
        assert all(one["after"] == other["before"] for one, other in pairwise(criteria))
    return [" and ".join(step["changes"]) for step in steps]


def test_what_differs_is_attributed_one_change_at_a_time(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = Store.open(Path(shutil.copytree(store.root, tmp_path / "cache")))
    run = Run(copy.root, capsys, ("--device", "cpu"))
    before = model_files(copy)
    wanted = ("compare", "--protocol", "paper", "centred", "--attribute")
    code, out, err = run(*wanted, "--json")
    found = json.loads(out)
    assert code == 0
    assert chain(found) == ["jitter and recipe", "centre", "kernel"]
    assert [(move["protocol"], move["pixels"]) for move in found["moves"]] == [
        ("paper", 0.5),
        ("paper", -0.5),
        ("centred", 0.5),
        ("centred", -0.5),
    ]
    # M is not read anew: by half a pixel it cannot change.
    assert all(move["criteria"]["meets_mix"]["jaccard"] in (1, None) for move in found["moves"])
    assert found["channels"]
    assert all(change["by"] for change in found["channels"])
    assert model_files(copy) == before

    # One line says how jitter and recipe are told apart; that command does it.
    [line] = err
    assert line.startswith("streamscope: jitter and recipe are attributed together; run 'streamscope --model demo")
    words = shlex.split(line.split("'")[1])
    assert words[words.index("compute") :] == [
        *("compute", "--block", "1.1", "--channels", "2-5", "--recipe", "paper", "--steps", "6")
    ]
    assert main([*words[1:], "--device", "cpu"]) == 0
    code, out, err = run(*wanted, "--json")
    assert chain(json.loads(out)) == ["jitter", "recipe", "centre", "kernel"]
    # There are two centred sets now, of which the one with its own recipe is meant.
    [line] = err
    assert "of 2 pairs of stored sets" in line

    code, out, _ = run(*wanted)
    assert code == 0
    lines = out.splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("block 1.1, paper to centred"))
    names = [line.split("  ")[0] for line in lines[start + 1 : start + 9]]
    moves = ["c +0.5 px, paper", "c -0.5 px, paper", "c +0.5 px, centred", "c -0.5 px, centred"]
    assert names == ["jitter", "recipe", "centre", "kernel", *moves]
    # Each side may be told its own steps.
    assert run(*wanted, "--steps", "6", "6", "--json")[1] == run(*wanted, "--json")[1]
    # Told the paper's recipe, the two protocols have the same one.
    found = json.loads(run(*wanted, "--recipe", "paper", "--json")[1])
    assert chain(found) == ["jitter", "centre", "kernel"]


WRONG = [
    (["compare"], 2, "give one of --protocol, --recipe, --steps, --seed, --capture two values"),
    (["compare", "--protocol", "paper"], 2, "two values, such as --protocol paper centred"),
    (
        ["compare", "--protocol", "paper", "centred", "--seed", "0", "1"],
        2,
        "--protocol and --seed have two values",
    ),
    (["compare", "--protocol", "paper", "centred", "--steps", "6", "8", "9"], 2, "--steps 6 8 9: give one number for"),
    (["compare", "--protocol", "paper", "centred", "--steps", "6", "8"], 1, "compute --steps 8' first"),
    (["compare", "--seed", "0", "0"], 2, "--seed 0 0: give two different values"),
    (["compare", "--seed", "0", "1", "2"], 2, "--seed 0 1 2: give two different values"),
    (["compare", "--protocol", "paper", "new"], 2, "'new' is not one of"),
    (["compare", "--seed", "0", "x"], 2, "'x' is not a valid integer"),
    (["compare", "--seed", "0", "1", "--attribute"], 2, "--attribute is about two protocols"),
    (["compare", "--protocol", "paper", "centred", "--block", "7.7"], 2, "unknown block '7.7'"),
    (
        ["compare", "--protocol", "paper", "centred", "--format", "table", "--out", "x.csv"],
        2,
        "--out writes csv or json",
    ),
    (["compare", "--protocol", "paper", "centred", "--filter", "mix_ratio > 5"], 2, "no channel is selected"),
    (["compare", "--steps", "6", "8"], 1, "no set is stored of steps 8 to compare with centred recipe, 6 steps"),
    (["compare", "--capture", "exact", "lucent"], 1, "compute --steps 6 --capture lucent' first"),
    (
        ["compare", "--protocol", "paper", "centred", "--seed", "1", "--block", "1.1", "--channels", "0-3"],
        1,
        "no set is stored of protocol paper to compare with centred recipe, 6 steps, seed 1, capture exact, "
        "protocol centred; run 'streamscope --model demo --cache CACHE compute --block 1.1 --channels 0-3 "
        "--protocol paper --seed 1' first",
    ),
    (
        ["compare", "--protocol", "paper", "centred", "--seed", "7"],
        1,
        "nothing is stored of demo with protocol paper, seed 7",
    ),
    (["compare", "--seed", "7", "8", "--block", "2.1"], 1, "compute --block 2.1 --seed 7' first"),
    (
        ["compare", "--protocol", "paper", "centred", "--block", "2.1"],
        1,
        "the two sets have no channel of 2.1 in common; run 'streamscope --model demo --cache CACHE compute "
        "--block 2.1 --channels 0-1 --steps 6' first",
    ),
    (
        ["compare", "--protocol", "paper", "centred", "--block", "1.1", "--block", "2.0"],
        1,
        "compute --block 2.0 --channels 0-1 --protocol paper --steps 6' first",
    ),
    (
        ["compare", "--protocol", "paper", "centred", "--block", "1.1", "--channels", "6-7"],
        1,
        "compute --block 1.1 --channels 6-7 --protocol paper --steps 6' first",
    ),
    (
        ["compare", "--protocol", "paper", "centred", "--block", "3.0"],
        1,
        "the two sets have no channel of 3.0 in common",
    ),
]


@pytest.mark.parametrize(("arguments", "code", "message"), WRONG, ids=[" ".join(w[0]) for w in WRONG])
def test_what_cannot_be_compared_is_one_clear_line(
    arguments: list[str], code: int, message: str, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    before = model_files(store)
    assert main(["--model", "demo", "--cache", str(store.root), *arguments]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    [line] = captured.err.splitlines()
    assert message in line.replace(str(store.root), "CACHE")
    assert model_files(store) == before


def test_nothing_stored_at_all_names_the_command_that_begins(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["compare", "--model", "demo", "--cache", str(tmp_path), "--protocol", "paper", "centred"]
    assert main(arguments) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert "nothing is stored of demo with protocol paper" in line
    assert line.endswith("compute --protocol paper' first")


def test_what_is_stored_is_compared_without_torch(run: Run) -> None:
    code, out, err = run.without_torch("compare", "--protocol", "paper", "centred")
    assert (code, "block 1.1" in out) == (0, True), err


SPREAD = [
    ("--protocol paper centred --block 2.1", "--protocol paper --protocol centred --block 2.1"),
    ("--seed 0 1 --json", "--seed 0 --seed 1 --json"),
    ("--seed 0 --seed 1", "--seed 0 --seed 1"),
    ("--block 2.1 2.0 --steps 4 8 16", "--block 2.1 2.0 --steps 4 --steps 8 --steps 16"),
    ("--seed --json", "--seed --json"),
    ("--seed", "--seed"),
    ("", ""),
]


@pytest.mark.parametrize(("given", "read"), SPREAD)
def test_further_values_belong_to_the_option_before_them(given: str, read: str) -> None:
    assert spread(given.split()) == read.split()
