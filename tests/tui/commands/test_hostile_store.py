"""Whatever is done to a stored file, what reads it says one clear line or right numbers, and changes nothing.

Each kind of file of the store that version 0.2.0 wrote is truncated, flipped, replaced, removed, swapped with another
of its kind and rewritten with checksums that are right.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
import random
import shutil
import signal
import socket
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cache as cache_result
from itertools import product
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

from streamscope.core.analysis.null_shares import sham_shares
from streamscope.core.analysis.pairs import keep_pairs
from streamscope.core.errors import StoreError
from streamscope.core.model.blocks import TENSORS
from streamscope.core.model.recipe import Recipe, SetKey
from streamscope.core.store import Job, JobState, JobWatch, Leases, Marks, Store, job_states, read_log
from streamscope.core.store.files.checksums import SUMS, sha256, sums_text
from streamscope.core.store.files.documents import encode, write_document
from streamscope.core.store.leases import stale_leases
from streamscope.core.store.scans.scan import Scan
from streamscope.core.store.sets.curves import Curves, curves_of
from streamscope.core.table.columns import OVER_SEEDS
from streamscope.tui.cli.main import main
from streamscope.tui.screens.jobs import detail, rate
from tests.support.scans import write_patches
from tests.support.stores import plain_user

ARCHIVE = Path(__file__).parents[2] / "data" / "store-0.2.0.zip"
FINGERPRINT = "cdc463c0fb9feaae4ca9eb76860276ca30fdc6dd9e565bb3bdb39a0957989c7a"
KEY = SetKey(Recipe(name="demo", steps=8, rate=0.3))
DEMO = ["--model", "demo", "--seed", "0"]
READ = (
    ["models"],
    ["cache", "info"],
    ["cache", "verify"],
    ["cache", "prune", "--dry-run"],
    ["table", *DEMO, "--format", "csv"],
    ["fz", *DEMO, "--block", "1.1", "--channels", "0-5", "--out", "{out}/fzs"],
    ["marks", "export", "--model", "demo", "{out}/marks.csv"],
)
SET = "models/demo-cdc463c0fb9f/sets/demo-8-s0-exact-eeb4c39b"
OTHER_SEED = "models/demo-cdc463c0fb9f/sets/demo-8-s1-exact-3f15b7d5"
CHANNELS = "models/demo-cdc463c0fb9f/sets/demo-8-s0-exact-channel-0952c6dd"
SCAN = "models/demo-cdc463c0fb9f/scans/shapes-08aa83d22a0f"
LEASE = "queue gpu-node-7 cpu of 0"
KINDS = {
    "store": "store.json",
    "alias": "aliases/*.json",
    "model": "models/*/model.json",
    "ablation": "models/*/ablations/*.json",
    "set": "models/*/sets/*/set.json",
    "completed": "models/*/sets/*/completed.json",
    "FZ record": f"{SET}/fzs/1.1.block/*/batch.json",
    "FZ": f"{SET}/fzs/1.1.block/*/*.png",
    "FZ sums": f"{SET}/fzs/1.1.block/*/SHA256SUMS",
    "trace": f"{SET}/fzs/1.1.block/*/trace.npy",
    "measures record": f"{SET}/measures/1.1/on_*/*/batch.json",
    "activations": f"{SET}/measures/1.1/on_*/*/activations.safetensors",
    "measures sums": f"{SET}/measures/1.1/on_*/*/SHA256SUMS",
    "curves record": f"{SET}/curves/1.1/on_*/*/batch.json",
    "curves": f"{SET}/curves/1.1/on_*/*/values.npy",
    "shams record": f"{SET}/shams/1.1/on_*/*/batch.json",
    "shams": f"{SET}/shams/1.1/on_*/*/values.npy",
    "pairs": f"{SET}/pairs/*.json",
    "scan": f"{SCAN}/scan.json",
    "finished": f"{SCAN}/finished.json",
    "images": f"{SCAN}/result/images.json",
    "scanned activations": f"{SCAN}/result/*.npy",
    "extremes": f"{SCAN}/result/*.extremes.safetensors",
    "rho": f"{SCAN}/result/*.rho.safetensors",
    "result sums": f"{SCAN}/result/SHA256SUMS",
    "robust": f"{SCAN}/robust/*.safetensors",
    "robust sums": f"{SCAN}/robust/SHA256SUMS",
    "patches": f"{SCAN}/patches/*.safetensors",
    "patches sums": f"{SCAN}/patches/SHA256SUMS",
    "MEI curves record": f"{SCAN}/curves/1.1/on_*/*/batch.json",
    "MEI curves": f"{SCAN}/curves/1.1/on_*/*/values.npy",
    "job": "jobs/*/job.json",
    "heartbeat": "jobs/*/heartbeat.json",
    "log": "jobs/*/log.jsonl",
    "errors": "jobs/*/stderr.txt",
    "place": "jobs/*/place",
    "stop": "jobs/*/stop",
    "hold": "jobs/*/hold",
    "lease": "leases/*.json",
    "taken lease": "leases/*.taken",
    "journal": "../marks/*/*.jsonl",
}
WITHOUT_SUMS = ("job", "heartbeat", "log", "errors", "place", "stop", "hold", "lease", "taken lease", "journal")
"""What `cache verify` knows nothing of."""
WITHOUT_OTHERS = ("store", "alias", "model", "ablation", *WITHOUT_SUMS)
TOGETHER = (
    ("store", "journal"),
    ("model", "job"),
    ("alias", "FZ record", "measures record", "curves record", "images", "robust", "MEI curves record", "errors"),
    ("ablation", "FZ", "activations", "curves", "scanned activations", "robust sums", "MEI curves", "heartbeat"),
    ("completed", "FZ sums", "measures sums", "shams record", "extremes", "patches sums", "log", "lease"),
    ("trace", "shams", "rho", "patches", "finished", "place", "taken lease", "pairs"),
    ("set", "result sums", "scan", "stop", "hold"),
)
"""Kinds that are damaged at the same time: none of them hides what is said of another."""
UNREAD_BY_TABLE = {"status", "flags", "late_rise", "fz_seed", "q", *OVER_SEEDS}
"""Columns that may say something else where a set, a batch or a retry is left out, and q, which 0.2.0 did not have."""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    with zipfile.ZipFile(ARCHIVE) as archive:
        archive.extractall(tmp_path)
    (tmp_path / "private.txt").write_text("somebody's own\n" * 100)
    monkeypatch.setenv("STREAMSCOPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("STREAMSCOPE_MARKS", str(tmp_path / "marks"))
    add_live_files(tmp_path / "cache")
    add_pairs(tmp_path / "cache")
    add_patches(tmp_path / "cache")
    return tmp_path / "cache"


def add_live_files(cache: Path) -> None:
    """What a store has only while somebody works on it."""
    job = next(path for path in sorted((cache / "jobs").iterdir()) if not (path / "stderr.txt").exists())
    (job / "stderr.txt").write_text("no such device\n")
    for name in ("stop", "hold"):
        (job / name).touch()
    Leases(cache, "somebody").claim(LEASE)
    (lease,) = (cache / "leases").iterdir()
    shutil.copyfile(lease, lease.with_suffix(".0123456789abcdef.taken"))


def add_pairs(cache: Path) -> None:
    """What later versions keep of two blocks of a set."""
    store = Store.open(cache)
    info = store.model(FINGERPRINT)
    assert info is not None
    assert all(keep_pairs(store.set(info, KEY), block) for block in ("1.1", "2.1"))


def add_patches(cache: Path) -> None:
    """What that release did not keep, as today's adds it to its scans."""
    scan = scan_of(Store.open(cache))
    write_patches(scan.path, scan.info, len(scan.images))


