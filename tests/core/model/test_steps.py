"""Blocks that are steps of one module, and what is said of streams without a ReLU."""

from __future__ import annotations

from dataclasses import replace

import pytest

from streamscope.core.errors import UsageError
from streamscope.core.model.blocks import Block, ModelInfo, blocks_of_stream, steps_of
from tests.support.app_store import make_info


def model(*blocks: tuple[str, int]) -> ModelInfo:
    made = tuple(Block(name, "downsample", channels, None) for name, channels in blocks)
    return replace(make_info(), blocks=made, default_blocks=tuple(name for name, _ in blocks), fields={}, weights={})


def test_the_steps_of_a_module_are_followed_in_their_order_whatever_lies_between() -> None:
    steps = [(f"V4.t{n}", 8) for n in range(11)]
    info = model(("V2.t0", 8), *reversed(steps), ("V2.t1", 8))
    assert steps_of(info, "V4.t3") == tuple(name for name, _ in steps)
    assert steps_of(info, "V2.t1") == ("V2.t0", "V2.t1")
    assert steps_of(model(("t0", 4), ("t1", 4)), "t1") == ("t0", "t1")


@pytest.mark.parametrize(
    "blocks",
    [
        (("2.0", 8), ("2.1", 8)),
        (("a.t0", 8), ("b.t0", 8)),
        (("a.t0", 8), ("a.t2", 8)),
        (("a.t0", 8), ("a.t1", 4)),
        (("net0", 8), ("net1", 8)),
        (("t0", 8), ("a.t1", 8)),
    ],
)
def test_blocks_that_are_no_steps_of_one_module_stand_alone(blocks: tuple[tuple[str, int], ...]) -> None:
    info = model(*blocks)
    assert [steps_of(info, name) for name, _ in blocks] == [(name,) for name, _ in blocks]


def test_an_unknown_block_has_no_steps() -> None:
    with pytest.raises(UsageError, match=r"unknown block 'V1\.t0'"):
        steps_of(model(("V2.t0", 8)), "V1.t0")


def test_only_a_stream_without_a_relu_has_something_said_of_it() -> None:
    block = Block("1.0", "simple", 4, None)
    assert block.unrectified == ""
    assert replace(block, kind="layer", activation="").unrectified == ""
    assert "O is the sum itself" in replace(block, activation="").unrectified
    assert "passes gelu" in replace(block, activation="gelu").unrectified


def test_blocks_of_a_stream_are_those_that_identity_shortcuts_join() -> None:
    info = make_info((("1.0", 6), ("1.1", 6), ("2.0", 8), ("2.1", 8)))
    assert [blocks_of_stream(info, block.name) for block in info.blocks] == [("1.0", "1.1")] * 2 + [("2.0", "2.1")] * 2
    branched = (
        Block("a", "downsample", 4, None),
        Block("b", "simple", 4, "a"),
        Block("c", "downsample", 4, "b"),
        Block("d", "simple", 4, "b"),
        Block("e", "layer", 4, None),
    )
    other = replace(info, blocks=branched)
    assert [blocks_of_stream(other, name) for name in "abde"] == [("a", "b", "d")] * 3 + [("e",)]
    assert blocks_of_stream(other, "c") == ("c",)
