"""What a report is made of: one stored set, one scan, and what follows from both. Reads only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from streamscope.core.analysis.nulls import Nulls, read_nulls
from streamscope.core.analysis.set_pairs import SetPair, comparable_sets, value_of
from streamscope.core.export.files import table_meta
from streamscope.core.model.blocks import Block, ModelInfo, pick_blocks
from streamscope.core.report.steps import Wording
from streamscope.core.store.scans.scan import Scan
from streamscope.core.table.frame import Frame, Journal, Judgements, build_frame

if TYPE_CHECKING:
    from streamscope.core.store import FZSet, Store
    from streamscope.core.store.ablations import Ablation

SHORT = 12
"""Hex digits of a fingerprint where people read it."""


@dataclass(frozen=True)
class Pair:
    """Two sets that differ in one thing, and the frames of the report's blocks by each."""

    sets: SetPair
    first: Frame
    second: Frame

    @property
    def name(self) -> str:
        """For files: `protocol-paper`, `capture-lucent`, `seed-1`."""
        return f"{self.sets.differ}-{self.other}"

    @property
    def other(self) -> str:
        """What the second set has of what they differ in."""
        return str(value_of(self.sets.differ, self.sets.second.key))

    @property
    def own(self) -> str:
        """What the first has."""
        return str(value_of(self.sets.differ, self.sets.first.key))

    @property
    def title(self) -> str:
        return f"{self.sets.differ} {self.own} and {self.sets.differ} {self.other}"


@dataclass(frozen=True)
class Chosen:
    """Some channels of a report's blocks: those that are shown one by one, while analyses are of all."""

    channels: Mapping[str, tuple[int, ...]]
    """By block; a block of which none is chosen may be left out."""
    by: str
    """What they were chosen by, for people."""

    def __len__(self) -> int:
        return sum(map(len, self.channels.values()))


@dataclass(frozen=True)
class Material:
    """Everything a report reads, gathered once; what is large (pictures, curves) is read block by block."""

    store: Store
    info: ModelInfo
    fzset: FZSet
    blocks: tuple[Block, ...]
    frame: Frame
    scan: Scan | None
    wording: Wording | None = None
    """Says how to make what is not stored; None leaves that out."""
    chosen: Chosen | None = None
    """The channels that pages show; None for all."""

    def channels(self, block: str) -> Sequence[int]:
        """Those of a block that pages show."""
        if self.chosen is not None:
            return self.chosen.channels.get(block, ())
        return range(self.info.block(block).channels)

    @property
    def shown(self) -> int:
        """How many channels pages show."""
        return sum(len(self.channels(block.name)) for block in self.blocks)

    @property
    def data_set(self) -> str:
        """The images that image-derived numbers come from, for people."""
        if self.scan is None:
            return "no images scanned"
        return f"{len(self.scan.images):,} images in {self.scan.source.name}"

    @property
    def provenance(self) -> str:
        """One line: model, fingerprint, recipe, data set."""
        return self.provenance_of(self.data_set)

    def provenance_of(self, data_set: str) -> str:
        unusual = f" · {self.info.preprocessing}" if self.info.preprocessing else ""
        return f"{self.info.name} {self.info.fingerprint[:SHORT]}{unusual} · {self.fzset.key} · {data_set}"

    @property
    def meta(self) -> dict[str, Any]:
        """For the `.meta.json` of every table. Its time is that of what was read, so that it is the same every time."""
        images = self.scan.described if self.scan is not None else None
        blocks = [block.name for block in self.blocks]
        more = {} if self.chosen is None else {"chosen": self.chosen.by}
        return table_meta(self.info, self.fzset.key, time=self.time, images=images, blocks=blocks, **more)

    @property
    def time(self) -> str | None:
        """When the newest of what is reported was finished; to the second, in UTC."""
        times = [self.fzset.completed_at() or self.fzset.created_at()]
        times += [self.scan.finished_at] if self.scan else []
        known = [time for time in times if time is not None]
        return datetime.fromtimestamp(max(known), UTC).isoformat(timespec="seconds") if known else None

    @cached_property
    def rows(self) -> Mapping[str, Frame]:
        """The frame of each block."""
        return {block.name: self.frame.take(self.frame["block"] == block.name) for block in self.blocks}

    @cached_property
    def measured(self) -> Frame:
        """The rows of blocks of which anything is measured: what analyses of FZs are about."""
        known = [name for name, rows in self.rows.items() if not np.isnan(rows["fz_seed"]).all()]
        return self.frame.take(np.isin(self.frame["block"], known))

    @cached_property
    def pairs(self) -> tuple[Pair, ...]:
        """Sets to compare with that have something of the same blocks."""
        names = [block.name for block in self.blocks]
        found = []
        for pair in comparable_sets(self.store.sets(self.info), self.fzset):
            second = build_frame(self.info, pair.second, names)
            if (second["update"] != "").any():
                found.append(Pair(pair, self.frame, second))
        return tuple(found)

    @cached_property
    def nulls(self) -> Mapping[str, Nulls]:
        """By block, of those that have a verdict."""
        found = {
            block.name: read_nulls(self.store, self.info, self.fzset.key, block.name, self.scan)
            for block in self.blocks
        }
        return {block: nulls for block, nulls in found.items() if nulls is not None}

    @cached_property
    def ablations(self) -> tuple[Ablation, ...]:
        """Of the report's blocks, in stream order."""
        place = {block.name: number for number, block in enumerate(self.blocks)}
        found = [a for a in self.store.ablations(self.info) if a.block in place]
        return tuple(sorted(found, key=lambda a: (place[a.block], a.folder, a.name)))


def gather(
    store: Store,
    info: ModelInfo,
    fzset: FZSet,
    blocks: Sequence[str] = (),
    marks: Journal | Judgements | None = None,
    scan: Scan | None = None,
    wording: Wording | None = None,
    choose: Callable[[Frame], Chosen | None] = lambda frame: None,
) -> Material:
    """The material of `blocks` (the default set when none is named); `wording` says how to make what is not stored,
    `choose` which channels of the table pages show.

    Raises UsageError, StoreError.
    """
    chosen = tuple(pick_blocks(info, blocks))
    frame = build_frame(info, fzset, [block.name for block in chosen], marks, scan)
    return Material(store, info, fzset, chosen, frame, scan, wording, choose(frame))
