"""The report itself: figures, tables and pages from what a store has, as a folder or as one file."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment
from markupsafe import Markup

from streamscope import __version__
from streamscope.core.analysis.ablation import controls_text
from streamscope.core.analysis.null_shares import BY_IMAGES, CRITERIA
from streamscope.core.errors import StreamscopeError
from streamscope.core.model.blocks import TENSORS, Block, format_channels
from streamscope.core.report import analyses, lacking
from streamscope.core.report.channels import (
    channels_table,
    details_data,
    list_data,
    meis_table,
    page_name,
    tuning_table,
)
from streamscope.core.report.descriptions import describe_fz
from streamscope.core.report.drawings import Drawings
from streamscope.core.report.material import Material
from streamscope.core.report.photographs import BY_FZS, patch_curves_table, photographs_table
from streamscope.core.report.pictures import Pictures
from streamscope.core.report.tables import Table, frame_table
from streamscope.core.report.templating import page_json, templates, verbatim
from streamscope.core.store.files.atomic import write_file

TOP = 12
"""Channels in the lists of top mixes and top scale metrics."""
EVERY_PAGE = ("sort.js", "print.js")
BLOCK_PAGE = ("format.js", "filter.js", "list.js", "sections.js", "channel.js")
BY = ("FZ", "MEI", "both")

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Page:
    name: str
    title: str

    @property
    def file(self) -> str:
        return f"{self.name}.html"


@dataclass(frozen=True)
class View:
    """A page of a report in one file: what it shows, and of a block's what its scripts need."""

    page: Page
    title: str
    content: Markup
    list_data: Mapping[str, Any] | None
    details: Mapping[str, Mapping[str, Any]] | None


