"""What differs between two sets, as files: the channels that change as CSV, everything as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from streamscope.core.analysis.attribution import Attribution, Move
from streamscope.core.analysis.comparison import KINDS, ROW, ChannelChange, SetChange
from streamscope.core.analysis.set_pairs import SetPair
from streamscope.core.export.files import csv_text
from streamscope.core.measures.agreement import Flips
from streamscope.core.measures.statistics import Correlation, Proportion
from streamscope.core.model.recipe import SetKey
from streamscope.core.table.columns import Value
from streamscope.core.text import json_text

CHANNEL_COLUMNS = (
    "block",
    "channel",
    *(f"{name}_{side}" for name in ROW for side in ("before", "after")),
    "flipped",
    "by",
)
"""Of the CSV: columns of the channel table in either set, what differs, and which changes brought that about (empty
where nothing was attributed)."""


def channels_csv(channels: Iterable[ChannelChange], attributions: Sequence[Attribution] = ()) -> str:
    """A row for each channel that changes; lists are separated by semicolons."""
    rows = []
    for change in channels:
        values: list[Value] = [side[name] for name in ROW for side in (change.before, change.after)]
        lists = (";".join(names) for names in (change.flipped, causes(change, attributions)))
        rows.append([change.block, change.channel, *values, *lists])
    return csv_text(CHANNEL_COLUMNS, rows)


def comparison_json(
    pair: SetPair,
    changes: Iterable[SetChange],
    channels: Iterable[ChannelChange],
    attributions: Sequence[Attribution] = (),
    moves: Iterable[Move] = (),
) -> str:
    """Everything, as one object; null where a number cannot be had, empty lists where nothing was attributed."""
    info = pair.first.info
    data = {
        "model": info.name,
        "fingerprint": info.fingerprint,
        "differ": pair.differ,
        "sets": {"before": set_json(pair.first.key), "after": set_json(pair.second.key)},
        "blocks": [_block(change) for change in changes],
        "channels": [
            {
                "block": change.block,
                "channel": change.channel,
                "before": dict(change.before),
                "after": dict(change.after),
                "flipped": change.flipped,
                "by": causes(change, attributions),
            }
            for change in channels
        ],
        "attribution": [
            {
                "block": attribution.block,
                "channels": len(attribution.channels),
                "steps": [
                    {"changes": step.changes, "criteria": _criteria(step.criteria)} for step in attribution.steps
                ],
            }
            for attribution in attributions
        ],
        "moves": [
            {
                "block": move.block,
                "protocol": move.protocol,
                "pixels": move.move,
                "criteria": _criteria(move.criteria),
            }
            for move in moves
        ],
    }
    return json_text(json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def causes(change: ChannelChange, attributions: Sequence[Attribution]) -> list[str]:
    """The changes that bring about what differs of a channel, where its block was attributed."""
    found = (attribution for attribution in attributions if attribution.block == change.block)
    return [name for attribution in found for name in attribution.causes(change.channel, change.flipped)]


def set_json(key: SetKey) -> dict[str, Any]:
    """What a set is, its protocol always said."""
    return {**key.to_json(), "protocol": key.protocol}


def _block(change: SetChange) -> dict[str, Any]:
    before, after = (dict(zip(KINDS, counts, strict=True)) for counts in change.kinds)
    return {
        "block": change.block,
        "channels": change.channels,
        "median_mix_ratio": {"before": _number(change.medians[0]), "after": _number(change.medians[1])},
        "mix_ratio_rho": _correlation(change.mix_ratio),
        "scale_metric_rho": _correlation(change.scale_metric),
        "update": {
            "before": before,
            "after": after,
            "transitions": {
                kind: dict(zip(KINDS, row, strict=True)) for kind, row in zip(KINDS, change.transitions, strict=True)
            },
            "differs": _share(change.update),
            "kappa": _number(change.kappa),
        },
        "criteria": _criteria(change.criteria),
    }


def _criteria(criteria: Mapping[str, Flips]) -> dict[str, Any]:
    return {
        name: {
            "n": found.n,
            "before": found.before,
            "after": found.after,
            "gained": found.gained,
            "lost": found.lost,
            "jaccard": _number(found.jaccard),
        }
        for name, found in criteria.items()
    }


def _share(share: Proportion) -> dict[str, Any]:
    values = {"share": share.share, "low": share.low, "high": share.high}
    return {"k": share.k, "n": share.n, **{name: _number(value) for name, value in values.items()}}


def _correlation(found: Correlation) -> dict[str, Any]:
    return {"rho": _number(found.rho), "p": _number(found.p), "n": found.n}


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
