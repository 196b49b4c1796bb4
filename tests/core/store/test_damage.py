"""Full disks, killed writers, damaged files, folders that cannot be read: one clear line each, and the rest goes on."""

import errno
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from streamscope.core.errors import DiskFullError, StoreError
from streamscope.core.model.blocks import TENSORS, Target
from streamscope.core.store import FZSet, Store, drop, prune, verify
from tests.support.stores import (
    CONV2,
    KEY,
    activations_of,
    commit,
    fill,
    images_of,
    names_under,
    plain_user,
    python,
    tiny_disk,
    toy_info,
    toy_set,
)


def reader_of(root: Path) -> tuple[Store, FZSet]:
    store = Store.open(root)
    return store, store.set(toy_info(), KEY)


def batch_of(fzset: FZSet, first: int, target: Target = CONV2) -> Path:
    (batch,) = (fzset.path / "fzs" / str(target)).glob(f"{first:04d}-*")
    return batch


def temporaries(folder: Path) -> list[str]:
    return [name for name in names_under(folder) if ".tmp-" in name]


KILLED = """
import os, sys
from itertools import count
from pathlib import Path
from tests.support.stores import commit, toy_set

def stop_before(number):
    calls = count()
    for name in ("fsync", "rename", "replace"):
        def stopping(*args, real=getattr(os, name), name=name):
            if next(calls) == number:
                print(os.getpid(), name, flush=True)
                os.read(0, 1)
            return real(*args)
        setattr(os, name, stopping)

for number in count():
    fzset = toy_set(Path(sys.argv[1]) / str(number))
    pid = os.fork()
    if not pid:
        stop_before(number)
        commit(fzset)
        print(os.getpid(), "finished", flush=True)
        os._exit(0)
    if os.WIFEXITED(os.waitpid(pid, 0)[1]):
        break
"""


def test_a_writer_killed_at_any_moment_leaves_all_of_a_batch_or_nothing(tmp_path: Path) -> None:
    writer = python(KILLED, tmp_path)
    seen: list[tuple[str, list[int]]] = []
    assert writer.stdout is not None
    for number in count():
        pid, moment = writer.stdout.readline().split()
        if moment == "finished":
            break
        os.kill(int(pid), signal.SIGKILL)
        # The next line comes only when the killed process is gone.
        root = tmp_path / str(number)
        store, fzset = reader_of(root)
        seen.append((moment, list(fzset.fzs(CONV2))))
        assert store.problems == []
        assert list(verify(store)) == []
        commit(fzset)
        assert list(fzset.fzs(CONV2)) == [0, 1]
        assert np.array_equal(fzset.fz_image(CONV2, 1), images_of([1])[0])
    assert writer.wait() == 0
    for number in range(len(seen)):
        store, _ = reader_of(tmp_path / str(number))
        prune(store)
        assert temporaries(store.root) == []
        assert list(reader_of(store.root)[1].fzs(CONV2)) == [0, 1]
    committed = [moment for moment, channels in seen if channels == [0, 1]]
    lost = [moment for moment, channels in seen if channels == []]
    assert [moment for moment, _ in seen] == lost + committed
    assert lost.count("fsync") >= 6, "every file and the folder are flushed"
    assert lost[-1] == "rename", "and only then renamed"
    assert committed == ["fsync"], "and the name is flushed too"


WRITER = """
import sys
from pathlib import Path
from streamscope.core.model.blocks import TENSORS, Target
from tests.support.stores import commit, toy_set

fzset = toy_set(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
made = 0
for target in (Target(b, t) for b in ("1.0", "2.0") for t in ("block", "out")):
    for channel in range(4):
        made += commit(fzset, target, [channel])
print(made, flush=True)
"""


def test_several_writers_at_once_make_each_batch_once_and_readers_see_whole_ones(tmp_path: Path) -> None:
    writers = [python(WRITER, tmp_path) for _ in range(3)]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    store, fzset = reader_of(tmp_path)
    targets = [Target(b, t) for b in ("1.0", "2.0") for t in TENSORS[1:]]
    while any(writer.poll() is None for writer in writers):
        for target in targets:
            for channel, record in fzset.fzs(target).items():
                assert record.activation == channel + 0.5
                assert np.array_equal(fzset.fz_image(target, channel), images_of([channel])[0])
    made = [int(writer.communicate()[0]) for writer in writers]
    assert sum(made) == 16
    assert [list(fzset.fzs(target)) for target in targets] == [[0, 1, 2, 3]] * 4
    assert store.problems == []
    assert temporaries(tmp_path) == []
    assert list(verify(store)) == []


