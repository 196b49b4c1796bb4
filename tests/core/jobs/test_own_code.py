"""Jobs of networks of one's own: every process runs the same file, and nobody runs somebody else's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from distributed import LocalCluster

from streamscope.core.engine.network import Network, load_network
from streamscope.core.jobs import worker
from streamscope.core.jobs.worker import run_job
from streamscope.core.model.recipe import Recipe, SetKey
from streamscope.core.model.spec import ModelSpec
from streamscope.core.store import JobSpec, Store, create_job, job_state, open_job
from streamscope.core.store.jobs.job import Job
from streamscope.core.table.columns import Value
from streamscope.core.table.frame import build_frame
from tests.support.own_code import research_folder
from tests.support.stores import another_user, shared_folder

KEY = SetKey(Recipe(steps=4))
LEAVES_A_WORD = "\nimport pathlib\npathlib.Path(__file__).with_name('ran').touch()\n"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return research_folder(tmp_path_factory.mktemp("research"))


@pytest.fixture(scope="module")
def network(path: Path) -> Network:
    return load_network(ModelSpec.given(f"{path}:make"), "cpu")


def spec_of(path: Path, **more: object) -> JobSpec:
    model = ModelSpec.given(f"{path}:make")
    return replace(JobSpec.of_set(model, KEY, ["1.1"], ["in", "block"], {}, "cpu", batch=2), **more)  # type: ignore[arg-type]


def rows(store: Store, network: Network) -> list[dict[str, Value]]:
    frame = build_frame(network.info, Store.open(store.root).choose_set(network.info), ["1.1"])
    return frame.rows(range(len(frame)))


@pytest.fixture(scope="module")
def alone(path: Path, network: Network, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Value]]:
    store = Store.open(tmp_path_factory.mktemp("alone") / "cache", create=True)
    assert run_job(store, create_job(store, spec_of(path)), lambda event: None) == 0
    found = rows(store, network)
    assert [row["mix_ratio"] is not None for row in found] == [True] * 8
    return found


def test_a_jobs_record_has_the_file_and_what_it_held(path: Path, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "cache", create=True)
    spec = spec_of(path)
    job = create_job(store, spec)
    again = open_job(job.folder).spec
    assert (again.model, again.code, again.code_sha256) == (
        "net.py:make",
        path,
        ModelSpec.given(f"{path}:make").code_sha256,
    )
    assert again == spec
    assert again.is_of(ModelSpec.given(f"{path}:make"))
    assert not again.is_of(ModelSpec.given(f"{path.parent}/other/net.py:make"))
    # Jobs of other models say nothing of it, as before.
    assert not {"code", "code_sha256"} & JobSpec("resnet18").to_json().keys()


def test_a_crew_does_what_one_process_does(
    path: Path, network: Network, alone: list[dict[str, Value]], tmp_path: Path
) -> None:
    store = Store.open(tmp_path / "cache", create=True)
    job = create_job(store, spec_of(path, devices=("cpu", "cpu")))
    assert run_job(store, job, lambda event: None, network) == 0, job_state(store, job).message
    assert rows(store, network) == alone


def test_a_process_of_a_crew_refuses_what_is_another_network(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store.open(tmp_path / "cache", create=True)
    job = create_job(store, spec_of(path))
    common = ["join", "--cache", str(store.root), "--job", job.id, "--device", "cpu", "--batch", "2", "--threads", "1"]
    assert worker.main([*common, "--identity", "ab" * 32]) == 1
    assert (
        "net.py:make is another network here than where the job was started (abababababab there"
        in capsys.readouterr().out
    )
    assert not list((store.root / "models").glob("*/sets/*"))


def test_a_job_whose_code_has_changed_is_not_run(tmp_path: Path) -> None:
    path = research_folder(tmp_path / "research")
    store = Store.open(tmp_path / "cache", create=True)
    job = create_job(store, spec_of(path))
    path.write_text(path.read_text() + LEAVES_A_WORD)
    assert run_job(store, job, lambda event: None) == 1
    assert "net.py has changed since this was asked for" in job_state(store, job).message
    assert not path.with_name("ran").exists()


def test_a_job_whose_code_is_gone_says_so(tmp_path: Path) -> None:
    path = research_folder(tmp_path / "research")
    store = Store.open(tmp_path / "cache", create=True)
    job = create_job(store, spec_of(path))
    path.unlink()
    assert run_job(store, job, lambda event: None) == 1
    assert job_state(store, job).message == f"no such file: {path}"


def test_the_code_of_somebody_elses_job_is_never_run(capsys: pytest.CaptureFixture[str]) -> None:
    with shared_folder() as root:
        path = research_folder(root / "research", LEAVES_A_WORD)
        store = Store.open(root / "cache", create=True)
        (store.root / "jobs").mkdir()
        for folder in (store.root, store.root / "jobs"):
            folder.chmod(0o777)
        spec = spec_of(path)
        with another_user():
            theirs = create_job(store, spec)
        assert run_job(store, theirs, lambda event: None) == 1
        common = ["--cache", str(store.root), "--job", theirs.id]
        crew = ["--device", "cpu", "--batch", "2", "--threads", "1", "--identity", "ab" * 32]
        assert worker.main(["run", *common]) == 1
        assert worker.main(["join", *common, *crew]) == 1
        said = capsys.readouterr().err
        assert "only nobody can start it" in said
        assert "only nobody can join it" in said
        assert "can run the code of it" in job_state(store, theirs).message
        assert not path.with_name("ran").exists()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    os.environ["DASK_DISTRIBUTED__DIAGNOSTICS__NVML"] = "False"
    where = str(tmp_path_factory.mktemp("workers"))
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None, local_directory=where
    ) as found:
        yield found


def on_cluster(cluster: LocalCluster, path: Path, network: Network, store: Store) -> tuple[int, Job]:
    job = create_job(store, spec_of(path, scheduler=cluster.scheduler_address))
    return run_job(store, job, lambda event: None, network, cluster.scheduler_address), job


def test_a_clusters_worker_does_what_one_process_does(
    cluster: LocalCluster, path: Path, network: Network, alone: list[dict[str, Value]], tmp_path: Path
) -> None:
    store = Store.open(tmp_path / "cache", create=True)
    code, job = on_cluster(cluster, path, network, store)
    assert code == 0, job_state(store, job).message
    assert rows(store, network) == alone


def test_a_clusters_worker_that_has_another_file_refuses(cluster: LocalCluster, tmp_path: Path) -> None:
    path = research_folder(tmp_path / "research")
    network = load_network(ModelSpec.given(f"{path}:make"), "cpu")
    store = Store.open(tmp_path / "cache", create=True)
    path.write_text(path.read_text() + "# as it is on the worker's disk\n")
    code, job = on_cluster(cluster, path, network, store)
    assert code == 1
    assert "net.py is another at this worker" in job_state(store, job).message
