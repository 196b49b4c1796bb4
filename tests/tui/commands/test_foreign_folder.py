"""Nothing is imported from the folder a command is started in: research repositories have a `core` of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from streamscope.core.model.descriptions import bundled_description
from streamscope.core.model.spec import ModelSpec
from streamscope.core.store import Store
from tests.support.jobs import ended
from tests.support.waiting import wait_until

PACKAGES = ("core", "tui", "streamscope")
LIBRARIES = ("torch", "numpy", "click", "textual")
PYTHONS_OWN = ("random", "queue", "signal")
ENDS = 240
"""Seconds after which a process is given up."""
FEW = ("--block", "1.1", "--channels", "0-3")
SET = ("--steps", "2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trapped(tmp_path_factory.mktemp("research"), *LIBRARIES, *PYTHONS_OWN)


def trapped(folder: Path, *modules: str) -> Path:
    """A folder of packages and modules that leave a word when they are imported, and fail."""
    for name in (*PACKAGES, *modules):
        word = f"open({str(folder / 'imported.txt')!r}, 'a').write('{name} ')"
        path = folder / name / "__init__.py" if name in PACKAGES else folder / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{word}\nraise ImportError('{name} of the folder was imported')\n")
    return folder


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    places = tmp_path_factory.mktemp("places")
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONSAFEPATH", "COLUMNS", "LINES")}
    own = {name: str(places / name.lower()) for name in ("CACHE", "MARKS", "STATE")}
    return {**clean, **{f"STREAMSCOPE_{name}": place for name, place in own.items()}}


def script(name: str) -> str:
    """A command of this environment."""
    return str(Path(sys.executable).with_name(name))


def run(folder: Path, environment: dict[str, str], *words: str) -> str:
    command = [script("streamscope"), *words, "--model", "demo"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=ENDS)
    assert done.returncode == 0, done.stderr
    return done.stdout


def imported(folder: Path) -> str:
    """What of the folder was imported."""
    word = folder / "imported.txt"
    return word.read_text() if word.exists() else ""


def test_every_command_leaves_the_modules_of_the_folder_alone(folder: Path, environment: dict[str, str]) -> None:
    run(folder, environment, "models")
    run(folder, environment, "compute", *FEW, *SET, "--devices", "cpu,cpu", "--batch", "2")
    run(folder, environment, "demo-images", "shapes")
    for place in (folder / "shapes").iterdir():
        for image in sorted(place.iterdir())[2:]:
            image.unlink()
    run(folder, environment, "scan", "shapes", "--device", "cpu")
    run(folder, environment, "curves", "--block", "1.1", *SET, "--device", "cpu")
    run(folder, environment, "nulls", "--block", "1.1", *SET, "--shams", "--seeds", "1", "--device", "cpu")
    ablate = ("--block", "1.1", "--channels", "0", "--controls", "1", "--zooms", "1")
    run(folder, environment, "ablate", "shapes", *ablate, "--device", "cpu")
    run(folder, environment, "table", "--block", "1.1", "--seed", "0", "--out", "table.csv")
    run(folder, environment, "fz", *FEW, "--tensor", "block", "--seed", "0", "--out", "pictures")
    run(folder, environment, "report", "--block", "1.1", "--seed", "0", "--out", "report")
    run(folder, environment, "marks", "export", "marks.csv")
    run(folder, environment, "bench", "--parts", "workers")
    assert not imported(folder)


def test_a_queue_leaves_them_alone(folder: Path, environment: dict[str, str]) -> None:
    job = json.loads(run(folder, environment, "compute", *FEW, "--steps", "3", "--detach", "--json"))
    store = Store.open(Path(environment["STREAMSCOPE_CACHE"]))
    assert ended(store, Path(job["folder"])).state == "done"
    assert not imported(folder)


def test_a_cluster_leaves_them_alone(environment: dict[str, str], tmp_path: Path) -> None:
    """Not those of Python's own names: Dask starts its workers in a way that lets these in."""
    folder = trapped(tmp_path, *LIBRARIES)
    with cluster(folder, environment, tmp_path / "cluster") as address:
        run(folder, environment, "compute", *FEW, "--steps", "4", "--batch", "2", "--scheduler", address)
    assert not imported(folder)


def test_the_app_leaves_them_alone(folder: Path, environment: dict[str, str], tmp_path: Path) -> None:
    """On a terminal of its own, with an empty store, so that a process describes the model first."""
    info = bundled_description(ModelSpec("demo").text)
    assert info is not None
    code = (
        "from pathlib import Path; from streamscope.tui.bench.app_start import app_start; "
        f"print(app_start(Path({str(tmp_path / 'cache')!r}), 'demo', {info.fingerprint!r}, rounds=1))"
    )
    command = [sys.executable, "-P", "-c", code]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=ENDS)
    assert "first_frame" in done.stdout, done.stderr
    assert not imported(folder)


@contextmanager
def cluster(folder: Path, environment: dict[str, str], place: Path) -> Iterator[str]:
    """The address of a scheduler with one worker, both started in a folder as people start them."""
    place.mkdir()
    described = place / "scheduler.json"
    scheduler = [script("dask"), "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
    worker = [script("dask"), "worker", "--nthreads", "1", "--no-dashboard", "--local-directory", str(place)]
    with (
        open(place / "log.txt", "w") as log,
        subprocess.Popen(
            [*scheduler, "--scheduler-file", str(described)], cwd=folder, env=environment, stderr=log
        ) as first,
    ):
        try:
            wait_until(described.exists, "the scheduler", ENDS)
            with subprocess.Popen(
                [*worker, "--scheduler-file", str(described)], cwd=folder, env=environment, stderr=log
            ) as second:
                try:
                    yield json.loads(described.read_text())["address"]
                finally:
                    second.terminate()
        finally:
            first.terminate()
            shutil.rmtree(place / "dask-scratch-space", ignore_errors=True)
