"""How FZs are altered for the scale criteria, by a set's protocol."""

from __future__ import annotations

from streamscope.core.images.lanczos import blur, scaling
from streamscope.core.images.scaling import FACTORS
from streamscope.core.model.blocks import ModelInfo, Target, Tensor
from streamscope.core.model.recipe import Protocol
from streamscope.core.reading.activations import Scale, Version, scale_down, scale_up
from streamscope.core.store.sets.batches import BLURRED, REVERSED, SCALED

PAPER: dict[Tensor, Scale] = {"in": scale_up, "block": scale_down}
"""S for FZ(I), S- for FZ(B)."""


def scalings(info: ModelInfo, block: str, on: Tensor, protocol: Protocol) -> dict[str, Version]:
    """What is read of the FZs of a block's tensor besides the plain FZ, by the name of its array in measures.

    `centred`: scaled about the centre of the receptive field, blurred as scaling there and back blurs, and scaled the
    other way; `paper`: scaled only. Nothing for FZ(O).
    """
    if on not in FACTORS:
        return {}
    if protocol == "paper":
        return {SCALED: PAPER[on]}
    side, about = info.input_size, info.field_of(Target(block, on)).centre
    return {
        SCALED: scaling(side, about, FACTORS[on]),
        BLURRED: blur(side, about),
        REVERSED: scaling(side, about, 1 / FACTORS[on]),
    }
