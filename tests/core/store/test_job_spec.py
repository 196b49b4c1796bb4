"""A job's spec means the same to whoever wrote it, its worker, and every app that shows it, of any version."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from streamscope.core.errors import NewerError, StoreError, UsageError
from streamscope.core.model.recipe import Recipe, SetKey
from streamscope.core.model.spec import ModelSpec
from streamscope.core.store import JobSpec, Store, create_job, job_states, open_job

WRITTEN_BY_0_2_0 = {
    "model": "resnet18",
    "weights": None,
    "device": "cuda:1",
    "recipe": json.loads(json.dumps(Recipe(steps=64).to_json())),
    "steps": 64,
    "seed": 3,
    "capture": "lucent",
    "objective": "neuron",
    "blocks": ["2.0", "2.1"],
    "tensors": ["in", "block"],
    "batch": None,
    "channels": {"2.1": [0, 5]},
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "cache", create=True)


@pytest.fixture
def weights(tmp_path: Path) -> tuple[Path, Path]:
    """A file of weights in a folder, and the same file through a link to that folder."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to("disk")
    (tmp_path / "disk" / "weights.pth").write_bytes(b"weights")
    return tmp_path / "disk" / "weights.pth", tmp_path / "link" / "weights.pth"


def write(store: Store, text: str) -> Path:
    """A job's folder with `text` as its `job.json`."""
    folder = create_job(store, JobSpec("demo")).folder
    (folder / "job.json").write_text(text)
    return folder


def written(store: Store, content: object) -> JobSpec:
    """What is read of the spec of a job that another version wrote."""
    return open_job(write(store, json.dumps({"asked": content, "started": 1.5, "process": {}}))).spec


def test_a_job_written_by_0_2_0_is_read(store: Store) -> None:
    key = SetKey(Recipe(steps=64), 3, "lucent")
    blocks, tensors, channels = ("2.0", "2.1"), ("in", "block"), {"2.1": (0, 5)}
    spec = JobSpec.of_set(ModelSpec("resnet18"), key, blocks, tensors, channels, "cuda:1")
    assert written(store, WRITTEN_BY_0_2_0) == spec


def test_what_a_job_does_not_say_is_left_to_its_worker(store: Store) -> None:
    assert written(store, {"model": "demo", "steps": 8}) == JobSpec("demo", steps=8)
    assert written(store, dict.fromkeys(WRITTEN_BY_0_2_0)) == written(store, {}) == JobSpec("")


def test_a_job_is_written_so_that_0_2_0_reads_it(store: Store) -> None:
    job = create_job(store, JobSpec.from_json(WRITTEN_BY_0_2_0))
    content = json.loads((job.folder / "job.json").read_text())
    assert content["asked"] == {**WRITTEN_BY_0_2_0, "devices": [], "scheduler": None}
    assert set(content) == {"asked", "started", "process"}


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"started": 1.5}',
        '{"asked": [], "started": 1.5, "process": {}}',
        '{"asked": {"channels": {"2.1": "all"}}, "started": 1.5, "process": {}}',
        '{"asked": {"blocks": "2.1"}, "started": 1.5, "process": {}}',
        '{"asked": {"steps": "many"}, "started": 1.5, "process": {}}',
        '{"asked": {"recipe": {"steps": 0}}, "started": 1.5, "process": {}}',
        '{"asked": {"seed": 1.5}, "started": 1.5, "process": {}}',
        '{"asked": {"weights": "a\\u0000b"}, "started": 1.5, "process": {}}',
        '{"asked": {"weights": "\\ud800"}, "started": 1.5, "process": {}}',
        '{"asked": {}, "started": NaN, "process": {}}',
        '{"asked": {}, "started": 1e300, "process": {}}',
        "[" * 200_000,
        " " * 2**25,
    ],
    ids=range(15),
)
def test_a_malformed_job_is_one_clear_line_and_is_not_listed(store: Store, content: str) -> None:
    folder = write(store, content)
    with pytest.raises(StoreError, match=r"job.json is damaged \(.*\); remove that folder|no job in .*: is too large"):
        open_job(folder)
    assert job_states(store) == []
    (problem,) = store.job_problems.errors()
    assert str(folder) in str(problem)
    assert store.problems == []
    shutil.rmtree(folder)
    assert (job_states(store), store.job_problems.errors()) == ([], [])


def test_a_job_of_a_later_version_is_said_to_be_one_and_not_to_be_removed(store: Store) -> None:
    folder = write(store, '{"asked": {"recipe": {"wings": 2}}, "started": 1.5, "process": {}}')
    with pytest.raises(NewerError, match=r"job.json was written by a later version \(recipe: unknown field 'wings'\)"):
        open_job(folder)


def test_what_a_later_version_says_besides_is_let_be(store: Store) -> None:
    record = {"asked": {"model": "demo", "capture": "another", "wings": 2}, "started": 1.5, "process": {}, "more": []}
    folder = write(store, json.dumps(record))
    assert open_job(folder).spec == JobSpec("demo", capture="another")


def test_a_job_of_a_model_that_this_version_does_not_have_is_listed(store: Store) -> None:
    spec = written(store, {"model": "resnet99"})
    assert [state.job.spec for state in job_states(store)] == [spec]
    with pytest.raises(UsageError, match="unknown model 'resnet99'"):
        _ = spec.model_spec


def test_a_job_is_about_the_same_weights_through_a_link_as_without(store: Store, weights: tuple[Path, Path]) -> None:
    for mine, theirs in (weights, reversed(weights)):
        job = create_job(store, JobSpec("resnet18", mine))
        assert open_job(job.folder).spec.is_of(ModelSpec("resnet18", theirs))
        assert not open_job(job.folder).spec.is_of(ModelSpec("resnet34", theirs))
        assert not open_job(job.folder).spec.is_of(ModelSpec("resnet18"))
    # 0.2.0's app wrote the path as it was given.
    spec = written(store, {**WRITTEN_BY_0_2_0, "weights": str(weights[1])})
    assert spec.is_of(ModelSpec("resnet18", weights[0]))


def test_a_job_keeps_which_weights_of_a_file_or_of_torchvisions_are_meant(
    store: Store, weights: tuple[Path, Path]
) -> None:
    for model in ModelSpec("resnet18", weights[0], entry="teacher"), ModelSpec("resnet50", release="IMAGENET1K_V1"):
        key = SetKey(Recipe(steps=64))
        job = create_job(store, JobSpec.of_set(model, key, ("2.1",), ("in",), {}))
        spec = open_job(job.folder).spec
        assert spec.model_spec == model
        assert spec.is_of(model)
        assert not spec.is_of(ModelSpec(model.name, model.weights))


def test_a_relative_path_names_the_same_weights_from_everywhere(
    store: Store, weights: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path / "link")
    job = create_job(store, JobSpec("resnet18", Path("weights.pth")))
    monkeypatch.chdir("/")
    assert open_job(job.folder).spec.model_spec == ModelSpec("resnet18", weights[0])
    assert JobSpec("resnet18", weights[1]).is_of(ModelSpec("resnet18", weights[0]))


def test_the_alias_of_a_model_is_that_of_existing_stores(weights: tuple[Path, Path]) -> None:
    status = weights[0].stat()
    alias = f"resnet18 {weights[1].resolve()} {status.st_size} {status.st_mtime_ns}"
    assert [ModelSpec("resnet18", path).text for path in weights] == [alias, alias]
