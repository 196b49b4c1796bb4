"""`streamscope evidence`: what speaks for and against a block's channels, as a table, a card of one and a figure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from streamscope.core.analysis.channel_card import Finding, channel_card
from streamscope.core.analysis.evidence import TESTS, Evidence, read_evidence
from streamscope.core.errors import StoreError, UsageError
from streamscope.core.export.files import table_meta, write_with_meta
from streamscope.core.measures.photographs import EXCEEDED
from streamscope.core.model.blocks import pick_scaled_blocks
from streamscope.core.report.lacking import evidence_lacking
from streamscope.core.report.material import Material, gather
from streamscope.core.table.columns import Value, number_text
from streamscope.tui.advice import worded
from streamscope.tui.cli.lines import say
from streamscope.tui.cli.options import Given, reading_options
from streamscope.tui.cli.printing import WIDTH, cell, print_whole
from streamscope.tui.cli.steps import wording_of
from streamscope.tui.command_lines import set_words

KINDS = ("png", "svg", "pdf")
"""Of the figure, as the ending of its file."""
ORDER = ("yes", "undecided", "no", "")
"""Of verdicts in the table."""


@click.command(
    "evidence",
    epilog="\b\nWhat speaks for a channel where it holds and against it where it does not:\n"
    + "\n".join(f"  {name:9} {what}" for name, what in TESTS.items()),
)
@click.option("--block", required=True, metavar="B", help="Block such as 2.1.")
@click.option("--channel", type=click.IntRange(min=0), metavar="C", help="Everything for and against one channel.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Draw the figure to FILE, by its ending a PNG, SVG or PDF, with FILE.meta.json beside it.",
)
@reading_options
def command(given: Given, block: str, channel: int | None, out: Path | None) -> None:
    """Show each channel's evidence of scale invariance by FZs and by photographs, beside pairs that mean nothing.

    By FZs it is the smaller of block gain and input gain, the mean over the stored seeds; by photographs the smaller of
    how much larger B prefers I's patches and how much smaller I prefers B's. Pairs have the I of one channel and the B
    of another. Nothing is computed: what is not stored is said, with the command that makes it.

    \b
    streamscope evidence --block 2.1
    streamscope evidence --block 2.1 --out evidence.pdf
    streamscope evidence --block 2.1 --channel 17
    """
    kind = _kind(out) if out is not None else ""
    if out is not None and channel is not None:
        raise UsageError("--out draws the whole block; leave out --channel")
    store = given.store()
    given = given.as_stored(store)
    info = given.stored_info(store)
    (described,) = pick_scaled_blocks(info, [block])
    if channel is not None and channel >= described.channels:
        raise UsageError(f"channel {channel} is out of range; block {block} has channels 0-{described.channels - 1}")
    fzset = given.stored_set(store, info)
    scan = given.stored_scan(store, fzset)
    material = gather(store, info, fzset, [block], None, scan, wording_of(given.commands, info, fzset))
    rows = material.rows[block]
    if np.isnan(rows["fz_seed"]).all():
        how = given.commands("compute", "--block", block, *set_words(fzset.key, info))
        raise StoreError(f"no channel of {block} is computed ({fzset.key}); run '{how}' for it first")
    evidence = read_evidence(fzset, described, rows, scan)
    lacking = evidence_lacking(material, evidence, channel)
    for problem in store.problems:
        say(f"streamscope: {worded(problem)}", err=True)
    if out is not None:
        _draw(material, evidence, kind, out)
    elif channel is not None:
        _say_card(material, evidence, channel, lacking, given.as_json)
    elif given.as_json:
        click.echo(json.dumps(_block_json(material, evidence, lacking), indent=2))
    else:
        _print_block(evidence, lacking)


def _kind(out: Path) -> str:
    kind = out.suffix.lower().removeprefix(".")
    if kind not in KINDS:
        raise UsageError(f"cannot draw {out}: the figure is a {', '.join(KINDS[:-1])} or {KINDS[-1]}; let FILE end so")
    return kind


def _draw(material: Material, evidence: Evidence, kind: str, out: Path) -> None:
    # matplotlib takes a second to import, which the table and the card do not pay for.
    from streamscope.core.report.evidence_figure import evidence_caption, evidence_figure
    from streamscope.core.report.figures import picture

    caption = evidence_caption(evidence)
    content = picture(kind, material.provenance, lambda: evidence_figure(evidence))
    images = material.scan.described if material.scan is not None else None
    told: dict[str, Any] = {"block": evidence.block.name, "seeds": list(evidence.seeds), "images": images}
    meta = table_meta(material.info, material.fzset.key, **told, format=kind, caption=caption)
    write_with_meta(out, content, meta)
    say(f"wrote the evidence of {int(evidence.shown.sum())} channels to {out}", err=True)
    say(caption)


def _rows(evidence: Evidence) -> list[dict[str, Any]]:
    """A channel each, by verdict and then by its evidence; None where unknown."""
    wanted = ("verdict", "probability", "agreement", "seeds", "q", "photo_images", "photo_invariant", "robust")
    fields = evidence.rows.rows(range(len(evidence.rows)), wanted)
    rank = [ORDER.index(str(row["verdict"] or "")) for row in fields]
    order = sorted(
        range(len(fields)), key=lambda channel: (rank[channel], -np.nan_to_num(evidence.fz[channel], nan=-9))
    )
    fz, photo = _above(evidence.fz, evidence.pairs_fz), _above(evidence.photo, evidence.pairs_photo)
    return [
        {
            "channel": channel,
            **fields[channel],
            "fz_evidence": _number(evidence.fz[channel]),
            "fz_above_pairs": _number(fz[channel]),
            "photo_evidence": _number(evidence.photo[channel]),
            "photo_above_pairs": _number(photo[channel]),
            "for": evidence.holding(channel, True),
            "against": evidence.holding(channel, False),
        }
        for channel in order
    ]


def _above(own: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Share of the pairs that each channel exceeds; NaN where unknown."""
    known = np.sort(pairs[~np.isnan(pairs)])
    below = np.searchsorted(known, own, side="left") / max(len(known), 1)
    return np.where(np.isnan(own) | (len(known) == 0), np.nan, below)


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(f"{value:.6g}")