def test_a_full_disk_is_one_clear_line_and_keeps_what_was_committed(tmp_path: Path) -> None:
    with tiny_disk(tmp_path / "disk", kilobytes=400) as disk:
        fzset = toy_set(disk)
        commit(fzset, channels=[0], images=images_of([0], side=64))
        filling = fill(disk, leave=8192)
        writes: tuple[Callable[[], object], ...] = (
            lambda: commit(fzset, channels=[1, 2], images=images_of([1, 2], side=64)),
            lambda: fzset.commit_measures("2.0", "out", range(6), activations_of(range(6), 6), None),
        )
        for write in writes:
            with pytest.raises(DiskFullError, match=r"^no space left to write [^;]*$"):
                write()
        assert temporaries(disk) == []
        assert np.array_equal(reader_of(disk)[1].fz_image(CONV2, 0), images_of([0], side=64)[0])
        filling.unlink()
        commit(fzset, channels=[1, 2], images=images_of([1, 2], side=64))
        assert list(fzset.fzs(CONV2)) == [0, 1, 2]
        assert list(verify(reader_of(disk)[0])) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_server_that_says_so_only_on_flushing_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    fzset = toy_set(tmp_path)
    real = os.fsync

    def full(handle: int) -> None:
        if os.readlink(f"/proc/self/fd/{handle}").endswith("trace.npy"):
            raise OSError(number, os.strerror(number))
        real(handle)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(DiskFullError, match="no space left"):
            commit(fzset)
    assert temporaries(tmp_path) == []
    assert fzset.fzs(CONV2) == {}
    assert commit(fzset)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def test_a_truncated_png_fails_alone(tmp_path: Path) -> None:
    fzset = toy_set(tmp_path)
    commit(fzset)
    cut(fzset.fzs(CONV2)[1].path)
    with pytest.raises(StoreError, match=r"0001.png is damaged \(its checksum differs\)$"):
        fzset.fz_image(CONV2, 1)
    assert np.array_equal(fzset.fz_image(CONV2, 0), images_of([0])[0])


def damage_record(batch: Path) -> None:
    cut(batch / "batch.json")


def damage_sums(batch: Path) -> None:
    (batch / "SHA256SUMS").write_text("nothing of the kind\n")


def damage_missing(batch: Path) -> None:
    (batch / "batch.json").unlink()


def damage_file(batch: Path) -> None:
    shutil.rmtree(batch)
    batch.write_text("a file")


def damage_link(batch: Path) -> None:
    shutil.rmtree(batch)
    batch.symlink_to(batch.parent / "gone")


DAMAGES: list[tuple[Callable[[Path], None], str]] = [
    (damage_record, "batch.json is damaged (its checksum differs)"),
    (damage_sums, "SHA256SUMS is damaged"),
    (damage_missing, "batch.json: No such file or directory"),
    (damage_file, "a file or a dangling link is in the way of a folder"),
    (damage_link, "is a dangling link"),
]


@pytest.mark.parametrize(("damage", "line"), DAMAGES, ids=[damage.__name__ for damage, _ in DAMAGES])
def test_a_damaged_batch_is_named_and_the_others_are_read(
    tmp_path: Path, damage: Callable[[Path], None], line: str
) -> None:
    fzset = toy_set(tmp_path)
    commit(fzset, channels=[0, 1])
    commit(fzset, channels=[2, 3])
    batch = batch_of(fzset, 0)
    damage(batch)
    store, watcher = reader_of(tmp_path)
    planner, own = reader_of(tmp_path)

    assert list(watcher.fzs(CONV2)) == [2, 3]
    assert own.stored(CONV2) == {2, 3}
    assert [*map(str, planner.problems)] == [*map(str, store.problems)]
    (problem,) = store.problems
    assert line in str(problem)
    assert str(batch) in str(problem)
    assert "\n" not in str(problem)

    assert commit(fzset, channels=[0, 1]), "it is made again in its place"
    assert list(watcher.fzs(CONV2)) == [0, 1, 2, 3]
    assert store.problems == [], "the line goes when the batch is whole again"
    assert list(verify(store)) == []
    assert temporaries(tmp_path) == []


@pytest.mark.parametrize(("damage", "line"), [(cut, "is damaged"), (Path.unlink, "No such file or directory")])
def test_damaged_activations_are_named_and_the_others_are_read(
    tmp_path: Path, damage: Callable[[Path], None], line: str
) -> None:
    fzset = toy_set(tmp_path)
    for channel in (0, 1):
        fzset.commit_measures("1.0", "out", [channel], activations_of([channel], 4), None)
    (batch,) = (fzset.path / "measures" / "1.0" / "on_out").glob("0000-*")
    damage(batch / "activations.safetensors")
    store, watcher = reader_of(tmp_path)
    measured = watcher.measured("1.0", "out")
    assert measured is not None
    assert measured.channels.tolist() == [1]
    assert len(store.problems) == 1
    assert "activations.safetensors" in str(store.problems[0])
    assert line in str(store.problems[0])
    shutil.rmtree(batch)
    watcher.measured("1.0", "out")
    assert store.problems == []


