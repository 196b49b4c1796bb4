"""The connection to a Dask scheduler: ships code and network once, submits orders, leaves nothing behind."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import safetensors.torch
from distributed import Client, Future
from distributed.scheduler import KilledWorker

from streamscope.core.engine.network import Network
from streamscope.core.errors import StreamscopeError, UsageError
from streamscope.core.jobs.cluster.parcel import NetworkParcel, Order, WorkerKind, make_entrance, pack_code
from streamscope.core.model.spec import architecture_of

CONNECT_SECONDS = 15
"""How long a scheduler gets to answer at first."""
SILENT_SECONDS = 60.0
"""How long one may be gone later on before the job gives up."""
LARGE = 2**20
"""Bytes from which an order is sent as data, not as a part of the task graph."""


class Cluster:
    """A scheduler and its workers, as one job uses them."""

    def __init__(self, address: str, network: Network, patience: float = CONNECT_SECONDS) -> None:
        """Raises UsageError for what is no address, StreamscopeError when nobody answers within `patience` seconds."""
        self.address = address
        self.ended: queue.Queue[Future[bytes]] = queue.Queue()
        """Orders that are done, failed or lost."""
        self._client = _connect(address, patience)
        self._entrance = make_entrance()
        self._digest, self._code = pack_code()
        state = safetensors.torch.save({name: v.cpu().contiguous() for name, v in network.module.state_dict().items()})
        own = (str(network.code.path), network.code.content) if network.code is not None else ()
        self._network = NetworkParcel(architecture_of(network.info.name), network.info, state, *own).pack()
        self._shipped: list[Future[bytes]] = []
        self._gone_since: float | None = None

    def threads(self) -> dict[str, int]:
        """Batches that each worker does at once, by its address. Raises StreamscopeError when the scheduler is lost."""
        self.check()
        with self._lost():
            return dict(self._client.nthreads())

    def ask(self, order: Order, waiting: Callable[[], None]) -> list[WorkerKind]:
        """What every worker is like; the code and the network are on all of them then. `waiting` is called meanwhile.

        Raises StreamscopeError when none of them can work.
        """
        futures = [self.submit(order, workers=[name]) for name in self.threads()]
        while not all(future.done() for future in futures):
            waiting()
            self.check()
            time.sleep(0.1)
        kinds = [WorkerKind.unpack(future.result()) for future in futures if future.status == "finished"]
        if not kinds:
            raise StreamscopeError(f"no worker of {self.address} can work: {reason(futures[0].exception())}")
        return kinds

    def submit(self, order: Order, **where: Any) -> Future[bytes]:
        with self._lost():
            if not self._shipped:
                self._shipped = self._client.scatter([self._code, self._network], broadcast=True)
            content: Any = order.pack()
            if len(content) > LARGE:
                content = self._client.scatter(content, hash=False)
            return self._client.submit(
                self._entrance, self._digest, *self._shipped, content, pure=False, retries=1, **where
            )

    def cancel(self, future: Future[bytes]) -> None:
        """Nobody wants an order's reply any more."""
        with suppress(Exception):
            self._client.cancel([future], force=True)

    def ship_again(self) -> None:
        """For when what was shipped is lost: the last worker that held it went."""
        self._shipped = []

    @contextmanager
    def hearing(self, topic: str, heard: Callable[[dict[str, Any]], None]) -> Iterator[None]:
        """Hands on what workers say about the batches that are under way."""
        self._client.subscribe_topic(topic, lambda event: heard(event[1]))
        try:
            yield
        finally:
            with suppress(Exception):
                self._client.unsubscribe_topic(topic)

    def check(self) -> None:
        """Raises StreamscopeError when the scheduler has been gone for long."""
        if self._client.status == "running":
            self._gone_since = None
            return
        now = time.monotonic()
        self._gone_since = self._gone_since or now
        if now - self._gone_since > SILENT_SECONDS or self._client.status == "closed":
            raise self._gone()

    def leave(self, under_way: list[Future[bytes]]) -> None:
        """Nothing of the job stays on the cluster: what runs notices at its next steps that nobody wants it."""
        with suppress(Exception):
            self._client.cancel(under_way, force=True)
        with suppress(Exception):
            self._client.close(timeout=5)

    @contextmanager
    def _lost(self) -> Iterator[None]:
        try:
            yield
        except (OSError, TimeoutError, RuntimeError) as error:
            raise self._gone() from error

    def _gone(self) -> StreamscopeError:
        return StreamscopeError(f"the scheduler at {self.address} is gone; what is missing can be computed later")


def reason(error: BaseException | None) -> str:
    """Why a batch could not be done, in one line."""
    if isinstance(error, KilledWorker):
        return "every worker that tried it died, for too little memory perhaps"
    return str(error) if isinstance(error, StreamscopeError) else f"{type(error).__name__}: {error}"


def _connect(address: str, patience: float) -> Client:
    """A `tls://` address is connected to with the certificates that the user's Dask configuration names."""
    try:
        return Client(address, timeout=patience, set_as_default=False, name="streamscope")
    except ValueError as error:
        raise UsageError(f"{address!r} is no scheduler address ({error}); use for example tcp://HOST:8786") from error
    except (TypeError, RuntimeError, OSError) as error:
        # What is wrong with certificates comes as errors of several kinds, wrapped or not.
        if address.startswith("tls://") or not isinstance(error, OSError):
            cause = error.__cause__ or error
            raise StreamscopeError(
                f"cannot connect to {address} ({cause}); its certificates are those that your Dask configuration "
                "names under distributed.comm.tls"
            ) from error
        raise StreamscopeError(f"no Dask scheduler answers at {address}; start one with 'dask scheduler'") from error
