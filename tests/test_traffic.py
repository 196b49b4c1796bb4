"""What a CUDA step moves, by count: shapes without values, of both protocols."""

from dataclasses import replace

import pytest

from streamscope.core.engine.cone import fold_network
from streamscope.core.engine.network import Network, load_network
from streamscope.core.model.blocks import Target
from streamscope.core.model.recipe import PROTOCOLS, Protocol
from streamscope.core.model.spec import ModelSpec
from tests.support.traffic import IMAGES, META, stages


@pytest.fixture(scope="module")
def network() -> Network:
    loaded = load_network(ModelSpec("demo"), "cpu")
    module = loaded.module.to(META)
    return replace(loaded, module=module, folded=fold_network(module, META))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_step_is_counted_part_by_part_under_either_protocol(network: Network, protocol: Protocol) -> None:
    plain, fused = (stages(network, Target("2.0", "block"), protocol, way) for way in (False, True))
    before = {"paper": "scale", "centred": "reflect"}[protocol]
    assert list(fused) == ["inverse DFT", before, "rotate", "network", "Adam"]
    # A step's parameters: 3 colours, half of the frequencies of 64 x 64 px, real and imaginary part, of 4 bytes each.
    assert fused["Adam"].bytes == 7 * IMAGES * 3 * 64 * 33 * 2 * 4
    assert fused["network"].flop == plain["network"].flop > 0
    # What the kernels are for: map, patch and their gradients are each read or written once.
    assert fused["rotate"].bytes < plain["rotate"].bytes / 10
