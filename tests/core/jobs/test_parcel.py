"""What travels to a cluster and back is data: it comes through as it was, and what is malformed is said to be."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import pytest

from streamscope.core.jobs.cluster.parcel import NetworkParcel, Order, ParcelError, Reply, WorkerKind
from streamscope.core.jobs.plan import Task
from streamscope.core.model.descriptions import bundled_description
from streamscope.core.model.recipe import Recipe, SetKey
from streamscope.core.model.spec import ModelSpec
from streamscope.core.store.jobs.events import BatchDone

TASK = Task("measure", "2.1", "in", (3, 4, 9), 0, retry=1)
ORDER = Order(
    SetKey(Recipe(steps=7, plateau=0.01), 3, "lucent", "channel"), TASK, "cuda:1", "/a store", "a job", "topic", "name"
)
EVENT = BatchDone("measure", "2.1", "in", 1, 3, (3, 9), 0.25, {"unconverged": 2}, 31.5, "cuda:1")


@pytest.mark.parametrize(
    "order", [ORDER, replace(ORDER, pngs={3: b"\0\1", 9: b""}), replace(ORDER, pngs={}), replace(ORDER, task=None)]
)
def test_an_order_comes_through_as_it_was(order: Order) -> None:
    assert Order.unpack(order.pack()) == order


@pytest.mark.parametrize(
    "reply",
    [
        Reply(EVENT, {"0003.png": b"\x89PNG", "SHA256SUMS": b"", "m.npy": bytes(range(256))}),
        Reply(EVENT, {}, committed=True),
        Reply(None, {}, needs_images=True),
    ],
)
def test_a_reply_comes_through_as_it_was(reply: Reply) -> None:
    assert Reply.unpack(reply.pack()) == reply


def test_a_network_and_what_a_worker_is_like_come_through_as_they_were() -> None:
    info = bundled_description(ModelSpec("demo").text)
    assert info is not None
    parcel = NetworkParcel("demo", info, bytes(1000))
    assert NetworkParcel.unpack(parcel.pack()) == parcel
    kind = WorkerKind("cuda:0", 128, True, "/somewhere/streamscope/__init__.py")
    assert WorkerKind.unpack(kind.pack()) == kind


class Trap:
    """What a pickle may do to whoever opens it."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("sprung"),)  # type: ignore[return-value]  # any callable will do


def test_nothing_that_comes_back_is_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for content in (pickle.dumps(Trap()), Trap(), pickle.dumps(Reply(EVENT, {}))):
        for kind in (Reply, WorkerKind):
            with pytest.raises(ParcelError, match="the cluster sent something malformed"):
                kind.unpack(content)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("name", ["../../escaped", "/tmp/escaped", "", ".", "..", ".hidden", "a/b", "a\0b", "a\n"])
def test_a_file_that_would_be_written_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(ParcelError, match="a file called"):
        Reply.unpack(Reply(EVENT, {name: b""}).pack())


def test_a_reply_that_was_cut_or_says_nothing_is_refused() -> None:
    whole = Reply(EVENT, {"a.png": b"12345"}).pack()
    for content in (b"", whole[:5], whole[:40], whole[:-1], whole + b"6", Reply(None, {}).pack()):
        with pytest.raises(ParcelError):
            Reply.unpack(content)
