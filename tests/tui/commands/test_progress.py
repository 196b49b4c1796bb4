"""Bars are drawn where they can be drawn over, and nowhere else."""

from __future__ import annotations

import os
import sys

import pytest

from streamscope.core.store.jobs.events import JobProgressed, Report
from streamscope.tui.cli.progress import count_progress, download_progress, job_progress, phase_progress


def drawn(monkeypatch: pytest.MonkeyPatch, term: str | None) -> bytes:
    """What every bar writes to a terminal of that name."""
    if term is None:
        monkeypatch.delenv("TERM", raising=False)
    else:
        monkeypatch.setenv("TERM", term)
    outside, inside = os.openpty()
    with open(inside, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        for progress in (download_progress("weights"), count_progress("channels", "images")):
            with progress as told:
                if told is not None:
                    told(1, 2)
        with phase_progress() as phase:
            phase(1, 2, "images")
        with job_progress() as tell:
            tell(JobProgressed(Report(done=1, total=2)))
        os.write(inside, b"end")
        written = b""
        while not written.endswith(b"end"):
            written += os.read(outside, 65536)
    os.close(outside)
    return written.removesuffix(b"end")


@pytest.mark.parametrize("term", [None, "", "dumb", "unknown"])
def test_nothing_is_written_to_a_terminal_that_cannot_draw_over(
    monkeypatch: pytest.MonkeyPatch, term: str | None
) -> None:
    assert drawn(monkeypatch, term) == b""


def test_bars_are_drawn_on_others(monkeypatch: pytest.MonkeyPatch) -> None:
    written = drawn(monkeypatch, "foo")
    for word in (b"weights", b"channels", b"images", b"1/2 FZs"):
        assert word in written
