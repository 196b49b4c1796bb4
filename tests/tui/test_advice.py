"""What to do about an error is said by the command line and the app; the library says what was wrong."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from streamscope.core.errors import (
    CacheError,
    DamageError,
    DownloadError,
    Fault,
    ImageError,
    MisfitError,
    StreamscopeError,
    WeightsError,
)
from streamscope.core.model.recipe import Recipe, SetKey
from streamscope.core.store.files.disk_errors import write_error
from streamscope.core.store.scans.scan import ChangedImageError
from streamscope.core.store.sets.fz_set import MissingFZError
from streamscope.tui.advice import worded, worded_fault
from tests.support.stores import toy_info

TOY = toy_info()


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (DamageError("x is damaged"), "x is damaged; run 'streamscope cache verify'"),
        (
            write_error(Path("/x"), OSError(errno.ENOSPC, "full")),
            "no space left to write /x; free some ('streamscope cache prune') or use --cache DIR on another disk, then "
            "run the same command again: what was finished is kept",
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
            MissingFZError(TOY, SetKey(Recipe(steps=10), seed=3), TOY.target("2.0", "block"), 3),
            "no FZ of channel 3 in 2.0.block is stored (paper recipe, 10 steps, seed 3, capture exact); "
            "run 'streamscope --model toy compute --block 2.0 --seed 3'",
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
