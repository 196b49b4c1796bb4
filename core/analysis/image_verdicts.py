"""Which channels a scan's images call scale invariant, and which they would under nulls: (C,) truth values, NaN where
unknown, by the table's column."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamscope.core.analysis.shams import answers_in
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
        kind = variant(protocol, in_scan=True)
        stored = {on: mei_responses(scan, SHAMS, block, on, kind) for on in VERDICT_TENSORS}
        altered = answers_in(stored, scan.info.block(block).channels)
        names = [name for name in altered["in"] if name in altered["block"]]
        plain = {on: _plain(scan, block, on) for on in VERDICT_TENSORS} if names else {}
        for name in names:
            meets_block = criteria.meets_block(altered["in"][name], plain["in"])
            meets_input = criteria.meets_input(altered["block"][name], plain["block"])
            found[name] = {BY_MEIS: criteria.scale_invariant(mixes, meets_block, meets_input)}
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


def _plain(scan: Scan, block: str, on: Tensor) -> Float64Array:
    """What the other tensor says to the MEIs as they are."""
    own = own_activations(scan.activations(block, OTHER[on]), scan.extremes(block, on).top)
    found: Float64Array = criteria.relu(own).mean(axis=0)
    return found
