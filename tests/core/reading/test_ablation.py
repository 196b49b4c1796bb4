"""Ablation: classes of folders, matched controls, ratios with intervals, and accuracies against a hooked network."""

import copy
import dataclasses
import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from streamscope.core.analysis.ablation import controls_text
from streamscope.core.engine.network import Network, load_network
from streamscope.core.errors import ClassifierError, ClassNamesError, DamageError, UsageError
from streamscope.core.images.folder import Preparation, find_images, read_image
from streamscope.core.measures.ablation import (
    RESAMPLES,
    AblationRequest,
    crop_side,
    zoom_result,
)
from streamscope.core.measures.matching import Balance
from streamscope.core.model.classes import match_classes, read_class_names
from streamscope.core.model.demo import CLASSES, write_images
from streamscope.core.model.spec import ModelSpec
from streamscope.core.reading.ablation import ablate, zoom_in
from streamscope.core.store import Store, verify
from streamscope.core.store.ablations import Ablation, Controls, read_ablation, write_ablation
from tests.support.optional import present

NAMES = ("tench", "great white shark", "cardigan", "Cardigan")


@pytest.fixture(scope="module")
def network() -> Network:
    return load_network(ModelSpec("demo"), "cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ablation") / "images"
    write_images(path, 3, seed=5)
    return path


@pytest.fixture(scope="module")
def result(network: Network, folder: Path) -> Ablation:
    request = AblationRequest("2.1", (13, 10, 11), "--channels 10,11,13", controls=2, zooms=(1.0, 1.5), seed=1)
    return ablate(network, folder, request)


