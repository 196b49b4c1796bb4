"""Ablation: classes of folders, matched controls, ratios with intervals, and accuracies against a hooked network."""

import copy
import dataclasses
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

from streamscope.core.engine.network import Network, load_network
from streamscope.core.errors import ClassifierError, ClassNamesError, UsageError
from streamscope.core.images.folder import Preparation, find_images, read_image
from streamscope.core.measures.ablation import (
    RESAMPLES,
    AblationRequest,
    check_controls,
    crop_side,
    draw_controls,
    zoom_result,
)
from streamscope.core.model.classes import match_classes, read_class_names
from streamscope.core.model.demo import CLASSES, write_images
from streamscope.core.model.spec import ModelSpec
from streamscope.core.reading.ablation import ablate, zoom_in
from streamscope.core.store import Store, verify
from streamscope.core.store.ablations import Ablation, read_ablation, write_ablation
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


def test_controls_are_distinct_sets_of_other_channels_matched_on_mean_activation() -> None:
    means = np.random.default_rng(0).gamma(1, 1, 64)
    chosen = np.argsort(means)[-8:].tolist()
    found = draw_controls(means, chosen, 10, seed=3)
    assert len(set(found.sets)) == 10
    for control in found.sets:
        assert len(set(control)) == 8
        assert not set(control) & set(chosen)
    assert found == draw_controls(means, chosen, 10, seed=3)
    assert found != draw_controls(means, chosen, 10, seed=4)
    others = np.setdiff1d(np.arange(64), chosen)
    drawn = np.random.default_rng(0).permuted(np.tile(others, (10, 1)), axis=1)[:, :8]
    gap = [abs(means[list(c)].mean() - means[chosen].mean()) for c in found.sets]
    assert max(gap) < min(abs(means[c].mean() - means[chosen].mean()) for c in drawn)


def test_a_single_channel_gets_its_nearest_neighbours_as_controls() -> None:
    found = draw_controls([1.0, 1.1, 5.0, 0.95, 1.3, 9.0], [0], 4, seed=0)
    assert found.nearest == 4
    assert set(found.sets) == {(1,), (3,), (4,), (2,)}


def test_too_few_other_channels_for_controls_are_an_error() -> None:
    check_controls(10, 5, 1)
    for chosen, count in ((6, 1), (5, 2), (9, 3)):
        with pytest.raises(UsageError, match="choose fewer channels"):
            check_controls(10, chosen, count)


def test_ratios_and_intervals_are_those_of_a_paired_bootstrap() -> None:
    random = np.random.default_rng(1)
    intact = random.random(200) < 0.9
    chosen = intact & (random.random(200) < 0.7)
    controls = [intact & (random.random(200) < 0.9) for _ in range(3)]
    found = zoom_result(1.5, 224, np.stack([intact, chosen, *controls]), seed=0)
    assert (found.true_zoom, found.crop) == (2.0, 112)
    assert (found.intact.k, found.chosen.k, found.controls[2].k) == (intact.sum(), chosen.sum(), controls[2].sum())
    assert found.controls_at_or_below == sum(c.sum() <= chosen.sum() for c in controls)
    pairs = {
        "chosen_to_intact": (chosen, intact),
        "controls_to_intact": (np.mean(controls, axis=0), intact),
        "chosen_to_controls": (chosen, np.mean(controls, axis=0)),
    }
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
    half = torch.nn.functional.interpolate(pixels[:, :, 16:48, 16:48] / 255, size=(64, 64), mode="bilinear")
    for found, zoomed in zip(result.zooms, (pixels / 255, half), strict=True):
        assert found.intact.k == (scores(zoomed).argmax(dim=1) == labels).sum()
        sets = [result.channels, *result.controls.sets]
        for channels, share in zip(sets, [found.chosen, *found.controls], strict=True):
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
        result, zooms=(zoom_result(1.0, 64, np.zeros((4, 5), dtype=bool), 0),), created=result.created + 1
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


def test_the_same_question_has_one_stored_answer(result: Ablation) -> None:
    assert dataclasses.replace(result, seconds=9.0, created=9.0).name == result.name
    for change in ({"channels": (1, 2, 3)}, {"images_sha256": "0" * 64}, {"seed": 7}, {"block": "2.0"}):
        assert dataclasses.replace(result, **change).name != result.name
    assert isinstance(result, Ablation)
    assert Path(result.name).suffix == ".json"
