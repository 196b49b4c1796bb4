"""What the page of a block knows of its channels: the table's rows, pictures, tuning curves and MEIs."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from streamscope.core.images.scaling import SIZES
from streamscope.core.measures.tuning import half_width_octaves, invariance
from streamscope.core.model.blocks import TENSORS, Block, Target, blocks_of_stream, steps_of
from streamscope.core.model.recipe import Protocol
from streamscope.core.report.lacking import no_curves, no_scan
from streamscope.core.report.material import Material
from streamscope.core.report.pictures import Pictures
from streamscope.core.report.tables import Field, Table, frame_table, make_table, shortest
from streamscope.core.store import FZSet, Scan
from streamscope.core.store.sets.curves import Curves, curves_of
from streamscope.core.table.columns import COLUMNS

AT_ONCE = 512
"""Channels whose curves, MEIs and patches are read together: a page that had those of all opened a second later."""
ON = ("in", "block")
READ = ("in", "block", "out")
"""What the curves are shown of; `pre` is in no table, since `out` of a curve is its rectification."""


def channels_table(material: Material, block: Block) -> Table:
    """Every column of every channel of a block that pages show: the channel table itself."""
    rows = material.rows[block.name]
    chosen = np.flatnonzero(np.isin(rows["channel"], material.channels(block.name)))
    return frame_table(f"channels-{block.name}", f"Channels of {block.name}", rows, chosen)


def tuning_table(material: Material, block: Block) -> Table:
    """Curves of a block, a row a channel, image and tensor read; the scales are columns."""
    protocol = material.fzset.key.protocol
    found = [("FZ", _stored_curves(material.fzset, block.name, protocol))]
    if material.scan is not None:
        found.append(("MEI", _stored_curves(material.scan, block.name, protocol)))
    curves = [(name, c) for name, c in found if c is not None]
    scales = sorted({scale for _, c in curves for scale in c.scales.tolist()})
    fields = (
        Field("channel", "channel"),
        Field("source", "on the channel's FZ, or on its MEIs (mean over 9)"),
        Field("on", "of which tensor those are"),
        Field("read", "whose centre activation it is; out is relu(I + B)"),
        Field("antialias", "whether images were resized with antialiasing"),
        Field("invariance", "mean of the rectified curve over its maximum"),
        Field("half_width", "octaves of scale over which it is at least half of its maximum"),
        *(Field(f"x{scale:.4g}", f"activation at scale {scale:.6g}") for scale in scales),
    )
    rows = [row for source, c in curves for row in _tuning_rows(source, c, scales)]
    rows.sort(key=lambda row: row[0])
    return make_table(
        f"tuning-{block.name}", f"Scale tuning in {block.name}", fields, rows, no_curves(material, [block.name])
    )


def _stored_curves(source: FZSet | Scan, block: str, protocol: Protocol) -> Curves | None:
    """Resized as the scale criteria do where there are such curves, else with antialiasing."""
    return curves_of(source, block, protocol=protocol) or curves_of(source, block, antialias=True, protocol=protocol)


def _tuning_rows(source: str, curves: Curves, scales: Sequence[float]) -> Iterator[tuple[Any, ...]]:
    places = [scales.index(scale) for scale in curves.scales.tolist()]
    for on in ON:
        for read in READ:
            values = curves.values[read, on]
            flat, width = invariance(values), half_width_octaves(curves.scales, values)
            numbers = [shortest(row) for row in values]
            for place, channel in enumerate(curves.channels.tolist()):
                spread: list[float | None] = [None] * len(scales)
                for scale, number in zip(places, numbers[place], strict=True):
                    spread[scale] = number
                yield (channel, source, on, read, curves.antialias, float(flat[place]), float(width[place]), *spread)


def meis_table(material: Material, block: Block) -> Table:
    """The images that excite each channel most and least."""
    fields = (
        Field("channel", "channel"),
        Field("tensor", "whose centre activation ranks them, out before any activation"),
        Field("end", "top: the most exciting, bottom: the least"),
        Field("rank", "1 is the extreme"),
        Field("activation", "what it was ranked by"),
        Field("image", "path in the image folder"),
        Field("label", "its class folder"),
        Field("row", "row of the image in the scan"),
    )
    rows: list[tuple[Any, ...]] = []
    scan = material.scan
    if scan is not None:
        for tensor in TENSORS:
            found = scan.extremes(block.name, tensor)
            for end, images, values in (
                ("top", found.top, found.top_values),
                ("bottom", found.bottom, found.bottom_values),
            ):
                for rank in range(len(images)):
                    for channel, (image, value) in enumerate(
                        zip(images[rank].tolist(), shortest(values[rank]), strict=True)
                    ):
                        if image >= 0:
                            scanned = scan.images[image]
                            rows.append(
                                (channel, tensor, end, rank + 1, value, scanned.path, scanned.label or None, image)
                            )
        rows.sort(key=lambda row: row[0])
    return make_table(f"meis-{block.name}", f"MEIs of {block.name}", fields, rows, no_scan(material))


def page_name(block: str) -> str:
    """Of a block's page, for its file and for addresses."""
    return f"block-{block}"