def test_folders_are_classes_by_name_index_or_a_whole_set_of_wordnet_ids() -> None:
    assert match_classes(["tench", "Great_White_Shark"], NAMES, 4) == {"tench": 0, "Great_White_Shark": 1}
    assert match_classes(["cardigan", "Cardigan"], NAMES, 4) == {"cardigan": 2, "Cardigan": 3}
    assert match_classes(["3", "0", "0"], NAMES, 4) == {"3": 3, "0": 0}
    ids = ["n01440764", "n00000001", "n02000000", "n03000000"]
    assert match_classes(ids, NAMES, 4) == {"n00000001": 0, "n01440764": 1, "n02000000": 2, "n03000000": 3}


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["", "tench"], "have no class"),
        (["tench", "trout"], "folder 'trout' is no class of this model"),
        (["CARDIGAN"], "may be any of the classes 2, 3"),
        (["4"], "classes 0-3"),
        (["n01440764", "n00000001"], "2 folders named by WordNet id, but the model has 4 classes"),
        (["n01440764", "tench"], "folder 'n01440764' is no class"),
    ],
)
def test_folders_that_are_no_classes_are_named(labels: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        match_classes(labels, NAMES, 4)


def test_folders_that_are_all_classes_stand_for_them_in_sorted_order_where_nobody_knows_their_names() -> None:
    assert match_classes(["trout", "eel", "tench", "eel"], None, 3) == {"eel": 0, "tench": 1, "trout": 2}
    assert match_classes(["2", "0"], None, 3) == {"2": 2, "0": 0}
    for labels, what in (["eel", "tench"], "2 folders are too few"), (["a", "b", "c", "d"], "4 folders are too many"):
        with pytest.raises(ClassNamesError, match=f"do not say what their 3 classes are called, and {what}"):
            match_classes(labels, None, 3)


def test_names_of_classes_are_read_from_a_file_with_one_for_each(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("eel\ngreat white shark\n\ntrout\n")
    assert read_class_names(tmp_path / "names.txt", 3) == ("eel", "great white shark", "trout")
    with pytest.raises(UsageError, match=r"names\.txt has 3 class names, a line each, but the model has 4 classes"):
        read_class_names(tmp_path / "names.txt", 4)
    with pytest.raises(UsageError, match=r"cannot read .*nothing"):
        read_class_names(tmp_path / "nothing", 3)
    (tmp_path / "names.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="no text of class names"):
        read_class_names(tmp_path / "names.txt", 3)


def test_a_network_without_a_classifier_is_refused_in_one_line(network: Network, folder: Path) -> None:
    headless = copy.copy(network.module)
    headless._modules = {**network.module._modules, "fc": nn.Identity()}
    request = AblationRequest("2.1", (13,), "--channels 13", controls=2, zooms=(1.0,), seed=1)
    with pytest.raises(ClassifierError, match=r"these weights of demo have no classifier \(fc\)"):
        ablate(dataclasses.replace(network, module=headless), folder, request)


def test_zooms_cut_the_middle_as_the_follow_up_does() -> None:
    assert [crop_side(224, s) for s in (1.0, 1.1, 1.3, 1.5)] == [224, 201, 156, 112]
    ramp = torch.arange(8.0).expand(1, 3, 8, 8)
    assert torch.equal(zoom_in(ramp, 1.0), ramp)
    # The middle four columns, 2 to 5, at twice the size: bilinear halfway points, ends held.
    assert zoom_in(ramp, 1.5)[0, 0, 0].tolist() == pytest.approx([2, 2.25, 2.75, 3.25, 3.75, 4.25, 4.75, 5])


@pytest.mark.parametrize("zoom", [0.9, 2.0, math.nan, math.inf])
def test_a_zoom_without_sense_is_an_error(zoom: float) -> None:
    with pytest.raises(UsageError, match="makes no sense"):
        crop_side(224, zoom)


def test_ratios_and_intervals_are_those_of_a_paired_bootstrap() -> None:
    random = np.random.default_rng(1)
    intact = random.random(200) < 0.9
    chosen = intact & (random.random(200) < 0.7)
    controls = [intact & (random.random(200) < 0.9) for _ in range(3)]
    others = [intact & (random.random(200) < 0.8) for _ in range(4)]
    found = zoom_result(1.5, 224, np.stack([intact, chosen, *controls]), 0, np.stack(others))
    assert (found.true_zoom, found.crop) == (2.0, 112)
    assert (found.intact.k, found.chosen.k, found.controls[2].k) == (intact.sum(), chosen.sum(), controls[2].sum())
    assert found.controls_at_or_below == sum(c.sum() <= chosen.sum() for c in controls)
    pairs = {
        "chosen_to_intact": (chosen, intact),
        "controls_to_intact": (np.mean(controls, axis=0), intact),
        "chosen_to_controls": (chosen, np.mean(controls, axis=0)),
        "chosen_to_random": (chosen, np.mean(others, axis=0)),
    }
    assert [share.k for share in found.random] == [other.sum() for other in others]
    assert found.random_at_or_below == sum(other.sum() <= chosen.sum() for other in others)
    for name, (over, under) in pairs.items():
        ratio = getattr(found, name)
        assert ratio.value == pytest.approx(over.mean() / under.mean())
        expected = stats.bootstrap(
            (over.astype(float), under.astype(float)),
            lambda a, b, axis: a.mean(axis=axis) / b.mean(axis=axis),
            paired=True,
            n_resamples=RESAMPLES,
            method="percentile",
            rng=np.random.default_rng(2),
        ).confidence_interval
        assert (ratio.low, ratio.high) == pytest.approx((expected.low, expected.high), abs=0.015)


def test_a_ratio_to_no_accuracy_is_unknown() -> None:
    right = np.zeros((3, 20), dtype=bool)
    found = zoom_result(1.0, 64, right, seed=0)
    assert math.isnan(found.chosen_to_intact.value)
    assert math.isnan(found.chosen_to_controls.low)


@pytest.mark.filterwarnings("error")
def test_a_ratio_to_an_accuracy_that_resamples_may_lose_has_no_upper_end() -> None:
    right = np.zeros((3, 20), dtype=bool)
    right[0, 0] = right[1, :2] = right[2, :10] = True
    found = zoom_result(1.0, 64, right, seed=0)
    # In a resample of 20 images the only one that is right is missing with probability 0.95**20 = 0.36.
    assert (found.chosen_to_intact.value, found.chosen_to_intact.high) == (2, math.inf)
    assert found.chosen_to_intact.low < 2


def test_accuracies_are_those_of_the_network_with_its_block_output_overwritten(
    network: Network, folder: Path, result: Ablation
) -> None:
    """Against torchvision's own forward pass, ablated by a hook."""
    module = network.module
    images = find_images(folder)
    pixels = torch.tensor(
        np.stack([read_image(folder / i.path, Preparation.of(network.info)).pixels for i in images])
    ).permute(0, 3, 1, 2)
    labels = torch.tensor([CLASSES.index(i.label) for i in images])
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (network.info.mean, network.info.std))

    def scores(x: torch.Tensor, hold: Callable[..., object] | None = None) -> torch.Tensor:
        handle = module.get_submodule("layer2.1").register_forward_hook(hold) if hold else None
        try:
            found: torch.Tensor = module((x - mean) / std)
            return found
        finally:
            if handle:
                handle.remove()

    seen: list[torch.Tensor] = []
    scores(pixels / 255, lambda m, i, out: seen.append(out.clone()))
    means = seen[0][:, :, 8, 8].mean(dim=0)
    assert result.means == pytest.approx(means[[10, 11, 13]].tolist(), rel=1e-4)
    variances = seen[0][:, :, 8, 8].var(dim=0, correction=0)
    assert result.variances == pytest.approx(variances[[10, 11, 13]].tolist(), rel=1e-3)
    for control, stored in zip(result.controls.sets, result.control_variances, strict=True):
        assert stored == pytest.approx(variances[list(control)].tolist(), rel=1e-3)
    half = torch.nn.functional.interpolate(pixels[:, :, 16:48, 16:48] / 255, size=(64, 64), mode="bilinear")
    for found, zoomed in zip(result.zooms, (pixels / 255, half), strict=True):
        assert found.intact.k == (scores(zoomed).argmax(dim=1) == labels).sum()
        sets = [result.channels, *result.controls.sets, *present(result.random).sets]
        for channels, share in zip(sets, [found.chosen, *found.controls, *found.random], strict=True):
            hold = partial(_hold, channels=list(channels), means=means)
            assert share.k == (scores(zoomed, hold).argmax(dim=1) == labels).sum()


def _hold(module: nn.Module, inputs: Any, out: torch.Tensor, channels: list[int], means: torch.Tensor) -> torch.Tensor:
    out[:, channels] = means[channels].view(1, -1, 1, 1)
    return out


def test_ablating_matters_in_the_test_above(result: Ablation) -> None:
    assert result.zooms[0].chosen.k < result.zooms[0].intact.k
    assert {z.chosen.k for z in result.zooms} != {z.intact.k for z in result.zooms}


def test_the_network_is_left_as_it_was(network: Network, folder: Path) -> None:
    before = {k: v.clone() for k, v in network.module.state_dict().items()}
    ablate(network, folder, AblationRequest("1.1", (1,), "", controls=2, zooms=(1.2,)))
    assert all(torch.equal(v, before[k]) for k, v in network.module.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.module.modules())


def test_unreadable_images_are_left_out_and_named(network: Network, folder: Path, tmp_path: Path) -> None:
    for label in ("disc", "ring"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "0.png").write_bytes((folder / label / "0000.png").read_bytes())
    (tmp_path / "disc" / "1.png").write_bytes(b"no picture")
    done = []
    request = AblationRequest("1.1", (1,), "", controls=2, zooms=(1.0,))
    found = ablate(network, tmp_path, request, lambda *progress: done.append(progress))
    assert (found.images, found.classes) == (2, 2)
    assert [path for path, _ in found.unreadable] == ["disc/1.png"]
    assert done[-1][0] <= done[-1][1]


def test_requests_without_sense_are_refused(network: Network, folder: Path) -> None:
    request = AblationRequest("2.1", (1,), "")
    for change, message in (
        ({"block": "9.9"}, "unknown block"),
        ({"channels": ()}, "no channel of 2.1 is selected"),
        ({"channels": (32,)}, "channel 32 is out of range"),
        ({"zooms": (2.5,)}, "makes no sense"),
        ({"zooms": ()}, "no zoom"),
        ({"controls": 0}, "1 or more"),
        ({"channels": tuple(range(20))}, "choose fewer channels"),
    ):
        with pytest.raises(UsageError, match=message):
            ablate(network, folder, dataclasses.replace(request, **change))


def test_a_stored_ablation_reads_back_and_damage_is_found(network: Network, result: Ablation, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "cache", create=True)
    store.register(network.info)
    unknown = dataclasses.replace(
        result,
        zooms=(zoom_result(1.0, 64, np.zeros((4, 5), dtype=bool), 0, np.zeros((2, 5), dtype=bool)),),
        created=result.created + 1,
    )
    models = present(store.folder(network.info))
    path = write_ablation(models, result)
    write_ablation(models, unknown)
    assert read_ablation(path, network.info) == result
    first, second = store.ablations(network.info)
    assert first == result
    assert math.isnan(second.zooms[0].chosen_to_intact.low)
    assert list(verify(store)) == []
    content = path.read_text()
    path.write_text(content.replace('"block": "2.1"', '"block": "2.0"'))
    assert len(store.ablations(network.info)) == 1
    assert [problem.path for problem in verify(store)] == [path]
    assert any(str(path) in str(line) for line in store.problems)


def test_what_an_earlier_version_stored_reads_without_random_sets(
    network: Network, result: Ablation, tmp_path: Path
) -> None:
    zooms = tuple(dataclasses.replace(zoom, random=(), chosen_to_random=None) for zoom in result.zooms)
    earlier = dataclasses.replace(
        result,
        zooms=zooms,
        controls=Controls(result.controls.sets, 3),
        variances=(),
        control_variances=(),
        matching=None,
        random=None,
    )
    store = Store.open(tmp_path / "cache", create=True)
    store.register(network.info)
    path = write_ablation(present(store.folder(network.info)), earlier)
    written = json.loads(path.read_text())
    assert not {"variances", "control_variances", "matching", "random"} & written.keys()
    assert not {"random", "random_at_or_below", "chosen_to_random"} & written["zooms"][0].keys()
    assert read_ablation(path, network.info) == earlier
    assert controls_text(earlier)[0].startswith("2 control sets, each control drawn from the 3 nearest channels")


def test_parts_that_do_not_fit_are_damage(network: Network, result: Ablation, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "cache", create=True)
    store.register(network.info)
    folder = present(store.folder(network.info))
    random, matching = present(result.random), present(result.matching)
    for change in (
        {"random": None},
        {"random": dataclasses.replace(random, sets=random.sets[1:])},
        {"random": dataclasses.replace(random, balance=Balance((0.0,), (0.0,)))},
        {"variances": result.variances[1:]},
        {"control_variances": ()},
        {"matching": dataclasses.replace(matching, balance=Balance((0.0,), (0.0,)))},
    ):
        changes: dict[str, Any] = change
        path = write_ablation(folder, dataclasses.replace(result, **changes))
        with pytest.raises(DamageError, match="its parts do not fit"):
            read_ablation(path, network.info)


def test_the_same_question_has_one_stored_answer(result: Ablation) -> None:
    assert dataclasses.replace(result, seconds=9.0, created=9.0).name == result.name
    for change in ({"channels": (1, 2, 3)}, {"images_sha256": "0" * 64}, {"seed": 7}, {"block": "2.0"}):
        assert dataclasses.replace(result, **change).name != result.name
    assert isinstance(result, Ablation)
    assert Path(result.name).suffix == ".json"
