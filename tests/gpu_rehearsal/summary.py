"""The figures for people, as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from tests.gpu_rehearsal.plan import Piece, pieces
from tests.gpu_rehearsal.records import Records


def summary(records: Records, blocks: Sequence[str]) -> str:
    """What a rehearsal has found so far."""
    parts = [
        ["# GPU rehearsal", *overview(records)],
        section("Machine", machine(records)),
        section("Tests", tests(records)),
        section("Kernels against torch's own operations", kernels(records)),
        section("Speed", speed(records)),
        section("bfloat16 against float32", arithmetic(records)),
        section("The studied set", studied_set(records, pieces(blocks))),
        section("Nulls", nulls(records)),
        section("Steps", attempts(records)),
    ]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def section(title: str, lines: Iterable[str]) -> list[str]:
    found = list(lines)
    return [f"## {title}", "", *found] if found else []


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    """Nothing where there are no rows."""
    body = [f"| {' | '.join(map(shown, row))} |" for row in rows]
    if body:
        yield f"| {' | '.join(head)} |"
        yield f"|{'---|' * len(head)}"
        yield from body


def shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.1f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def overview(records: Records) -> Iterator[str]:
    options, archive = records.data["options"], records.data["archive"]
    yield ""
    yield f"{', '.join(f'{name} {value}' for name, value in options.items())}."
    for number, run in enumerate(records.data["runs"], 1):
        left = f"; left out: {', '.join(run['left_out'])}" if run["left_out"] else ""
        yield f"Run {number}, {run['started']}: {run['seconds']:.0f} s of {run['minutes']:g} min{left}."
    if archive:
        whole = archive["store_bytes"] + archive["left_out_bytes"]
        lacking = f"lacks its last {archive['left_out_bytes'] / 1e6:,.1f} MB"
        kept = lacking if archive["left_out_folders"] else "has all of it"
        yield f"The store has {whole / 1e6:,.1f} MB; the archive {kept}."


def machine(records: Records) -> Iterator[str]:
    found, packages = records.figures("machine"), records.figures("packages")
    smi = found.get("nvidia_smi", "")
    yield from (f"- {name}: {shown(value)}" for name, value in found.items() if name != "nvidia_smi")
    if packages:
        yield f"- packages: {', '.join(f'{n} {v}' for n, v in packages['versions'].items() if v)}"
        for name in ("from_wheels", "missing", "missing_below", "other_versions"):
            if packages[name]:
                yield f"- {name.replace('_', ' ')}: {', '.join(packages[name])}"
    if smi:
        yield from ("", "```", *smi.strip().splitlines(), "```")


def tests(records: Records) -> Iterator[str]:
    found = records.figures("tests")
    if found:
        yield ", ".join(f"{found[name]} {name}" for name in ("tests", "failures", "errors", "skipped"))
        yield from (f"- failed: {name}" for name in found["failed"])


def kernels(records: Records) -> Iterator[str]:
    names = ("block", "protocol", "images", "dtype", "side", "difference", "gradient_difference")
    times = ("operations_ms", "kernel_ms", "kernel_gb_a_second")
    rows = records.figures("kernels").get("rows", [])
    yield from table([*names, *times], ([row[name] for name in (*names, *times)] for row in rows))


def speed(records: Records) -> Iterator[str]:
    rows = records.figures("bench-speed").get("speed", [])
    head = ("`block` of", "ours, ms an image and step", "Lucent", "ratio", "Lucent, frozen", "ratio")
    yield from table(
        head,
        (
            [
                row["block"],
                *(timing(row[name]) for name in ("ours", "lucent")),
                row["ratio"],
                timing(row["lucent_frozen"]),
                row["ratio_frozen"],
            ]
            for row in rows
        ),
    )
    found = records.figures("bench-tensors")
    if found:
        yield ""
        parts = ("dft", "resampling", "convolution", "optimiser")
        yield from table(("`block` of", *parts), ([row["block"], *(row[n] for n in parts)] for row in found["shares"]))
        yield ""
        yield from table(
            ("protocol", "target", "ms an image and step", "image-steps a second"),
            (
                [protocol, name, row["ms"], row["image_steps_a_second"]]
                for protocol, targets in found["tensors"].items()
                for name, row in targets.items()
            ),
        )
        yield ""
        for protocol, hours in found["whole_set_hours"].items():
            yield f"Every FZ of the studied blocks by `{protocol}`, extrapolated: {60 * hours:.1f} minutes."
        yield f"Peak memory: {', '.join(f'{n} {b / 1e9:.1f} GB' for n, b in found['peak_bytes'].items())}."
    if scan := records.figures("bench-scan").get("scan"):
        yield f"A scan: {scan['images_a_second']:.0f} images a second ({scan['images']} images)."


def timing(value: dict[str, float]) -> str:
    return f"{value['median']:.3g} ({value['low']:.3g}-{value['high']:.3g})"


def arithmetic(records: Records) -> Iterator[str]:
    yield from table(
        ("`block` of", "channels", "steps", "bfloat16 over float32", "95 %", "seconds, float32", "bfloat16"),
        (
            [
                row["block"],
                len(row["channels"]),
                row["steps"],
                row["mean"],
                f"{row['low']:.3f} to {row['high']:.3f}",
                row["float32_seconds"],
                row["bfloat16_seconds"],
            ]
            for row in records.figures("arithmetic").get("rows", [])
        ),
    )


def studied_set(records: Records, pieces: Sequence[Piece]) -> Iterator[str]:
    """By piece, then by set, all runs together: seconds are of the processes, their starts and what they store
    included."""
    counted = ("piece", "FZs", "of", "seconds", "FZs/s", "image-steps", "image-steps/s")
    head = (*counted, "seconds in FZ batches", "in readings", "peak GB", "state")
    rows = {piece: row for piece in pieces if (row := piece_row(records, piece.name))}
    yield from table(head, rows.values())
    if rows:
        yield ""
    for name in dict.fromkeys(piece.set_name for piece in rows):
        each = [made_in(records, piece.name) for piece in rows if piece.set_name == name]
        made, seconds = sum(count for count, _ in each), sum(took for _, took in each)
        left = [p.name for p in pieces if p.set_name == name and not records.is_done(p.name)]
        how_far = f"not whole: {', '.join(left)}" if left else "the whole set"
        yield f"- {name}: {made:,} FZs made in {seconds:,.1f} s ({how_far})"


def made_in(records: Records, name: str) -> tuple[int, float]:
    """FZs, and seconds, of all attempts at a piece."""
    tries = records.steps.get(name, [])
    return sum(t["figures"].get("made", 0) for t in tries), sum(t["seconds"] for t in tries)


def piece_row(records: Records, name: str) -> list[Any]:
    tries = records.steps.get(name, [])
    told = [t["figures"] for t in tries if t["figures"]]
    if not told:
        return [name, *[None] * 9, tries[-1]["state"]] if tries else []
    made, seconds = made_in(records, name)
    rates = [f["image_steps_a_second"] for f in told if f["image_steps_a_second"] is not None]
    peaks = [f["peak_gb"] for f in told if f["peak_gb"] is not None]
    return [
        name,
        told[-1]["stored"],
        told[-1]["has"],
        seconds,
        made / seconds,
        int(sum(f["image_steps"] for f in told)),
        rates[-1] if rates else None,
        sum(f["fz_seconds"] for f in told),
        sum(f["measure_seconds"] for f in told),
        max(peaks, default=None),
        tries[-1]["state"],
    ]


def nulls(records: Records) -> Iterator[str]:
    """Channels that meet a criterion, really and under each null."""
    rows = []
    for name in (n for n in records.steps if n.startswith("nulls-")):
        for block, found in records.figures(name).items():
            for criterion, (k, n) in found["real"].items():
                others = (
                    f"{null} {counts[criterion][0]}/{counts[criterion][1]}"
                    for null, counts in found["nulls"].items()
                    if criterion in counts
                )
                rows.append([name.removeprefix("nulls-"), block, criterion, f"{k}/{n}", ", ".join(others)])
    yield from table(("set", "block", "criterion", "real", "nulls"), rows)


def attempts(records: Records) -> Iterator[str]:
    yield from table(
        ("step", "run", "state", "seconds", "error"),
        (
            [name, attempt["run"], attempt["state"], attempt["seconds"], attempt["error"].replace("|", "/")]
            for name, tries in records.steps.items()
            for attempt in tries
        ),
    )
