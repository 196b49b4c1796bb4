"""FZs under way are seen as they are so far; what is damaged or of others is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from streamscope.core.model.blocks import Target
from streamscope.core.store.jobs.growing import MOST, find_growing, growing_stamp, remove_growing, write_growing
from streamscope.core.store.layout import JobFolder

BLOCK, IN = Target("2.1", "block"), Target("2.1", "in")


def images(count: int, value: int = 0) -> np.ndarray:
    """Each of one grey: `value` plus its place."""
    return np.stack([np.full((4, 4, 3), value + place, dtype=np.uint8) for place in range(count)])


def test_the_image_of_a_channel_is_found_and_gone_when_its_batch_is(tmp_path: Path) -> None:
    first, second = JobFolder(tmp_path / "a"), JobFolder(tmp_path / "b")
    assert growing_stamp([first]) == 0
    write_growing(first, BLOCK, (3, 5, 9), images(3))
    write_growing(second, IN, (3, 4), images(2, 100))
    found = find_growing([first, second], BLOCK, 5)
    assert found is not None
    assert (found.image == 1).all()
    other = find_growing([first, second], IN, 4)
    assert other is not None
    assert (other.image == 101).all()
    assert find_growing([first, second], BLOCK, 4) is None
    assert find_growing([second], BLOCK, 5) is None
    remove_growing(first, BLOCK, (3, 5, 9))
    assert find_growing([first, second], BLOCK, 5) is None


def test_a_newer_look_replaces_the_older_one(tmp_path: Path) -> None:
    job = JobFolder(tmp_path / "a")
    write_growing(job, BLOCK, (0, 1), images(2))
    before = growing_stamp([job])
    write_growing(job, BLOCK, (0, 1), images(2, 50))
    found = find_growing([job], BLOCK, 0)
    assert found is not None
    assert (found.image == 50).all()
    assert growing_stamp([job]) > before


def test_of_a_wide_batch_the_first_are_shown(tmp_path: Path) -> None:
    job = JobFolder(tmp_path / "a")
    write_growing(job, BLOCK, range(MOST + 2), images(MOST + 2))
    assert find_growing([job], BLOCK, MOST - 1) is not None
    assert find_growing([job], BLOCK, MOST) is None


def test_what_is_damaged_shows_nothing(tmp_path: Path) -> None:
    job = JobFolder(tmp_path / "a")
    write_growing(job, BLOCK, (0, 1), images(2))
    [path] = job.growing.iterdir()
    content = path.read_bytes()
    for damaged in (b"", content[: len(content) // 2], b"x" * 100):
        path.write_bytes(damaged)
        assert find_growing([job], BLOCK, 0) is None
    np.savez(path, channels=np.array([0]), images=np.zeros((1, 4, 4), dtype=np.uint8))
    assert find_growing([job], BLOCK, 0) is None
    np.savez(path, channels=np.array(["x"], dtype=object), images=images(1))
    assert find_growing([job], BLOCK, 0) is None
