from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.report_store import Made


# Tests run in a process a core; torch's own threads in each would only get in each other's way.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-snapshots", action="store_true", help="write tests/snapshots anew instead of comparing")


@pytest.fixture(autouse=True)
def _own_places(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the marks, the cache, the state and the settings of whoever runs it."""
    monkeypatch.setenv("STREAMSCOPE_MARKS", str(tmp_path_factory.mktemp("marks")))
    monkeypatch.setenv("STREAMSCOPE_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("STREAMSCOPE_STATE", str(tmp_path_factory.mktemp("state")))
    monkeypatch.setenv("STREAMSCOPE_CONFIG", str(tmp_path_factory.mktemp("config") / "config.toml"))


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A report and the store that it is of; made once, since drawing its figures takes seconds. Only to be read."""
    from tests.support.report_store import make_report

    return make_report(tmp_path_factory.mktemp("made"))
