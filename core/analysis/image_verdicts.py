"""Which channels a scan's images call scale invariant, and which they would under nulls: (C,) truth values, NaN where
unknown, by the table's column."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from streamscope.core.measures import criteria
from streamscope.core.measures.robust import own_activations
from streamscope.core.model.arrays import Float64Array
from streamscope.core.model.blocks import VERDICT_TENSORS, ModelInfo, Tensor
from streamscope.core.model.recipe import Protocol
from streamscope.core.store.layout import SHAMS
from streamscope.core.store.scans.photographs import photograph_columns, stored_photographs
from streamscope.core.store.scans.responses import mei_responses, missing_mei_responses
from streamscope.core.store.sets.batches import REVERSED
from streamscope.core.store.sets.curves import variant
from streamscope.core.store.sets.responses import READ_OUT

if TYPE_CHECKING:
    from streamscope.core.store import Store
    from streamscope.core.store.scans.scan import Scan

BY_MEIS = "mei_scale_invariant"
BY_PATCHES = "photo_invariant"
OTHER: dict[Tensor, Tensor] = {"in": "block", "block": "in"}


def image_verdicts(scan: Scan, block: str, protocol: Protocol) -> dict[str, Float64Array]:
    """By MEIs and by patches, of those that the scan was read for."""
    found = {}
    if scan.has_robust(protocol):
        found[BY_MEIS] = scan.robust(block, protocol).scale_invariant
    patches = photograph_columns(scan, block)
    if BY_PATCHES in patches:
        found[BY_PATCHES] = patches[BY_PATCHES]
    return found


def image_verdicts_under(scan: Scan, block: str, protocol: Protocol) -> dict[str, dict[str, Float64Array]]:
    """The same by null, of those that were computed.

    By MEIs, criteria (3) and (4) with the MEIs altered in other ways than scaled, by the names of
    `streamscope.core.store.sets.responses.ALTERATIONS`; M, and so (2), stays as it is. By patches, with the other
    direction preferred.
    """
    found: dict[str, dict[str, Float64Array]] = {}
    if scan.has_robust(protocol):
        mixes = scan.robust(block, protocol).meets_mix
        for name, altered in _mei_answers(scan, block, protocol).items():
            plain = {on: _plain(scan, block, on) for on in VERDICT_TENSORS}
            found[name] = {
                BY_MEIS: criteria.scale_invariant(
                    mixes,
                    criteria.meets_block(altered["in"], plain["in"]),
                    criteria.meets_input(altered["block"], plain["block"]),
                )
            }
    patches = photograph_columns(scan, block)
    if "photo_reversed" in patches:
        found.setdefault(REVERSED, {})[BY_PATCHES] = patches["photo_reversed"]
    return found


def lacks_image_nulls(store: Store, scan: Scan, copies: list[ModelInfo], block: str, protocol: Protocol) -> bool:
    """Whether anything of a block is missing that the nulls of its verdicts by images need; `copies` are the untrained
    ones, one of which is to have the same images scanned."""
    if scan.has_robust(protocol) and missing_mei_responses(scan, SHAMS, block, variant(protocol, in_scan=True)):
        return True
    if not copies:
        return False
    scans = [found for copy in copies if (found := scan_of_same_images(store, copy, scan)) is not None]
    read = stored_photographs(scan, block) is not None
    return not any(not read or stored_photographs(found, block) is not None for found in scans)


def scan_of_same_images(store: Store, info: ModelInfo, scan: Scan) -> Scan | None:
    """The finished scan by another model of the very images of `scan`."""
    found = store.choose_scan(info, scan.source)
    return found if found is not None and found.described["sha256"] == scan.described["sha256"] else None


def _mei_answers(scan: Scan, block: str, protocol: Protocol) -> dict[str, dict[Tensor, Float64Array]]:
    """What the other tensor says to altered MEIs of `in` and of `block`, the mean over rectified activations, by
    alteration; of those that both are stored of."""
    channels = scan.info.block(block).channels
    found: dict[str, dict[Tensor, Float64Array]] = {}
    for on, other in OTHER.items():
        for batch in mei_responses(scan, SHAMS, block, on, variant(protocol, in_scan=True)):
            for axis, name in enumerate(batch.versions):
                column = found.setdefault(name, {}).setdefault(on, np.full(channels, np.nan))
                column[list(batch.channels)] = batch.values[:, READ_OUT.index(other), axis]
    return {name: answers for name, answers in found.items() if answers.keys() == OTHER.keys()}


def _plain(scan: Scan, block: str, on: Tensor) -> Float64Array:
    """What the other tensor says to the MEIs as they are."""
    own = own_activations(scan.activations(block, OTHER[on]), scan.extremes(block, on).top)
    found: Float64Array = criteria.relu(own).mean(axis=0)
    return found
