"""Journals are read on from where one was, and whatever stands in them is gone through in bounded time and memory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from streamscope.core.files import IrregularFileError
from streamscope.core.store.files.lines import LINE_LIMIT, SKIPPED, read_lines


def test_whole_lines_are_given_with_where_to_go_on(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one\n\ntwo\r\nthr")
    assert list(read_lines(path, 0)) == [(b"one", 4), (b"", 5), (b"two\r", 10)]
    with open(path, "ab") as file:
        file.write(b"ee\n")
    assert list(read_lines(path, 10)) == [(b"three", 16)]
    assert list(read_lines(path, 16)) == []


def test_a_line_may_have_as_many_bytes_as_the_limit_and_no_more(tmp_path: Path) -> None:
    path = tmp_path / "log"
    longest = b"x" * (LINE_LIMIT - 1)
    path.write_bytes(longest + b"\n" + longest + b"xx\nnext\n")
    first, second, third = read_lines(path, 0)
    assert first == (longest, LINE_LIMIT)
    assert second == (None, 2 * LINE_LIMIT + 2)
    assert third == (b"next", 2 * LINE_LIMIT + 7)


def test_a_hole_of_a_million_million_bytes_is_one_line_that_is_not_read_again(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one\n")
    os.truncate(path, 2**40)
    assert list(read_lines(path, 0)) == [(b"one", 4), (None, 2**40)]
    assert list(read_lines(path, 2**40)) == []
    with open(path, "ab") as file:
        file.write(b"\nlater\n")
    assert list(read_lines(path, 2**40)) == [(b"", 2**40 + 1), (b"later", 2**40 + 7)]


def test_a_line_that_is_too_long_is_gone_past_when_its_end_is_near(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with open(path, "ab") as file:
        file.truncate(SKIPPED)
        file.write(b"\nlater\n")
    assert list(read_lines(path, 0)) == [(None, SKIPPED + 1), (b"later", SKIPPED + 7)]


def test_a_pipe_is_not_waited_for_and_a_link_is_followed_where_it_may(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_bytes(b"one\n")
    (tmp_path / "link").symlink_to("file")
    for name in ("pipe", "link"):
        with pytest.raises(IrregularFileError):
            list(read_lines(tmp_path / name, 0))
    assert list(read_lines(tmp_path / "link", 0, follow=True)) == [(b"one", 4)]
