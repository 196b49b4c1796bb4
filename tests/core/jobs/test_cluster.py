"""A real Dask cluster of two worker processes gives the table of a single process, also when one is killed midway."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import dask
import pytest
from distributed import Client, LocalCluster, Worker
from distributed.security import Security

from streamscope.core.engine.network import Network, load_network
from streamscope.core.errors import SchedulerError, StreamscopeError, UsageError
from streamscope.core.jobs.cluster.connection import Cluster
from streamscope.core.jobs.queue_worker import work_off
from streamscope.core.jobs.worker import run_job
from streamscope.core.model.spec import ModelSpec
from streamscope.core.store import JobSpec, Store, create_job, job_state, open_job, read_log, request_stop, requeue
from streamscope.core.store.jobs.events import BatchDone, BatchLost, ClusterConnected, Event, JobProgressed, WaitStarted
from streamscope.core.store.jobs.job import Job
from streamscope.core.table.columns import Value
from streamscope.core.table.frame import build_frame
from tests.support.leases import KEEPER, lease_files, take_over
from tests.support.waiting import wait_until

SPEC = JobSpec("demo", device="cpu", steps=24, blocks=("1.1",), tensors=("in", "block"), batch=4)
ROLES = ("scheduler", "worker", "client")
NOT_FOR_WORKERS = ("textual", "textual_image", "tui")


@pytest.fixture(scope="module")
def network() -> Network:
    return load_network(ModelSpec("demo"), "cpu")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    os.environ["DASK_DISTRIBUTED__DIAGNOSTICS__NVML"] = "False"
    where = tmp_path_factory.mktemp("workers")
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, local_directory=str(where)
    ) as found:
        yield found


def _table(root: Path, network: Network) -> list[dict[str, Value]]:
    frame = build_frame(network.info, Store.open(root).choose_set(network.info), ["1.1"])
    return frame.rows(range(len(frame)))


def _connected(job: Job) -> ClusterConnected:
    (event,) = [line.event for line in read_log(job)[0] if isinstance(line.event, ClusterConnected)]
    return event


def _images(root: Path) -> dict[Path, bytes]:
    pngs = [path for path in (root / "models").rglob("*.png") if not path.parent.name.startswith(".tmp-")]
    return {path.relative_to(root): path.read_bytes() for path in pngs}


@pytest.fixture(scope="module")
def alone(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = Store.open(tmp_path_factory.mktemp("alone") / "cache", create=True)
    assert run_job(store, create_job(store, SPEC), lambda event: None, network) == 0
    return store.root


def test_a_worker_is_killed_midway_and_the_table_is_that_of_one_process(
    cluster: LocalCluster, network: Network, alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    # Every process has a working folder of its own, so a worker finds no store there: as without a shared disk.
    store = Store.open(Path("/proc/self/cwd/cache"), create=True)
    job = create_job(store, replace(SPEC, scheduler=cluster.scheduler_address))
    killed: list[int] = []

    def tell(event: Event) -> None:
        if isinstance(event, BatchDone) and not killed:
            killed.append(cluster.workers[0].pid)
            os.kill(killed[0], signal.SIGKILL)

    assert run_job(store, job, tell, network, cluster.scheduler_address) == 0
    assert killed
    assert _connected(job) == ClusterConnected(("cpu", "cpu"), shared_disk=False)
    assert _table(store.root, network) == _table(alone, network)
    assert _images(store.root) == _images(alone)
    assert not list((store.root / "leases").glob("*.json"))


def test_workers_with_the_same_disk_store_their_batches_themselves(
    cluster: LocalCluster, network: Network, alone: Path, tmp_path: Path
) -> None:
    store = Store.open(tmp_path / "cache", create=True)
    job = create_job(store, replace(SPEC, scheduler=cluster.scheduler_address))
    assert run_job(store, job, lambda event: None, network, cluster.scheduler_address) == 0
    assert _connected(job).shared_disk
    assert _table(store.root, network) == _table(alone, network)
    assert _images(store.root) == _images(alone)

    # Local functions travel by value: this module is not for workers to import.
    def look(names: tuple[str, ...]) -> tuple[str | None, list[str]]:
        import sys

        shipped = sys.modules.get("streamscope")
        return shipped.__file__ if shipped else None, [name for name in names if name in sys.modules]

    with Client(cluster.scheduler_address, set_as_default=False) as client:
        for source, loaded in client.run(look, NOT_FOR_WORKERS).values():
            # What they ran is what was shipped, and nothing of the application came with it.
            assert source is None or ".zip" in source
            assert loaded == []


def until_idle(cluster: LocalCluster) -> None:
    """Returns once no worker does anything any more."""

    def executing(dask_worker: Worker) -> int:
        return len(dask_worker.state.executing)

    with Client(cluster.scheduler_address, set_as_default=False) as client:
        wait_until(lambda: not any(client.run(executing).values()), "the batches under way to end")


def test_a_stopped_job_frees_the_workers(cluster: LocalCluster, network: Network, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "cache", create=True)
    job = create_job(store, replace(SPEC, steps=1_000_000, scheduler=cluster.scheduler_address))

    def tell(event: Event) -> None:
        if isinstance(event, JobProgressed) and (event.report.rate or 0) > 0:
            request_stop(job)

    assert run_job(store, job, tell, network, cluster.scheduler_address) == 1
    assert job_state(store, job).state == "stopped"
    assert not list((store.root / "leases").glob("*.json"))
    until_idle(cluster)


def test_a_batch_that_another_took_over_is_called_back_and_sent_anew_once_it_is_free(
    cluster: LocalCluster, network: Network, tmp_path: Path
) -> None:
    store = Store.open(tmp_path / "cache", create=True)
    # More steps than anybody waits for: no batch ends by itself.
    endless = replace(SPEC, scheduler=cluster.scheduler_address, steps=1_000_000, tensors=("in",))
    job = create_job(store, replace(endless, channels={"1.1": (0, 1)}))
    events: list[Event] = []
    seen: list[str] = []

    def tell(event: Event) -> None:
        events.append(event)
        at_work = isinstance(event, JobProgressed) and event.report.message.startswith("1 batches")
        if at_work and not seen:
            seen.append("taken over")
            take_over(*lease_files(store))
        elif isinstance(event, WaitStarted):
            seen.append("freed")
            lease_files(store)[0].unlink()
        elif at_work and seen[-1] == "freed":
            seen.append("sent anew")
            request_stop(job)

    assert run_job(store, job, tell, network, cluster.scheduler_address) == 1
    assert [event for event in events if isinstance(event, BatchLost)] == [BatchLost("1.1 in, channels 0-1", KEEPER)]
    assert seen == ["taken over", "freed", "sent anew"]
    assert not any(isinstance(event, BatchDone) for event in events)
    until_idle(cluster)


def test_an_address_that_stands_in_a_record_is_not_connected_to(network: Network, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "cache", create=True)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        job = create_job(store, replace(SPEC, scheduler=address), queued=True)
        assert open_job(job.folder).spec.scheduler == address, "it is shown"

        def run(store: Store, job: Job) -> None:
            run_job(store, job, lambda event: None, network)

        assert work_off(store, "cpu", run, threading.Event()) == 1
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()
    state = job_state(store, job)
    assert state.state == "failed"
    assert state.fault.kind == "scheduler"
    assert f"was for a Dask cluster ({address})" in state.message
    with pytest.raises(SchedulerError, match="which a queue has none of"):
        requeue(store, job)


def test_a_scheduler_with_tls_is_connected_to_by_the_certificates_of_the_users_dask_configuration(
    network: Network, tmp_path: Path
) -> None:
    key, certificate = str(tmp_path / "key.pem"), str(tmp_path / "certificate.pem")
    making = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    if subprocess.run([*making, "-keyout", key, "-out", certificate], capture_output=True).returncode != 0:
        pytest.skip("openssl makes no certificate here")
    roles = {f"tls_{role}_{part}": path for role in ROLES for part, path in (("cert", certificate), ("key", key))}
    security = Security(tls_ca_file=certificate, require_encryption=True, **roles)
    with LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        processes=False,
        dashboard_address=":0",
        security=security,
        protocol="tls",
        local_directory=str(tmp_path),
    ) as found:
        address = found.scheduler_address
        assert address.startswith("tls://")
        with pytest.raises(StreamscopeError, match="certificates are those that your Dask configuration names"):
            Cluster(address, network)
        tls = "distributed.comm.tls"
        settings = {f"{tls}.ca-file": certificate, f"{tls}.client.cert": certificate, f"{tls}.client.key": key}
        with dask.config.set(settings):
            cluster = Cluster(address, network)
        assert list(cluster.threads().values()) == [1]
        cluster.leave([])


def test_an_address_where_nobody_answers_is_one_clear_line(network: Network) -> None:
    with pytest.raises(StreamscopeError, match=r"^no Dask scheduler answers at tcp://127\.0\.0\.1:1;"):
        Cluster("tcp://127.0.0.1:1", network, patience=1)


def test_what_is_no_address_is_a_usage_error(network: Network) -> None:
    with pytest.raises(UsageError, match="is no scheduler address"):
        Cluster("gopher://somewhere:1", network)


def test_without_dask_it_is_said_what_to_install(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    for name in [name for name in sys.modules if name.startswith("streamscope.core.jobs.cluster.")]:
        monkeypatch.delitem(sys.modules, name)
    store = Store.open(tmp_path / "cache", create=True)
    job = create_job(store, SPEC)
    assert run_job(store, job, lambda event: None, network, "tcp://127.0.0.1:1") == 1
    assert "install streamscope[cluster]" in job_state(store, job).message
