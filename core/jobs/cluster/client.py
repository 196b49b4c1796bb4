"""A job on a Dask cluster, seen from the process that runs it: plans, holds the leases, submits, commits what comes."""

from __future__ import annotations

import os
import queue
import time
from contextlib import suppress
from dataclasses import replace
from typing import Any

from distributed import Future

from streamscope.core.engine.network import Network
from streamscope.core.errors import StoreError, StreamscopeError
from streamscope.core.jobs.cluster.connection import Cluster, reason
from streamscope.core.jobs.cluster.parcel import Order, ParcelError, Reply
from streamscope.core.jobs.plan import Request, Task
from streamscope.core.jobs.pulse import BEAT_SECONDS
from streamscope.core.jobs.run import (
    WAIT_SECONDS,
    JobStoppedError,
    LeasedRun,
    LeaseLostError,
    Tell,
    describe,
)
from streamscope.core.store import Job, Store
from streamscope.core.store.files.checksums import read_checked, read_sums
from streamscope.core.store.jobs.events import BatchDone, ClusterConnected, Report

SETTLING_SECONDS = 90.0
"""How long what another machine wrote may stay invisible here: NFS shows a folder as it was for up to a minute."""


def open_cluster_run(store: Store, job: Job, network: Network, address: str, tell: Tell) -> ClusterRun:
    """Connects to a scheduler and waits for its workers. Raises StreamscopeError, JobStoppedError."""
    job.heartbeat(Report(message=f"connecting to {address}"))
    cluster = Cluster(address, network)

    def waiting() -> None:
        job.heartbeat(Report(message=f"waiting for workers at {address}"))
        if job.stop_requested():
            raise JobStoppedError

    try:
        while not cluster.threads():
            waiting()
            time.sleep(WAIT_SECONDS)
        question = _order(store, job, Request.of_job(network.info, job.spec, 1), None)
        kinds = cluster.ask(question, waiting)
        request = Request.of_job(network.info, job.spec, min(kind.batch for kind in kinds))
        run = ClusterRun(store, job, network, request, tell, cluster, all(kind.shares_disk for kind in kinds))
        run.say(ClusterConnected(tuple(kind.device for kind in kinds), run.shares_disk))
        return run
    except BaseException:
        cluster.leave([])
        raise


class ClusterRun(LeasedRun):
    """Does a job on a cluster, as `streamscope.core.jobs.batch_loop.LocalRun` does in this process.

    Batches are claimed by leases of this process before they are submitted. A worker that shares the store's disk
    commits its batches itself; the others' come back as bytes and are committed here. A batch whose worker is lost is
    given to another one by the scheduler.
    """

    def __init__(
        self,
        store: Store,
        job: Job,
        network: Network,
        request: Request,
        tell: Tell,
        cluster: Cluster,
        shares_disk: bool,
    ) -> None:
        super().__init__(store, job, network.info, request, tell)
        self.shares_disk = shares_disk
        self.device = cluster.address
        self._record = job
        self._cluster = cluster
        self._under_way: dict[Future[bytes], Order] = {}
        self._settling: dict[Task, tuple[float, BatchDone]] = {}
        """Committed elsewhere and not seen here yet: until when to wait, and the event."""

    def run(self) -> None:
        with self.keeping():
            try:
                self.begin()
                with self._cluster.hearing(topic_of(self._record), self._heard):
                    self._follow()
                self.end()
            finally:
                self._cluster.leave(list(self._under_way))

    def _follow(self) -> None:
        room, counted = 0, 0.0
        while True:
            self._cluster.check()
            if time.monotonic() - counted > BEAT_SECONDS:
                counted = time.monotonic()
                threads = self._cluster.threads()
                # One for each thread, and one a worker in waiting, so that none is idle while a reply travels.
                room = sum(threads.values()) + len(threads)
                self._leave_lost()
                self.say_or_stop(f"{len(self._under_way)} batches at {len(threads)} workers")
            left = True
            while len(self._under_way) < room:
                task, left = self.claim()
                if task is None:
                    break
                self._send(_order(self.store, self._record, self.request, task), with_images=not self.shares_disk)
            self._settle()
            if not left and not self._under_way and not self._settling:
                return
            if left and not self._under_way:
                self.say_or_stop(self.waiting_message)
            with suppress(queue.Empty):
                self._take(self._cluster.ended.get(timeout=WAIT_SECONDS))

    def _leave_lost(self) -> None:
        """Calls back what is another's meanwhile; a worker notices at its next step."""
        for future, order in list(self._under_way.items()):
            assert order.task is not None
            try:
                self.check_lease(order.task)
            except LeaseLostError as lost:
                self.lost(lost)
                del self._under_way[future]
                self._cluster.cancel(future)
                self.release(order.task)

    def _send(self, order: Order, with_images: bool) -> None:
        task = order.task
        assert task is not None
        try:
            if with_images and task.kind == "measure":
                order = replace(order, pngs=self._pngs(task))
        except StoreError as error:
            self.failed(task, error)
            self.release(task)
            return
        future = self._cluster.submit(order)
        self._under_way[future] = order
        future.add_done_callback(self._cluster.ended.put)

    def _take(self, future: Future[bytes]) -> None:
        order = self._under_way.pop(future, None)
        if order is None or order.task is None:
            return
        task = order.task
        if future.status == "finished":
            try:
                reply = Reply.unpack(future.result())
            except ParcelError as error:
                self.failed(task, error)
                self.release(task)
                return
            if reply.needs_images:
                self._send(order, with_images=True)
                return
            assert reply.event is not None
            if reply.committed:
                self._settling[task] = (time.monotonic() + SETTLING_SECONDS, reply.event)
                return
            try:
                self.commit(task, reply.files or {}, reply.event)
            finally:
                self.release(task)
            return
        if future.status == "error":
            self.failed(task, StreamscopeError(f"{describe(task)}: {reason(future.exception())}"))
        else:
            # Lost, as when the last worker that held the network went: it is claimed and sent anew.
            self._cluster.ship_again()
        self.release(task)

    def _settle(self) -> None:
        for task, (until, event) in list(self._settling.items()):
            if not self.is_missing(task):
                self.finished(task, event)
            elif time.monotonic() > until:
                self.failed(task, StoreError(f"{describe(task)}: a worker wrote it, but it cannot be read here"))
            else:
                continue
            del self._settling[task]
            self.release(task)

    def _heard(self, told: dict[str, Any]) -> None:
        for order in list(self._under_way.values()):
            if order.task is not None and order.name == told["name"]:
                self.stepped(order.task, told["step"], told["more"])

    def _pngs(self, task: Task) -> dict[int, bytes]:
        """The stored files of the FZs that a task measures."""
        records = self.fzset.fzs(self.fzset.target(task.block, task.tensor), task.retry)
        try:
            return {
                channel: read_checked(record.folder, record.path.name, read_sums(record.folder))
                for channel, record in ((channel, records[channel]) for channel in task.channels)
            }
        except OSError as error:
            raise StoreError(f"{describe(task)}: cannot read an FZ ({error})") from error


def topic_of(job: Job) -> str:
    """Under which workers say how far the batches of a job are."""
    return f"streamscope {job.id}"


def _order(store: Store, job: Job, request: Request, task: Task | None) -> Order:
    return Order(
        key=request.key,
        task=task,
        device=job.spec.device,
        root=os.path.abspath(store.root),
        job=job.id,
        topic=topic_of(job),
        name="" if task is None else f"{task.kind} {describe(task)} {task.retry}",
    )
