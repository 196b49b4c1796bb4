"""The steps, in the order of what is worth most should the time not do for all."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from tests.gpu_rehearsal.archive import STORE
from tests.gpu_rehearsal.records import Records
from tests.gpu_rehearsal.step import Step

FIRST, PIECES = 0.55, 0.9
"""Shares of the time by which the steps before the pieces are to be over, and the pieces."""
STUDIED = ("1.1", "2.0", "2.1", "3.0", "3.1", "4.0", "4.1")
"""The paper's blocks."""


@dataclass(frozen=True)
class Size:
    """How much of everything."""

    blocks: tuple[str, ...]
    compared: tuple[str, ...]
    """Blocks whose kernels, speed and arithmetic are looked at."""
    channels: str | None
    """Of each block, as the command line takes them; None for all."""
    steps: Mapping[str, int]
    """Of FZs by protocol, where they are not the recipe's."""
    images: int
    """Of a batch, where kernels and speed are measured."""
    repeats: int
    sample: int
    """Channels of a block whose FZs are made in both arithmetics."""
    tests: tuple[str, ...]


ENGINE = "tests/core/engine"
DEVICE_TESTS = f"{ENGINE}/test_devices.py"
OTHER_TESTS = (f"{ENGINE}/transforms", f"{ENGINE}/test_precision.py")
FULL = Size(STUDIED, ("1.1", "2.1", "3.1", "4.1"), None, {}, 128, 20, 16, (DEVICE_TESTS, *OTHER_TESTS))
SMALL = Size(("1.1", "2.0"), ("1.1",), "0-3", {"centred": 4, "paper": 6}, 1, 1, 2, (DEVICE_TESTS,))


@dataclass(frozen=True)
class Setting:
    """What every step is told."""

    work: Path
    device: str
    weights: Path | None
    """ResNet18's; None for the demo model."""
    wheels: Path | None
    size: Size

    @property
    def logs(self) -> Path:
        return self.work / "logs"

    @property
    def site(self) -> Path:
        """What the wheels are installed in."""
        return self.work / "site"

    @property
    def of_model(self) -> tuple[str, ...]:
        """Options of streamscope's commands."""
        return ("--model", "resnet18", "--weights", str(self.weights)) if self.weights else ("--model", "demo")

    @property
    def weights_option(self) -> tuple[str, ...]:
        """Of the rehearsal's own modules."""
        return ("--weights", str(self.weights)) if self.weights else ()


@dataclass(frozen=True)
class Piece:
    """A part of the paper's studied set that a `compute` of its own makes."""

    protocol: str
    seed: int
    tensors: str
    blocks: tuple[str, ...]

    @property
    def set_name(self) -> str:
        return f"{self.protocol}-s{self.seed}"

    @property
    def name(self) -> str:
        where = self.blocks[0] if len(self.blocks) == 1 else "all"
        return f"{self.set_name}-{where}-{self.tensors.replace(',', '-')}"


def pieces(blocks: Sequence[str]) -> list[Piece]:
    """Verdicts need `in` and `block` only: these first. `paper` begins with 2.1, the block that was studied most."""
    everything, verdicts = "in,block,out", "in,block"
    first = "2.1" if "2.1" in blocks else blocks[-1]
    return [
        *(Piece("centred", 0, verdicts, (block,)) for block in blocks),
        Piece("centred", 0, "out", tuple(blocks)),
        Piece("centred", 1, everything, tuple(blocks)),
        *(Piece("paper", 0, everything, (block,)) for block in (first, *(b for b in blocks if b != first))),
    ]


