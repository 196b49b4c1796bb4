"""Two workers never hold the same lease; one that is gone holds none."""

import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest

from streamscope.core.errors import DiskFullError, StoreError
from streamscope.core.store import Leases
from streamscope.core.store.leases import stale_leases
from tests.support.stores import fill, python, tiny_disk


@dataclass
class Clock:
    """A monotonic clock that stands still unless it is moved."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def the_file(root: Path) -> Path:
    (path,) = (root / "leases").glob("*.json")
    return path


def make_older(path: Path, seconds: float) -> None:
    state = path.stat()
    os.utime(path, (state.st_atime, state.st_mtime - seconds))


def move_elsewhere(path: Path, **changes: str) -> None:
    """Rewrites a lease as if a process of another host, or of another boot of this one, had taken it."""
    state = path.stat()
    data = json.loads(path.read_text())
    data["process"].update(changes)
    path.write_text(json.dumps(data))
    os.utime(path, (state.st_atime, state.st_mtime))


def test_what_one_worker_claims_another_cannot(tmp_path: Path) -> None:
    first, second = Leases(tmp_path, "a"), Leases(tmp_path, "b")
    assert first.claim("batch")
    assert first.claim("batch"), "claiming again is harmless"
    assert not second.claim("batch")
    assert second.claim("other")
    assert first.held == {"batch"}


def test_what_is_released_is_anybodys(tmp_path: Path) -> None:
    first, second = Leases(tmp_path, "a"), Leases(tmp_path, "b")
    for key in ("one", "two", "three"):
        first.claim(key)
    first.release("one")
    assert second.claim("one")
    first.release("one")
    assert not first.claim("one"), "releasing what is another's does nothing"
    first.release_all()
    assert first.held == frozenset()
    assert second.claim("two")
    assert second.claim("three")


def test_a_lease_expires_a_minute_after_its_last_renewal(tmp_path: Path) -> None:
    first, second = Leases(tmp_path, "a"), Leases(tmp_path, "b")
    first.claim("batch")
    make_older(the_file(tmp_path), 50)
    assert not second.claim("batch")
    assert first.renew() == []
    make_older(the_file(tmp_path), 50)
    make_older(the_file(tmp_path), 15)
    assert second.claim("batch")
    assert not first.claim("batch")


def test_a_worker_learns_what_it_lost(tmp_path: Path) -> None:
    first, second = Leases(tmp_path, "a"), Leases(tmp_path, "b")
    first.claim("batch")
    make_older(the_file(tmp_path), 70)
    first.claim("kept")
    assert second.claim("batch")
    assert first.renew() == ["batch"]
    assert first.held == {"kept"}
    assert first.renew() == []


def test_the_time_is_the_file_systems_not_this_hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = Leases(tmp_path, "a"), Leases(tmp_path, "b")
    first.claim("batch")
    monkeypatch.setattr("time.time", lambda: 9e9)
    assert not second.claim("batch")


DIES = """
import sys
from pathlib import Path
from streamscope.core.store import Leases
print(Leases(Path(sys.argv[1]), "dies").claim("batch"), flush=True)
sys.stdin.read()
"""


def test_a_killed_workers_lease_is_free_at_once(tmp_path: Path) -> None:
    worker = python(DIES, tmp_path)
    assert worker.stdout is not None
    assert worker.stdout.readline() == "True\n"
    mine = Leases(tmp_path, "mine")
    assert not mine.claim("batch")
    worker.send_signal(signal.SIGKILL)
    # Waits until it is dead and leaves it a zombie, as an app does that never waits for its worker.
    os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOWAIT)
    assert mine.claim("batch")
    worker.communicate()


@pytest.mark.parametrize("changes", [{"host": "elsewhere"}, {"boot": "the one before"}])
def test_of_a_worker_elsewhere_only_silence_tells(tmp_path: Path, changes: dict[str, str]) -> None:
    worker = python(DIES, tmp_path)
    assert worker.stdout is not None
    worker.stdout.readline()
    worker.kill()
    worker.communicate()
    move_elsewhere(the_file(tmp_path), **changes)
    clock = Clock()
    mine = Leases(tmp_path, "mine", clock)
    assert not mine.claim("batch")
    make_older(the_file(tmp_path), 70)
    assert not mine.claim("batch"), "the host that wrote the date may have another clock"
    clock.now += 19
    assert not mine.claim("batch")
    clock.now += 2
    assert mine.claim("batch")


def test_a_lease_dated_in_the_future_is_free_once_it_was_seen_unchanged_for_a_minute(tmp_path: Path) -> None:
    Leases(tmp_path, "gone").claim("batch")
    move_elsewhere(the_file(tmp_path), host="gpu-node-7")
    make_older(the_file(tmp_path), -900)
    clock = Clock()
    mine = Leases(tmp_path, "mine", clock)
    for _ in range(6):
        assert not mine.claim("batch")
        clock.now += 10
    assert mine.holder("batch").startswith("gpu-node-7, process ")
    assert not mine.has_sign_of_life("batch")
    clock.now += 1
    assert mine.claim("batch")


def test_a_holder_that_renews_keeps_its_lease_whatever_the_date_it_writes(tmp_path: Path) -> None:
    Leases(tmp_path, "lives").claim("batch")
    move_elsewhere(the_file(tmp_path), host="gpu-node-7")
    clock = Clock()
    mine = Leases(tmp_path, "mine", clock)
    for _ in range(20):
        # Its host is ten minutes late, and so are the dates on this disk.
        make_older(the_file(tmp_path), 600 if clock.now == 0 else -10)
        assert not mine.claim("batch")
        clock.now += 10
    assert mine.has_sign_of_life("batch")


def test_what_nobody_is_to_wait_for_is_claimed_from_a_holder_that_gives_no_sign_of_life(tmp_path: Path) -> None:
    holder = Leases(tmp_path, "holder")
    holder.claim("queue")
    clock = Clock()
    mine = Leases(tmp_path, "mine", clock)

    def pass_by(seconds: float) -> None:
        clock.now += seconds

    assert not mine.claim_or_watch("queue", pass_by), "its process is there"
    assert clock.now == 0
    move_elsewhere(the_file(tmp_path), host="gpu-node-7")
    make_older(the_file(tmp_path), -900)

    def renewed(seconds: float) -> None:
        pass_by(seconds)
        if clock.now >= 5:
            holder.renew()

    assert not Leases(tmp_path, "mine", clock).claim_or_watch("queue", renewed)
    assert clock.now == 5
    make_older(the_file(tmp_path), -900)
    other = Leases(tmp_path, "other", clock)
    assert not other.claim_or_watch("queue", lambda seconds: True), "whoever is to end does not wait"
    assert other.claim_or_watch("queue", pass_by)
    assert 60 < clock.now < 70


def test_what_cannot_be_read_as_a_lease_is_free_once_it_was_seen_unchanged_for_a_minute(tmp_path: Path) -> None:
    Leases(tmp_path, "gone").claim("batch")
    path = the_file(tmp_path)
    path.unlink()
    os.mkfifo(path)
    make_older(path, 500)
    clock = Clock()
    mine = Leases(tmp_path, "mine", clock)
    assert not mine.claim("batch"), "nor is a pipe waited for"
    clock.now += 61
    assert mine.claim("batch")


def test_pruning_finds_the_leases_of_the_dead_by_one_look(tmp_path: Path) -> None:
    leases = Leases(tmp_path, "a")
    for key in ("future", "future, of a process that is there", "old", "new"):
        leases.claim(key)
    paths = {json.loads(path.read_text())["key"]: path for path in (tmp_path / "leases").glob("*.json")}
    move_elsewhere(paths["future"], host="gpu-node-7")
    move_elsewhere(paths["new"], host="gpu-node-7")
    make_older(paths["future"], -900)
    make_older(paths["future, of a process that is there"], -900)
    make_older(paths["old"], 70)
    assert stale_leases(tmp_path) == sorted([paths["future"], paths["old"]])


def test_a_pid_that_another_process_got_does_not_keep_a_lease(tmp_path: Path) -> None:
    Leases(tmp_path, "a").claim("batch")
    move_elsewhere(the_file(tmp_path), started="1")
    assert Leases(tmp_path, "b").claim("batch")


def test_a_lease_that_is_just_being_written_is_respected_until_it_is_old(tmp_path: Path) -> None:
    Leases(tmp_path, "a").claim("batch")
    the_file(tmp_path).write_text("")
    mine = Leases(tmp_path, "mine")
    assert not mine.claim("batch")
    make_older(the_file(tmp_path), 70)
    assert mine.claim("batch")
    assert mine.renew() == []


@pytest.mark.parametrize(
    "changes",
    [
        {"token": "../../elsewhere"},
        {"token": "a\0b"},
        {"token": "f" * 5000},
        {"token": ""},
        {"token": 7},
        {"process": {"host": 1, "boot": "", "pid": True, "started": ""}, "owner": []},
    ],
    ids=range(6),
)
def test_whatever_a_lease_says_it_holds_for_a_minute_and_names_no_other_file(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    Leases(tmp_path, "a").claim("batch")
    lease = the_file(tmp_path)
    lease.write_text(json.dumps({**json.loads(lease.read_text()), **changes}))
    mine = Leases(tmp_path, "mine")
    assert not mine.claim("batch")
    make_older(lease, 70)
    assert stale_leases(tmp_path) == [lease]
    assert mine.claim("batch")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [lease]


def test_a_lease_of_a_later_version_is_respected(tmp_path: Path) -> None:
    Leases(tmp_path, "a").claim("batch")
    lease = the_file(tmp_path)
    lease.write_text(json.dumps({**json.loads(lease.read_text()), "priority": 3}))
    mine = Leases(tmp_path, "mine")
    assert not mine.claim("batch")
    assert mine.holder("batch").endswith(f", process {os.getpid()}")


@pytest.mark.parametrize("pid", [10**40, 2**31, 0, -1, True, "7", 1.0, None])
def test_a_process_that_there_cannot_be_is_none(tmp_path: Path, pid: object) -> None:
    Leases(tmp_path, "a").claim("batch")
    lease = the_file(tmp_path)
    data = json.loads(lease.read_text())
    data["process"]["pid"] = pid
    lease.write_text(json.dumps(data))
    mine = Leases(tmp_path, "mine")
    assert mine.holder("batch") == "a process that cannot be told"
    assert not mine.has_sign_of_life("batch")


def test_a_taker_that_died_half_way_blocks_nobody(tmp_path: Path) -> None:
    Leases(tmp_path, "a").claim("batch")
    lease = the_file(tmp_path)
    make_older(lease, 70)
    token = json.loads(lease.read_text())["token"]
    marker = lease.with_name(f"{lease.stem}.{token}.taken")
    marker.write_text("")
    mine = Leases(tmp_path, "mine")
    assert not mine.claim("batch")
    make_older(marker, 70)
    assert not mine.claim("batch"), "clears the marker"
    assert mine.claim("batch")


TAKES = """
import sys
from pathlib import Path
from streamscope.core.store import Leases
leases = Leases(Path(sys.argv[1]), "taker")
for line in iter(sys.stdin.readline, ""):
    print(leases.claim(line.strip()), flush=True)
