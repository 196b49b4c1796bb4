"""What came of every step, in all runs so far: a JSON file that is written anew after each."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.gpu_rehearsal.step import Attempt

NAME = "results.json"
CUT = "cut from the archive"
"""State of what was done, but of which the archive has not kept everything."""


class RehearsalError(Exception):
    """One line for whoever started the rehearsal."""


class Records:
    """The results of a rehearsal in its working folder."""

    def __init__(self, work: Path, options: dict[str, Any]) -> None:
        """Goes on with those that are there. Raises RehearsalError where they were made with other options."""
        self._path = work / NAME
        self.data: dict[str, Any] = {"options": options, "runs": [], "steps": {}, "archive": {}}
        if self._path.is_file():
            self.data = json.loads(self._path.read_text())
        before = self.data["options"]
        differing = [f"{name} {before[name]}, not {value}" for name, value in options.items() if before[name] != value]
        if differing:
            raise RehearsalError(f"{work} has a rehearsal with {'; '.join(differing)}; give another --out")

    @property
    def steps(self) -> dict[str, list[dict[str, Any]]]:
        """The attempts at each step, by its name, in order."""
        found: dict[str, list[dict[str, Any]]] = self.data["steps"]
        return found

    def begin_run(self, minutes: float, started: str) -> None:
        self.data["runs"].append({"started": started, "minutes": minutes, "seconds": 0.0, "left_out": []})
        self.save()

    @property
    def run(self) -> dict[str, Any]:
        """The current one."""
        last: dict[str, Any] = self.data["runs"][-1]
        return last

    def is_done(self, name: str) -> bool:
        return bool(self.steps.get(name)) and self.steps[name][-1]["state"] == "done"

    def figures(self, name: str) -> dict[str, Any]:
        """Of the last attempt at a step that gave any."""
        for attempt in reversed(self.steps.get(name, [])):
            if attempt["figures"]:
                found: dict[str, Any] = attempt["figures"]
                return found
        return {}

    def add(self, name: str, attempt: Attempt) -> None:
        self.steps.setdefault(name, []).append({"run": len(self.data["runs"]), **asdict(attempt)})
        self.save()

    def of_this_run(self, state: str) -> list[str]:
        """Names of the steps that this run left in a state."""
        wanted = {"run": len(self.data["runs"]), "state": state}
        return [name for name, tries in self.steps.items() if wanted.items() <= tries[-1].items()]

    def save(self) -> None:
        new = self._path.with_suffix(".new")
        new.write_text(json.dumps(self.data, indent=1) + "\n")
        os.replace(new, self._path)
