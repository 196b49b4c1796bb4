"""Which stored sets make a pair that differs in one thing, and which set makes a pair with another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from streamscope.core.analysis.set_pairs import Difference, comparable_sets, pairs_of, partner, value_of
from streamscope.core.errors import UsageError
from streamscope.core.model.recipe import CENTRED, Recipe, SetKey
from streamscope.core.store import FZSet
from tests.support.stores import toy_info, toy_set

PAPER = SetKey(Recipe(steps=10))
OWN = SetKey(CENTRED, protocol="centred")
BETWEEN = replace(PAPER, protocol="centred")
KEYS = [
    PAPER,
    replace(PAPER, seed=2),
    replace(PAPER, seed=1),
    replace(PAPER, capture="lucent"),
    replace(PAPER, recipe=Recipe(steps=20)),
    replace(PAPER, recipe=Recipe(steps=20).until_converged()),
    OWN,
    replace(OWN, seed=1),
    BETWEEN,
    replace(OWN, objective="channel"),
]


@pytest.fixture
def sets(tmp_path: Path) -> list[FZSet]:
    return [toy_set(tmp_path / "cache", key) for key in KEYS]


@pytest.mark.parametrize(
    ("differ", "key", "others"),
    [
        ("seed", PAPER, [replace(PAPER, seed=1), replace(PAPER, seed=2)]),
        ("capture", PAPER, [replace(PAPER, capture="lucent")]),
        ("steps", PAPER, [replace(PAPER, recipe=Recipe(steps=20))]),
        ("recipe", OWN, [BETWEEN]),
        ("protocol", PAPER, [OWN, BETWEEN]),
        ("protocol", replace(PAPER, seed=1), [replace(OWN, seed=1)]),
        ("recipe", PAPER, []),
    ],
)
def test_a_pair_differs_in_one_thing_only(
    sets: list[FZSet], differ: Difference, key: SetKey, others: list[SetKey]
) -> None:
    found = pairs_of(differ, [s for s in sets if s.key == key], sets)
    assert {pair.second.key for pair in found} == set(others)
    assert all(value_of(differ, pair.first.key) != value_of(differ, pair.second.key) for pair in found)


def test_protocols_with_their_own_recipes_come_first_then_what_was_completed_last(sets: list[FZSet]) -> None:
    of = {fzset.key: fzset for fzset in sets}
    of[BETWEEN].mark_completed("later")
    found = pairs_of("protocol", [of[PAPER]], sets)
    assert [pair.second.key for pair in found] == [OWN, BETWEEN]
    of[replace(PAPER, seed=1)].mark_completed("last")
    assert pairs_of("seed", [of[PAPER]], sets)[0].second.key.seed == 1
    of[replace(PAPER, seed=2)].mark_completed("last of all")
    assert pairs_of("seed", [of[PAPER]], sets)[0].second.key.seed == 2


def test_sets_of_their_recipes_own_steps_come_before_others(tmp_path: Path) -> None:
    paper = replace(PAPER, recipe=Recipe(steps=toy_info().default_recipe.steps))
    keys = [paper, PAPER, OWN, replace(OWN, recipe=replace(CENTRED, steps=512))]
    sets = [toy_set(tmp_path / "cache", key) for key in keys]
    # The others were completed later.
    for fzset in (sets[0], sets[2], sets[1], sets[3]):
        fzset.mark_completed("now")
    found = pairs_of("protocol", sets[:2], sets[2:])
    assert (found[0].first.key, found[0].second.key) == (paper, OWN)
    assert len(found) == 4
    assert pairs_of("steps", sets[2:], sets[2:])[0].first.key.recipe.steps == 512


def test_a_report_compares_with_the_other_protocol_then_other_captures_then_other_seeds(sets: list[FZSet]) -> None:
    found = comparable_sets(sets, sets[0])
    assert [(pair.differ, pair.second.key) for pair in found] == [
        ("protocol", OWN),
        ("capture", replace(PAPER, capture="lucent")),
        ("seed", replace(PAPER, seed=1)),
        ("seed", replace(PAPER, seed=2)),
    ]


def test_a_partner_is_the_set_that_makes_the_pair() -> None:
    info = toy_info()
    assert partner(info, replace(PAPER, seed=3), "protocol", "centred") == replace(OWN, seed=3)
    assert partner(info, OWN, "protocol", "paper") == PAPER
    assert partner(info, PAPER, "protocol", "centred", settings="paper") == BETWEEN
    assert partner(info, OWN, "recipe", "paper") == BETWEEN
    assert partner(info, OWN, "recipe", "paper", steps=7).recipe.steps == 7
    assert partner(info, OWN, "steps", 7) == replace(OWN, recipe=replace(CENTRED, steps=7))
    assert partner(info, OWN, "seed", 7) == replace(OWN, seed=7)
    assert partner(info, OWN, "capture", "lucent") == replace(OWN, capture="lucent")
    with pytest.raises(UsageError, match="steps must be 1 or more"):
        partner(info, OWN, "steps", 0)