def _block_json(material: Material, evidence: Evidence, lacking: list[str]) -> dict[str, Any]:
    beyond, share = evidence.beyond
    return {
        **_told(material, evidence),
        "pairs": int(evidence.known_pairs.sum()),
        "points": [_number(point) for point in evidence.points],
        "beyond": {
            "channels": np.flatnonzero(beyond).tolist(),
            "of": int(evidence.shown.sum()),
            "pairs": _number(share),
        },
        "channels": _rows(evidence),
        "lacking": lacking,
    }


def _told(material: Material, evidence: Evidence) -> dict[str, Any]:
    return {
        "model": material.info.name,
        "fingerprint": material.info.fingerprint,
        "block": evidence.block.name,
        "set": str(material.fzset.key),
        "seeds": list(evidence.seeds),
        "images": evidence.images,
    }


def _print_block(evidence: Evidence, lacking: list[str]) -> None:
    names = ("channel", "verdict", "probability", "by FZs", "> pairs", "q", "photos", "> pairs", "for", "against")
    rows = []
    for row in _rows(evidence):
        rows.append(
            (
                str(row["channel"]),
                str(row["verdict"] or ""),
                number_text(row["probability"]),
                number_text(row["fz_evidence"]),
                _percent(row["fz_above_pairs"]),
                number_text(row["q"]),
                number_text(row["photo_evidence"]),
                _percent(row["photo_above_pairs"]),
                ", ".join(row["for"]),
                ", ".join(row["against"]),
            )
        )
    print_whole(names, rows)
    counts = ", ".join(f"{int(evidence.verdict(verdict).sum())} {verdict}" for verdict in ORDER if verdict)
    seeds = ", ".join(map(str, evidence.seeds))
    say(f"{evidence.block.name}: {counts} by seeds {seeds}; {evidence.images or 'no'} images scanned")
    beyond, share = evidence.beyond
    pairs, shown = int(evidence.known_pairs.sum()), int(evidence.shown.sum())
    if pairs:
        both = "by FZs and by photographs" if evidence.photographed else "by FZs"
        say(
            f"{int(beyond.sum())} of {shown} channels exceed {EXCEEDED:.0%} of pairs {both}, as {share:.1%} of the "
            f"{pairs:,} pairs do"
        )
    for line in lacking:
        say(line)


def _percent(share: Value) -> str:
    return "" if share is None else f"{float(share):.1%}"


def _say_card(material: Material, evidence: Evidence, channel: int, lacking: list[str], as_json: bool | None) -> None:
    sets = [one for one in (material.fzset, *material.fzset.siblings()) if one.key.seed in evidence.seeds]
    findings = channel_card(evidence, channel, sets, material.ablations)
    if as_json:
        card = {
            **_told(material, evidence),
            "channel": channel,
            "verdict": evidence.rows["verdict"][channel] or None,
            "for": evidence.holding(channel, True),
            "against": evidence.holding(channel, False),
            "findings": [
                {
                    "topic": f.topic,
                    "what": f.what.strip(),
                    "value": _json_value(f),
                    "beside": f.beside,
                    "speaks": f.speaks,
                }
                for f in findings
            ],
            "lacking": lacking,
        }
        click.echo(json.dumps(card, indent=2))
        return
    say(f"{material.info.name} {evidence.block.name}, channel {channel}; {material.fzset.key}")
    _print_findings(findings)
    for label, holds in (("for", True), ("against", False)):
        say(f"{label}: {', '.join(evidence.holding(channel, holds)) or 'nothing'}")
    for line in lacking:
        say(line)


def _json_value(finding: Finding) -> Value:
    return _number(finding.value) if isinstance(finding.value, float) else finding.value


def _print_findings(findings: list[Finding]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("", "", "speaks", "beside"):
        table.add_column(name, justify="left")
    topic = ""
    for finding in findings:
        if finding.topic != topic:
            topic = finding.topic
            table.add_row(cell(topic, "bold"))
        table.add_row(cell(f"  {finding.what}"), cell(finding.text), cell(finding.speaks), cell(finding.beside))
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDTH
    console.print(table)
