"""Networks whose blocks are steps, or have long names, or no ReLU in the stream: the screens and the report of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from streamscope.core.model.blocks import Block, Field, ModelInfo, SkipWeights
from streamscope.core.model.recipe import Recipe, SetKey
from streamscope.core.report.channels import channels_table, list_data
from streamscope.core.report.material import gather
from streamscope.core.report.pictures import Pictures
from streamscope.core.text import short_name, short_names
from streamscope.tui.screens.detail import DetailScreen
from streamscope.tui.widgets.picture import PictureBox
from tests.support.app_driver import channels_screen, drawn, opened, options, screen_text, until
from tests.support.app_store import fill, make_info, open_store

STEPS = ("V2.t0", "V2.t1", "V4.t0", "V4.t1", "V4.t2", "V4.t3")
LONG = tuple(f"encoder.layers.encoder_layer_{n}.{part}" for n in range(30) for part in ("self_attention", "mlp"))


def model(names: tuple[str, ...], activation: str = "relu", channels: int = 4) -> ModelInfo:
    blocks = tuple(Block(name, "downsample", channels, None, activation) for name in names)
    fields = {
        f"{name}.{tensor}": Field(max(0, 20 - 3 * n), min(48, 28 + 3 * n), 8 + 6 * n, 24.0)
        for n, name in enumerate(names)
        for tensor in ("in", "block", "out")
    }
    weights = {name: SkipWeights(*(tuple(np.linspace(0.1, 1, channels).tolist()) for _ in range(3))) for name in names}
    return replace(make_info(), blocks=blocks, default_blocks=names, fields=fields, weights=weights)


async def test_a_channel_is_followed_over_the_steps_of_its_module(tmp_path: Path) -> None:
    info = model(STEPS, activation="")
    fill(open_store(tmp_path / "cache", info), info, STEPS)
    async with opened(options(tmp_path)) as (app, pilot):
        source = channels_screen(app)
        assert source.go_to(("V4.t1", 2))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, DetailScreen) and "steps of this channel" in screen_text(app))
        await until(pilot, drawn(app))
        captions = [app.screen.query_one(f"#step-{n}", PictureBox).subject for n in range(4)]
        assert [subject and subject.key for subject in captions] == [(f"V4.t{n}", 2) for n in range(4)]
        shown = screen_text(app)
        assert "▸ V4.t1" in shown
        assert "26 px" in shown
        assert "no activation after the sum" in shown
        await pilot.press("l")
        assert source.table.key == ("V4.t2", 2)
        await pilot.press("l", "l")
        assert source.table.key == ("V4.t3", 2)
        assert "this is the last step" in screen_text(app)
        await pilot.press("h", "h", "h", "h")
        assert source.table.key == ("V4.t0", 2)


async def test_a_step_of_another_block_than_the_one_listed_is_shown_and_a_filter_holds(tmp_path: Path) -> None:
    info = model(STEPS)
    fill(open_store(tmp_path / "cache", info), info, STEPS)
    async with opened(options(tmp_path)) as (app, pilot):
        source = channels_screen(app)
        await pilot.press("right_square_bracket")
        await until(pilot, lambda: source.arrangement.block == "V2.t0")
        assert source.go_to(("V2.t1", 3))
        await until(pilot, lambda: source.arrangement.block == "V2.t1")
        assert source.table.key == ("V2.t1", 3)
        source.filter_bar.write('block == "V2.t1"')
        await until(pilot, lambda: source.arrangement.filter is not None)
        assert not source.go_to(("V2.t0", 3))
        assert source.table.key == ("V2.t1", 3)


async def test_a_network_without_steps_has_neither_their_row_nor_their_keys(tmp_path: Path) -> None:
    info = make_info()
    fill(open_store(tmp_path / "cache", info), info, ("1.1",))
    async with opened(options(tmp_path)) as (app, pilot):
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, DetailScreen))
        await until(pilot, drawn(app))
        assert not app.screen.query_one("#steps").display
        assert "step" not in screen_text(app).splitlines()[-1].lower()
        assert "no activation after the sum" not in screen_text(app)


async def test_sixty_blocks_of_long_names_are_told_apart(tmp_path: Path) -> None:
    info = model(LONG)
    fill(open_store(tmp_path / "cache", info), info, LONG[:2])
    async with opened(options(tmp_path), size=(160, 44)) as (app, _):
        shown = screen_text(app)
        assert "…0.self_attention" in shown
        assert "…11.mlp" in shown


def test_what_differs_of_long_names_stays_and_short_ones_stay_as_they_are() -> None:
    short = short_names(LONG, 18)
    assert len(set(short.values())) == 60
    assert max(map(len, short.values())) <= 18
    assert short[LONG[23]] == "…11.mlp"
    assert short_names(("2.0", "2.1"), 5) == {"2.0": "2.0", "2.1": "2.1"}


def test_a_name_alone_keeps_its_numbers_and_its_last_words() -> None:
    assert "10.self_attention" in short_name(LONG[20], 28)
    found = {short_name(name, 28) for name in LONG}
    assert len(found) == 60
    assert max(map(len, found)) <= 28
    assert short_name("V4.t2", 28) == "V4.t2"
    assert short_name("1234567890", 7) == "12…7890"


async def test_on_a_small_terminal_every_figure_of_a_step_is_on_a_line_with_its_name_or_below(tmp_path: Path) -> None:
    info = model(STEPS)
    fill(open_store(tmp_path / "cache", info), info, STEPS)
    async with opened(options(tmp_path), size=(80, 24)) as (app, pilot):
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, DetailScreen) and "▸ V2.t0" in screen_text(app))
        lines = screen_text(app).splitlines()
        at = next(n for n, line in enumerate(lines) if "▸ V2.t0" in line)
        assert "SM" in lines[at + 1]
        assert "8 px" in lines[at + 1]


def test_a_page_has_the_steps_of_each_channel(tmp_path: Path) -> None:
    info = model(STEPS, activation="gelu")
    store = open_store(tmp_path / "cache", info)
    fill(store, info, STEPS)
    material = gather(store, info, store.set(info, SetKey(Recipe(steps=2560))))
    block = info.block("V4.t1")
    pictures = Pictures(material, tmp_path / "report")
    found = list_data(material, block, channels_table(material, block), pictures)
    assert [step["page"] for step in found["steps"]] == [f"block-V4.t{n}" for n in range(4)]
    assert [step["field"] for step in found["steps"]] == [20, 26, 32, 38]
    assert [len(step["rows"]) for step in found["steps"]] == [4] * 4
    assert all((tmp_path / "report" / file).exists() for step in found["steps"] for file in step["fz"])
    assert "passes gelu" in found["unrectified"]
