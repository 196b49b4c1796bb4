"""`cache verify` finds any change to what was stored; `cache prune` takes away what it was told to and nothing else."""

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from streamscope.core.errors import StoreError
from streamscope.core.measures.pairs import pair_null
from streamscope.core.model.blocks import Target, Tensor
from streamscope.core.model.recipe import Recipe, SetKey
from streamscope.core.store import (
    FZSet,
    JobSpec,
    Leases,
    Problem,
    Store,
    create_job,
    drop,
    prune,
    verify,
)
from streamscope.core.store.jobs.events import Report
from streamscope.core.store.usage import usage
from tests.support.optional import present
from tests.support.stores import (
    CONV2,
    KEY,
    activations_of,
    commit,
    images_of,
    names_under,
    plain_user,
    python,
    shared_folder,
    toy_info,
    toy_set,
)

OUT = Target("1.0", "out")


@pytest.fixture
def fzset(tmp_path: Path) -> FZSet:
    """FZs of two targets, one retried, and measures on all of them."""
    fzset = toy_set(tmp_path)
    for target, channels in ((CONV2, [0, 1]), (CONV2, [2]), (OUT, [0, 1])):
        commit(fzset, target, channels)
    commit(fzset, CONV2, [1], retry=1)
    measures: tuple[tuple[str, Tensor, list[int], int], ...] = (
        ("1.0", "block", [0, 1], 0),
        ("1.0", "block", [2], 0),
        ("1.0", "block", [1], 1),
        ("1.0", "out", [0, 1], 0),
        ("1.1", "in", [0, 1], 0),
    )
    for block, tensor, channels, retry in measures:
        plain = activations_of(channels, 4)
        fzset.commit_measures(block, tensor, channels, plain, None if tensor == "out" else plain, retry)
    fzset.keep_pairs("1.1", "ab" * 32, pair_null(np.eye(4), np.eye(4)))
    fzset.mark_completed("a job")
    Store(tmp_path).remember("toy", toy_info().fingerprint)
    return fzset


def problems(root: Path) -> list[Problem]:
    return list(verify(Store.open(root)))


def batch(fzset: FZSet, *parts: str) -> Path:
    (found,) = fzset.path.joinpath(*parts[:-1]).glob(parts[-1])
    return found


def test_an_intact_store_has_no_problems(tmp_path: Path, fzset: FZSet) -> None:
    assert problems(tmp_path) == []
    assert problems(tmp_path / "not there") == []


def test_a_flipped_byte_anywhere_is_found(tmp_path: Path, fzset: FZSet) -> None:
    """In every file of the store but store.json: at its first, middle and last byte, one bit and all bits."""
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "store.json"]
    assert {path.name for path in files} == {
        "0000.png",
        "0001.png",
        "0002.png",
        "trace.npy",
        "activations.safetensors",
        "batch.json",
        "SHA256SUMS",
        "model.json",
        "set.json",
        "completed.json",
        "1.1.json",
        next((tmp_path / "aliases").iterdir()).name,
    }
    for path in files:
        whole = path.read_bytes()
        for position in {0, len(whole) // 2, len(whole) - 1}:
            for mask in (0x20, 0xFF):
                flipped = bytearray(whole)
                flipped[position] ^= mask
                path.write_bytes(flipped)
                found = problems(tmp_path)
                assert found, f"{path} byte {position}"
                assert all(p.removes in (path, path.parent) for p in found)
        path.write_bytes(whole)
    assert problems(tmp_path) == []


def test_every_single_byte_of_a_checksum_file_counts(tmp_path: Path, fzset: FZSet) -> None:
    path = batch(fzset, "fzs", str(CONV2), "0002-*") / "SHA256SUMS"
    whole = path.read_bytes()
    for position in range(len(whole)):
        flipped = bytearray(whole)
        flipped[position] ^= 0x20
        path.write_bytes(flipped)
        assert problems(tmp_path), f"byte {position}"


def truncate(folder: Path) -> None:
    path = folder / "0000.png"
    path.write_bytes(path.read_bytes()[:-30])


def remove(folder: Path) -> None:
    (folder / "trace.npy").unlink()


def remove_sums(folder: Path) -> None:
    (folder / "SHA256SUMS").unlink()


def add(folder: Path) -> None:
    (folder / "0009.png").write_bytes(b"")


def replace_by_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("")


def replace_by_link(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.symlink_to("gone")


def rename(folder: Path) -> None:
    folder.rename(folder.with_name("0000-0003-12345678"))


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (truncate, "0000.png is truncated"),
        (remove, "trace.npy is missing"),
        (remove_sums, "SHA256SUMS is missing"),
        (add, "0009.png does not belong here"),
        (replace_by_file, "is a file where a folder should be"),
        (replace_by_link, "is a dangling link"),
        (rename, "0000-0003-12345678 is of other channels (0000-0001-"),
    ],
)
def test_damage_is_named_and_dropping_it_heals_the_store(
    tmp_path: Path, fzset: FZSet, damage: Callable[[Path], None], line: str
) -> None:
    damage(batch(fzset, "fzs", str(CONV2), "0000-0001-*"))
    (found,) = problems(tmp_path)
    assert line in str(found)
    assert "fzs/1.0.block/0000-000" in str(found)
    assert found.removes in drop(found)
    assert not os.path.lexists(found.removes)
    assert problems(tmp_path) == []
    commit(fzset, CONV2, [0, 1])
    assert problems(tmp_path) == []
    assert list(Store.open(tmp_path).set(toy_info(), KEY).fzs(CONV2)) == [0, 1, 2]


