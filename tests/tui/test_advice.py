"""What to do about an error is said by the command line and the app; the library says what was wrong."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from streamscope.core.errors import (
    CacheError,
    DamageError,
    DiskFullError,
    DownloadError,
    Fault,
    HomeError,
    ImageError,
    MisfitError,
    SchedulerError,
    StreamscopeError,
    WeightsError,
)
from streamscope.core.model.recipe import Recipe, SetKey
from streamscope.core.store import Store
from streamscope.core.store.files.disk_errors import write_error
from streamscope.core.store.scans.scan import ChangedImageError
from streamscope.core.store.sets.fz_set import MissingFZError
from streamscope.tui.advice import worded, worded_fault
from tests.support.stores import toy_info

TOY = toy_info()


@pytest.mark.parametrize(
    ("place", "advice"),
    [
        ("cache/models/demo/sets/x", "free some ('streamscope cache prune') or use --cache DIR"),
        ("marks/demo.jsonl", "free some on the disk of your marks"),
        ("report/index.html", "free some on that disk, or name a place on another one"),
    ],
)
def test_a_full_disk_is_advised_about_by_what_is_full(
    place: str, advice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store.open(tmp_path / "cache", create=True)
    monkeypatch.setenv("STREAMSCOPE_MARKS", str(tmp_path / "marks"))
    error = write_error(tmp_path / place, OSError(errno.ENOSPC, "full"))
    assert isinstance(error, DiskFullError)
    assert worded(error).startswith(f"no space left to write {tmp_path / place}; {advice}")
    assert worded_fault(Fault.of(error)) == worded(error)
    assert ("cache prune" in worded(error)) == place.startswith("cache")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (DamageError("x is damaged"), "x is damaged; run 'streamscope cache verify'"),
        (
            DiskFullError("9 FZs need about 9 MB"),
            "9 FZs need about 9 MB; free some ('streamscope cache prune') or use --cache DIR on another disk, then "
            "run the same command again: what was finished is kept",
        ),
        (HomeError("no home folder is known of uid 7", "SOME"), "no home folder is known of uid 7; set HOME, or SOME"),
        (
            SchedulerError("the job was for a Dask cluster"),
            "the job was for a Dask cluster; start it by the command, 'streamscope compute --scheduler ADDRESS': what "
            "is stored is kept",
        ),
        (write_error(Path("/x"), OSError(errno.EACCES, "Permission denied")), "cannot write /x: Permission denied"),
        (CacheError("/x is a file"), "/x is a file; use --cache DIR with another one"),
        (
            DownloadError("no network", "https://w/{y}.pth"),
            "no network; download https://w/{y}.pth elsewhere, pass it with --weights, or try --model demo",
        ),
        (MisfitError("x does not fit"), "x does not fit; name its architecture with --model"),
        (WeightsError("no such file: x"), "no such file: x"),
        (
            MissingFZError(TOY, SetKey(Recipe(steps=10), seed=3), TOY.source("2.0", "block"), 3),
            "no FZ of channel 3 in 2.0.block is stored (paper recipe, 10 steps, seed 3, capture exact); "
            "run 'streamscope --model toy compute --block 2.0 --protocol paper --seed 3'",
        ),
        (
            ChangedImageError(TOY, Path("/my photos"), Path("/my photos/a.png")),
            "/my photos/a.png was changed since it was scanned; run 'streamscope --model toy scan '/my photos'' again",
        ),
        (ImageError("x is no image"), "x is no image"),
    ],
)
def test_an_error_is_worded_with_what_to_do(error: StreamscopeError, line: str) -> None:
    assert worded(error) == line


def test_what_a_job_recorded_is_worded_like_the_error_itself() -> None:
    full = write_error(Path("/x"), OSError(errno.ENOSPC, "full"))
    assert worded_fault(Fault.of(full)) == worded(full)
    assert worded_fault(Fault("interrupted")) == "interrupted"
