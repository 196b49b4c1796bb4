"""Kills and damages, at random: is what is stored afterwards what it would have been?

`python -m tests.storm` computes a small set of the demo model without interruption. Then it starts the same again,
alone, in two or three processes on one store, by a queue and on two devices, and kills it at random moments until it is
complete; every file is compared with the first. The same is done with the commands that follow. `--damage` spoils each
kind of file in each way and runs every command that reads, then `compute`, which repairs.

Commands run in forks of this process, which has imported torch already: a start takes milliseconds.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import click

from tests.storm_damage import damage_all
from tests.storm_process import Process, clean_exit, run, start

SIZE = ["--model", "demo", "--steps", "3", "--device", "cpu"]
COMPUTE = ["compute", *SIZE, "--block", "1.1", "--batch", "2"]
READ = ["--model", "demo"]
DATA = (".png", ".npy", ".safetensors")
STEP = 0.15
"""Part of a computation that it gets further at most before it is killed: by what is stored, not by the clock, which
says little on a busy machine."""
MOST_KILLS = 40
"""Of one computation; then it is left in peace."""


@dataclass
class Storm:
    """What has been done, and what was found."""

    folder: Path
    chance: random.Random
    kills: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """By what was killed, how, and how far it was."""
    completed: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def fault(self, what: str) -> None:
        self.faults.append(what)
        click.echo(f"FAULT {what}", err=True)

    def done(self, kind: str) -> int:
        return sum(count for (name, _, _), count in self.kills.items() if name == kind)


def contents(cache: Path) -> dict[str, bytes]:
    """The pictures, traces and activations of a store by their path; what is being written is left out."""
    found = {}
    for folder, folders, files in os.walk(cache / "models"):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if name.endswith(DATA):
                path = Path(folder) / name
                found[str(path.relative_to(cache))] = path.read_bytes()
    return found


def batches(cache: Path) -> int:
    # Not by a glob: folders that are being written go away under it.
    return sum(
        "batch.json" in files
        for folder, _, files in os.walk(cache / "models")
        if not Path(folder).name.startswith(".") and "sets" in Path(folder).parts
    )


def has_reached(how_far: Callable[[], float], aim: float) -> bool:
    return how_far() >= aim


def progress(cache: Path, total: int) -> float:
    return batches(cache) / total


def quarter(part: float) -> str:
    return "in the last quarter" if part >= 0.75 else f"in quarter {int(4 * part) + 1}"


def strike(storm: Storm, processes: Sequence[Process], kind: str, how_far: Callable[[], float]) -> None:
    """Ends some of the processes, or all of them; some are stopped and go on first."""
    way = storm.chance.choices(["all", "one", "SIGTERM", "stopped"], [6, 3, 1.5, 1.5])[0]
    living = [process for process in processes if process.code() is None]
    if not living:
        return
    moment = quarter(min(how_far(), 0.99))
    if way == "stopped":
        for process in living:
            process.signal(signal.SIGSTOP)
        time.sleep(storm.chance.uniform(0.01, 0.3))
        for process in living:
            process.signal(signal.SIGCONT)
        time.sleep(storm.chance.uniform(0, 0.1))
    if way == "one":
        storm.chance.choice(living).kill_one(storm.chance)
        # What is left of it goes on for a while, and the others to their end.
        time.sleep(storm.chance.uniform(0, 0.2))
    for process in living if way != "one" else living[: storm.chance.randrange(len(living) + 1)]:
        process.signal(signal.SIGTERM if way == "SIGTERM" else signal.SIGKILL)
    storm.kills[kind, way, moment] += 1


def wait(processes: Sequence[Process], seconds: float, enough: Callable[[], bool] = lambda: False) -> bool:
    """Whether all have ended within a time, and before there was `enough`."""
    end = time.monotonic() + seconds
    while any(process.code() is None for process in processes):
        if time.monotonic() > end or enough():
            return False
        time.sleep(0.005)
    return True


def until_complete(
    storm: Storm, kind: str, begin: Callable[[], list[Process]], step: float, how_far: Callable[[], float]
) -> None:
    """Starts, kills and starts again until what is started ends by itself; each time it gets up to `step` further."""
    kills = 0
    while True:
        processes = begin()
        aim = how_far() + storm.chance.uniform(0, step)
        struck = kills < MOST_KILLS and not wait(processes, 240, partial(has_reached, how_far, aim))
        if struck:
            # Batches are not killed at their beginning only.
            wait(processes, storm.chance.uniform(0, 0.5))
            strike(storm, processes, kind, how_far)
            kills += 1
        if not wait(processes, 240):
            storm.fault(f"{kind}: still not done after 240 s: {[p.output()[-300:] for p in processes]}")
            for process in processes:
                process.signal(signal.SIGKILL)
            wait(processes, 10)
        for process in processes:
            if wrong := process.wrong(killed=struck):
                storm.fault(f"{kind}: {wrong}")
            process.end()
        if not struck:
            storm.completed[kind] += 1
            return


def queue_job(cache: Path) -> list[str]:
    """Puts the computation into the queue unless it waits there; the arguments of its worker."""
    from streamscope.core.model.recipe import DEFAULT_PROTOCOL
    from streamscope.core.model.spec import ModelSpec
    from streamscope.core.store import FINISHED, JobSpec, Store, create_job, job_states, requeue

    store = Store.open(cache, create=True)
    states = job_states(store)
    open_jobs = [state for state in states if state.state not in FINISHED]
    if not open_jobs:
        if states and states[-1].state != "done":
            requeue(store, states[-1].job)
        else:
            create_job(
                store,
                JobSpec(
                    ModelSpec("demo").name,
                    device="cpu",
                    steps=3,
                    blocks=("1.1",),
                    batch=2,
                    protocol=DEFAULT_PROTOCOL,
                ),
                queued=True,
            )
    return ["--cache", str(cache), "--device", "cpu"]


def reference_of(storm: Storm) -> tuple[int, dict[str, bytes], str]:
    """What nobody interrupted: its batches, files and table."""
    reference = storm.folder / "reference"
    seconds = time.monotonic()
    clean_exit(run([*COMPUTE, "--cache", str(reference)], storm.folder))
    seconds = time.monotonic() - seconds
    expected, total = contents(reference), batches(reference)
    click.echo(f"a computation takes {seconds:.1f} s: {total} batches, {len(expected)} files", err=True)
    return total, expected, csv_of(reference, storm.folder)


def computations(storm: Storm, kills: dict[str, int], total: int, expected: dict[str, bytes], table: str) -> None:
    """Computations of every kind against the one that nobody interrupted."""
    for kind, wanted in kills.items():
        number = 0
        while storm.done(kind) < wanted:
            cache = storm.folder / f"{kind.replace(' ', '-')}-{number}"
            number += 1
            begin = beginner(storm, kind, cache)
            until_complete(storm, kind, begin, STEP, partial(progress, cache, total))
            compare(storm, kind, cache, expected, table)
            click.echo(f"{kind}: {storm.done(kind)} kills", err=True)
            shutil.rmtree(cache, ignore_errors=True)


def beginner(storm: Storm, kind: str, cache: Path) -> Callable[[], list[Process]]:
    command = [*COMPUTE, "--cache", str(cache)]
    if kind == "devices":
        at = command.index("--device")
        command = [*command[:at], "--devices", "cpu,cpu", *command[at + 2 :]]
    if kind == "queue":
        return lambda: [start(queue_job(cache), storm.folder, queue=True) for _ in range(storm.chance.randint(1, 2))]
    count = {"two processes": 2, "three processes": 3}.get(kind, 1)
    return lambda: [start(command, storm.folder) for _ in range(count)]


def compare(storm: Storm, kind: str, cache: Path, expected: dict[str, bytes], table: str) -> None:
    found = contents(cache)
    for path in sorted(expected.keys() | found.keys()):
        if expected.get(path) != found.get(path):
            what = "is missing" if path not in found else "is too many" if path not in expected else "differs"
            storm.fault(f"{kind}: {path} {what}")
    if csv_of(cache, storm.folder) != table:
        storm.fault(f"{kind}: the table differs")
    verified = run(["cache", "verify", "--cache", str(cache)], storm.folder)
    if verified.code() != 0:
        storm.fault(f"{kind}: cache verify: {verified.output()[-500:]}")
    verified.end()


def csv_of(cache: Path, folder: Path) -> str:
    out = folder / "table.csv"
    clean_exit(
        run(["table", *READ, "--block", "1.1", "--format", "csv", "--out", str(out), "--cache", str(cache)], folder)
    )
    return out.read_text()


def followers(storm: Storm, wanted: int, only: str | None) -> None:
    """The commands that follow a computation: each killed until it has had `wanted` kills, then compared."""
    images, marks = storm.folder / "images", storm.folder / "marks.csv"
    clean_exit(run(["demo-images", str(images), "--per-class", "2"], storm.folder))
    model = next((storm.folder / "reference" / "models").glob("demo-*")) / "model.json"
    fingerprint = json.loads(model.read_text())["fingerprint"]
    rows = [f"demo,{fingerprint},1.1,{channel},keep,a{channel},n{channel}" for channel in range(16)]
    marks.write_text("\n".join(["model,fingerprint,block,channel,marked,tags,note", *rows, ""]))
    commands = {
        "scan": ["scan", *READ, str(images), "--device", "cpu"],
        "nulls": ["nulls", *READ, "--block", "1.1", "--shams", "--device", "cpu"],
        "curves": ["curves", *READ, "--block", "1.1", "--device", "cpu"],
        "report": ["report", *READ, "--block", "1.1", "--out", "{out}"],
        "marks import": ["marks", "import", *READ, str(marks)],
        "cache prune": ["cache", "prune", *READ, "--yes"],
    }
    for kind, words in commands.items():
        if only not in (None, "commands", kind):
            continue
        begun = time.monotonic()
        whole = follower(storm, kind, words, 0.0)
        seconds = time.monotonic() - begun
        while storm.done(kind) < wanted:
            found = follower(storm, kind, words, seconds)
            differing = [name for name in whole.keys() | found.keys() if whole.get(name) != found.get(name)]
            if differing:
                storm.fault(f"{kind}: {sorted(differing)[:5]} differ")
        click.echo(f"{kind}: {storm.done(kind)} kills", err=True)


def follower(storm: Storm, kind: str, words: Sequence[str], seconds: float) -> dict[str, bytes]:
    """What one command leaves on a copy of the store; it is killed where it takes about `seconds`, not for 0."""
    cache, out = storm.folder / "followed", storm.folder / "out"
    for path in (cache, out, storm.folder / "marks"):
        shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(storm.folder / "reference", cache, symlinks=True)
    command = [*(word.format(out=out) for word in words), "--cache", str(cache)]
    if not seconds:
        clean_exit(run(command, storm.folder, 1200))
        return outcome(storm, kind, cache, out)
    begun = time.monotonic()

    def begin() -> list[Process]:
        nonlocal begun
        begun = time.monotonic()
        return [start(command, storm.folder)]

    until_complete(storm, kind, begin, 1.0, lambda: (time.monotonic() - begun) / seconds)
    return outcome(storm, kind, cache, out)


def outcome(storm: Storm, kind: str, cache: Path, out: Path) -> dict[str, bytes]:
    """What a command left: the arrays of the store, a report's tables, or the marks."""
    found = contents(cache)
    if out.is_dir():
        found |= {f"report/{p.relative_to(out)}": p.read_bytes() for p in sorted(out.rglob("*.csv"))}
        found |= {f"report/{p.relative_to(out)}": b"" for p in sorted(out.rglob("*"))}
    exported = storm.folder / "exported.csv"
    clean_exit(run(["marks", "export", *READ, str(exported), "--cache", str(cache)], storm.folder))
    found["marks"] = exported.read_bytes()
    if kind != "cache prune":
        verified = run(["cache", "verify", "--cache", str(cache)], storm.folder)
        if verified.code() != 0:
            storm.fault(f"{kind}: cache verify: {verified.output()[-500:]}")
        verified.end()
    return found