"""


def test_of_many_that_take_a_stale_lease_at_once_one_gets_it(tmp_path: Path) -> None:
    gone = Leases(tmp_path, "gone")
    keys = [f"batch {number}" for number in range(40)]
    for key in keys:
        gone.claim(key)
    for path in (tmp_path / "leases").glob("*.json"):
        make_older(path, 70)
    takers = [python(TAKES, tmp_path) for _ in range(3)]
    for key in keys:
        for taker in takers:
            assert taker.stdin is not None
            taker.stdin.write(f"{key}\n")
            taker.stdin.flush()
        answers = [taker.stdout.readline() for taker in takers if taker.stdout is not None]
        assert sorted(answers) == ["False\n", "False\n", "True\n"]
    for taker in takers:
        taker.communicate()
    assert sorted(path.suffix for path in (tmp_path / "leases").iterdir()) == [".json"] * 40


def test_leases_that_cannot_be_written_are_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "leases").write_text("a file")
    with pytest.raises(StoreError, match=r"cannot write .*leases"):
        Leases(tmp_path, "a").claim("batch")


def test_a_full_disk_leaves_no_lease_behind(tmp_path: Path) -> None:
    with tiny_disk(tmp_path / "disk", kilobytes=64) as disk:
        leases = Leases(disk, "a")
        leases.claim("first")
        filling = fill(disk)
        with pytest.raises(DiskFullError, match="no space left"):
            leases.claim("second")
        assert leases.renew() == []
        filling.unlink()
        assert Leases(disk, "b").claim("second")
