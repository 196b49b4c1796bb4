"""What a report would have if more were stored, each with the command that makes it."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import numpy as np

from streamscope.core.hints import block_words, set_words
from streamscope.core.model.blocks import Block, format_channels
from streamscope.core.report.material import Material

NULLS = {"--shams": "sham transforms", "--untrained": "untrained copy", "--seeds 1,2": "other FZ seeds"}


def no_scan(material: Material) -> str:
    return f"no images have been scanned: run '{material.commands('scan', 'DIR')}'"


def no_fzs(material: Material) -> str:
    return f"nothing is measured of these blocks yet: run '{_of_set(material, 'compute', _names(material))}'"


def no_curves(material: Material, blocks: Iterable[str] = ()) -> str:
    """Of `blocks`, or of any where none is named."""
    names = list(blocks)
    of = f" of {', '.join(names)}" if names else ""
    return f"no tuning curves{of} are stored: run '{_of_set(material, 'curves', names)}'"


def no_seeds(material: Material) -> str:
    words = ("nulls", "--block", "B", *_set(material), "--seeds", "1,2")
    return f"only one FZ seed is stored: run '{material.commands(*words)}' for others"


def no_pair(material: Material) -> str:
    return (
        f"no other set of this model with the same recipe is stored: run '{_of_set(material, 'compute', ())}' with "
        "another --seed, or with --capture lucent, to compare with"
    )


def ablations_lacking(material: Material) -> str:
    """The blocks of which no ablation is stored; "" where there is one of each."""
    known = {ablation.block for ablation in material.ablations}
    names = [name for name in _names(material) if name not in known]
    if not names:
        return ""
    how = _of_set(material, "ablate", names, "DIR")
    return f"no ablation of {', '.join(names)} is stored: run '{how}' with a labelled folder DIR, one folder a class"


def curves_lacking(material: Material, curved: Collection[str]) -> str:
    """Said of the computed blocks that have no curves beside those (`curved`) that have; "" where all have."""
    names = [name for name, rows in material.rows.items() if name not in curved and not _unmeasured(rows["fz_seed"])]
    return no_curves(material, names) if names and curved else ""


def nulls_lacking(material: Material, blocks: Iterable[str]) -> list[str]:
    """What of the nulls of `blocks` is not stored; a line for those alike."""
    alike: dict[tuple[str, ...], list[str]] = {}
    unmeasured = []
    for block in blocks:
        if block not in material.nulls:
            unmeasured.append(block)
        elif material.nulls[block].lacking:
            alike.setdefault(material.nulls[block].lacking, []).append(block)
    said = [
        f"nulls not stored of {', '.join(names)} ({', '.join(NULLS[option] for option in lacking)}): run "
        f"'{_of_set(material, 'nulls', names, *(word for option in lacking for word in option.split()))}'"
        for lacking, names in alike.items()
    ]
    if unmeasured:
        how = _of_set(material, "compute", unmeasured)
        said.append(f"no nulls of {', '.join(unmeasured)}, of which nothing is measured yet: run '{how}' first")
    return said


def channels_lacking(material: Material, block: Block) -> list[str]:
    """That a block, or which of its channels, are not computed."""
    rows = material.rows[block.name]
    lacking = rows["channel"][np.isnan(rows["fz_seed"])].astype(int).tolist()
    how = _of_set(material, "compute", [block.name])
    if len(lacking) == block.channels:
        return [f"block {block.name} is not computed: run '{how}'"]
    if lacking:
        return [f"{len(lacking)} channels of {block.name} are not computed: {format_channels(lacking)}: run '{how}'"]
    return []


def _unmeasured(seeds: np.ndarray) -> bool:
    return bool(np.isnan(seeds).all())


def _names(material: Material) -> list[str]:
    return [block.name for block in material.blocks]


def _set(material: Material) -> tuple[str, ...]:
    return set_words(material.fzset.key, material.info.default_recipe)


def _of_set(material: Material, command: str, blocks: Iterable[str], *words: str) -> str:
    """A command about blocks in the set of this report."""
    return material.commands(command, *block_words(blocks), *_set(material), *words)
