"""The scale criteria on FZs whose verdict is known, about the centre of the receptive field and about the image's."""

from __future__ import annotations

import numpy as np
import pytest
import safetensors.numpy

from streamscope.core.analysis.null_shares import measured_shares, sham_shares, shuffled_pairs
from streamscope.core.engine.network import Network
from streamscope.core.jobs.plan import Task
from streamscope.core.jobs.tasks import compute_task
from streamscope.core.measures.statistics import Paired
from streamscope.core.model.blocks import VERDICT_TENSORS, Target
from streamscope.core.model.recipe import CENTRED, Recipe, SetKey
from streamscope.core.reading.activations import BlockReader
from streamscope.core.reading.scalings import scalings
from streamscope.core.reading.shams import compute_shams
from streamscope.core.store import FZSet
from streamscope.core.table.columns import Value
from streamscope.core.table.frame import build_frame
from tests.support.optional import present
from tests.support.planted import BLOCKS, PLANTED, SAME_SIZE, SMOOTH_ONLY, planted_network, planted_set

CENTRED_KEY, PAPER_KEY = SetKey(CENTRED, protocol="centred"), SetKey(Recipe())
CRITERIA = ("meets_mix", "meets_block", "meets_input", "scale_invariant", "beyond_blur")


@pytest.fixture(scope="module")
def network() -> Network:
    return planted_network()


@pytest.fixture(scope="module")
def centred(network: Network, tmp_path_factory: pytest.TempPathFactory) -> FZSet:
    return planted_set(tmp_path_factory.mktemp("centred"), network, CENTRED_KEY)


@pytest.fixture(scope="module")
def paper(network: Network, tmp_path_factory: pytest.TempPathFactory) -> FZSet:
    return planted_set(tmp_path_factory.mktemp("paper"), network, PAPER_KEY)


def verdict(fzset: FZSet, block: str, channel: int) -> tuple[Value, ...]:
    return tuple(build_frame(fzset.info, fzset, [block]).rows([channel], CRITERIA)[0].values())


def test_the_receptive_fields_lie_as_those_of_a_resnet18(network: Network) -> None:
    assert [network.info.field_of(Target(block, "block")).centre for block in BLOCKS] == [112, 112, 112, 96]


@pytest.mark.parametrize("block", BLOCKS)
def test_the_centred_verdict_is_right_at_every_stage(centred: FZSet, block: str) -> None:
    assert verdict(centred, block, PLANTED) == (True, True, True, True, True)
    # What answers to smoothness rises when it is scaled, either way, and no less when it is blurred.
    assert verdict(centred, block, SMOOTH_ONLY) == (True, True, True, True, False)
    assert verdict(centred, block, SAME_SIZE) == (True, False, False, False, False)


def test_the_paper_s_verdict_is_wrong_where_the_receptive_field_is_not_about_the_image_s_centre(paper: FZSet) -> None:
    for block in BLOCKS[:-1]:
        assert verdict(paper, block, PLANTED) == (True, True, True, True, None)
    assert verdict(paper, BLOCKS[-1], PLANTED) == (True, False, False, False, None)


@pytest.mark.parametrize("fzset", ["centred", "paper"])
def test_a_measuring_task_reads_what_its_set_s_protocol_asks_for(
    network: Network, fzset: str, request: pytest.FixtureRequest
) -> None:
    read: FZSet = request.getfixturevalue(fzset)
    images = np.stack([read.fz_image(read.target("2.1", "block"), channel) for channel in (0, 2)])
    names = {"centred": {"plain", "scaled", "blurred", "reversed"}, "paper": {"plain", "scaled"}}[fzset]
    for tensor in VERDICT_TENSORS:
        files = compute_task(network, read, Task("measure", "2.1", tensor, (0, 2), 0), images).files
        arrays = safetensors.numpy.load(files["activations.safetensors"])
        assert arrays.keys() == names | {"channels"}
        expected = scalings(network.info, "2.1", tensor, read.key.protocol)
        other = {"in": 1, "block": 0}[tensor]
        for name, version in {"plain": None, **expected}.items():
            whole = BlockReader(network, "2.1").read(images, version)
            if name == "plain" or read.key.protocol == "paper":
                assert np.array_equal(arrays[name], whole)
            else:
                assert arrays[name][:, other] == pytest.approx(whole[:, other], abs=1e-4)
                assert np.isnan(np.delete(arrays[name], other, axis=1)).all()
    out = compute_task(network, read, Task("measure", "2.1", "out", (0, 2), 0), images).files
    assert safetensors.numpy.load(out["activations.safetensors"]).keys() == {"channels", "plain"}


def test_the_other_way_is_s_for_fzs_of_the_block_and_its_inverse_for_those_of_in(centred: FZSet) -> None:
    info = centred.info
    on_in, on_block = (scalings(info, "4.1", tensor, "centred") for tensor in VERDICT_TENSORS)
    for one, other in ((on_in, on_block), (on_block, on_in)):
        scaled, reverse = one["scaled"], other["reversed"]
        assert not callable(scaled)
        assert not callable(reverse)
        assert np.array_equal(scaled.rows, reverse.rows)
    own = present(centred.own("4.1", "in")).further
    # A dot that is smaller still is no disc.
    assert own["reversed"][PLANTED, 1] == 0


def test_the_nulls_of_a_centred_block_are_those_of_its_channels(centred: FZSet, network: Network) -> None:
    names = ("meets_block", "meets_input", "meets_both", "scale_invariant")
    blurred, other_way = measured_shares(centred, "4.1")
    assert (blurred.null, other_way.null) == ("blur", "reversed")
    # Blurred, smoothness alone still rises. Of a dot, S- and its reflections make nothing, and of a disc S leaves less.
    counts = {name: (share.k, share.n) for name, share in blurred.shares.items()}
    assert counts["meets_both"] == counts["scale_invariant"] == (1, 3)
    assert blurred.paired["meets_both"] == Paired(1, 0, 1.0)
    # Beyond blur there is nothing blurred, and one seed has no verdict over seeds.
    assert blurred.shares.keys() == set(names)
    assert other_way.shares["meets_both"].n == 3
    assert compute_shams(network, centred, "4.1") == 6
    shams = sham_shares(centred, "4.1")
    assert [null.null for null in shams] == ["sham: flip", "sham: quarter turn", "sham: shift"]
    for null in shams:
        assert null.shares.keys() == {*names, "beyond_blur"}
        # A dot and a disc about c are their own mirror images: nothing rises but where a half pixel more lies better.
        assert null.shares["scale_invariant"].k <= 1
        assert null.paired["scale_invariant"].first_only >= 1
    pairs = shuffled_pairs(centred, "4.1")
    assert present(pairs).real["meets_both"].k == 2


def test_a_paper_set_has_neither_blur_nor_reversed(paper: FZSet) -> None:
    assert measured_shares(paper, "4.1") == []
