"""What photographs say of channels: how that agrees with verdicts by FZs, and each channel's curves on its patches."""

from __future__ import annotations

from typing import Any

import numpy as np

from streamscope.core.analysis.photographs import summarise_photographs
from streamscope.core.measures.photographs import SCALES, mean_curves
from streamscope.core.model.blocks import TENSORS, Block
from streamscope.core.report.lacking import no_photographs
from streamscope.core.report.material import Material
from streamscope.core.report.tables import Field, Table, make_table, shortest
from streamscope.core.store.scans.photographs import Photographs, stored_photographs

BY_FZS = {"scale_invariant": "FZ", "verdict": "FZ seeds"}
"""What a verdict by FZs is by, for the columns that hold one."""


def photographs_of(material: Material, block: Block) -> Photographs | None:
    """None where nothing is stored."""
    return None if material.scan is None else stored_photographs(material.scan, block.name)


def photographs_table(material: Material) -> Table:
    """How verdicts by photographs and by FZs agree, a row a block and kind of verdict by FZs."""
    fields = (
        Field("block", "block"),
        Field("by", "what FZs say: FZ: all three criteria; FZ seeds: the verdict over those stored"),
        Field("n", "channels that have both verdicts"),
        Field("both", "channels that are scale invariant by FZs and in photographs"),
        Field("fz_only", "by FZs alone"),
        Field("photo_only", "in photographs alone"),
        Field("neither", "by neither"),
        Field("kappa", "Cohen's kappa of the two: 0 is what chance gives, 1 is the same verdict everywhere"),
        Field(
            "auc", "how often a channel scale invariant by FZs has the larger sum of preferences than one that is not"
        ),
        Field("invariant", "channels that are scale invariant in photographs, with or without a verdict by FZs"),
        Field("channels", "channels that enough photographs excite"),
        Field("images", "photographs that the patches of I and B come from"),
    )
    rows = []
    for block in material.blocks:
        stored = photographs_of(material, block)
        if stored is None:
            continue
        known = material.rows[block.name]
        found = summarise_photographs(block.name, stored, {by: known[by] for by in BY_FZS})
        for by, one in found.fz.items():
            counts = (one.both, one.fz_only, one.photo_only, one.neither, one.kappa, one.auc)
            rows.append((block.name, BY_FZS[by], one.n, *counts, found.invariant, found.channels, found.images))
    return make_table("photographs", "Verdicts by FZs and in photographs", fields, rows, no_photographs(material))


def patch_curves_table(material: Material, block: Block) -> Table:
    """Curves on the best patches, a row a channel, tensor whose patches they are and tensor read."""
    fields = (
        Field("channel", "channel"),
        Field("on", "whose best patches they are"),
        Field("read", "which activation it is, out as relu(I + B); mean over the patches"),
        Field("images", "photographs that the patches come from, one each"),
        *(Field(f"x{scale:.4g}", f"activation at {scale:.6g} times the size") for scale in SCALES),
    )
    rows: list[tuple[Any, ...]] = []
    stored = photographs_of(material, block)
    if stored is not None:
        curves, images = mean_curves(stored.readings), stored.readings.images
        for row, channel in enumerate(stored.readings.channels.tolist()):
            for on, read in np.ndindex(len(TENSORS), len(TENSORS)):
                if not np.isnan(curves[row, on, read]).any():
                    count = int(images[row, on])
                    rows.append((channel, TENSORS[on], TENSORS[read], count, *shortest(curves[row, on, read])))
    return make_table(
        f"patches-{block.name}", f"Patches of {block.name}", fields, rows, no_photographs(material, [block.name])
    )
