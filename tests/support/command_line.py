"""The command line in the process of the tests, on one store."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from streamscope.tui.cli.main import main


@dataclass(frozen=True)
class Run:
    """Runs commands on the store of a folder and gives their exit code, stdout and the lines of stderr."""

    cache: Path
    capsys: pytest.CaptureFixture[str]
    options: tuple[str, ...] = ()

    def __call__(self, *arguments: object, model: str | None = "demo") -> tuple[int, str, list[str]]:
        """`model` is None where the arguments name one, or where the default one is meant."""
        self.capsys.readouterr()
        of_model = () if model is None else ("--model", model)
        code = main([*map(str, arguments), *of_model, "--cache", str(self.cache), *self.options])
        captured = self.capsys.readouterr()
        return code, captured.out, captured.err.splitlines()
