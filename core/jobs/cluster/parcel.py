"""What travels to a cluster's workers (the code, the network once, an order a batch), and what comes back.

A worker needs torch, torchvision, torch-lucent, Pillow, safetensors and distributed; nothing of the application, nor
streamscope itself: the client's own code is what it runs, so that the two cannot differ.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamscope
from streamscope.core.jobs.plan import Task
from streamscope.core.model.blocks import ModelInfo
from streamscope.core.model.recipe import SetKey
from streamscope.core.store.jobs.events import BatchDone


@dataclass(frozen=True)
class NetworkParcel:
    """A network as a worker rebuilds it: its whole state dict as safetensors, and its description."""

    architecture: str
    info: ModelInfo
    state: bytes


@dataclass(frozen=True)
class Order:
    """One batch to do; `task` is None to ask only what a worker is like.

    `pngs` are the FZs to measure, by channel, for a worker that cannot read them itself; `root` is the store's folder,
    where a worker that has the same disk finds the job `job`.
    """

    key: SetKey
    task: Task | None
    device: str
    root: str
    job: str
    topic: str
    name: str
    pngs: dict[int, bytes] | None = None


@dataclass(frozen=True)
class Reply:
    """What came of an order: the batch's files, unless the worker `committed` them itself on a shared disk."""

    event: BatchDone | None
    """None when it needs images."""
    files: dict[str, bytes] | None = None
    committed: bool = False
    needs_images: bool = False
    """A measuring order came without its FZs to a worker that cannot read them."""


@dataclass(frozen=True)
class WorkerKind:
    """What a worker said of itself: `batch` is the width of channel ranges that suits its device."""

    device: str
    batch: int
    shares_disk: bool
    code: str
    """Where its streamscope was imported from."""


def pack_code() -> tuple[str, bytes]:
    """`streamscope.core` as a zip that Python imports from, and a digest of it: the same code gives the same bytes."""
    buffer = io.BytesIO()
    root = Path(streamscope.__file__).parent
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in [root / "__init__.py", *sorted((root / "core").rglob("*.py"))]:
            entry = zipfile.ZipInfo(str(path.relative_to(root.parent)))
            archive.writestr(entry, path.read_bytes())
    content = buffer.getvalue()
    return hashlib.sha256(content).hexdigest()[:16], content


def pack(thing: Any) -> bytes:
    """Bytes, so that whatever hands them on (the scheduler, too) need not import what is inside."""
    return pickle.dumps(thing)


def make_entrance() -> Callable[[str, bytes, bytes, bytes], bytes]:
    """The function that a worker calls: it makes the shipped code importable, then hands over to `remote.answer`.

    It is local and imports for itself, so that it is pickled by value and loads where there is no streamscope.
    """

    def enter(digest: str, code: bytes, network: bytes, order: bytes) -> bytes:
        import importlib
        import os
        import sys
        import tempfile
        import threading

        # Two threads of a worker must not both load it; an attribute of sys outlives this function's own copies.
        lock = sys.__dict__.setdefault("_streamscope_lock", threading.Lock())
        with lock:
            loaded = sys.modules.get("streamscope")
            path = os.path.join(tempfile.gettempdir(), f"streamscope-{os.getuid()}-{digest}.zip")
            if not str(getattr(loaded, "__file__", "")).startswith(path):
                part = f"{path}.{os.getpid()}"
                with open(part, "wb") as file:
                    file.write(code)
                os.replace(part, path)
                for name in [name for name in sys.modules if name.partition(".")[0] == "streamscope"]:
                    del sys.modules[name]
                sys.path.insert(0, path)
                importlib.invalidate_caches()
            remote = importlib.import_module("streamscope.core.jobs.cluster.remote")
        answer: bytes = remote.answer(network, order)
        return answer

    return enter