def test_a_damaged_model_or_set_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    store = Store.open(tmp_path, create=True)
    other = toy_info("other", "cd" * 32)
    commit(store.set(toy_info(), KEY, create=True))
    store.set(other, KEY, create=True)
    cut(store.set(toy_info(), KEY).path / "set.json")
    reader = Store.open(tmp_path)
    assert reader.sets(toy_info()) == []
    assert len(reader.sets(other)) == 1
    assert len(reader.problems) == 1
    assert "set.json is damaged" in str(reader.problems[0])

    cut(store.set(toy_info(), KEY).path.parent.parent / "model.json")
    assert reader.models() == [other]
    assert reader.model(toy_info().fingerprint) is None
    assert len(reader.problems) == 2

    mended = Store.open(tmp_path, create=True).set(toy_info(), KEY, create=True)
    assert list(mended.fzs(CONV2)) == [0, 1]
    assert reader.models() == [other, toy_info()]
    assert len(reader.sets(toy_info())) == 1
    assert reader.problems == []


def test_a_set_described_by_a_newer_recipe_is_skipped(tmp_path: Path) -> None:
    from streamscope.core.store.files.documents import read_document, write_document

    fzset = toy_set(tmp_path)
    data = read_document(fzset.path / "set.json")
    data["recipe"]["dropout"] = 0.5
    write_document(fzset.path / "set.json", data)
    store = Store.open(tmp_path)
    assert store.sets(toy_info()) == []
    assert "set.json was written by a later version (recipe: unknown field 'dropout')" in str(store.problems[0])
    (found,) = verify(store)
    assert drop(found) == []


@pytest.mark.parametrize("kind", ["file", "link"])
def test_something_else_in_place_of_a_folder_is_one_clear_line(tmp_path: Path, kind: str) -> None:
    fzset = toy_set(tmp_path)
    commit(fzset, Target("1.1", "block"))
    blocking = fzset.path / "fzs" / str(CONV2)
    blocking.write_text("x") if kind == "file" else blocking.symlink_to("gone")
    store, watcher = reader_of(tmp_path)
    assert watcher.fzs(CONV2) == {}
    assert watcher.signature() is not None
    assert list(watcher.fzs(Target("1.1", "block"))) == [0, 1]
    assert len(store.problems) == 1
    assert str(blocking) in str(store.problems[0])
    with pytest.raises(StoreError, match=r"cannot write .*: a file or a dangling link is in the way of a folder"):
        commit(fzset)
    assert temporaries(tmp_path) == []


@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_cache_that_is_no_folder_is_refused(tmp_path: Path, kind: str) -> None:
    root = tmp_path / "cache"
    root.write_text("x") if kind == "file" else root.symlink_to("gone")
    for create in (False, True):
        with pytest.raises(StoreError, match=r"the cache .*/cache is a (file|dangling link), not a folder$"):
            Store.open(root, create=create)
    with pytest.raises(StoreError, match=r"cannot (read|write)"):
        Store.open(root / "inside", create=True)


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that every user can reach: pytest's own are root's alone."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    for path in folder.rglob("*"):
        path.chmod(0o755)
    shutil.rmtree(folder)


def test_a_folder_without_permission_is_one_clear_line_and_the_rest_is_read(shared: Path) -> None:
    fzset = toy_set(shared)
    commit(fzset)
    commit(fzset, Target("1.1", "block"))
    commit(fzset, Target("1.1", "block"), channels=[2])
    (fzset.path / "fzs" / str(CONV2)).chmod(0)
    batch_of(fzset, 2, Target("1.1", "block")).chmod(0)
    store, watcher = reader_of(shared)
    with plain_user():
        assert watcher.fzs(CONV2) == {}
        assert list(watcher.fzs(Target("1.1", "block"))) == [0, 1]
        assert watcher.signature() is not None
    assert len(store.problems) == 2
    assert all("cannot read" in line and "Permission denied" in line for line in map(str, store.problems))
    (fzset.path / "fzs" / str(CONV2)).chmod(0o755)
    assert list(watcher.fzs(CONV2)) == [0, 1]


def test_a_cache_without_permission_to_write_is_read_and_not_written(shared: Path) -> None:
    commit(toy_set(shared / "cache"))
    for path in [shared / "cache", *(shared / "cache").rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    with plain_user():
        store = Store.open(shared / "cache", create=True)
        fzset = store.set(toy_info(), KEY, create=True)
        assert list(fzset.fzs(CONV2)) == [0, 1]
        with pytest.raises(StoreError, match=r"cannot write .*: Permission denied"):
            commit(fzset, channels=[2])
        with pytest.raises(StoreError, match=r"cannot write .*: Permission denied"):
            Store.open(shared / "new", create=True)
