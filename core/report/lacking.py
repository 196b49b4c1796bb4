"""What a report would have if more were stored, each with the step that would make it."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import numpy as np

from streamscope.core.analysis.evidence import Evidence
from streamscope.core.analysis.nulls import LACKING, Lacking
from streamscope.core.model.blocks import Block, format_channels
from streamscope.core.report.material import Material
from streamscope.core.report.steps import Step


def no_scan(material: Material) -> str:
    return _with_step(material, "no images have been scanned", Step("scan"))


def no_fzs(material: Material) -> str:
    return _with_step(material, "nothing is measured of these blocks yet", Step("compute", _names(material)))


def no_curves(material: Material, blocks: Iterable[str] = ()) -> str:
    """Of `blocks`, or of any where none is named."""
    names = tuple(blocks)
    of = f" of {', '.join(names)}" if names else ""
    return _with_step(material, f"no tuning curves{of} are stored", Step("curves", names))


def no_photographs(material: Material, blocks: Iterable[str] = ()) -> str:
    """As `no_curves`, of the best patches of photographs."""
    if material.scan is None:
        return no_scan(material)
    if not material.scan.has_patches:
        return _with_step(material, "the scan is of an earlier release and kept no patches", Step("scan"))
    names = tuple(blocks)
    of = f" of {', '.join(names)}" if names else ""
    return _with_step(material, f"no photographs{of} are read", Step("photographs", names))


def no_seeds(material: Material) -> str:
    return _with_step(material, "only one FZ seed is stored", Step("seeds"))


def no_pair(material: Material) -> str:
    return _with_step(
        material, "no set of this model is stored that differs in its protocol, capture or seed alone", Step("pair")
    )


def ablations_lacking(material: Material) -> str:
    """The blocks of which no ablation is stored; "" where there is one of each."""
    known = {ablation.block for ablation in material.ablations}
    names = tuple(name for name in _names(material) if name not in known)
    if not names:
        return ""
    return _with_step(material, f"no ablation of {', '.join(names)} is stored", Step("ablate", names))


def curves_lacking(material: Material, curved: Collection[str]) -> str:
    """Said of the computed blocks that have no curves beside those (`curved`) that have; "" where all have."""
    names = [name for name, rows in material.rows.items() if name not in curved and not _unmeasured(rows["fz_seed"])]
    return no_curves(material, names) if names and curved else ""


def nulls_lacking(material: Material, blocks: Iterable[str]) -> list[str]:
    """What of the nulls of `blocks` is not stored; a line for those alike."""
    alike: dict[tuple[Lacking, ...], list[str]] = {}
    unmeasured = []
    for block in blocks:
        if block not in material.nulls:
            unmeasured.append(block)
        elif material.nulls[block].lacking:
            alike.setdefault(material.nulls[block].lacking, []).append(block)
    lines = []
    for nulls, names in alike.items():
        what = f"no nulls stored for {', '.join(names)} ({', '.join(LACKING[null] for null in nulls)})"
        lines.append(_with_step(material, what, Step("nulls", tuple(names), nulls)))
    if unmeasured:
        what = f"no nulls of {', '.join(unmeasured)}, of which nothing is measured yet"
        lines.append(_with_step(material, what, Step("compute", tuple(unmeasured))))
    return lines


def evidence_lacking(material: Material, evidence: Evidence, channel: int | None = None) -> list[str]:
    """What of a block's evidence, or of one channel's, is not stored."""
    rows, block = evidence.rows, evidence.block.name
    here = (block,)
    chosen = np.arange(len(rows)) if channel is None else np.array([channel])
    lines = []
    if _unmeasured(rows["fz_seed"][chosen]):
        return [_with_step(material, f"nothing of {_of(block, channel)} is measured yet", Step("compute", here))]
    if len(evidence.seeds) < 2:
        lines.append(_with_step(material, "only one FZ seed is stored", Step("decide", here)))
    tests: dict[str, Lacking] = {"pairs": "pairs", "shams": "sham"}
    nulls = tuple(null for test, null in tests.items() if np.isnan(evidence.tests[test][chosen]).all())
    if nulls:
        what = f"no nulls stored for {_of(block, channel)} ({', '.join(LACKING[null] for null in nulls)})"
        lines.append(_with_step(material, what, Step("nulls", here, nulls)))
    if material.scan is None:
        lines.append(f"{no_scan(material)}; photographs, MEIs and robust come from images")
    else:
        lines += _unphotographed(material, evidence, channel)
    ablated = [a for a in material.ablations if a.block == block and (channel is None or channel in a.channels)]
    if not ablated:
        which = "is stored" if channel is None else f"has channel {channel} among those ablated"
        lines.append(_with_step(material, f"no ablation of {block} {which}", Step("ablate", here)))
    return lines


def _unphotographed(material: Material, evidence: Evidence, channel: int | None) -> list[str]:
    """That nothing is read of photographs of a block, or of one channel."""
    images, block = evidence.rows["photo_images"], evidence.block.name
    if not np.isnan(images if channel is None else images[channel]).all():
        return []
    if channel is None or np.isnan(images).all():
        return [no_photographs(material, [block])]
    return [f"too few photographs excite {_of(block, channel)}"]


def _of(block: str, channel: int | None) -> str:
    return block if channel is None else f"channel {channel} of {block}"


def channels_lacking(material: Material, block: Block) -> list[str]:
    """That a block, or which of its channels, are not computed."""
    rows = material.rows[block.name]
    lacking = rows["channel"][np.isnan(rows["fz_seed"])].astype(int).tolist()
    if not lacking:
        return []
    what = f"{len(lacking)} channels of {block.name} are not computed: {format_channels(lacking)}"
    if len(lacking) == block.channels:
        what = f"block {block.name} is not computed"
    return [_with_step(material, what, Step("compute", (block.name,)))]


def _with_step(material: Material, what: str, step: Step) -> str:
    return f"{what}: {material.wording(step)}" if material.wording is not None else what


def _unmeasured(seeds: np.ndarray) -> bool:
    return bool(np.isnan(seeds).all())


def _names(material: Material) -> tuple[str, ...]:
    return tuple(block.name for block in material.blocks)