def summary(storm: Storm) -> Iterator[str]:
    kinds = list(dict.fromkeys(kind for kind, _, _ in storm.kills))
    ways = ["all", "one", "SIGTERM", "stopped"]
    moments = [quarter(part) for part in (0.0, 0.3, 0.6, 0.9)]
    yield f"{'':16}{'kills':>7}{'completed':>11}" + "".join(f"{way:>9}" for way in ways) + "   by quarter of the work"
    for kind in kinds:
        by_way = [sum(n for (k, w, _), n in storm.kills.items() if (k, w) == (kind, way)) for way in ways]
        by_moment = [sum(n for (k, _, m), n in storm.kills.items() if (k, m) == (kind, moment)) for moment in moments]
        columns = "".join(f"{n:>9}" for n in by_way)
        yield f"{kind:16}{sum(by_way):>7}{storm.completed[kind]:>11}{columns}   {' '.join(map(str, by_moment))}"
    completed = sum(storm.completed.values())
    yield f"{sum(storm.kills.values())} kills, {completed} completed and compared, {len(storm.faults)} faults"


@click.command()
@click.option("--kills", type=int, default=300, show_default=True, help="In all; or damages.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--damage", is_flag=True, help="Spoil files instead, one kind in one way at a time.")
@click.option("--keep", is_flag=True, help="Leave the folder.")
@click.option("--only", help="One kind of process or command; of files, a part of their path.")
def main(kills: int, seed: int, damage: bool, keep: bool, only: str | None) -> None:
    # One thread: sums are added up in the same order however many processors are free.
    os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    folder = Path(tempfile.mkdtemp(prefix="storm-"))
    os.environ["STREAMSCOPE_MARKS"] = str(folder / "marks")
    storm = Storm(folder, random.Random(seed))
    begun = time.monotonic()
    if damage:
        storm.faults += damage_all(folder, storm.chance, COMPUTE, kills, only or "")
    else:
        shares = {"one process": 0.3, "two processes": 0.22, "three processes": 0.14, "queue": 0.08, "devices": 0.02}
        wanted = {kind: max(1, round(kills * share)) for kind, share in shares.items() if only in (None, kind)}
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        with suppress(KeyboardInterrupt):
            # Workers of devices are processes that import torch themselves: they come last.
            late = {kind: wanted.pop(kind) for kind in ("devices",) if kind in wanted}
            expected = reference_of(storm)
            computations(storm, wanted, *expected)
            followers(storm, max(1, round(kills * 0.04)), only)
            computations(storm, late, *expected)
        for line in summary(storm):
            click.echo(line)
    for line in storm.faults:
        click.echo(f"FAULT {line}")
    click.echo(f"{time.monotonic() - begun:.0f} s, seed {seed}, {len(storm.faults)} faults")
    if not keep:
        shutil.rmtree(folder, ignore_errors=True)
    sys.exit(1 if storm.faults else 0)


if __name__ == "__main__":
    main()
