"""`streamscope photographs` on real scans of the demo model and of an untrained copy of it."""

import json
import shutil
from pathlib import Path

import pytest

from streamscope.core.engine.network import load_network
from streamscope.core.jobs.worker import run_job
from streamscope.core.model.demo import write_images
from streamscope.core.model.spec import ModelSpec
from streamscope.core.store import JobSpec, Store, create_job
from tests.support.command_line import Run


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a scan by the demo, and FZs of six channels of 1.1."""
    folder = tmp_path_factory.mktemp("photographs")
    write_images(folder / "shapes", per_class=2, seed=0)
    opened = Store.open(folder / "cache", create=True)
    network = load_network(ModelSpec("demo"), "cpu")
    opened.register(network.info)
    opened.remember(ModelSpec("demo").text, network.info.fingerprint)
    channels = {"1.1": tuple(range(6))}
    spec = JobSpec("demo", device="cpu", steps=4, blocks=("1.1",), tensors=("in", "block"), channels=channels)
    assert run_job(opened, create_job(opened, spec), lambda event: None, network) == 0
    return folder


@pytest.fixture
def run(root: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    return Run(root / "cache", capsys, ("--device", "cpu"))


def test_without_a_scan_or_its_patches_one_line_says_what_to_do(run: Run, root: Path) -> None:
    code, out, err = run("photographs", "--block", "1.1")
    assert (code, out, len(err)) == (1, "", 1)
    assert "there is no finished scan by demo" in err[0]
    assert "scan IMAGES' first" in err[0]
    assert run("scan", root / "shapes", "--workers", 1)[0] == 0
    code, _, err = run("photographs", "--block", "1.1", "--images", "/no/such")
    assert (code, "/no/such has no finished scan by demo" in err[0]) == (1, True)
    (patches,) = (root / "cache").glob("models/*/scans/*/patches")
    shutil.move(patches, root / "aside")
    code, _, err = run("photographs", "--block", "1.1")
    shutil.move(root / "aside", patches)
    assert (code, len(err)) == (1, 1)
    assert "is of an earlier release and kept no patches; run 'streamscope --model demo" in err[0]
    assert run("photographs", "--block", "7.7")[0] == 2
    code, _, err = run.without_torch("photographs", "--model", "resnet50", model=None)
    assert (code, len(err)) == (1, 1)
    assert "no images were scanned by resnet50 in" in err[0]
    assert "run 'streamscope --model resnet50 " in err[0]


def test_a_block_is_read_once_and_summarised_beside_its_nulls(run: Run, root: Path) -> None:
    assert run("scan", root / "shapes", "--workers", 1)[0] == 0
    code, out, err = run("photographs", "--block", "1.1", "--json")
    (found,) = json.loads(out)
    assert (code, err) == (0, [])
    assert (found["block"], found["larger"]["against_pairs"]["n"] >= found["channels"] > 8) == ("1.1", True)
    for way in ("larger", "smaller"):
        assert found[way]["low"] < found[way]["mean"] < found[way]["high"]
        assert found[way]["against_pairs"]["expected"] > 0
    assert found["both_pairs"]["k"] <= min(found[way]["against_pairs"]["k"] for way in ("larger", "smaller"))
    assert found["invariant"] <= found["both_pairs"]["k"]
    agreement = found["fz"]["scale_invariant"]
    assert agreement["n"] == sum(agreement[name] for name in ("both", "fz_only", "photo_only", "neither")) <= 6
    files = {path: path.stat().st_mtime_ns for path in root.rglob("*.safetensors")}
    code, out, err = run.without_torch("photographs", "--block", "1.1")
    assert (code, err) == (0, [])
    assert f"block 1.1: {found['channels']} channels" in out
    assert "all other channels (pairs)" in out
    assert "scale invariant by FZs: " in out
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*.safetensors")} == files
    assert run("cache", "verify")[:2] == (0, "everything is intact\n")
    code, out, _ = run("table", "--block", "1.1", "--columns", "channel,photo_images,photo_invariant", "--json")
    rows = json.loads(out)
    assert sum(row["photo_invariant"] is True for row in rows) == found["invariant"]
    where = "photo_invariant == true"
    filtered = json.loads(run("table", "--block", "1.1", "--filter", where, "--json")[1])
    assert len(filtered) == found["invariant"]


def test_an_untrained_copy_is_read_alike_without_an_fz(run: Run, root: Path) -> None:
    copy = "demo-untrained-0"
    assert run("scan", root / "shapes", "--workers", 1, "--model", copy, model=None)[0] == 0
    code, out, _ = run("photographs", "--block", "1.1", "--model", copy, "--json", model=None)
    (found,) = json.loads(out)
    assert code == 0
    assert found["fz"] == {}
    assert found["larger"]["against_pairs"]["n"] > 0