@dataclass
class Site:
    """A report being written to `folder`; what it made so far is in `tables` and in `drawings`.

    `single`: its pages are not written there but kept in `views`, for `one_file`.
    """

    material: Material
    folder: Path
    top: int = TOP
    progress: Progress | None = None
    single: bool = False
    tables: list[Table] = field(default_factory=list)
    views: list[View] = field(default_factory=list)
    _done: int = 0

    def write(self) -> list[StreamscopeError]:
        """Writes everything; what could not be read on the way is returned. Raises StreamscopeError."""
        self._advance(0)
        found = self._analyses()
        blocks, curves = {}, {}
        for block in self.material.blocks:
            channels = self.material.channels(block.name)
            curves[block.name] = tuning_table(self.material, block)
            blocks[block.name] = {
                "channels": self._table(channels_table(self.material, block)),
                "tuning": self._table(curves[block.name].of_channels(channels)),
                "meis": self._table(meis_table(self.material, block).of_channels(channels)),
                "patches": self._table(patch_curves_table(self.material, block).of_channels(channels)),
            }
        found["tuning"] = self._table(analyses.tuning_summary(self.material, curves))
        for number, block in enumerate(self.material.blocks):
            self._block_page(block, number, blocks[block.name], curves[block.name], found)
        if self.material.pairs:
            self._comparison_page(found)
        self._overview(found)
        return _distinct(self.pictures.problems)

    def one_file(self) -> bytes:
        """All of its pages as one, with everything in it that they show."""
        files = {table.file: (self.folder / table.file).read_text(encoding="utf-8") for table in self.tables}
        files |= {f"{file}.meta.json": (self.folder / f"{file}.meta.json").read_text() for file in list(files)}
        order = {page.name: place for place, page in enumerate(self.pages)}
        text = self._environment.get_template("single.html.j2").render(
            site=self._site,
            title=self.name,
            views=sorted(self.views, key=lambda view: order[view.page.name]),
            scripts=verbatim(*BLOCK_PAGE, *EVERY_PAGE, "single.js"),
            pictures={file: self._inlined(file) for file in sorted(self.pictures.files)},
            files=files,
        )
        return text.encode()

    @cached_property
    def pictures(self) -> Pictures:
        return Pictures(self.material, self.folder, self._advance, small=self.single)

    @cached_property
    def drawings(self) -> Drawings:
        return Drawings(self.material, self.folder)

    @cached_property
    def name(self) -> str:
        return f"{self.material.info.name}: residual stream"

    @cached_property
    def pages(self) -> list[Page]:
        blocks = [Page(page_name(block.name), block.name) for block in self.material.blocks]
        others = [Page("comparison", "other sets")] if self.material.pairs else []
        return [Page("index", "overview"), *blocks, *others]

    @property
    def _site(self) -> dict[str, Any]:
        """What every page says of the report."""
        m = self.material
        return {
            "name": self.name,
            "pages": self.pages,
            "model": m.info.name,
            "fingerprint": m.info.fingerprint,
            "recipe": str(m.fzset.key),
            "data_set": m.data_set,
            "provenance": m.provenance,
            "version": __version__,
            "time": m.time,
            "tables": self.tables,
            "figures": self.drawings.drawn,
            "single": self.single,
            "css": verbatim("report.css"),
        }

    @cached_property
    def _environment(self) -> Environment:
        return templates(
            address=self._address, source=self._source, download=self._download, has_channel=self._has_channel
        )

    def _address(self, page: str, channel: int | None = None) -> str:
        """Of a page, or of a channel in it; as `addressOf` in format.js."""
        if self.single:
            return f"#{page}" if channel is None else f"#{page}/{channel}"
        return f"{page}.html" if channel is None else f"{page}.html#{channel}"

    def _source(self, file: str) -> str:
        """Of a picture: its file, or all of it."""
        return self._inlined(file) if self.single else file

    def _inlined(self, file: str) -> str:
        kind = {".png": "png", ".jpg": "jpeg"}[Path(file).suffix]
        return f"data:image/{kind};base64,{base64.b64encode((self.folder / file).read_bytes()).decode()}"

    def _download(self, file: str) -> Markup:
        """The attributes of a link to a table's file; in one file a script saves it from there."""
        if self.single:
            return Markup('href="#index" data-file="{}"').format(file)
        return Markup('href="{}"').format(file)

    def _has_channel(self, block: str, channel: int) -> bool:
        """Whether a page shows a channel."""
        return channel in self.material.channels(block)

    def _analyses(self) -> dict[str, Table]:
        m = self.material
        found = [
            analyses.blocks_table(m),
            analyses.spectrum_table(m),
            analyses.shares_table(m),
            analyses.top_mixes_table(m, self.top),
            analyses.top_scale_table(m, self.top),
            analyses.skip_weights_table(m),
            analyses.inhibition_table(m),
            analyses.nulls_table(m),
            analyses.seeds_table(m),
            analyses.comparison_table(m),
            analyses.transitions_table(m),
            photographs_table(m),
        ]
        return {table.name: self._table(table) for table in found}

    def _table(self, table: Table) -> Table:
        table.write(self.folder, self.material.meta)
        self.tables.append(table)
        return table

    def _render(
        self,
        template: str,
        page: Page,
        title: str,
        list_data: Mapping[str, Any] | None = None,
        details: Mapping[str, Mapping[str, Any]] | None = None,
        **values: Any,
    ) -> None:
        text = self._environment.get_template(template).render(
            site=self._site,
            page=page,
            title=title,
            base="view.html.j2" if self.single else "base.html.j2",
            every_page=verbatim(*EVERY_PAGE),
            list_data=list_data,
            details=details,
            chosen=self.material.chosen,
            **values,
        )
        if self.single:
            self.views.append(View(page, title, Markup(text), list_data, details))
            return
        write_file(self.folder / page.file, text.encode(), durable=False)
        for name, part in (details or {}).items():
            # A page opened from disk may run a script beside it, but not read a file.
            called = f"keepDetails({json.dumps(name)}, {json.dumps(page_json(part))});\n"
            (self.folder / "details").mkdir(exist_ok=True)
            write_file(self.folder / "details" / f"{name}.js", called.encode(), durable=False)

    def _block_page(
        self, block: Block, number: int, own: Mapping[str, Table], curves: Table, found: Mapping[str, Table]
    ) -> None:
        shares = [(by, [found["shares"].find(block=block.name, by=by, mix=mix) for mix in (True, False)]) for by in BY]
        nulls = []
        names = list(dict.fromkeys(str(row[1]) for row in found["nulls"].rows if row[0] == block.name))
        for name in names:
            criteria = ("scale_invariant", "meets_both")
            nulls.append((name, [found["nulls"].find(block=block.name, null=name, criterion=c) for c in criteria]))
        by_images, image_nulls = _image_nulls(found["nulls"], block.name, names)
        self._render(
            "block.html.j2",
            self.pages[1 + number],
            f"Block {block.name}",
            list_data=list_data(self.material, block, own["channels"], self.pictures),
            details=details_data(self.material, block, own, self.pictures),
            block=block,
            row=number,
            tables={**found, **own},
            figures=self.drawings.block(block, curves, found),
            shares=shares,
            nulls=nulls,
            by_images=by_images,
            image_nulls=image_nulls,
            nulls_lacking=lacking.nulls_lacking(self.material, [block.name]),
            photographs=[found["photographs"].find(block=block.name, by=by) for by in BY_FZS.values()],
            no_photographs=own["patches"].missing,
            seeds={of: found["seeds"].find(block=block.name, of=of) for of in analyses.AGREEMENTS},
            notices=lacking.channels_lacking(self.material, block),
            shown_channels=len(self.material.channels(block.name)),
            scripts=verbatim(*BLOCK_PAGE, "start.js"),
        )

    def _comparison_page(self, found: Mapping[str, Table]) -> None:
        pairs = []
        for pair in self.material.pairs:
            figure = self.drawings.comparison(pair, found["comparison"])
            if figure is not None:
                pairs.append({"title": pair.title, "figure": figure})
        self._render("comparison.html.j2", self.pages[-1], "Other sets", tables=found, pairs=pairs)

    def _overview(self, found: Mapping[str, Table]) -> None:
        m = self.material
        shares = []
        for block in m.blocks:
            parts = []
            for mix, criterion in ((True, "scale_invariant"), (False, "meets_both")):
                rows = [found["shares"].find(block=block.name, by=by, mix=mix) for by in BY]
                nulls = [
                    number
                    for number, row in enumerate(found["nulls"].rows)
                    if row[0] == block.name and row[2] == criterion
                ]
                parts.append({"rows": rows, "nulls": nulls})
            shares.append({"block": block.name, "page": page_name(block.name), "parts": parts})
        # One file has the galleries, not the same pictures again as contact sheets.
        drawn: dict[str, Any] = {**self.drawings.overview(found, self.pictures, sheets=not self.single)}
        for name in ("skip_weights", "inhibition", "tuning"):
            drawn[name] = self.drawings.of(name)
        ablations = self._ablations()
        self._render(
            "overview.html.j2",
            self.pages[0],
            f"{m.info.name}: what its residual stream does",
            tables=found,
            figures=drawn,
            shares=shares,
            pictures={name: self._gallery(found[name]) for name in ("top_mixes", "top_scale")},
            notices=self._notices(),
            scanned=m.scan is not None,
            no_scan=lacking.no_scan(m),
            nulls_lacking=lacking.nulls_lacking(m, [block.name for block in m.blocks]),
            ablations=ablations,
            ablations_lacking=lacking.ablations_lacking(m),
            curves_lacking=lacking.curves_lacking(m, {str(row[0]) for row in found["tuning"].rows}),
            compared="; ".join(pair.title for pair in m.pairs),
            shown_channels=m.shown,
        )

    def _gallery(self, table: Table) -> list[list[dict[str, Any]]]:
        """Of each row of a table the three pictures that a page shows, as the block's page wrote them."""
        found = []
        for row in range(len(table)):
            block, channel = str(table.value(row, "block")), int(table.value(row, "channel") or 0)
            rows = self.material.rows[block]
            known = frame_table(table.name, table.title, rows, np.flatnonzero(rows["channel"] == channel))
            three = []
            for tensor in TENSORS:
                area = self.material.info.fields.get(str(self.material.info.source(block, tensor)))
                side = self.material.info.input_size
                three.append(
                    {
                        "file": self.pictures.file(block, tensor, channel),
                        "alt": describe_fz(known, block, channel, tensor),
                        "start": area.start if area else 0,
                        "shown": area.stop - area.start if area else side,
                        "side": side,
                    }
                )
            found.append(three)
        return found

    def _ablations(self) -> list[dict[str, Any]]:
        found = []
        for number, ablation in enumerate(self.material.ablations):
            table = self._table(analyses.ablation_table(f"ablation-{ablation.block}-{number + 1}", ablation))
            text = (
                f"Channels {format_channels(ablation.channels)} of {ablation.block}'s sum set, at every position, to "
                f"the mean activation of their centre neuron. {ablation.images:,} images of "
                f"{ablation.classes} classes in {Path(ablation.folder).name}. Control seed {ablation.seed}: "
                f"{' '.join(controls_text(ablation))}"
            )
            found.append({"table": table, "figure": self.drawings.ablation(ablation, table), "text": text})
        return found

    def _notices(self) -> list[str]:
        """All that this report would have if more were stored."""
        m = self.material
        notices = [notice for block in m.blocks for notice in lacking.channels_lacking(self.material, block)]
        left = [b.name for b in m.info.blocks if b not in m.blocks]
        if left:
            notices.append(f"not in this report: {', '.join(left)}")
        if m.scan is None:
            notices.append(f"{lacking.no_scan(m)}; robust, MEIs and rho come from images")
        elif m.scan.unreadable:
            notices.append(f"{len(m.scan.unreadable)} images of {m.scan.source.name} could not be read")
        if m.scan is not None and (other := m.scan.other_preparation(m.info)):
            notices.append(f"the scan of {m.scan.source.name}: {other}")
        notices += [f"not shown: {line}" for line in _distinct(self.pictures.problems)][:20]
        return notices

    def _advance(self, channels: int) -> None:
        self._done += channels
        if self.progress is not None:
            self.progress(self._done, self.material.shown)


def _distinct(problems: Sequence[StreamscopeError]) -> list[StreamscopeError]:
    """One of those that say the same."""
    return list({str(problem): problem for problem in problems}.values())


def _image_nulls(
    table: Table, block: str, names: Sequence[str]
) -> tuple[list[tuple[str, int]], list[tuple[str, list[int | None]]]]:
    """Of a block's verdicts by images: the words for each and a row of it, and by null its row of each."""
    found = {
        criterion: [table.find(block=block, null=name, criterion=criterion) for name in names]
        for criterion in BY_IMAGES
    }
    really = {criterion: next((row for row in rows if row is not None), None) for criterion, rows in found.items()}
    known = [(criterion, row) for criterion, row in really.items() if row is not None]
    by_null = zip(names, zip(*(found[criterion] for criterion, _ in known), strict=True), strict=False)
    rows = [(name, list(of)) for name, of in by_null if any(row is not None for row in of)]
    return [(CRITERIA[criterion], row) for criterion, row in known], rows
