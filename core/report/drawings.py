"""Which figures a report has, each drawn once and described in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from streamscope.core.analysis.evidence import read_evidence
from streamscope.core.model.blocks import TENSORS, Block
from streamscope.core.report import descriptions, figures
from streamscope.core.report.evidence_figure import evidence_caption, evidence_figure
from streamscope.core.report.figures import Drawn
from streamscope.core.report.material import Material, Pair
from streamscope.core.report.pictures import Pictures
from streamscope.core.report.sheets import contact_sheet
from streamscope.core.report.tables import Table
from streamscope.core.store.ablations import Ablation

BLOCK_FIGURES = ("spectrum", "evidence", "skip_weights", "inhibition", "tuning")
OVERVIEW_FIGURES = ("updates", "spectrum", "shares", "top_mixes", "top_scale")


@dataclass
class Drawings:
    """The figures of a report in `folder`; those drawn so far are in `drawn`."""

    material: Material
    folder: Path
    drawn: list[Drawn] = field(default_factory=list)

    def of(self, name: str) -> list[Drawn]:
        """Those of all blocks of one kind, such as `tuning`."""
        return [drawn for drawn in self.drawn if drawn.name.startswith(f"{name}-")]

    def block(self, block: Block, tuning: Table, found: Mapping[str, Table]) -> dict[str, Drawn | None]:
        """By name those of a block; None for those of which nothing is stored. `tuning` has its channels' curves."""
        rows, name = self.material.rows[block.name], block.name
        drawn: dict[str, Drawn | None] = dict.fromkeys(BLOCK_FIGURES)
        row = found["blocks"].find(block=name)
        if row is not None and found["blocks"].value(row, "computed"):
            lines = descriptions.describe_spectrum(found["blocks"], found["spectrum"], name)
            drawn["spectrum"] = self._draw(
                Drawn(f"spectrum-{name}", f"Histogram of M, block {name}.", block=name, lines=lines),
                lambda: figures.spectrum_figure(rows),
            )
            drawn["skip_weights"] = self._skip_weights(name, found["skip_weights"])
            drawn["inhibition"] = self._inhibition(name, found["inhibition"])
            evidence = read_evidence(self.material.fzset, block, rows, self.material.scan)
            drawn["evidence"] = self._draw(
                Drawn(f"evidence-{name}", evidence_caption(evidence), block=name), partial(evidence_figure, evidence)
            )
        if len(tuning):
            caption = f"Scale tuning in {name}: mean of the channels' curves, each over its maximum."
            lines = descriptions.describe_tuning(found["tuning"], name)
            drawn["tuning"] = self._draw(
                Drawn(f"tuning-{name}", caption, block=name, lines=lines),
                lambda: figures.tuning_figure(name, rows, tuning),
            )
        return drawn

    def overview(self, found: Mapping[str, Table], pictures: Pictures, sheets: bool) -> dict[str, Drawn | None]:
        """By name those of all blocks; contact sheets of the top lists only with `sheets`."""
        drawn: dict[str, Drawn | None] = dict.fromkeys(OVERVIEW_FIGURES)
        if not self.material.nulls or not len(self.material.measured):
            return drawn
        blocks = found["blocks"]
        drawn["updates"] = self._draw(
            Drawn("updates", "Kinds of update in each block.", lines=descriptions.describe_updates(blocks)),
            lambda: figures.updates_figure(blocks),
        )
        caption = "Histogram of M of each block, bins of 0.25; bands: overwrite, mix, skip."
        drawn["spectrum"] = self._draw(
            Drawn("spectrum", caption, lines=descriptions.describe_spectra(blocks, found["spectrum"])),
            lambda: figures.spectrum_figure(self.material.measured),
        )
        caption = "Shares of scale-invariant channels with 95 % intervals; black lines are nulls."
        drawn["shares"] = self._draw(
            Drawn("shares", caption, lines=descriptions.describe_shares(found["shares"], found["nulls"])),
            lambda: figures.shares_figure(found["shares"], found["nulls"]),
        )
        if sheets:
            for name in ("top_mixes", "top_scale"):
                drawn[name] = self._sheet(found[name], pictures)
        return drawn

    def comparison(self, pair: Pair, comparison: Table) -> Drawn | None:
        """M in two sets; None where no block has it in both."""
        if not figures.has_panels(pair):
            return None
        lines = descriptions.describe_comparison(comparison, pair.sets.differ, pair.other)
        drawn = Drawn(f"comparison-{pair.name}", f"M of every channel, {pair.title}.", lines=lines)
        return self._draw(drawn, partial(figures.comparison_figure, pair))

    def ablation(self, ablation: Ablation, table: Table) -> Drawn:
        caption = f"Accuracy over zooms with channels of {ablation.block} ablated."
        images = f"{ablation.images:,} images in {Path(ablation.folder).name}"
        return self._draw(
            Drawn(table.name, caption, block=ablation.block, lines=descriptions.describe_ablation(table)),
            partial(figures.ablation_figure, ablation),
            self.material.provenance_of(images),
        )

    def _skip_weights(self, block: str, table: Table) -> Drawn | None:
        if table.find(block=block) is None:
            return None
        lines = descriptions.describe_skip_weights(table, block)
        drawn = Drawn(f"skip_weights-{block}", f"Skip weights of {block} against M.", block=block, lines=lines)
        return self._draw(drawn, lambda: figures.skip_weights_figure(block, self.material.rows[block], table))

    def _inhibition(self, block: str, table: Table) -> Drawn | None:
        if table.find(block=block) is None:
            return None
        caption = f"Overwrite inhibition in {block}; black lines are the means of M < 1 and M ≥ 1."
        lines = descriptions.describe_inhibition(table, block)
        drawn = Drawn(f"inhibition-{block}", caption, block=block, lines=lines)
        return self._draw(drawn, lambda: figures.inhibition_figure(block, self.material.rows[block], table))

    def _sheet(self, table: Table, pictures: Pictures) -> Drawn | None:
        if not len(table):
            return None
        blocks = (str(table.value(row, "block")) for row in range(len(table)))
        keys = zip(blocks, table.whole_numbers("channel"), strict=True)
        sheet = [{t: pictures.fz(block, t, channel) for t in TENSORS} for block, channel in keys]
        lines = descriptions.describe_top(table)
        drawn = Drawn(table.name, f"{table.title}: FZ(I), FZ(B), FZ(O).", plot=False, lines=lines)
        return self._draw(drawn, partial(contact_sheet, table, sheet))

    def _draw(self, drawn: Drawn, draw: Callable[[], Any], provenance: str = "") -> Drawn:
        self.drawn.append(figures.save(self.folder, drawn, provenance or self.material.provenance, draw))
        return drawn