def scan_of(store: Store) -> Scan:
    info = store.model(FINGERPRINT)
    assert info is not None
    scan = store.choose_scan(info)
    assert scan is not None
    return scan


@contextmanager
def bounded(seconds: float = 20) -> Iterator[None]:
    """Whatever waits for ever (a pipe that nobody writes to) fails instead."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise AssertionError(f"still not done after {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def state_of(root: Path) -> dict[str, tuple[int, int, int, int]]:
    """Every file and folder: its inode, size, mode and date; nothing is opened."""
    found = {}
    for folder, folders, files in os.walk(root):
        for path in (f"{folder}/{name}" for name in (*folders, *files)):
            state = os.lstat(path)
            # The clock of a file system is read by writing.
            dated = state.st_mtime_ns if path != f"{root}/leases" else 0
            found[path] = (state.st_ino, state.st_size, state.st_mode, dated)
    return found


def check_reads(cache: Path, capsys: pytest.CaptureFixture[str], reads: Sequence[Sequence[str]] = READ) -> str:
    """What `cache verify` lists, if it is among `reads` and fails."""
    marks = cache.parent / "marks"
    before, listed = (state_of(cache), state_of(marks)), ""
    with bounded():
        check_curves(cache)
        check_jobs(cache)
    out = cache.parent / "out"
    for read in reads:
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        with bounded():
            code = main([word.format(out=out) for word in read])
        printed = capsys.readouterr()
        assert code in (0, 1), (read, printed.err)
        assert "unexpected" not in printed.err, (read, printed.err)
        assert "Traceback" not in printed.err, (read, printed.err)
        assert "somebody's own" not in printed.out + printed.err
        if code == 1 and "verify" not in read:
            *warnings, last = printed.err.splitlines()
            assert last.startswith("streamscope: "), (read, printed.err)
            assert all(line.startswith("streamscope: ") for line in warnings), (read, printed.err)
        if code == 1 and "verify" in read:
            listed = printed.out
        if code == 0 and "csv" in read:
            check_table(cache, printed.out)
        for png in out.glob("fzs/*.png"):
            channel, tensor = int(png.stem[-4:]), png.stem.split("_")[1]
            target = "1.0.out" if tensor == "in" else f"1.1.{tensor}"
            assert sha256(png.read_bytes()) == fz_sums()[target, channel], read
    assert (state_of(cache), state_of(marks)) == before
    return listed


def check_table(cache: Path, text: str) -> None:
    """Every number is the one of before, or there is none."""
    whole = (cache.parent / "table.csv").read_text()
    if text == whole:
        return
    before = list(csv.DictReader(io.StringIO(whole)))
    now = list(csv.DictReader(io.StringIO(text)))
    assert len(now) == len(before)
    for old, new in zip(before, now, strict=True):
        for name, value in new.items():
            if name not in UNREAD_BY_TABLE:
                # Columns that came later say nothing, or how the set was made.
                expected = old.get(name, "paper" if name == "protocol" else "")
                assert value in ("", expected), (old["block"], old["channel"], name)


def jobs_of(cache: Path) -> dict[str, JobState]:
    """All that is said of jobs and leases is put into words, as the jobs screen does; the state of each job."""
    store = Store(cache)
    states = job_states(store)
    assert [state.job for state in JobWatch(store).poll()] == sorted((s.job for s in states), key=lambda job: job.id)
    for state in states:
        assert str(detail(state))
        assert isinstance(rate(state), str)
        events, offset = read_log(state.job)
        assert read_log(state.job, offset)[0] == []
        assert all(event.time >= 0 for event in events)
    for problem in store.job_problems.errors():
        assert str(cache / "jobs") in str(problem)
        assert "\n" not in str(problem)
    leases = Leases(cache, "me")
    assert isinstance(leases.holder(LEASE), str)
    assert isinstance(leases.has_sign_of_life(LEASE), bool)
    assert isinstance(stale_leases(cache), list)
    return {state.job.id: state for state in states}


def check_jobs(cache: Path) -> None:
    """A job is as it was, or not there, or (where it says less) in doubt; what it is to do is never another thing."""
    for name, state in jobs_of(cache).items():
        before = expected_jobs()[name]
        if state.job.spec != before.spec:
            # 0.2.0 wrote no checksums of jobs: a byte that was flipped may say something else.
            assert dataclasses.asdict(state.job.spec).keys() == dataclasses.asdict(before.spec).keys()


@cache_result
def expected_jobs() -> dict[str, Job]:
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(ARCHIVE) as archive:
            archive.extractall(folder)
        return {name: state.job for name, state in jobs_of(Path(folder) / "cache").items()}


def marks_in(path: Path) -> dict[tuple[str, str], tuple[str, str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return {(r["block"], r["channel"]): (r["marked"], r["tags"], r["note"]) for r in csv.DictReader(file)}


def check_curves(cache: Path) -> None:
    """Curves and shams, which commands compute anew where they are missing; and best patches."""
    store = None
    with suppress(StoreError):
        store = Store.open(cache)
    info = store.model(FINGERPRINT) if store is not None else None
    scan = store.choose_scan(info) if store is not None and info is not None else None
    for source, name in ((store and info and store.set(info, KEY), "FZ"), (scan, "MEI")):
        curves = curves_of(source, "1.1") if source else None
        if curves is None:
            continue
        before = expected_curves()[name]
        rows = np.searchsorted(before.channels, curves.channels)
        for key, values in curves.values.items():
            same = (values == before.values[key][rows]) | np.isnan(values)
            assert same.all(), (name, key)
    if store is not None and info is not None:
        sham_shares(store.set(info, KEY), "1.1")
    for block, tensor in product(("1.1", "2.0"), TENSORS) if scan else ():
        with suppress(StoreError):
            patches = scan.patches(block, tensor) if scan else None
            assert patches is None or np.array_equal(patches.rows, expected_patches()[block, tensor])


@cache_result
def expected_patches() -> dict[tuple[str, str], np.ndarray]:
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(ARCHIVE) as archive:
            archive.extractall(folder)
        add_patches(Path(folder) / "cache")
        scan = scan_of(Store.open(Path(folder) / "cache"))
        found = {key: scan.patches(*key) for key in product(("1.1", "2.0"), TENSORS)}
        return {key: patches.rows for key, patches in found.items() if patches is not None}


@cache_result
def expected_curves() -> dict[str, Curves]:
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(ARCHIVE) as archive:
            archive.extractall(folder)
        store = Store.open(Path(folder) / "cache")
        info = store.model(FINGERPRINT)
        assert info is not None
        scan = store.choose_scan(info)
        assert scan is not None
        found = {"FZ": curves_of(store.set(info, KEY), "1.1"), "MEI": curves_of(scan, "1.1")}
        return {name: curves for name, curves in found.items() if curves is not None}


@cache_result
def fz_sums() -> dict[tuple[str, int], str]:
    """Of the FZs as they are in the archive."""
    found = {}
    with zipfile.ZipFile(ARCHIVE) as archive:
        for name in archive.namelist():
            if name.startswith(f"cache/{SET}/fzs/") and name.endswith(".png"):
                *_, target, _, file = name.split("/")
                found[target, int(file[:4])] = sha256(archive.read(name))
    return found


@contextmanager
def damaged(path: Path, damage: Callable[[Path], object]) -> Iterator[None]:
    """With `path` damaged, and after that as it was."""
    kept = path.parent.parent / f".kept-{path.name}"
    state = path.parent.stat()
    os.rename(path, kept)
    shutil.copyfile(kept, path)
    try:
        damage(path)
        yield
    finally:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        os.rename(kept, path)
        os.utime(path.parent, ns=(state.st_atime_ns, state.st_mtime_ns))


def flip(path: Path, place: float = 0.5) -> None:
    content = bytearray(path.read_bytes() or b"\0")
    content[int(place * (len(content) - 1))] ^= 0x11
    path.write_bytes(content)


def instead(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        # The name of a socket is limited to 108 bytes.
        here = os.getcwd()
        os.chdir(path.parent)
        try:
            server.bind(path.name)
        finally:
            os.chdir(here)


def private_file(path: Path) -> Path:
    """Beside the store, not in it."""
    return next(folder for folder in path.parents if folder.name == "cache").parent / "private.txt"


def enlarge(path: Path) -> None:
    with open(path, "ab") as file:
        file.truncate(2**27 if path.suffix == ".npy" else 2**41)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "truncated": lambda path: os.truncate(path, path.stat().st_size // 2),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\n"),
    "enormous": enlarge,
    "first byte flipped": lambda path: flip(path, 0.0),
    "byte flipped": flip,
    "last byte flipped": lambda path: flip(path, 1.0),
    "missing": Path.unlink,
    "no text": lambda path: path.write_bytes(bytes(range(128, 256)) * 20),
    "not a number": lambda path: path.write_text('{"time": NaN, "token": NaN, "asked": Infinity}\n'),
    "nothing said": lambda path: path.write_text("{}\n"),
    "private link": lambda path: instead(path, lambda p: p.symlink_to(private_file(p))),
    "dangling link": lambda path: instead(path, lambda p: p.symlink_to("gone")),
    "pipe": lambda path: instead(path, lambda p: os.mkfifo(p)),
    "folder": lambda path: instead(path, Path.mkdir),
    "socket": lambda path: instead(path, make_socket),
    "device": lambda path: instead(path, lambda p: p.symlink_to("/dev/zero")),
    "another type": lambda path: path.write_text("[]\n"),
    "brackets": lambda path: path.write_text("[" * 200_000),
}


DOCUMENTS = ("model.json", "set.json", "scan.json", "finished.json", "completed.json")
"""Files beside folders of which something may be said, too."""
MAY_BE_MISSING = ("alias", "ablation", "completed", "finished", "pairs")


def files_of(cache: Path, kind: str) -> list[Path]:
    found = sorted(cache.glob(KINDS[kind]))
    assert found, kind
    return found


@pytest.mark.parametrize("name", DAMAGES)
@pytest.mark.parametrize("kinds", TOGETHER, ids=" ".join)
def test_files_that_are_not_what_was_written(
    kinds: Sequence[str], name: str, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = random.Random(name)
    paths = {kind: chosen.choice(files_of(cache, kind)) for kind in kinds}
    with ExitStack() as stack:
        for path in paths.values():
            stack.enter_context(damaged(path, DAMAGES[name]))
        listed = check_reads(cache, capsys)
        for kind, path in paths.items():
            # store.json has no checksum, and without it nothing is known of the rest.
            if kind in ("store", *WITHOUT_SUMS) or (name == "missing" and kind in MAY_BE_MISSING):
                continue
            assert str(path if path.name in DOCUMENTS else path.parent) in listed, (path, name)
    assert main(["cache", "verify"]) == 0


def test_every_kind_is_damaged() -> None:
    assert sorted(kind for kinds in TOGETHER for kind in kinds) == sorted(KINDS)


UNSAID = {
    "empty",
    "truncated",
    "missing",
    "longer",
    "enormous",
    "no text",
    "brackets",
    "byte flipped",
    "last byte flipped",
}
"""What looks like a journal that is shorter, is being written, or says something else."""


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_journal_costs_the_lines_that_are_damaged(
    name: str, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (path,) = files_of(cache, "journal")
    mine = Marks(cache.parent / "marks", FINGERPRINT, "demo")
    mine.mark("2.1", range(20), "keep")
    before = {key: tuple(value) for key, value in marks_in(cache.parent / "marks.csv").items()}
    before |= {("2.1", str(channel)): ("keep", "", "") for channel in range(20)}
    export = ["marks", "export", "--model", "demo", str(cache.parent / "now.csv")]
    with damaged(path, DAMAGES[name]), bounded():
        assert main(export) == 0
        said = capsys.readouterr().err
        now = marks_in(cache.parent / "now.csv")
        assert mine.all().keys() >= {("2.1", channel) for channel in range(20)}, "the app has it open"
    lost = {key for key, value in before.items() if now.get(key) != value}
    assert not any(block == "2.1" for block, _ in lost), "what is in other journals stands"
    assert len(lost) <= (1 if "flipped" in name else 0 if name == "longer" else 3)
    assert str(path.resolve()) in said or name in UNSAID
    assert main(export) == 0
    assert marks_in(cache.parent / "now.csv") == before


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in WITHOUT_OTHERS])
def test_files_of_one_kind_in_each_others_place(kind: str, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, *others = files_of(cache, kind)
    other = next((path for path in reversed(others) if path.read_bytes() != one.read_bytes()), None)
    if other is None:
        pytest.skip("there is one of this kind")
    swap(one, other)
    check_reads(cache, capsys)
    if kind == "completed":
        # 0.2.0 did not say of which set a job was completed.
        return
    assert main(["cache", "verify"]) == 1
    printed = capsys.readouterr().out
    assert str(one.parent) in printed
    assert str(other.parent) in printed


def swap(one: Path, other: Path) -> None:
    aside = one.parent.parent / "aside"
    os.rename(one, aside)
    os.rename(other, one)
    os.rename(aside, other)


@pytest.mark.parametrize("other", ["job", "heartbeat", "log", "place", "lease", "taken lease", "journal", "FZ record"])
@pytest.mark.parametrize("kind", ["job", "heartbeat", "log", "place", "lease"])
def test_files_of_jobs_and_leases_in_the_place_of_others(
    kind: str, other: str, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, another = files_of(cache, kind)[0], files_of(cache, other)[-1]
    shutil.copyfile(another, one) if one != another else flip(one)
    check_reads(cache, capsys, [["cache", "prune", "--dry-run"]])


BATCHES = {
    "FZs of another tensor": (f"{SET}/fzs/1.1.block", f"{SET}/fzs/1.1.out", "is of 1.1.out, not 1.1.block"),
    "measures of another tensor": (
        f"{SET}/measures/1.1/on_in",
        f"{SET}/measures/1.1/on_block",
        "is of 1.1 on block, not 1.1 on in",
    ),
    "measures of another block": (f"{SET}/measures/1.1", f"{SET}/measures/2.1", "is of 2.1 on"),
    "FZs of another seed": (
        f"{SET}/fzs/1.1.block",
        f"{OTHER_SEED}/fzs/1.1.block",
        "is of seed 1, not 0",
    ),
    "channel FZs": (
        f"{SET}/fzs/1.1.block",
        f"{CHANNELS}/fzs/1.1.block",
        "is of objective channel, not neuron",
    ),
    "measures of another seed": (
        f"{SET}/measures/1.1",
        f"{OTHER_SEED}/measures/1.1",
        "is of seed 1, not 0",
    ),
    "curves of another tensor": (
        f"{SET}/curves/1.1/on_in",
        f"{SET}/curves/1.1/on_block",
        "is of 1.1 on block, not 1.1 on in",
    ),
    "curves for shams": (f"{SET}/curves/1.1", f"{SET}/shams/1.1", "holds shams, not curves"),
    "curves of MEIs": (f"{SET}/curves/1.1", f"{SCAN}/curves/1.1", ""),
    "MEI curves of another tensor": (
        f"{SCAN}/curves/1.1/on_in",
        f"{SCAN}/curves/1.1/on_block",
        "is of 1.1 on block, not 1.1 on in",
    ),
    "sets": (SET, OTHER_SEED, "set.json describes another set"),
    "robust for result": (f"{SCAN}/result", f"{SCAN}/robust", ""),
}


@pytest.mark.parametrize("case", BATCHES)
def test_folders_in_each_others_place(case: str, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, other, line = BATCHES[case]
    swap(cache / one, cache / other)
    check_reads(cache, capsys)
    assert main(["cache", "verify"]) == 1
    printed = capsys.readouterr().out
    assert line in printed
    assert str(cache / one) in printed
    assert str(cache / other) in printed
    assert main(["cache", "verify", "--drop"]) == 0
    capsys.readouterr()
    check_reads(cache, capsys)


@pytest.mark.parametrize("field", ["fingerprint", "graph", "preprocessing", "protocol", "direction", "steps", "retry"])
@pytest.mark.parametrize("kind", ["FZ record", "measures record"])
def test_what_is_of_another_model_set_or_version_is_not_read(
    kind: str, field: str, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = files_of(cache, kind)[-1]

    def change(record: dict[str, Any]) -> None:
        match field:
            case "fingerprint":
                record[field] = "ab" * 32
            case "steps":
                record["recipe"]["steps"] = 32
            case "retry":
                record[field] = 1
            case _:
                record[field] = "another"

    rewrite(path, change)
    check_reads(cache, capsys)
    for planned in (True, False):
        assert main(["table", *DEMO, "--block", "1.1"]) == 0
        assert ("another" in (said := capsys.readouterr().err) or "is of" in said) or planned
    assert main(["cache", "verify"]) == 1
    newer = field in ("protocol", "direction")
    assert ("was written by a later version" in capsys.readouterr().out) == newer
    assert main(["cache", "verify", "--drop"]) == (1 if newer else 0)
    assert path.exists() == newer, "what a later version wrote is never removed"
    assert main(
        [
            "compute",
            *DEMO,
            "--protocol",
            "paper",
            "--block",
            "1.1",
            "--channels",
            "0-5",
            "--steps",
            "8",
            "--device",
            "cpu",
        ]
    ) in (0, 1)
    assert "unexpected" not in capsys.readouterr().err


def rewrite(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Changes a record or a document and makes its checksums right again."""
    data = json.loads(path.read_bytes())
    change(data)
    if "sha256" in data:
        del data["sha256"]
        write_document(path, data)
        return
    write(path, encode(data))