def test_a_file_too_many_goes_alone(tmp_path: Path, fzset: FZSet) -> None:
    add(batch(fzset, "fzs", str(CONV2), "0000-0001-*"))
    (found,) = problems(tmp_path)
    assert drop(found) == [found.path]
    assert list(fzset.fzs(CONV2)) == [0, 1, 2]


def measured(fzset: FZSet) -> dict[str, list[int]]:
    keys: tuple[tuple[str, Tensor, int], ...] = (
        ("1.0", "block", 0),
        ("1.0", "block", 1),
        ("1.0", "out", 0),
        ("1.1", "in", 0),
    )
    found = {f"{block} on {tensor} {retry}": fzset.measured(block, tensor, retry) for block, tensor, retry in keys}
    return {name: m.channels.tolist() for name, m in found.items() if m is not None}


def test_with_fzs_goes_what_was_measured_on_them(tmp_path: Path, fzset: FZSet) -> None:
    remove(batch(fzset, "fzs", str(CONV2), "0000-0001-*"))
    drop(*problems(tmp_path))
    assert measured(fzset) == {
        "1.0 on block 0": [2],
        "1.0 on block 1": [1],
        "1.0 on out 0": [0, 1],
        "1.1 on in 0": [0, 1],
    }


def test_with_a_retried_fz_goes_its_own_measure_only(tmp_path: Path, fzset: FZSet) -> None:
    remove(batch(fzset, "retries", "1", "fzs", str(CONV2), "0001-*"))
    drop(*problems(tmp_path))
    assert measured(fzset) == {"1.0 on block 0": [0, 1, 2], "1.0 on out 0": [0, 1], "1.1 on in 0": [0, 1]}


@pytest.mark.parametrize("described", [True, False])
def test_with_the_fzs_of_out_go_those_of_the_next_blocks_in(tmp_path: Path, fzset: FZSet, described: bool) -> None:
    remove(batch(fzset, "fzs", str(OUT), "0000-*"))
    model = fzset.path.parent.parent / "model.json"
    whole = model.read_bytes()
    if not described:
        model.write_bytes(b"{")
    drop(*[problem for problem in problems(tmp_path) if problem.path != model])
    model.write_bytes(whole)
    assert measured(fzset) == {"1.0 on block 0": [0, 1, 2], "1.0 on block 1": [1]}


def test_damaged_measures_go_and_the_fzs_stay(tmp_path: Path, fzset: FZSet) -> None:
    (batch(fzset, "measures", "1.0", "on_block", "0002-*") / "activations.safetensors").write_bytes(b"")
    drop(*problems(tmp_path))
    assert measured(fzset)["1.0 on block 0"] == [0, 1]
    assert list(fzset.fzs(CONV2)) == [0, 1, 2]


@pytest.mark.parametrize("place", ["models", "models/{m}", "models/{m}/sets/{s}", "models/{m}/sets/{s}/fzs/1.0.out"])
def test_a_file_in_place_of_a_folder_is_named_at_every_level(tmp_path: Path, fzset: FZSet, place: str) -> None:
    path = tmp_path / place.format(m=fzset.path.parent.parent.name, s=fzset.path.name)
    shutil.rmtree(path)
    path.write_text("")
    found = [problem for problem in problems(tmp_path) if problem.path == path]
    assert [problem.what for problem in found] == ["is a file where a folder should be"]
    assert drop(found[0]) == [path]
    assert problems(tmp_path) == []


def test_damaged_descriptions_are_named_and_the_rest_is_checked(tmp_path: Path, fzset: FZSet) -> None:
    (fzset.path / "set.json").write_text("{}")
    (fzset.path / "completed.json").write_text("")
    (tmp_path / "aliases" / "odd.json").write_text("[]")
    remove(batch(fzset, "fzs", str(CONV2), "0002-*"))
    assert [problem.path.name for problem in problems(tmp_path)] == [
        "set.json",
        "completed.json",
        "trace.npy",
        "odd.json",
    ]


