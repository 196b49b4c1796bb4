"""`--capture lucent`: FZs at the aliased tensor, in a set of its own, measured at the exact tensors all the same."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
import torch

from streamscope.core.analysis.comparison import compare_sets
from streamscope.core.analysis.set_pairs import comparable_sets
from streamscope.core.engine.fourier import from_8_bit
from streamscope.core.engine.network import load_network
from streamscope.core.model.spec import ModelSpec
from streamscope.core.store import Store
from streamscope.core.table.frame import build_frame
from streamscope.tui.cli.main import main
from tests.support.optional import present

WHICH = ("--block", "2.1", "--channels", "0-2", "--steps", "6")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cache = tmp_path_factory.mktemp("capture") / "cache"
    common = ("--model", "demo", "--cache", str(cache), "--device", "cpu", "--tensor", "in,block", *WHICH)
    for more in ((), ("--capture", "lucent"), ("--seed", "1")):
        assert main(["compute", *common, *more]) == 0
    return cache


def test_only_block_fzs_differ_and_they_are_what_excites_the_output(root: Path) -> None:
    network = load_network(ModelSpec("demo"), "cpu")
    info, store = network.info, Store.open(root)
    exact = present(store.choose_set(info, seed=0, capture="exact"))
    lucent = present(store.choose_set(info, seed=0, capture="lucent"))
    assert exact.path != lucent.path
    for channel in range(3):
        first, second = (fzset.fz_image(info.source("2.1", "in"), channel) for fzset in (exact, lucent))
        assert np.array_equal(first, second)
    target = info.source("2.1", "block")
    images = np.stack([lucent.fz_image(target, channel) for channel in range(3)])
    assert not np.array_equal(images[0], exact.fz_image(target, 0))
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (info.mean, info.std))
    tensors = network.stream.read_block((from_8_bit(images) - mean) / std, "2.1")
    records = lucent.fzs(target)
    own = np.arange(3)
    found = [records[channel].activation for channel in range(3)]
    assert found == pytest.approx(tensors.centre("out")[own, own].tolist(), rel=1e-4, abs=1e-4)
    measured = present(lucent.own("2.1", "block")).plain
    for axis, name in enumerate(("in", "block", "pre")):
        assert measured[:, axis] == pytest.approx(tensors.centre(name)[own, own].tolist(), rel=1e-4, abs=1e-4)


def test_the_table_reads_the_set_that_is_named(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    for given, expected in ((("--capture", "lucent"), "lucent"), (("--capture", "exact", "--seed", "0"), "exact")):
        arguments = ["table", "--model", "demo", "--cache", str(root), *WHICH, "--format", "csv", *given]
        assert main(arguments) == 0
        rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
        assert {row["capture"] for row in rows} == {expected}
        assert all(row["mix_ratio"] or row["status"].startswith("undefined") for row in rows)


def test_what_lucents_tensor_changes_is_counted_beside_what_a_seed_changes(root: Path) -> None:
    store = Store.open(root)
    (info,) = store.models()
    exact = present(store.choose_set(info, seed=0, capture="exact"))
    pairs = comparable_sets(store.sets(info), exact)
    assert [pair.differ for pair in pairs] == ["capture", "seed"]
    frames = [build_frame(info, s, ["2.1"]) for s in (exact, *(pair.second for pair in pairs))]
    for other in frames[1:]:
        (change,) = compare_sets(frames[0], other)
        kinds, others = frames[0]["update"], other["update"]
        both = (kinds != "") & (others != "")
        assert change.update.n == both.sum() > 0
        assert change.update.k == (kinds != others)[both].sum()
    (same,) = compare_sets(frames[0], frames[0])
    assert (same.update.k, same.verdict.k, same.median_shift) == (0, 0, 0.0)
