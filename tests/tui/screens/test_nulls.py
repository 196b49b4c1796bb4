"""Nulls in the app: beside the shares of the spectrum, and under the verdict of a channel."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from streamscope.core.analysis.nulls import Nulls, read_nulls
from streamscope.core.analysis.pairs import keep_pairs
from streamscope.core.analysis.spectrum import BlockSpectrum
from streamscope.core.measures.statistics import Excess, Proportion, proportion
from streamscope.core.model.recipe import Recipe, SetKey
from streamscope.core.model.spec import untrained_name
from streamscope.core.store import Store
from streamscope.core.store.layout import SHAMS, response_folder
from streamscope.core.store.sets.responses import READ_OUT, SHAM_TRANSFORMS, commit_responses
from streamscope.tui.data.null_facts import NullsReader, against_nulls, null_lines
from streamscope.tui.screens.detail import DetailScreen
from streamscope.tui.screens.spectrum import SpectrumScreen, panels
from tests.support.app_driver import channels_screen, opened, options, screen_text, small_store, until
from tests.support.app_store import commit_measures, make_info

INFO = make_info()
KEY = SetKey(Recipe(steps=2560))
NOT_COMPUTED = "not computed: "
KEYS = {"nulls": "N"}.__getitem__


def store_with_nulls(folder: Path) -> Store:
    """Blocks 2.0, with every null there is, and 2.1 with shuffled pairs only."""
    store = small_store(folder / "cache", ("2.1",))
    channels = list(range(INFO.block("2.0").channels))
    commit_measures(store.set(INFO, KEY), "2.0", channels, [3, 1, 1, 1, 1, 1, 1, 1])
    random = np.random.default_rng(0)
    other = store.set(INFO, dataclasses.replace(KEY, seed=1), create=True)
    commit_measures(other, "2.0", channels, [1, 1, 1, 1, 3, 3, 0.1, 1])
    for fzset in (store.set(INFO, KEY), other):
        for on in ("in", "block"):
            shams = random.normal(1, 1, (len(channels), len(READ_OUT), len(SHAM_TRANSFORMS)))
            base, place = response_folder(fzset.path, SHAMS, "2.0", on), fzset.responses_place(SHAMS, "2.0", on, "", 0)
            commit_responses(base, place, {}, channels, list(SHAM_TRANSFORMS), shams)
    keep_pairs(store.set(INFO, KEY), "2.0")
    copy = dataclasses.replace(INFO, name=untrained_name(INFO.name, 0), fingerprint="cd" * 32)
    store.register(copy)
    for key in (KEY, other.key):
        commit_measures(store.set(copy, key, create=True), "2.0", channels[:6], [1, 1, 1, 0.1, 1, 1, 1, 1])
    return store


def read(store: Store, block: str) -> Nulls:
    found = read_nulls(store, INFO, KEY, block)
    assert found is not None
    return found


def said(share: Proportion) -> str:
    return f"{share.k}/{share.n} {100 * share.share:.0f}%"


def rows(text: str, cells: int = 80) -> dict[str, str]:
    """The lines of the first panel, `cells` wide, by the names of what stands in them."""
    names = ("FZ", "shuffled", "sham flip", "sham turn", "sham shift", "untrained", "2 seeds", "shams", "seeds")
    lines = [line[:cells] for line in text.split("\n")]
    return {name: line for name in names for line in reversed(lines) if f" {name} " in line}


@pytest.mark.parametrize("size", [(80, 24), (200, 60)])
async def test_every_null_stands_beside_the_real_shares_of_its_block(tmp_path: Path, size: tuple[int, int]) -> None:
    found = read(store_with_nulls(tmp_path), "2.0")
    assert len(found.nulls) == 5
    assert found.seeds is not None
    assert found.seeds.holds_again.n > found.seeds.holds_again.k > 0
    async with opened(options(tmp_path, seed=0), size=size) as (app, pilot):
        await pilot.press("H")
        await until(pilot, lambda: "2 seeds" in screen_text(app) and NOT_COMPUTED in screen_text(app))
        lines = rows(screen_text(app), min(size[0], 98))
        assert all(len(line) <= size[0] for line in screen_text(app).split("\n"))
        # What is really so and what is so under a null stand one below the other.
        left = lines["FZ"].index(said(found.real["scale_invariant"]))
        right = lines["FZ"].index(said(found.real["meets_both"]), left + 1)
        names = ("shuffled", "sham flip", "sham turn", "sham shift", "untrained")
        for name, null in zip(names, found.nulls, strict=True):
            if name == "shuffled":
                both = null.shares["meets_both"]
                ends = f"{100 * both.low:.0f}–{100 * both.high:.0f}"
                assert lines[name].index(f"{100 * both.share:.0f}% {ends}") == right
                assert lines[name].rstrip().endswith(f" {found.holm[null.null, 'meets_both']:.3f}")
                continue
            assert lines[name].startswith(said(null.shares["scale_invariant"]), left)
            assert lines[name].startswith(said(null.shares["meets_both"]), right)
            # Those of the same channels are tested in pairs; the p of all stands corrected.
            same = {"meets_both", "scale_invariant", "verdict"} if name.startswith("sham") else set()
            assert null.paired.keys() == same
            p = found.holm[null.null, "meets_both"]
            assert lines[name].rstrip().endswith("<.001" if p < 0.0005 else f" {p:.3f}")
        assert said(found.nulls[-1].shares["meets_both"]).split()[0].endswith("/6")
        assert f"same update {said(found.seeds.same_update)}" in lines["2 seeds"]
        text = screen_text(app)
        assert f"again {said(found.seeds.holds_again)}" in text
        assert f"new {100 * found.seeds.appears.share:.0f}%" in text


async def test_what_is_not_computed_is_said_with_the_key_that_does(tmp_path: Path) -> None:
    small_store(tmp_path / "cache", ("2.1",))
    async with opened(options(tmp_path), size=(80, 24)) as (app, pilot):
        await pilot.press("H")
        await until(pilot, lambda: f"{NOT_COMPUTED}pairs, other seeds, shams, an untrained copy" in screen_text(app))
        assert "N computes nulls" in screen_text(app)
        lines = rows(screen_text(app))
        assert lines["shams"].endswith("not computed")
        assert lines["untrained"].endswith("not computed")
        assert lines["seeds"].endswith("no other seed is computed")


async def test_shares_are_shown_and_keys_answered_while_nulls_are_read(tmp_path: Path) -> None:
    store_with_nulls(tmp_path)
    reader = NullsReader(tmp_path / "cache", INFO, KEY)
    async with opened(options(tmp_path, seed=0), size=(80, 24)) as (app, pilot):
        with reader._lock:
            await app.push_screen(SpectrumScreen(channels_screen(app), reader))
            await until(pilot, lambda: "8 of 8 computed" in screen_text(app))
            assert " FZ " in screen_text(app)
            assert "nulls      …" in screen_text(app)
            await pilot.press("ctrl+d")
            await until(pilot, lambda: "2.0  8 of 8 computed" not in screen_text(app))
        await until(pilot, lambda: "nulls      …" not in screen_text(app))
        assert " shuffled " in screen_text(app)


async def test_the_detail_screen_has_the_shares_of_the_channels_block_beside_its_verdict(tmp_path: Path) -> None:
    store = store_with_nulls(tmp_path)
    wanted = {block: [line.plain for line in against_nulls(read(store, block), 80, KEYS)] for block in ("2.0", "2.1")}
    assert wanted["2.0"] != wanted["2.1"]
    async with opened(options(tmp_path, seed=0), size=(200, 60)) as (app, pilot):
        channels_screen(app).table.move_to(("2.0", 7))
        await pilot.press("enter")
        assert isinstance(app.screen, DetailScreen)

        def shows(lines: list[str]) -> bool:
            return all(line in screen_text(app) for line in lines)

        for block in ("2.0", "2.1"):
            await until(pilot, partial(shows, wanted[block]))
            assert screen_text(app).count("all of ") == 1
            await pilot.press("j")
        assert channels_screen(app).table.key == ("2.1", 1)


def test_the_shares_of_a_block_stand_abreast_or_below_each_other(tmp_path: Path) -> None:
    found = read(store_with_nulls(tmp_path), "2.0")
    head, invariant, both, last = (line.plain.split() for line in against_nulls(found, 80))
    p = f"{found.nulls[0].p['meets_both']:.3f}"
    assert head == ["all", "of", "2.0", "real", "shuffled", "flip", "turn", "shift", "untrained"]
    shares = [found.real, *(null.shares for null in found.nulls)]
    percents = [
        [f"{100 * s[c].share:.0f}%" if c in s else "–" for s in shares] for c in ("scale_invariant", "meets_both")
    ]
    assert (invariant[2:], both[4:]) == tuple(percents)
    assert last == ["p", p, "against", "shuffled", "pairs"]
    narrow = [line.plain for line in against_nulls(found, 30)]
    assert [tuple(line.split()[-2:]) for line in narrow[1:-1]] == list(zip(*percents, strict=True))
    assert all(len(line) <= 30 for line in narrow)


def test_a_block_without_pairs_and_with_several_copies_says_so(tmp_path: Path) -> None:
    found = read(store_with_nulls(tmp_path), "2.0")
    copy = found.nulls[-1]
    several = (*found.nulls[1:], dataclasses.replace(copy, null="untrained copy 12"))
    lines = [line.plain for line in null_lines(dataclasses.replace(found, nulls=several))]
    assert lines[0] == "shuffled   needs two channels"
    assert [line[:11].rstrip() for line in lines[4:6]] == ["untr. 0", "untr. 12"]
    assert all(len(line) <= 56 for line in lines)


def test_a_centred_block_s_blur_and_reversed_stand_with_the_rest_and_their_p(tmp_path: Path) -> None:
    store = store_with_nulls(tmp_path)
    found = read(store, "2.0")
    sham = found.nulls[1]
    excess = Excess(0.5, 0.3, 0.7, 2.1e-5)
    blur = dataclasses.replace(sham, null="blur", kind="measured", excess={"meets_both": excess})
    nulls = dataclasses.replace(found, nulls=(found.nulls[0], blur, *found.nulls[1:]))
    lines = [line.plain for line in null_lines(nulls)]
    assert [line.split()[0] for line in lines[:3]] == ["shuffled", "blur", "sham"]
    assert lines[1].endswith(" <.001")
    assert all(len(line) <= 52 for line in lines)
    assert against_nulls(nulls, 90)[0].plain.split()[3:6] == ["real", "shuffled", "blur"]


@pytest.mark.parametrize("width", [77, 117, 157])
@pytest.mark.parametrize("highest", [9, 99, 256])
def test_nothing_of_a_panel_is_cut_off_however_high_its_bars(tmp_path: Path, highest: int, width: int) -> None:
    found = read(store_with_nulls(tmp_path), "2.0")
    share = proportion([1.0] * 123 + [0.0] * 133)
    blur = dataclasses.replace(
        found.nulls[1],
        null="blur",
        shares={"meets_both": share, "scale_invariant": share},
        excess={"meets_both": Excess(0.1, -0.1, 0.2, 0.219)},
    )
    pairs = dataclasses.replace(found.nulls[0], excess={})
    nulls = dataclasses.replace(found, nulls=(pairs, blur))
    blocks = [
        BlockSpectrum(name, 256, 256, (highest, *[0] * 19), overwrite=highest, mix=0, skip=0, undefined=0)
        for name in ("2.0", "2.1")
    ]
    text = panels(blocks, [], {"2.0": nulls, "2.1": nulls}, width, 40).plain
    assert "…" not in text
    assert text.count("0.219") == 2
