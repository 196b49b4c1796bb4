"""Runs commands: in the process of the tests, or in one of their own that must not load torch."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from streamscope.tui.cli.main import main
from tests.support.stores import REPOSITORY

WITHOUT_TORCH = """
import sys
from streamscope.tui.cli.main import main
code = main(sys.argv[1:])
assert "torch" not in sys.modules, "torch was loaded"
sys.exit(code)
"""


@dataclass(frozen=True)
class Run:
    """Runs commands on the store of a folder and gives their exit code, stdout and the lines of stderr."""

    cache: Path
    capsys: pytest.CaptureFixture[str]
    options: tuple[str, ...] = ()

    def __call__(self, *arguments: object, model: str | None = "demo") -> tuple[int, str, list[str]]:
        """`model` is None where the arguments name one, or where the default one is meant."""
        self.capsys.readouterr()
        code = main(self._line(arguments, model))
        captured = self.capsys.readouterr()
        return code, captured.out, captured.err.splitlines()

    def without_torch(self, *arguments: object, model: str | None = "demo") -> tuple[int, str, list[str]]:
        """Fails when torch is loaded, which takes seconds and without which there is no network."""
        result = run_without_torch(*self._line(arguments, model))
        return result.returncode, result.stdout, result.stderr.splitlines()

    def _line(self, arguments: tuple[object, ...], model: str | None) -> list[str]:
        of_model = () if model is None else ("--model", model)
        return [*map(str, arguments), *of_model, "--cache", str(self.cache), *self.options]


def run_without_torch(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs a command in a process of its own, and fails when it loaded torch."""
    command = [sys.executable, "-c", WITHOUT_TORCH, *arguments]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert "torch was loaded" not in result.stderr
    return result
