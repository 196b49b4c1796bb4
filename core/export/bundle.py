"""A bundle: channels of a stored set in one zip file, with their table, FZs, marks, notes and tags, to be handed on.

What is in it is a store of its own (`core.store.bundles`) that opens read only where there are no weights, and beside
it what a person who unzips it looks for: table.csv, marks.csv and a README.txt.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamscope import __version__
from streamscope.core.errors import UsageError
from streamscope.core.export.files import Index, meta_path, to_csv
from streamscope.core.model.blocks import format_channels
from streamscope.core.store import FORMAT, FZSet, Marks, Scan, Store
from streamscope.core.store.bundles.archive import write_archive
from streamscope.core.store.bundles.content import Chosen
from streamscope.core.store.bundles.record import BUNDLE, BUNDLE_FORMAT, MARKS, BundleRecord
from streamscope.core.store.files.documents import document_bytes, encode
from streamscope.core.store.files.owner import this_process
from streamscope.core.store.files.users import user_name
from streamscope.core.store.marks.exchange import csv_bytes
from streamscope.core.store.marks.journal import SHORT
from streamscope.core.store.store import alias_name
from streamscope.core.table.columns import COLUMNS
from streamscope.core.table.frame import Frame
from streamscope.core.text import json_text
from streamscope.core.watch import Watch

TABLE, MARKS_TABLE, README = "table.csv", "marks.csv", "README.txt"


@dataclass(frozen=True)
class Written:
    """What a bundle came to."""

    channels: int
    fzs: int
    judgements: int
    bytes: int


def write_bundle(
    path: Path,
    store: Store,
    fzset: FZSet,
    frame: Frame,
    index: Index,
    meta: Mapping[str, Any],
    *,
    scan: Scan | None = None,
    marks: Marks | None = None,
    watch: Watch = lambda done, total: None,
) -> Written:
    """Writes the channels of rows `index` of a frame into the zip `path`, all of it or nothing.

    Without `marks` nothing is in it of what anybody judged. `watch` is told of FZs done and in all; what it raises ends
    the writing, and what was at `path` before is then intact. Raises UsageError for no channels or a path that cannot
    be a bundle, StoreError for what is damaged, DiskFullError.
    """
    rows = [int(row) for row in index]
    blocks, numbers = frame["block"][rows].tolist(), frame["channel"][rows].astype(int).tolist()
    keys: list[tuple[str, int]] = list(zip(blocks, numbers, strict=True))
    if not keys:
        raise UsageError("no channel is selected; a bundle needs one")
    channels: dict[str, list[int]] = {}
    for block, channel in keys:
        channels.setdefault(block, []).append(channel)
    wanted = set(keys)
    chosen = Chosen(store, fzset, {block: sorted(of_block) for block, of_block in channels.items()}, scan)
    total, done = chosen.count_fzs(), 0
    if not total:
        raise UsageError("no FZ of these channels is stored; a bundle is for looking at them")
    judged = {key: said for key, said in (marks.all() if marks is not None else {}).items() if key in wanted}
    record = _record(chosen, marks is not None)
    watch(0, total)

    def files() -> Iterator[tuple[str, bytes]]:
        nonlocal done
        yield BUNDLE, document_bytes(vars(record))
        yield README, _readme(record, len(keys), total, len(judged)).encode()
        yield TABLE, to_csv(frame, rows, [column.name for column in COLUMNS]).encode("utf-8", "backslashreplace")
        described = {"file": TABLE, **meta, "format": "csv", "rows": len(rows)}
        text = json_text(json.dumps(described, indent=2, ensure_ascii=False) + "\n")
        yield meta_path(Path(TABLE)).name, text.encode("utf-8", "backslashreplace")
        yield from _store_files(record)
        if marks is not None:
            yield MARKS_TABLE, csv_bytes(fzset.info.name, fzset.info.identity, judged)
            yield f"{MARKS}/{fzset.info.identity[:SHORT]}/bundle.jsonl", marks.journal_of(keys)
        for file in chosen.files():
            yield file.path.relative_to(store.root).as_posix(), file.content
            if file.is_fz:
                done += 1
                watch(done, total)

    size = write_archive(path, files())
    return Written(len(keys), done, len(judged), size)


def _record(chosen: Chosen, marks: bool) -> BundleRecord:
    info = chosen.fzset.info
    return BundleRecord(
        format=BUNDLE_FORMAT,
        by=f"streamscope {__version__}",
        created=time.time(),
        sender=f"{user_name(os.geteuid())} on {this_process().host}",
        model=info.name,
        fingerprint=info.identity,
        set=chosen.fzset.path.name,
        channels={block: format_channels(chosen.channels[block]) for block in chosen.blocks},
        marks=marks,
    )


def _store_files(record: BundleRecord) -> Iterator[tuple[str, bytes]]:
    """What makes a store of it: its format, and whose FZs it has."""
    yield "store.json", encode({"format": FORMAT, "by": record.by})
    alias = {"spec": record.alias, "fingerprint": record.fingerprint}
    yield f"aliases/{alias_name(record.alias)}", document_bytes(alias)


def _readme(record: BundleRecord, channels: int, fzs: int, judgements: int) -> str:
    blocks = ", ".join(f"{block}: {ranges}" for block, ranges in record.channels.items())
    marks = f"{MARKS_TABLE}    {judgements} judgements: marks, tags and notes\n" if record.marks else ""
    return (
        f"{channels} channels of {record.model}, bundled by {record.by} for {record.sender}.\n\n"
        "Open it as it is, read only:\n\n"
        "    streamscope --cache THIS.zip\n"
        "    streamscope --cache THIS.zip table --filter 'not missing(late_rise)'\n\n"
        "What you judge over it is kept with your own marks; hand that back with\n\n"
        "    streamscope --cache THIS.zip marks export mine.csv\n\n"
        f"{TABLE}    the channel table, and how it was made in {meta_path(Path(TABLE)).name}\n"
        f"{marks}"
        f"models/      the store: {fzs} FZs as PNG, under sets/.../fzs/BLOCK.TENSOR/.../CHANNEL.png\n\n"
        f"Channels: {blocks}\n"
    )