def steps(setting: Setting) -> list[Step]:
    """All but those of the end, which depend on how far it came."""
    size, device = setting.size, ("--device", setting.device)
    blocks = ("--blocks", *size.compared)
    interpreted = {"TRITON_INTERPRET": "1"} if setting.device == "cpu" else {}
    tests = {"STREAMSCOPE_TEST_DEVICE": setting.device}
    wheels = ("--wheels", str(setting.wheels)) if setting.wheels else ()
    measured = [word for block in size.compared for word in ("--block", block)]
    measured += ["--batch", str(size.images), "--rounds", str(min(3, size.repeats)), "--steps", str(size.repeats)]
    batches = ("--images", str(size.images), "--repeats", str(size.repeats))
    steps = [] if size.channels is None else ["--steps", str(size.steps["centred"])]
    return [
        Step(
            "packages",
            own("packages", *wheels, "--site", str(setting.site)),
            share=0.2, until=FIRST, read=last_json, always=True,
        ),
        Step("machine", own("machine", *device), share=0.3, until=FIRST, read=last_json, always=True, must=True),
        Step(
            "kernels",
            own("kernels", *setting.weights_option, *device, *blocks, *batches),
            share=0.1, until=FIRST, read=json_lines, environment=interpreted,
        ),
        Step("tests", pytest(setting), share=0.2, until=FIRST, read=junit, environment=tests),
        Step("bench-tensors", bench(setting, "tensors,shares", measured), share=0.1, until=FIRST, read=whole_json),
        Step("bench-speed", bench(setting, "speed", measured), share=0.1, until=FIRST, read=whole_json),
        Step("bench-scan", bench(setting, "scan", measured), share=0.1, until=FIRST, read=whole_json),
        Step(
            "arithmetic",
            own("arithmetic", *setting.weights_option, *device, *blocks, "--channels", str(size.sample), *steps),
            share=0.1, until=FIRST, read=json_lines,
        ),
        Step("worker-process", worker_process(setting), share=0.05, until=FIRST, read=events),
        *(Step(piece.name, compute(setting, piece), until=PIECES, read=events) for piece in pieces(size.blocks)),
    ]  # fmt: skip


def closing_steps(setting: Setting, records: Records) -> list[Step]:
    """Tables and nulls of what there is, and whether the store is intact."""
    found: list[Step] = []
    sets = {piece.set_name: piece for piece in pieces(setting.size.blocks)}
    for name, piece in sets.items():
        of_set = [p for p in pieces(setting.size.blocks) if p.set_name == name]
        if any(records.figures(p.name).get("stored") for p in of_set):
            table = str(setting.work / "tables" / f"{name}.csv")
            command = streamscope("table", *reading(setting, piece), "--format", "csv", "--out", table)
            found.append(Step(f"table-{name}", command, share=0.05, least=1.0, always=True))
        read = [b for p in of_set if "in" in p.tensors and records.is_done(p.name) for b in p.blocks]
        if read:
            words = [word for block in read for word in ("--block", block)]
            command = streamscope("nulls", *words, *reading(setting, piece), "--json")
            found.append(Step(f"nulls-{name}", command, share=0.05, least=1.0, always=True, read=null_shares))
    verify = streamscope("cache", "verify", "--cache", str(setting.work / STORE), "--json")
    found.append(Step("verify", verify, share=0.1, least=1.0, always=True))
    if any(step.name == "nulls-centred-s0" for step in found):
        shams = next(step for step in found if step.name == "nulls-centred-s0")
        command = (*shams.command, "--shams", "--device", setting.device)
        found.append(replace(shams, name="nulls-and-shams-centred-s0", command=command, share=0.2, least=10.0))
    return found


