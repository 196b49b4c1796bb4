"""Tries on a GPU everything that waits for one, in a given time, and packs the results into one file.

`python -m tests.gpu_rehearsal --weights resnet18.pth --out DIR` takes ten minutes at most: the machine, the kernels
against torch's own operations, the tests on the device, the bench, bfloat16 against float32, then the paper's studied
set in pieces. The results are DIR/rehearsal.tar; the same command goes on where the last one ended, from the working
folder or, where that is gone, from the archive. `--small --device cpu` does the same without a GPU, in minutes.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from tests.gpu_rehearsal.archive import choose, restore, write_archive
from tests.gpu_rehearsal.budget import Budget
from tests.gpu_rehearsal.plan import FULL, SMALL, Setting, closing_steps, pieces, steps
from tests.gpu_rehearsal.records import CUT, NAME, Records, RehearsalError
from tests.gpu_rehearsal.step import ROOT, Attempt, Step, run_step
from tests.gpu_rehearsal.summary import summary

ARCHIVE = "rehearsal.tar"
FOLDERS = ("logs", "tables", "home")


class Rehearsal:
    """One run of the rehearsal."""

    def __init__(self, setting: Setting, records: Records, budget: Budget, out: Path, most_bytes: int) -> None:
        self._setting, self._records, self._budget = setting, records, budget
        self._out, self._most_bytes = out, most_bytes
        self.is_stopped = False

    def stop(self, number: int, frame: FrameType | None) -> None:
        """For a signal: the step that runs is ended, and what there is archived."""
        self.is_stopped = True

    def run(self, only: Sequence[str]) -> None:
        """Takes all steps that there is time for, or of them those whose names begin with one of `only`."""
        for step in self._chosen(steps(self._setting), only):
            if not self._take(step):
                return
        for step in self._chosen(closing_steps(self._setting, self._records), only):
            if not self._take(step):
                return

    def _chosen(self, steps: list[Step], only: Sequence[str]) -> list[Step]:
        return [step for step in steps if not only or any(step.name.startswith(name) for name in only)]

    def _take(self, step: Step) -> bool:
        """Whether there is any sense in going on."""
        if self._records.is_done(step.name) and not step.always:
            self._say(f"{step.name}: done before")
            return True
        if self.is_stopped:
            return False
        seconds = self._budget.limit(step)
        if not seconds:
            self._records.run["left_out"].append(step.name)
            return True
        attempt = run_step(step, seconds, self._setting.logs, self._environment(), lambda: self.is_stopped)
        self._keep(step, attempt)
        if self._budget.has_time_for_archive:
            self.archive()
        return attempt.state != "failed" or not step.must

    def _keep(self, step: Step, attempt: Attempt) -> None:
        self._records.run["seconds"] = round(self._budget.spent, 1)
        self._records.add(step.name, attempt)
        why = f": {attempt.error}" if attempt.error else ""
        self._say(f"{step.name}: {attempt.state} after {attempt.seconds:.0f} s{why}")

    def _environment(self) -> dict[str, str]:
        """Nothing of whoever runs this is read or changed: settings, marks and state are the rehearsal's own."""
        home = self._setting.work / "home"
        path = [str(ROOT), str(self._setting.site), *filter(None, [os.environ.get("PYTHONPATH")])]
        return {
            **os.environ,
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": os.pathsep.join(path),
            "STREAMSCOPE_MARKS": str(home / "marks"),
            "STREAMSCOPE_STATE": str(home / "state"),
            "STREAMSCOPE_CONFIG": str(home / "config.toml"),
            "STREAMSCOPE_CACHE": str(self._setting.work / "cache"),
        }

    def archive(self) -> int:
        """Writes summary and archive; returns the archive's bytes."""
        began = time.monotonic()
        work, archive = self._setting.work, self._out / ARCHIVE
        contents = choose(work, self._most_bytes)
        self._records.data["archive"] = {
            "store_bytes": contents.bytes,
            "left_out_folders": contents.left_out_folders,
            "left_out_bytes": contents.left_out_bytes,
        }
        self._records.run["seconds"] = round(self._budget.spent, 1)
        self._records.save()
        try:
            text = summary(self._records, self._setting.size.blocks)
        except Exception:
            # Figures that are other than expected must not cost the archive, which has them all.
            text = f"There is no summary:\n\n```\n{traceback.format_exc()}```\n"
        (work / "summary.md").write_text(text)
        write_archive(work, archive, contents)
        self._budget.archived(time.monotonic() - began)
        return archive.stat().st_size

    def last_line(self, size: int) -> str:
        records, run = self._records, self._records.run
        failed = [*records.of_this_run("failed"), *records.of_this_run("out of time")]
        parts = [f"{len(records.of_this_run('done'))} steps done"]
        parts += [f"failed or out of time: {', '.join(failed)}"] if failed else ["none failed"]
        parts += [f"interrupted in {name}" for name in records.of_this_run("interrupted")]
        parts += [f"left out: {', '.join(run['left_out'])}"] if run["left_out"] else ["none left out"]
        where = f"{self._out / ARCHIVE} ({size / 1e6:,.1f} MB)"
        return f"rehearsal: {'; '.join(parts)}; {self._budget.spent / 60:.1f} of {run['minutes']:g} min; {where}"

    def _say(self, line: str) -> None:
        print(f"[{self._budget.spent:4.0f} s] {line}", flush=True)


