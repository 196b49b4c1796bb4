"""`streamscope ablate` on the demo model and its images, from nothing to a stored result."""

import json
import re
import shutil
from pathlib import Path

import pytest

from streamscope.core.engine.network import load_network
from streamscope.core.measures.matching import shared
from streamscope.core.model.demo import write_images
from streamscope.core.model.recipe import SetKey
from streamscope.core.model.spec import ModelSpec
from streamscope.core.store import Store
from tests.support.app_store import commit_measures
from tests.support.command_line import Run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ablate") / "images"
    write_images(path, 2, seed=3)
    return path


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    return Run(tmp_path / "cache", capsys)


def test_ablation_of_given_channels_needs_no_set_and_is_stored(run: Run, folder: Path, tmp_path: Path) -> None:
    given = (folder, "--block", "2.1", "--channels", "0-2", "--controls", 3, "--zooms", "1,1.5")
    code, out, err = run("ablate", *given, "--json")
    assert (code, err) == (0, [])
    (told,) = json.loads(out)
    assert told["channels"] == [0, 1, 2]
    assert [zoom["true_zoom"] for zoom in told["zooms"]] == [1.0, 2.0]
    assert len(told["controls"]["sets"]) == 3
    store = Store.open(tmp_path / "cache")
    (info,) = store.models()
    (stored,) = store.ablations(info)
    assert told.pop("files") == {"found": 20, "read": 20, "skipped": {}, "traits": {}}
    assert json.loads(json.dumps(stored.to_json())) == told
    code, out, _ = run("ablate", *given)
    assert code == 0
    assert "channels 0-2 (--channels 0-2) at their means; 20 images of 10 classes" in out
    assert "2.00" in out
    assert len(store.ablations(info)) == 1


def test_an_untrained_copy_classifies_the_folders_of_its_original(run: Run, folder: Path, tmp_path: Path) -> None:
    """Few of its answers are right, so that some ratios have no upper end."""
    given = (folder, "--block", "2.1", "--channels", "0-2", "--controls", 3, "--zooms", "1,1.5")
    code, out, err = run("ablate", *given, model="demo-untrained-0")
    assert (code, err) == (0, [])
    assert "20 images of 10 classes" in out
    assert "nan" not in out
    store = Store.open(tmp_path / "cache")
    (info,) = store.models()
    (stored,) = store.ablations(info)
    assert (info.name, stored.zooms[0].intact.n) == ("demo-untrained-0", 20)
    some = tmp_path / "some"
    for label in ("disc", "ring"):
        shutil.copytree(folder / label, some / label)
    code, out, err = run("ablate", some, *given[1:], model="demo-untrained-0")
    assert (code, err) == (0, [])
    assert "4 images of 2 classes" in out


def test_control_sets_that_are_nearly_one_are_not_counted(run: Run, folder: Path) -> None:
    given = ("--block", "2.1", "--zooms", "1")
    code, out, _ = run("ablate", folder, *given, "--channels", "0-15")
    assert code == 0
    assert "The caliper leaves too few channels for 10 different control sets; there are fewer." in out
    assert "There is one control set only" in out
    # Only of the random ones, which are the same set here.
    assert len(re.findall(r" [01]/1\n", out)) == 1
    assert "random sets" in out
    code, out, _ = run("ablate", folder, *given, "--channels", "10,11,13", "--controls", 2, "--json")
    (told,) = json.loads(out)
    assert told["matching"]["overlap"] == pytest.approx(shared(told["controls"]["sets"]))
    assert 1 <= told["matching"]["independent"] <= 2
    assert len(told["random"]["sets"]) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "name a block"),
        (("--block", "2.1", "--channels", "0", "--zooms", "1,x"), "malformed zooms"),
        (("--block", "2.1", "--channels", "0", "--zooms", "2"), "makes no sense"),
        (("--block", "2.1", "--channels", "0-20"), "choose fewer channels"),
        (("--block", "2.1", "--channels", "99"), "out of range"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(
    run: Run, folder: Path, arguments: tuple[str, ...], message: str
) -> None:
    code, out, err = run("ablate", folder, *arguments)
    assert (code, out, len(err)) == (2, "", 1)
    assert message in err[0]


def test_a_folder_without_classes_is_refused(run: Run, folder: Path) -> None:
    code, _, err = run("ablate", folder / "disc", "--block", "2.1", "--channels", "0")
    assert code == 2
    assert "have no class" in err[0]


def test_the_scale_invariant_channels_of_the_stored_set_are_chosen_where_none_are_named(
    run: Run, folder: Path, tmp_path: Path
) -> None:
    store = Store.open(tmp_path / "cache", create=True)
    info = load_network(ModelSpec("demo"), "cpu").info
    fzset = store.set(info, SetKey(info.recipe("paper")), create=True)
    commit_measures(fzset, "2.0", range(32), [4.0] * 32)
    # Of made-up measures with M = 1 some meet the other two criteria; six channels are few enough to have controls.
    commit_measures(fzset, "2.1", range(6), [1.0] * 32)
    code, _, err = run("ablate", folder, "--block", "2.0")
    assert code == 2
    assert err == [
        "streamscope: none of the 32 measured channels of 2.0 is scale invariant; "
        "choose channels with --channels, --filter or --marked"
    ]
    code, out, _ = run("ablate", folder, "--block", "2.1", "--controls", 2, "--zooms", "1", "--json")
    assert code == 0
    (told,) = json.loads(out)
    assert (told["selected"], told["fzset"]) == ("scale_invariant", fzset.key.folder)
    assert 1 <= len(told["channels"]) <= 6
    code, out, _ = run(
        "ablate", folder, "--block", "2.1", "--filter", "scale_invariant", "--controls", 2, "--zooms", 1, "--json"
    )
    assert json.loads(out)[0]["channels"] == told["channels"]
    assert json.loads(out)[0]["selected"] == "--filter 'scale_invariant'"