def list_data(material: Material, block: Block, channels: Table, pictures: Pictures) -> dict[str, Any]:
    """What the scripts of a block's page need for its table, as JSON; numbers are those of `channels`.

    Writes the pictures.
    """
    fields = {t: material.info.fields.get(str(material.info.source(block.name, t))) for t in TENSORS}
    return {
        "block": block.name,
        "page": page_name(block.name),
        "unrectified": block.unrectified,
        "side": material.info.input_size,
        "crop": {t: [area.start, area.stop] if area else None for t, area in fields.items()},
        "describe": {c.name: {"kind": c.kind, "help": c.help, "whole": c.whole} for c in COLUMNS},
        "channels": _json(channels),
        "fz": pictures.of_block(block).fz,
        "scaled": pictures.of_block(block).scaled,
        "patch_pictures": pictures.of_patches(block),
        "sizes": SIZES,
        "steps": _steps(material, block, pictures),
        "stream": _stream(material, block),
        "at_once": AT_ONCE,
    }


def details_data(
    material: Material, block: Block, tables: Mapping[str, Table], pictures: Pictures
) -> dict[str, dict[str, Any]]:
    """What they need besides once a channel is opened, `AT_ONCE` channels a part: curves, MEIs and patches, of the
    tables tuning, meis and patches. Writes the pictures.
    """
    meis = tables["meis"]
    shown = pictures.of_images(meis.whole_numbers("row")) if len(meis) else {}
    parts = {}
    for first in range(0, block.channels, AT_ONCE):
        channels = range(first, first + AT_ONCE)
        parts[f"details-{page_name(block.name)}-{first // AT_ONCE}"] = {
            "tuning": _part(tables["tuning"], channels),
            "meis": _part(meis, channels, without=("image", "label")),
            "patches": _part(tables["patches"], channels),
            "images": _images(material, meis.of_channels(channels), shown),
        }
    return parts


def _part(table: Table, channels: range, without: Sequence[str] = ()) -> dict[str, Any]:
    """The rows of some channels, and which the first of them is; rows are sorted by channel."""
    every = table.whole_numbers("channel")
    first, end = (bisect_left(every, channel) for channel in (channels.start, channels.stop))
    return {**_json(replace(table, rows=table.rows[first:end]), without), "first": first}


def _stream(material: Material, block: Block) -> list[dict[str, Any]]:
    """The blocks that carry the same channels, this one among them: what each does to them, where the report has it."""
    found: list[dict[str, Any]] = []
    for name in blocks_of_stream(material.info, block.name):
        if name not in material.rows:
            found.append({"block": name, "page": None})
            continue
        rows = channels_table(material, material.info.block(name))
        columns = ("channel", "mix_ratio", "update")
        fields = [[rows.value(row, column) for column in columns] for row in range(len(rows))]
        found.append({"block": name, "page": page_name(name), "table": rows.name, "rows": fields})
    return found


def _steps(material: Material, block: Block, pictures: Pictures) -> list[dict[str, Any]]:
    """The steps of a block's module, where it has several that the report has: figures and FZ(B) by channel."""
    steps = [name for name in steps_of(material.info, block.name) if name in material.rows]
    if len(steps) < 2:
        return []
    found = []
    for name in steps:
        area = material.info.area(Target(name, "block"))
        step = material.info.block(name)
        rows = channels_table(material, step)
        found.append(
            {
                "block": name,
                "table": rows.name,
                "page": page_name(name),
                "field": area.size if area else None,
                "crop": [area.start, area.stop] if area else None,
                "fz": pictures.of_block(step).fz["block"],
                "rows": [
                    [rows.value(row, column) for column in ("channel", "mix_ratio", "update", "scale_metric")]
                    for row in range(len(rows))
                ],
            }
        )
    return found


def _images(material: Material, meis: Table, shown: Mapping[int, str]) -> dict[str, list[str | None]]:
    """By row of the scan: path and label of each image that the MEIs name, and its picture in the report if any."""
    if material.scan is None:
        return {}
    images = material.scan.images
    rows = sorted(set(meis.whole_numbers("row")))
    return {str(row): [images[row].path, images[row].label, shown.get(row)] for row in rows}


def _json(table: Table, without: Sequence[str] = ()) -> dict[str, Any]:
    kept = [place for place, name in enumerate(table.columns) if name not in without]
    return {
        "name": table.name,
        "columns": [table.columns[place] for place in kept],
        "help": [table.fields[place].help for place in kept],
        "rows": [[row[place] for place in kept] for row in table.rows] if without else table.rows,
        "missing": table.missing,
    }