def open_records(work: Path, out: Path, options: dict[str, object]) -> Records:
    """Those of the working folder, else of the archive. Raises RehearsalError where they are of something else."""
    restored = not (work / NAME).is_file() and (out / ARCHIVE).is_file()
    if restored:
        restore(out / ARCHIVE, work)
    for name in FOLDERS:
        (work / name).mkdir(parents=True, exist_ok=True)
    records = Records(work, options)
    if restored and records.data["archive"].get("left_out_folders"):
        # What was done is not all there any more; what is there is found to be in a second.
        for piece in pieces(FULL.blocks if not options["small"] else SMALL.blocks):
            for attempt in records.steps.get(piece.name, [])[-1:]:
                attempt["state"] = CUT
    return records


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.gpu_rehearsal", description=__doc__)
    parser.add_argument("--weights", type=Path, help="ResNet18's, a state dict; needed unless --small")
    parser.add_argument("--out", type=Path, required=True, help=f"folder for {ARCHIVE}")
    parser.add_argument("--work", type=Path, help="working folder with the store (default: work in OUT)")
    parser.add_argument("--wheels", type=Path, help="folder of wheels of what this Python lacks")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N or cpu (default: cuda)")
    parser.add_argument("--minutes", type=float, default=9.0, help="for everything (default: 9)")
    parser.add_argument("--small", action="store_true", help="a few channels and steps of everything")
    parser.add_argument("--archive-mb", type=int, default=2000, help="most that the archive may have (default: 2000)")
    parser.add_argument("--only", default="", help="steps by the beginnings of their names, with commas between")
    given = parser.parse_args(arguments)
    if given.weights is None and not given.small:
        parser.error("--weights FILE is needed: nothing is downloaded (--small takes the demo model)")
    for path in filter(None, (given.weights, given.wheels)):
        if not path.exists():
            parser.error(f"{path} is not there")
    return given


def main(arguments: Sequence[str] | None = None) -> int:
    given = parse(arguments)
    budget = Budget(60 * given.minutes)
    out = given.out.resolve()
    work = (given.work or out / "work").resolve()
    options = {
        "device": given.device,
        "weights": digest(given.weights) if given.weights else "demo",
        "small": given.small,
    }
    out.mkdir(parents=True, exist_ok=True)
    try:
        records = open_records(work, out, options)
    except RehearsalError as error:
        print(f"rehearsal: {error}", file=sys.stderr)
        return 2
    records.begin_run(given.minutes, time.strftime("%Y-%m-%d %H:%M:%S"))
    weights, wheels = (path and path.resolve() for path in (given.weights, given.wheels))
    setting = Setting(work, given.device, weights, wheels, SMALL if given.small else FULL)
    rehearsal = Rehearsal(setting, records, budget, out, given.archive_mb * 1_000_000)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, rehearsal.stop)
    try:
        rehearsal.run([name for name in given.only.split(",") if name])
    finally:
        size = rehearsal.archive()
    print(rehearsal.last_line(size))
    failed = [*records.of_this_run("failed"), *records.of_this_run("out of time")]
    return 130 if rehearsal.is_stopped else 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