def write(path: Path, content: bytes) -> None:
    """A file of a committed folder, and its checksum."""
    path.write_bytes(content)
    seal(path.parent)


def seal(folder: Path) -> None:
    names = [path.name for path in folder.iterdir() if path.name != SUMS]
    (folder / SUMS).write_bytes(sums_text({name: sha256((folder / name).read_bytes()) for name in names}))


VALUES: tuple[Any, ...] = (None, True, -1, 10**6, 10**40, 1.5, float("nan"), float("inf"), "x", "\ud800", [], {}, [[]])


def places_of(data: Any, depth: int = 0) -> Iterator[tuple[Any, Any]]:
    """Where a value may be put in another's place: every field, and the first and last of every list."""
    if isinstance(data, dict):
        keys: list[Any] = list(data)
    elif isinstance(data, list) and data:
        keys = sorted({0, len(data) - 1})
    else:
        return
    for key in keys:
        yield data, key
        if depth < 4:
            yield from places_of(data[key], depth + 1)


RECORDS = [
    kind
    for kind, pattern in KINDS.items()
    if pattern.endswith(".json") and kind not in ("store", "job", "heartbeat", "lease")
]


@pytest.mark.parametrize("kind", ["job", "heartbeat", "log", "lease", "taken lease", "journal"])
def test_records_of_jobs_leases_and_marks_whose_values_are_not_right(
    kind: str, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A sample of every field with every wrong value, beside a field of a later version."""
    path = files_of(cache, kind)[0]
    whole = path.read_bytes()
    lines = whole.splitlines() if kind in ("log", "journal") else [whole]
    shown = 0
    places = [
        (number, place) for number, line in enumerate(lines) for place in range(len(list(places_of(json.loads(line)))))
    ]
    cases = [(number, place, value) for number, place in places for value in VALUES]
    for number, place, value in random.Random(kind).sample(cases, min(len(cases), 150)):
        data = json.loads(lines[number])
        holder, key = list(places_of(data))[place]
        holder[key] = value
        changed = json.dumps({**data, "of a later version": {"a": [value]}}).encode()
        path.write_bytes(b"\n".join([*lines[:number], changed, *lines[number + 1 :], b""]))
        with bounded():
            shown += len(jobs_of(cache))
            marks = Marks(cache.parent / "marks", FINGERPRINT, "demo")
            assert len(marks.all()) >= 2, "what other lines say stands"
            marks.export_csv(cache.parent / "marks again.csv")
    path.write_bytes(whole)
    assert shown
    check_reads(cache, capsys, [["cache", "prune", "--dry-run"], ["marks", "export", "--model", "demo", "{out}/m.csv"]])


@pytest.mark.parametrize("kind", RECORDS)
def test_records_whose_checksums_are_right_and_whose_values_are_not(
    kind: str, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A sample of every field with every wrong value, the same in every run."""
    path = files_of(cache, kind)[0]
    whole = path.read_bytes()
    sums = (path.parent / SUMS).read_bytes() if (path.parent / SUMS).exists() else None
    count = len(list(places_of(json.loads(whole))))
    cases = [(place, value) for place in range(count) for value in VALUES]
    reads = [read for read in READ if read[0] != "fz" and "{out}/table.png" not in read]
    for place, value in random.Random(kind).sample(cases, 12):

        def change(data: dict[str, Any], place: int = place, value: Any = value) -> None:
            holder, key = list(places_of(data))[place]
            holder[key] = value

        rewrite(path, change)
        for read in reads:
            with bounded():
                code = main([word.format(out=cache.parent) for word in read])
            printed = capsys.readouterr()
            assert code in (0, 1), (place, value, read, printed.err)
            assert "unexpected" not in printed.err, (place, value, read, printed.err)
        path.write_bytes(whole)
        if sums is not None:
            (path.parent / SUMS).write_bytes(sums)


def set_channel(channel: int) -> Callable[[dict[str, Any]], None]:
    def change(record: dict[str, Any]) -> None:
        record["fzs" if "fzs" in record else "own"][-1]["channel"] = channel

    return change


@pytest.mark.parametrize("channel", [40, 10**6, 0])
@pytest.mark.parametrize("kind", ["FZ record", "measures record"])
def test_a_channel_that_there_is_not_costs_its_batch_and_is_said(
    kind: str, channel: int, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = files_of(cache, kind)[0]
    rewrite(path, set_channel(channel))
    check_reads(cache, capsys)
    assert main(["table", *DEMO, "--block", "1.1"]) == 0
    assert str(path.parent) in capsys.readouterr().err
    assert main(["cache", "verify"]) == 1
    assert str(path.parent) in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"[" * 200_000, b"{" * 10, b"\xff\xfe", b'{"a": NaN}', b"null", b'"text"'])
