"""Decodes images in processes of their own, in order and a bounded way ahead of whoever takes them. Without torch."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import wait
from pathlib import Path
from types import TracebackType

from streamscope.core.errors import ImageError
from streamscope.core.images.folder import Preparation, read_image
from streamscope.core.images.pixels import Trait
from streamscope.core.model.arrays import Pixels
from streamscope.core.processes import safe_path

PER_TASK = 8
"""Images that a process is given at a time: handing over one costs about as much as decoding a tenth of it."""
AHEAD = 3
"""Tasks a process has waiting or done, so that it never idles: all that is ever held, whatever the number of images."""
MOST_WORKERS = 16


@dataclass(frozen=True, eq=False)
class Decoded:
    """One image: its content's SHA-256 and pixels (side, side, 3) uint8, or what was wrong with it."""

    path: Path
    sha256: str
    pixels: Pixels | None
    problem: str
    traits: frozenset[Trait] = frozenset()


@dataclass(frozen=True)
class _Task:
    paths: Sequence[Path]
    future: Future[list[Decoded]]
    pool: ProcessPoolExecutor


def default_workers() -> int:
    """One a core that this process may use, 2 at least and 16 at most."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(max(cores, 2), MOST_WORKERS)


class Decoders:
    """`workers` decoding processes, for use in a `with`. They end with this process, even when it is killed."""

    def __init__(self, preparation: Preparation, workers: int) -> None:
        self._preparation, self._workers = preparation, workers
        self._pool = self._start(workers)
        self._careful: ProcessPoolExecutor | None = None
        """One process that is given one image at a time, once another has died."""

    def __enter__(self) -> Decoders:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for pool in (self._pool, self._careful):
            if pool is not None:
                pool.shutdown(wait=True, cancel_futures=True)

    def read(self, paths: Iterable[Path]) -> Iterator[Decoded]:
        """Every image in the order given. None is fatal: one that makes its process die is a problem like another."""
        left = iter(paths)
        tasks: deque[_Task] = deque()
        try:
            while True:
                while len(tasks) < AHEAD * self._workers and (some := list(islice(left, PER_TASK))):
                    tasks.append(self._submit(some))
                if not tasks:
                    return
                yield from self._result(tasks.popleft())
        finally:
            for task in tasks:
                task.future.cancel()

    def _start(self, workers: int) -> ProcessPoolExecutor:
        # A fork of a process that runs torch's threads may hang.
        context = multiprocessing.get_context("spawn")
        with safe_path():
            return ProcessPoolExecutor(workers, context, initializer=_begin)

    def _submit(self, paths: Sequence[Path]) -> _Task:
        try:
            return _Task(paths, self._run(self._pool, paths), self._pool)
        except BrokenProcessPool:
            self._restart(self._pool)
            return _Task(paths, self._run(self._pool, paths), self._pool)

    def _run(self, pool: ProcessPoolExecutor, paths: Sequence[Path]) -> Future[list[Decoded]]:
        # A pool starts its processes as it gets work.
        with safe_path():
            return pool.submit(_decode, paths, self._preparation)

    def _result(self, task: _Task) -> list[Decoded]:
        try:
            return task.future.result()
        except BrokenProcessPool:
            # A process died, perhaps of an image of another task: each one shows by itself whether it is to blame.
            self._restart(task.pool)
            return [self._alone(path) for path in task.paths]

    def _restart(self, broken: ProcessPoolExecutor) -> None:
        if broken is self._pool:
            broken.shutdown(wait=True, cancel_futures=True)
            self._pool = self._start(self._workers)

    def _alone(self, path: Path) -> Decoded:
        self._careful = self._careful or self._start(1)
        try:
            return self._run(self._careful, [path]).result()[0]
        except BrokenProcessPool:
            self._careful.shutdown(wait=True)
            self._careful = None
            return Decoded(path, "", None, f"{path} makes the process that decodes it die")


def _begin() -> None:
    """An interrupt is for the process that asked; when that one is gone, this one has nobody to work for."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _decode(paths: Sequence[Path], preparation: Preparation) -> list[Decoded]:
    found = []
    for path in paths:
        try:
            image = read_image(path, preparation)
            found.append(Decoded(path, image.sha256, image.pixels, "", image.traits))
        except ImageError as error:
            found.append(Decoded(path, "", None, str(error)))
    return found
