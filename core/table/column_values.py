"""The values of the table's columns, from what a set and a scan have stored: `columns` says what each of them is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamscope.core.errors import StoreError
from streamscope.core.measures import criteria
from streamscope.core.measures.decision import verdict
from streamscope.core.model.arrays import Float64Array
from streamscope.core.model.blocks import VERDICT_TENSORS, Block, ModelInfo
from streamscope.core.model.recipe import UNSAID_PROTOCOL
from streamscope.core.store.scans.photographs import photograph_columns
from streamscope.core.store.sets.readings import Readings
from streamscope.core.table.columns import COLUMNS
from streamscope.core.table.verdicts import beyond_blur, discoveries, over_seeds, verdicts

if TYPE_CHECKING:
    from streamscope.core.store import FZSet, Scan


NOT_APPLICABLE = "not applicable: no addition found"
"""Status of the layers of a network without a stream."""


def column_values(
    info: ModelInfo, fzset: FZSet | None, blocks: Sequence[Block], scan: Scan | None = None
) -> dict[str, NDArray[Any]]:
    """Every column of the table for every channel of `blocks`, marks left empty. Raises StoreError."""
    readings = Readings(fzset, blocks)
    v = readings.values
    late_rise, flags = _histories(readings)
    found = verdicts(readings)
    block_gain = criteria.block_gain(v["block_on_in_up"], v["block_on_in"], v["block_on_block"])
    input_gain = criteria.input_gain(v["in_on_block_down"], v["in_on_block"], v["in_on_in"])
    numbers: dict[str, ArrayLike] = {
        **v,
        **found,
        **beyond_blur(readings, found["meets_mix"]),
        **_skip_weights(info, readings),
        "channel": np.concatenate([np.arange(block.channels) for block in blocks]),
        "block_gain": block_gain,
        "input_gain": input_gain,
        "scale_metric": criteria.scale_metric(block_gain, input_gain),
        "late_rise": late_rise,
        "q": discoveries(readings),
    }
    if scan is not None:
        by_images = _by_images(scan, readings)
        numbers |= by_images
        numbers |= _by_patches(scan, readings)
        numbers["robust"] = by_images["mei_scale_invariant"] * found["scale_invariant"]
    key = fzset.key if fzset else None
    if key:
        numbers["steps"] = key.recipe.steps
        numbers["seed"] = key.seed
        numbers["fz_seed"] = readings.fz_seed
        together = over_seeds(readings)
        stable, decision = together.stability, together.decision
        numbers["seeds"] = np.where(stable.seeds > 0, stable.seeds, np.nan)
        numbers["stable_update"], numbers["stable_scale_invariant"] = stable.update, stable.scale_invariant
        numbers["agreement"], numbers["probability"] = decision.agreement, decision.probability
        numbers["seeds_mix_ratio"], numbers["update_probability"] = decision.mix_ratio, decision.update_probability
    sizes = [block.channels for block in blocks]
    texts: dict[str, str | NDArray[Any]] = {
        "model": info.name,
        "fingerprint": info.fingerprint,
        "block": np.repeat(np.array([block.name for block in blocks], dtype=object), sizes),
        "not_applicable": np.repeat(np.array([block.not_applicable for block in blocks], dtype=object), sizes),
        "kind": np.repeat(np.array([block.kind for block in blocks], dtype=object), sizes),
        "update": criteria.update_kind(found["mix_ratio"]),
        "seeds_update": criteria.update_kind(numbers.get("seeds_mix_ratio", np.full(len(readings), np.nan))),
        "verdict": verdict(numbers.get("probability", np.full(len(readings), np.nan))),
        "capture": key.capture if key else "",
        "protocol": key.protocol if key else "",
        "flags": flags,
        "status": _statuses(readings, key.seed if key else 0, flags),
    }
    return {
        c.name: np.full(len(readings), texts.get(c.name, ""), dtype=object)
        if c.kind == "text"
        else np.full(len(readings), numbers.get(c.name, np.nan), dtype=np.float64)
        for c in COLUMNS
    }


def _skip_weights(info: ModelInfo, readings: Readings) -> dict[str, Float64Array]:
    columns = {name: np.full(len(readings), np.nan) for name in ("bn_weight", "conv_weight", "effective_gain")}
    for number, block in enumerate(readings.blocks):
        weights = info.weights.get(block.name)
        if weights is not None:
            for name, values in columns.items():
                values[readings.rows(number)] = getattr(weights, name)
    return columns


def _by_images(scan: Scan, readings: Readings) -> dict[str, Float64Array]:
    """What follows from real images; a block whose part of the scan is damaged stays empty and is reported.

    Finished scans of 0.2.0 lack what is by MEIs of a centred set until they are scanned again.
    """
    robust = ("mix_ratio", "meets_mix", "meets_block", "meets_input", "scale_invariant", "images")
    protocol = readings.fzset.key.protocol if readings.fzset is not None else UNSAID_PROTOCOL
    names = ["images", "rho", "rho_p", "rho_images", *(f"mei_{name}" for name in robust)]
    columns = {name: np.full(len(readings), np.nan) for name in names}
    for number, block in enumerate(readings.blocks):
        rows = readings.rows(number)
        try:
            by_meis = scan.robust(block.name, protocol) if scan.has_robust(protocol) else None
            correlation = scan.rho(block.name)
            columns["images"][rows] = len(scan.images)
        except StoreError as error:
            scan.problems.report(scan.path / block.name, error)
            continue
        for name, values in zip(("rho", "rho_p", "rho_images"), correlation, strict=True):
            columns[name][rows] = values
        if by_meis is not None:
            for name in robust:
                columns[f"mei_{name}"][rows] = getattr(by_meis, name)
    return columns


def _by_patches(scan: Scan, readings: Readings) -> dict[str, Float64Array]:
    """What follows from patches of real images; a block of which nothing was read stays empty."""
    columns: dict[str, Float64Array] = {}
    for number, block in enumerate(readings.blocks):
        for name, values in (photograph_columns(scan, block.name) if not block.not_applicable else {}).items():
            columns.setdefault(name, np.full(len(readings), np.nan))[readings.rows(number)] = values
    return columns


def _histories(readings: Readings) -> tuple[Float64Array, NDArray[Any]]:
    """Late rise (NaN until both FZs are stored) and flags of the FZ(I) and FZ(B) that each row is read from."""
    flags = np.full(len(readings), "", dtype=object)
    rises = np.full((len(VERDICT_TENSORS), len(readings)), np.nan)
    stored = np.zeros((len(VERDICT_TENSORS), len(readings)), dtype=bool)
    if readings.fzset is None:
        return rises[0], flags
    for number, block in enumerate(readings.blocks):
        retries = readings.retries[readings.rows(number)]
        for axis, tensor in enumerate(VERDICT_TENSORS):
            target = readings.fzset.target(block.name, tensor)
            for retry in set(retries.tolist()):
                records = readings.fzset.fzs(target, retry=retry)
                channels = np.fromiter(records, dtype=np.int64, count=len(records))
                late = np.fromiter((r.late_rise for r in records.values()), dtype=np.float64, count=len(records))
                used = retries[channels] == retry
                rows = readings.first[number] + channels[used]
                rises[axis, rows], stored[axis, rows] = late[used], True
                for record in records.values():
                    if record.flag and retries[record.channel] == retry:
                        row = readings.first[number] + record.channel
                        flags[row] += f"{'; ' if flags[row] else ''}{tensor}: {record.flag}"
    return np.where(stored.all(axis=0), np.fmax(rises[0], rises[1]), np.nan), flags


def _statuses(readings: Readings, seed: int, flags: NDArray[Any]) -> NDArray[Any]:
    statuses = np.full(len(readings), "ok", dtype=object)
    has_in, has_block = readings.measured["in"], readings.measured["block"]
    statuses[~has_in & has_block] = "missing in"
    statuses[has_in & ~has_block] = "missing block"
    statuses[~has_in & ~has_block] = "missing in,block"
    statuses[readings.of_layers] = np.where(readings.complete, NOT_APPLICABLE, "missing out")[readings.of_layers]
    finite = np.isfinite(readings.values["out_on_in"]) & np.isfinite(readings.values["out_on_block"])
    for row in np.flatnonzero(readings.undefined).tolist():
        retries = int(readings.retries[row])
        seeds = ", ".join(str(seed + n) for n in range(retries + 1))
        reason = "neither FZ excites out" if finite[row] else "an activation is not finite"
        noted = f"; {flags[row]}" if flags[row] else ""
        statuses[row] = f"undefined: {reason} (seed{'s' if retries else ''} {seeds}{noted})"
    return statuses