def own(module: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-P", "-m", f"tests.gpu_rehearsal.{module}", *arguments)


def streamscope(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-P", "-m", "streamscope.tui.cli.entry", *arguments)


def pytest(setting: Setting) -> tuple[str, ...]:
    """One process, in order, without the plugins that the suite is run with."""
    written = f"--junitxml={setting.logs / 'tests.xml'}"
    plain = ("-o", "addopts=--import-mode=importlib", "-p", "no:cacheprovider", "-v", "-ra")
    return (sys.executable, "-P", "-m", "pytest", *plain, written, *setting.size.tests)


def bench(setting: Setting, parts: str, measured: Sequence[str]) -> tuple[str, ...]:
    return streamscope("bench", *setting.of_model, "--device", setting.device, "--parts", parts, *measured, "--json")


def worker_process(setting: Setting) -> tuple[str, ...]:
    """A `compute` whose work is done by a process a device."""
    device = "cpu" if setting.device == "cpu" else setting.device.partition(":")[2] or "0"
    size = ("--block", "1.1", "--channels", "0-3", "--tensor", "block", "--steps", "4")
    cache = str(setting.work / "worker-process")
    return streamscope("compute", "--model", "demo", "--devices", device, *size, "--cache", cache, "--json")


def compute(setting: Setting, piece: Piece) -> tuple[str, ...]:
    blocks = [word for block in piece.blocks for word in ("--block", block)]
    channels = ["--channels", setting.size.channels] if setting.size.channels else []
    command = ["compute", *blocks, *channels, "--tensor", piece.tensors, *reading(setting, piece)]
    return streamscope(*command, "--device", setting.device, "--json")


def reading(setting: Setting, piece: Piece) -> list[str]:
    """The options that name a piece's set."""
    steps = setting.size.steps.get(piece.protocol)
    fewer = ["--steps", str(steps)] if steps else []
    which = ["--protocol", piece.protocol, "--seed", str(piece.seed), *fewer]
    return [*setting.of_model, "--cache", str(setting.work / STORE), *which]


def whole_json(printed: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(printed.read_text())
    return found


def last_json(printed: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(printed.read_text().splitlines()[-1])
    return found


def json_lines(printed: Path) -> dict[str, Any]:
    """`rows`, one a line; the last line of a process that was ended may be no whole one."""
    lines = [line for line in printed.read_text().splitlines() if line.startswith("{") and line.endswith("}")]
    rows = [json.loads(line) for line in lines]
    return {"rows": rows} if rows else {}


def junit(printed: Path) -> dict[str, Any]:
    """Of the file that pytest wrote beside its output."""
    suite = ElementTree.parse(printed.with_suffix(".xml")).getroot().find("testsuite")
    if suite is None:
        raise ValueError("no test suite")
    broken = [
        f"{case.get('classname')}.{case.get('name')}"
        for case in suite.iter("testcase")
        if case.find("failure") is not None or case.find("error") is not None
    ]
    return {**{name: int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")}, "failed": broken}


def events(printed: Path) -> dict[str, Any]:
    """What a `compute --json` said: FZs `made` and `stored` of all that the piece `has`, image-steps and their rate,
    seconds within batches of FZs and of measuring, and the most that the device's memory held, GB, whoever used it."""
    lines = json_lines(printed).get("rows", [])
    counted = [line for line in lines if "total" in line]
    if not counted:
        return {}
    seconds = {kind: sum(line["seconds"] for line in lines if line["event"] == kind) for kind in ("fz", "measure")}
    memory = [used for line in lines for used, _ in line.get("device_memory", {}).values()]
    rates = [line["rate"] for line in counted if line.get("rate") is not None]
    steps = [line["counts"]["steps"] for line in lines if "counts" in line]
    return {
        "made": sum(line["count"] for line in lines if line["event"] == "fz"),
        "stored": counted[-1]["done"],
        "has": counted[-1]["total"],
        "image_steps": steps[-1] if steps else 0,
        "image_steps_a_second": rates[-1] if rates else None,
        "fz_seconds": round(seconds["fz"], 2),
        "measure_seconds": round(seconds["measure"], 2),
        "peak_gb": round(max(memory) / 1e9, 2) if memory else None,
        "problems": [line["message"] for line in lines if line["event"] == "problem"],
    }


def null_shares(printed: Path) -> dict[str, Any]:
    """By block, how many channels meet each criterion, really and under each null."""
    found = {}
    for block in json.loads(printed.read_text()):
        counts = {name: [share["k"], share["n"]] for name, share in block["real"].items()}
        nulls = {
            null["null"]: {name: [v["null"]["k"], v["null"]["n"]] for name, v in null.items() if isinstance(v, dict)}
            for null in block["nulls"]
        }
        found[block["block"]] = {"real": counts, "nulls": nulls, "seeds": block["seeds"]}
    return found