@pytest.mark.parametrize("kind", ["FZ record", "measures record", "curves record", "shams record", "images"])
def test_a_record_that_is_none_costs_its_own_rows(
    kind: str, content: bytes, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = files_of(cache, kind)[0]
    write(path, content)
    check_reads(cache, capsys)
    assert main(["cache", "verify"]) == 1
    assert str(path.parent) in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["images", "robust", "FZ", "measures record", "model", "set"])
def test_a_report_of_a_damaged_store_is_made_or_refused_in_one_line(
    kind: str, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = ["report", *DEMO, "--block", "1.1", "--out", "{out}/report"]
    with damaged(files_of(cache, kind)[0], flip):
        check_reads(cache, capsys, [report])


def test_what_this_user_may_not_read_is_said_and_never_dropped(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        root.chmod(0o777)
        with zipfile.ZipFile(ARCHIVE) as archive:
            archive.extractall(root)
        cache = root / "cache"
        monkeypatch.setenv("STREAMSCOPE_CACHE", str(cache))
        for path in cache.rglob("*"):
            path.chmod(0o777 if path.is_dir() else 0o666)
        png = files_of(cache, "FZ")[2]
        png.chmod(0)
        private = [files_of(cache, kind)[0] for kind in ("job", "heartbeat", "log", "place", "journal")]
        before = state_of(cache)
        with plain_user():
            if os.access(png, os.R_OK, effective_ids=True):
                pytest.skip("this user may read everything")
            assert main(["cache", "verify"]) == 1
            printed = capsys.readouterr()
            assert f"{png} cannot be read: Permission denied" in printed.out
            assert "--drop" not in printed.err
            assert main(["cache", "verify", "--drop"]) == 1
        capsys.readouterr()
        assert state_of(cache) == before
        for path in private:
            path.chmod(0)
        monkeypatch.setenv("STREAMSCOPE_MARKS", str(root / "marks"))
        (root / "out").mkdir(mode=0o777)
        (root / "out").chmod(0o777)
        with plain_user():
            assert main(["cache", "prune", "--dry-run"]) == 0
            assert f"no job in {private[0].parent}: Permission denied" in capsys.readouterr().err
            assert main(["marks", "export", "--model", "demo", str(root / "out" / "marks.csv")]) == 0
            assert f"cannot read the marks in {private[-1].resolve()}: Permission denied" in capsys.readouterr().err
        flip(files_of(cache, "measures record")[0])
        with plain_user():
            assert main(["cache", "verify", "--drop"]) == 1
        assert png.exists()
        assert "removed 1 damaged part" in capsys.readouterr().out
