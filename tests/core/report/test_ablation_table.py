"""Ablations in a report: matched and random sets, and what an earlier version stored of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from streamscope.core.analysis.ablation import controls_text
from streamscope.core.model.blocks import ModelInfo
from streamscope.core.model.recipe import Recipe, SetKey
from streamscope.core.report.analyses import ablation_table
from streamscope.core.report.figures import ablation_figure
from streamscope.core.store.ablations import Ablation, Controls
from tests.support.app_store import make_info, open_store
from tests.support.report_store import made_up_ablation


@pytest.fixture
def ablation(tmp_path: Path) -> Ablation:
    info: ModelInfo = make_info()
    fzset = open_store(tmp_path, info).set(info, SetKey(Recipe(steps=2560)), create=True)
    return made_up_ablation(info, "2.0", fzset)


def earlier(ablation: Ablation) -> Ablation:
    zooms = tuple(replace(zoom, random=(), chosen_to_random=None) for zoom in ablation.zooms)
    controls = Controls(ablation.controls.sets, 3)
    return replace(ablation, zooms=zooms, controls=controls, matching=None, random=None, variances=())


def legend(ablation: Ablation) -> list[str]:
    return [text.get_text() for text in ablation_figure(ablation).legends[0].get_texts()]


def test_random_sets_stand_beside_the_matched_ones(ablation: Ablation) -> None:
    table = ablation_table("a", ablation)
    shares = [found.share for found in ablation.zooms[0].random]
    assert table.value(0, "random") == pytest.approx(sum(shares) / 2)
    assert (table.value(0, "random_min"), table.value(0, "random_max")) == (min(shares), max(shares))
    assert table.value(0, "chosen_to_random") is not None
    assert "random sets, mean and range" in legend(ablation)
    matching, balance, sharing = controls_text(ablation)
    assert "for 1 of the 2 chosen (channel 3) nothing is so near" in matching
    assert "up to 0.9" in matching
    assert "less random sets: mean +0.00 (-0.50 to +0.50)" in balance
    # Each has channel 0 and one of its own, of ten: half in common, where random ones share a fifth or less.
    assert "50% of their channels in common" in sharing


def test_what_an_earlier_version_stored_is_shown_and_what_it_lacks_is_empty(ablation: Ablation) -> None:
    old = earlier(ablation)
    table = ablation_table("a", old)
    for name in ("random", "random_min", "random_max", "random_at_or_below", "chosen_to_random"):
        assert table.value(0, name) is None
    assert table.value(0, "controls") == pytest.approx(ablation.zooms[0].controls_mean)
    assert "random sets, mean and range" not in legend(old)
    assert "drawn from the 3 nearest channels in mean activation by an earlier version" in controls_text(old)[0]


def test_sets_that_are_nearly_one_are_not_counted(ablation: Ablation) -> None:
    assert ablation_table("a", ablation).value(0, "controls_at_or_below") is not None
    alike = replace(ablation, controls=Controls(((0, 2),) * len(ablation.controls.sets)))
    assert ablation_table("a", alike).value(0, "controls_at_or_below") is None
    assert "count as about 1 independent ones" in controls_text(alike)[2]