def test_a_set_under_another_sets_name_is_named(tmp_path: Path, fzset: FZSet) -> None:
    fzset.path.rename(fzset.path.with_name("paper-99-s0-exact-00000000"))
    assert [(found.path.name, found.what.split(" (")[0]) for found in problems(tmp_path)] == [
        ("set.json", "describes another set"),
    ]


def test_a_leftover_of_a_killed_writer_is_no_damage(tmp_path: Path, fzset: FZSet) -> None:
    (fzset.path / "fzs" / str(CONV2) / ".tmp-0-0-0-0").mkdir()
    assert problems(tmp_path) == []


def test_usage_counts_what_is_there(tmp_path: Path, fzset: FZSet) -> None:
    other = Store.open(tmp_path).set(toy_info("other", "cd" * 32), SetKey(Recipe(steps=20)), create=True)
    first, second = usage(Store.open(tmp_path))
    assert (first.info.name, first.key.recipe.steps, first.fzs, first.batches, first.completed) == (
        "other",
        20,
        0,
        0,
        None,
    )
    assert (second.info.name, second.key, second.fzs, second.retries, second.batches) == ("toy", KEY, 5, 1, 9)
    assert second.completed == fzset.completed_at()
    assert second.bytes == sum(path.stat().st_size for path in fzset.path.rglob("*") if path.is_file())
    assert first.bytes == (other.path / "set.json").stat().st_size


def test_pruning_a_set_leaves_the_others(tmp_path: Path, fzset: FZSet) -> None:
    store = Store.open(tmp_path)
    other = store.set(toy_info(), SetKey(Recipe(steps=20)), create=True)
    commit(other)
    would = prune(store, model=toy_info(), set=KEY, dry_run=True)
    assert [item.path for item in would] == [fzset.path]
    assert would[0].bytes > 1000
    assert fzset.path.is_dir()
    assert prune(store, model=toy_info(), set=KEY) == would
    assert not fzset.path.exists()
    assert [s.key for s in store.sets(toy_info())] == [other.key]
    assert fzset.fzs(CONV2) == {}
    assert commit(fzset), "a set that is written to again describes itself again"
    assert len(store.sets(toy_info())) == 2
    assert not [name for name in names_under(tmp_path) if ".tmp-" in name]


def test_pruning_a_model_leaves_the_others(tmp_path: Path, fzset: FZSet) -> None:
    store = Store.open(tmp_path)
    other = toy_info("other", "cd" * 32)
    store.set(other, KEY, create=True)
    assert [item.path for item in prune(store, model=toy_info())] == [fzset.path.parent.parent]
    assert store.models() == [other]
    assert store.recall("toy") is None
    assert prune(store, model=toy_info()) == []


def test_a_set_is_not_pruned_without_saying_whose(tmp_path: Path, fzset: FZSet) -> None:
    with pytest.raises(StoreError, match="name the model"):
        prune(Store.open(tmp_path), set=KEY)


LEAVES = """
import os, sys
from pathlib import Path
from streamscope.core.store import Leases
from streamscope.core.store.files.owner import temporary_name
folder = Path(sys.argv[1]) / "models" / temporary_name()
folder.mkdir()
(folder / "0000.png").write_bytes(b"x" * 100)
Leases(Path(sys.argv[1]), "dies").claim("batch")
print(folder, flush=True)
sys.stdin.read()
"""


def test_pruning_stale_things_takes_what_the_dead_left_and_nothing_of_the_living(tmp_path: Path, fzset: FZSet) -> None:
    store = Store.open(tmp_path)
    before = {name for name in names_under(tmp_path) if "jobs" not in name}
    mine = Leases(tmp_path, "mine")
    mine.claim("my batch")
    finished, going = (create_job(store, JobSpec("demo")) for _ in range(2))
    finished.finish("done")
    going.heartbeat(Report(done=1))
    writer = python(LEAVES, tmp_path)
    assert writer.stdout is not None
    folder = Path(writer.stdout.readline().strip())
    elsewhere = tmp_path / "models" / ".tmp-0123456789ab-1-1-0123"
    elsewhere.write_text("")

    assert [item.path for item in prune(store)] == [finished.folder]
    writer.send_signal(signal.SIGKILL)
    writer.communicate()
    removed = prune(store)
    assert [(item.path.parent.name, item.bytes > 0) for item in removed] == [("models", True), ("leases", True)]
    assert not folder.exists()
    assert elsewhere.exists(), "another host may be writing it"
    os.utime(elsewhere, (0, 0))
    assert [item.path for item in prune(store, stale=False)] == []
    assert [item.path for item in prune(store)] == [elsewhere]
    assert mine.renew() == []
    assert going.folder.is_dir()
    left = {name for name in names_under(tmp_path) if "jobs" not in name and "leases" not in name}
    assert left == before


