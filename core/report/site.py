"""The report itself: a folder of figures, tables and pages, from what a store has."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from streamscope import __version__
from streamscope.core.analysis.ablation import controls_text
from streamscope.core.analysis.evidence import read_evidence
from streamscope.core.analysis.null_shares import BY_IMAGES, CRITERIA
from streamscope.core.errors import StreamscopeError
from streamscope.core.model.blocks import TENSORS, Block, format_channels
from streamscope.core.report import analyses, figures, lacking
from streamscope.core.report.channels import channels_table, meis_table, payload, tuning_table
from streamscope.core.report.evidence_figure import evidence_caption, evidence_figure
from streamscope.core.report.folder import report_folder
from streamscope.core.report.material import Material
from streamscope.core.report.photographs import BY_FZS, patch_curves_table, photographs_table
from streamscope.core.report.pictures import Pictures
from streamscope.core.report.sheets import TITLES, contact_sheet
from streamscope.core.report.tables import Table
from streamscope.core.store.files.atomic import write_file
from streamscope.core.text import visible_lines

TOP = 12
"""Channels in the lists of top mixes and top scale metrics."""
SCRIPTS = ("format.js", "filter.js", "list.js", "channel.js")
BY = ("FZ", "MEI", "both")
_TEMPLATES = Path(__file__).parent / "templates"

Progress = Callable[[int, int], None]


def _shown(value: object) -> object:
    """What a page shows of a value: control characters in texts are pictures. Jinja escapes the rest."""
    return visible_lines(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _page_json(data: object, **options: Any) -> str:
    """The same of every text in what the scripts get."""

    def shown(part: Any) -> Any:
        if isinstance(part, Mapping):
            return {shown(key): shown(value) for key, value in part.items()}
        return [shown(value) for value in part] if isinstance(part, list | tuple) else _shown(part)

    return json.dumps(shown(data), **options)


@dataclass(frozen=True)
class Page:
    file: str
    title: str


@dataclass
class Site:
    """A report being written to `folder`; what it made so far is in `tables` and `drawn`."""

    material: Material
    folder: Path
    top: int = TOP
    progress: Progress | None = None
    tables: list[Table] = field(default_factory=list)
    drawn: list[figures.Drawn] = field(default_factory=list)
    _done: int = 0

    def write(self) -> list[StreamscopeError]:
        """Writes everything; what could not be read on the way is returned. Raises StreamscopeError."""
        self._advance(0)
        found = self._analyses()
        blocks = {}
        for block in self.material.blocks:
            blocks[block.name] = {
                "channels": self._table(channels_table(self.material, block)),
                "tuning": self._table(tuning_table(self.material, block)),
                "meis": self._table(meis_table(self.material, block)),
                "patches": self._table(patch_curves_table(self.material, block)),
            }
        tuning = {name: tables["tuning"] for name, tables in blocks.items()}
        found["tuning"] = self._table(analyses.tuning_summary(self.material, tuning))
        for number, block in enumerate(self.material.blocks):
            self._block_page(block, number, blocks[block.name], found)
        if self.material.pairs:
            self._comparison_page(found)
        self._overview(found)
        return _distinct(self.pictures.problems)

    @cached_property
    def pictures(self) -> Pictures:
        return Pictures(self.material, self.folder, self._advance)

    @cached_property
    def name(self) -> str:
        return f"{self.material.info.name}: residual stream"

    @cached_property
    def pages(self) -> list[Page]:
        blocks = [Page(f"block-{block.name}.html", block.name) for block in self.material.blocks]
        others = [Page("comparison.html", "other sets")] if self.material.pairs else []
        return [Page("index.html", "overview"), *blocks, *others]

    @cached_property
    def _environment(self) -> Environment:
        found = Environment(
            loader=PackageLoader("streamscope.core.report"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            finalize=_shown,
        )
        found.policies["json.dumps_function"] = _page_json
        found.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "ensure_ascii": False, "allow_nan": False}
        return found

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

    def _draw(self, drawn: figures.Drawn, draw: Callable[[], Any], provenance: str = "") -> figures.Drawn:
        self.drawn.append(figures.save(self.folder, drawn, provenance or self.material.provenance, draw))
        return drawn

    def _render(self, template: str, page: Page, title: str, **values: Any) -> None:
        m = self.material
        site = {
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
            "figures": self.drawn,
        }
        css = Markup((_TEMPLATES / "report.css").read_text(encoding="utf-8"))
        text = self._environment.get_template(template).render(
            site=site, file=page.file, title=title, css=css, **values
        )
        write_file(self.folder / page.file, text.encode(), durable=False)

    def _block_page(self, block: Block, number: int, own: Mapping[str, Table], found: Mapping[str, Table]) -> None:
        rows, provenance = self.material.rows[block.name], f"block {block.name}"
        drawn: dict[str, figures.Drawn | None] = dict.fromkeys(
            ("spectrum", "evidence", "skip_weights", "inhibition", "tuning")
        )
        if found["blocks"].value(number, "computed"):
            drawn |= {
                "spectrum": self._draw(
                    figures.Drawn(f"spectrum-{block.name}", f"Histogram of M, {provenance}.", block=block.name),
                    lambda: figures.spectrum_figure(rows),
                ),
                "skip_weights": self._block_figure("skip_weights", block.name, found["skip_weights"]),
                "inhibition": self._block_figure("inhibition", block.name, found["inhibition"]),
            }
            evidence = read_evidence(self.material.fzset, block, rows, self.material.scan)
            drawn["evidence"] = self._draw(
                figures.Drawn(f"evidence-{block.name}", evidence_caption(evidence), block=block.name),
                partial(evidence_figure, evidence),
            )
        if len(own["tuning"]):
            caption = f"Scale tuning in {block.name}: mean of the channels' curves, each over its maximum."
            drawn["tuning"] = self._draw(
                figures.Drawn(f"tuning-{block.name}", caption, block=block.name),
                lambda: figures.tuning_figure(block.name, rows, own["tuning"]),
            )
        shares = [(by, [found["shares"].find(block=block.name, by=by, mix=mix) for mix in (True, False)]) for by in BY]
        nulls = []
        names = list(dict.fromkeys(str(row[1]) for row in found["nulls"].rows if row[0] == block.name))
        for name in names:
            criteria = ("scale_invariant", "meets_both")
            nulls.append((name, [found["nulls"].find(block=block.name, null=name, criterion=c) for c in criteria]))
        by_images, image_nulls = _image_nulls(found["nulls"], block.name, names)
        data = payload(self.material, block, dict(own), self.pictures)
        scripts = Markup("\n".join((_TEMPLATES / name).read_text(encoding="utf-8") for name in SCRIPTS))
        self._render(
            "block.html.j2",
            self.pages[1 + number],
            f"Block {block.name}",
            block=block,
            row=number,
            tables={**found, **own},
            figures=drawn,
            shares=shares,
            nulls=nulls,
            by_images=by_images,
            image_nulls=image_nulls,
            nulls_lacking=lacking.nulls_lacking(self.material, [block.name]),
            photographs=[found["photographs"].find(block=block.name, by=by) for by in BY_FZS.values()],
            no_photographs=own["patches"].missing,
            seeds={of: found["seeds"].find(block=block.name, of=of) for of in analyses.AGREEMENTS},
            notices=lacking.channels_lacking(self.material, block),
            payload=data,
            scripts=scripts,
        )

    def _block_figure(self, name: str, block: str, table: Table) -> figures.Drawn | None:
        if table.find(block=block) is None:
            return None
        rows = self.material.rows[block]
        draw = {"skip_weights": figures.skip_weights_figure, "inhibition": figures.inhibition_figure}[name]
        caption = {
            "skip_weights": f"Skip weights of {block} against M.",
            "inhibition": f"Overwrite inhibition in {block}; black lines are the means of M < 1 and M ≥ 1.",
        }[name]
        drawn = figures.Drawn(f"{name}-{block}", caption, block=block)
        return self._draw(drawn, lambda: draw(block, rows, table))

    def _comparison_page(self, found: Mapping[str, Table]) -> None:
        pairs = []
        for pair in self.material.pairs:
            if not figures.has_panels(pair):
                continue
            drawn = figures.Drawn(f"comparison-{pair.name}", f"M of every channel, {pair.title}.")
            pairs.append({"title": pair.title, "figure": self._draw(drawn, partial(figures.comparison_figure, pair))})
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
            shares.append({"block": block.name, "parts": parts})
        drawn: dict[str, Any] = self._overview_figures(found)
        for name in ("skip_weights", "inhibition", "tuning"):
            drawn[name] = [f for f in self.drawn if f.name.startswith(f"{name}-")]
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
        )

    def _overview_figures(self, found: Mapping[str, Table]) -> dict[str, figures.Drawn | None]:
        m = self.material
        drawn: dict[str, figures.Drawn | None] = dict.fromkeys(
            ("updates", "spectrum", "shares", "top_mixes", "top_scale")
        )
        if not m.nulls or not len(m.measured):
            return drawn
        drawn["updates"] = self._draw(
            figures.Drawn("updates", "Kinds of update in each block."), lambda: figures.updates_figure(found["blocks"])
        )
        drawn["spectrum"] = self._draw(
            figures.Drawn("spectrum", "Histogram of M of each block, bins of 0.25; bands: overwrite, mix, skip."),
            lambda: figures.spectrum_figure(m.measured),
        )
        drawn["shares"] = self._draw(
            figures.Drawn("shares", "Shares of scale-invariant channels with 95 % intervals; black lines are nulls."),
            lambda: figures.shares_figure(found["shares"], found["nulls"]),
        )
        for name in ("top_mixes", "top_scale"):
            table = found[name]
            if len(table):
                blocks = (str(table.value(row, "block")) for row in range(len(table)))
                keys = zip(blocks, table.whole_numbers("channel"), strict=True)
                sheet = [{t: self.pictures.fz(block, t, channel) for t in TENSORS} for block, channel in keys]
                drawn[name] = self._draw(
                    figures.Drawn(name, f"{table.title}: FZ(I), FZ(B), FZ(O).", plot=False),
                    partial(contact_sheet, table, sheet),
                )
        return drawn

    def _gallery(self, table: Table) -> list[list[dict[str, Any]]]:
        """Of each row of a table the three pictures that a page shows, as the block's page wrote them."""
        found = []
        for row in range(len(table)):
            block, channel = str(table.value(row, "block")), int(table.value(row, "channel") or 0)
            three = []
            for tensor in TENSORS:
                area = self.material.info.fields.get(str(self.material.info.source(block, tensor)))
                side = self.material.info.input_size
                three.append(
                    {
                        "file": self.pictures.file(block, tensor, channel),
                        "alt": f"{TITLES[tensor]} of {block} {channel}",
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
            name = f"ablation-{ablation.block}-{number + 1}"
            caption = f"Accuracy over zooms with channels of {ablation.block} ablated."
            text = (
                f"Channels {format_channels(ablation.channels)} of {ablation.block}'s sum set, at every position, to "
                f"the mean activation of their centre neuron. {ablation.images:,} images of "
                f"{ablation.classes} classes in {Path(ablation.folder).name}. Control seed {ablation.seed}: "
                f"{' '.join(controls_text(ablation))}"
            )
            found.append(
                {
                    "table": self._table(analyses.ablation_table(name, ablation)),
                    "figure": self._draw(
                        figures.Drawn(name, caption, block=ablation.block),
                        partial(figures.ablation_figure, ablation),
                        self.material.provenance_of(f"{ablation.images:,} images in {Path(ablation.folder).name}"),
                    ),
                    "text": text,
                }
            )
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
            self.progress(self._done, sum(block.channels for block in self.material.blocks))


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


def write_report(
    material: Material, out: Path, top: int = TOP, progress: Progress | None = None
) -> list[StreamscopeError]:
    """Writes a report to the folder `out`, whole or not at all; returns what could not be read.

    Raises UsageError where `out` is something else than a report, StreamscopeError when the disk refuses.
    """
    described = {
        "model": material.info.name,
        "fingerprint": material.info.fingerprint,
        "set": material.fzset.key.folder,
        "blocks": [block.name for block in material.blocks],
        "images": material.data_set,
        "time": material.time,
    }
    with report_folder(out, described) as folder:
        return Site(material, folder, top, progress).write()