def test_what_verify_reads_stays_what_it_was(tmp_path: Path, fzset: FZSet) -> None:
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    problems(tmp_path)
    usage(Store.open(tmp_path))
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert np.array_equal(fzset.fz_image(CONV2, 0), images_of([0])[0])


def test_a_renamed_set_goes_as_a_whole_and_another_stays(tmp_path: Path, fzset: FZSet) -> None:
    kept = toy_set(tmp_path, SetKey(Recipe(steps=20)))
    commit(kept, CONV2, [0])
    renamed = fzset.path.rename(fzset.path.with_name("before"))
    (found,) = problems(tmp_path)
    assert str(found) == f"{renamed / 'set.json'} describes another set ({fzset.path.name})"
    assert drop(found) == [renamed]
    assert problems(tmp_path) == []
    assert [path.name for path in renamed.parent.iterdir()] == [kept.path.name]


def test_of_a_renamed_set_nothing_goes_where_something_in_it_cannot_be_read() -> None:
    with shared_folder() as root:
        fzset = toy_set(root)
        commit(fzset, CONV2, [0, 1])
        commit(fzset, CONV2, [2])
        renamed = fzset.path.rename(fzset.path.with_name("before"))
        before = names_under(renamed)
        (closed,) = (renamed / "fzs" / str(CONV2)).glob("0002-*")
        (closed / "trace.npy").chmod(0)
        with plain_user():
            found = problems(root)
            assert [drop(problem) for problem in found] == [[], []]
        assert [problem.path for problem in found] == [renamed / "set.json", closed / "trace.npy"]
        assert names_under(renamed) == before


def test_the_description_of_another_set_goes_alone(tmp_path: Path, fzset: FZSet) -> None:
    other = toy_set(tmp_path, SetKey(Recipe(steps=20)))
    own = (fzset.path / "set.json").read_bytes()
    shutil.copy(other.path / "set.json", fzset.path / "set.json")
    (found,) = problems(tmp_path)
    assert drop(found) == [fzset.path / "set.json"]
    (fzset.path / "set.json").write_bytes(own)
    assert problems(tmp_path) == []


def test_a_set_from_another_models_folder_goes_as_a_whole(tmp_path: Path, fzset: FZSet) -> None:
    store = Store.open(tmp_path)
    other = store.set(toy_info("toy", "cd" * 32), KEY, create=True)
    shutil.rmtree(other.path)
    shutil.copytree(fzset.path, other.path)
    found = [problem for problem in problems(tmp_path) if problem.removes is not None]
    assert [drop(problem) for problem in found] == [[other.path]]
    assert problems(tmp_path) == []


def test_a_renamed_model_folder_is_named_with_the_name_it_should_have_and_nothing_of_it_goes(
    tmp_path: Path, fzset: FZSet
) -> None:
    model = fzset.path.parent.parent
    right, before = model.name, names_under(model)
    renamed = model.rename(model.with_name("toy-before"))
    (found,) = problems(tmp_path)
    assert (
        str(found) == f"{renamed} is of toy {toy_info().fingerprint[:12]}; rename it to {right}, and it is read again"
    )
    assert drop(found) == []
    assert names_under(renamed) == before
    renamed.rename(fzset.path.parent.parent)
    assert problems(tmp_path) == []


def test_a_copy_of_a_model_folder_is_named_and_nothing_of_it_goes(tmp_path: Path, fzset: FZSet) -> None:
    model = fzset.path.parent.parent
    copy = model.with_name("copy")
    shutil.copytree(model, copy)
    (found,) = problems(tmp_path)
    assert found.path == copy
    assert f"is a second folder of toy {toy_info().fingerprint[:12]}; only {model.name} is read" in found.what
    assert drop(found) == []
    assert names_under(copy) == names_under(model)


def test_of_a_renamed_model_folder_that_cannot_be_read_nothing_goes() -> None:
    with shared_folder() as root:
        fzset = toy_set(root)
        model = fzset.path.parent.parent
        renamed = model.rename(model.with_name("toy-before"))
        document = renamed / "sets" / fzset.path.name / "set.json"
        document.chmod(0)
        with plain_user():
            (found,) = problems(root)
            assert (found.path, drop(found)) == (renamed, [])
        document.chmod(0o644)
        assert document.is_file()


def test_the_description_of_another_model_goes_alone(tmp_path: Path, fzset: FZSet) -> None:
    store, other = Store.open(tmp_path), toy_info("other", "cd" * 32)
    store.register(other)
    document = fzset.path.parent.parent / "model.json"
    own = document.read_bytes()
    shutil.copy(present(store.folder(other)) / "model.json", document)
    (found,) = problems(tmp_path)
    assert drop(found) == [document]
    document.write_bytes(own)
    assert problems(tmp_path) == []
