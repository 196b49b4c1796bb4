"""What travels to a cluster's workers (the code, the network once, an order a batch), and what comes back.

All of it is data: JSON, with files as the bytes they are. (Dask itself pickles calls and errors, so whoever runs the
scheduler is trusted with code anyway; nothing is added to that.) A worker needs torch, torchvision, torch-lucent,
Pillow, safetensors and distributed; nothing of the application, nor streamscope itself: the client's own code is what
it runs, so that the two cannot differ.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamscope
from streamscope.core.errors import StreamscopeError
from streamscope.core.jobs.plan import Task
from streamscope.core.model.blocks import ModelInfo
from streamscope.core.model.recipe import SetKey
from streamscope.core.store.jobs.events import BatchDone, decode_event, encode_event

_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
"""What a file of a batch may be called: it is written under that name into a folder of the store."""
_LENGTH = 8
"""Bytes of the number that a parcel begins with."""


class ParcelError(StreamscopeError):
    """What came from a cluster is not what a worker of this version sends."""


@dataclass(frozen=True)
class NetworkParcel:
    """A network as a worker rebuilds it: its whole state dict as safetensors, and its description.

    Of one's own, `code` is what its file holds, and `path` where that is at the client's.
    """

    architecture: str
    info: ModelInfo
    state: bytes
    path: str = ""
    code: bytes | None = None

    def pack(self) -> bytes:
        data = {"architecture": self.architecture, "info": self.info.to_json(), "path": self.path}
        return _pack(data, {"state": self.state} | ({} if self.code is None else {"code": self.code}))

    @classmethod
    def unpack(cls, content: bytes) -> NetworkParcel:
        """Raises ParcelError."""
        data, files = _unpack(content)
        with _reading():
            info = ModelInfo.from_json(data["info"])
            return cls(str(data["architecture"]), info, files["state"], str(data["path"]), files.get("code"))


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

    def pack(self) -> bytes:
        data = {
            **self.key.to_json(),
            "task": None if self.task is None else self.task._asdict(),
            "device": self.device,
            "root": self.root,
            "job": self.job,
            "topic": self.topic,
            "name": self.name,
            "with_images": self.pngs is not None,
        }
        return _pack(data, {str(channel): png for channel, png in (self.pngs or {}).items()})

    @classmethod
    def unpack(cls, content: bytes) -> Order:
        """Raises ParcelError."""
        data, files = _unpack(content)
        with _reading():
            key = SetKey.from_json(data)
            task = data["task"]
            return cls(
                key=key,
                task=None if task is None else Task(**{**task, "channels": tuple(task["channels"])}),
                device=str(data["device"]),
                root=str(data["root"]),
                job=str(data["job"]),
                topic=str(data["topic"]),
                name=str(data["name"]),
                pngs={int(channel): png for channel, png in files.items()} if data["with_images"] else None,
            )


@dataclass(frozen=True)
class Reply:
    """What came of an order: the batch's files, unless the worker `committed` them itself on a shared disk."""

    event: BatchDone | None
    """None when it needs images."""
    files: dict[str, bytes] | None = None
    committed: bool = False
    needs_images: bool = False
    """A measuring order came without its FZs to a worker that cannot read them."""

    def pack(self) -> bytes:
        event = None if self.event is None else encode_event(self.event)
        data = {"event": event, "committed": self.committed, "needs_images": self.needs_images}
        return _pack(data, self.files or {})

    @classmethod
    def unpack(cls, content: object) -> Reply:
        """Raises ParcelError, also when a file is called what would be written elsewhere."""
        data, files = _unpack(content)
        with _reading():
            needs_images = bool(data["needs_images"])
            event = None if data["event"] is None else decode_event(data["event"])
            odd = [name for name in files if not _FILE_NAME.fullmatch(name)]
            if odd or not (isinstance(event, BatchDone) or (event is None and needs_images)):
                raise ValueError(f"a file called {odd[0]!r}" if odd else "no event of a batch")
            return cls(event, files, bool(data["committed"]), needs_images)


@dataclass(frozen=True)
class WorkerKind:
    """What a worker said of itself: `batch` is the width of channel ranges that suits its device."""

    device: str
    batch: int
    shares_disk: bool
    code: str
    """Where its streamscope was imported from."""

    def pack(self) -> bytes:
        return _pack(vars(self), {})

    @classmethod
    def unpack(cls, content: object) -> WorkerKind:
        """Raises ParcelError."""
        data, _ = _unpack(content)
        with _reading():
            return cls(str(data["device"]), int(data["batch"]), bool(data["shares_disk"]), str(data["code"]))


def _pack(data: Mapping[str, Any], files: Mapping[str, bytes]) -> bytes:
    """The length of a JSON object, the object with the files' names and sizes, and the files one after another.

    Bytes, so that whatever hands them on (the scheduler, too) need not know what is inside.
    """
    head = json.dumps({"data": data, "files": [[name, len(content)] for name, content in files.items()]}).encode()
    return b"".join([len(head).to_bytes(_LENGTH, "little"), head, *files.values()])


def _unpack(content: object) -> tuple[dict[str, Any], dict[str, bytes]]:
    with _reading():
        if not isinstance(content, bytes):
            raise TypeError(f"{type(content).__name__} where bytes were expected")
        start = _LENGTH + int.from_bytes(content[:_LENGTH], "little")
        head = json.loads(content[_LENGTH:start])
        files = {}
        for name, size in head["files"]:
            files[str(name)] = content[start : start + size]
            start += size
        if start != len(content):
            raise ValueError(f"{len(content)} bytes where {start} were announced")
        return dict(head["data"]), files


@contextmanager
def _reading() -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, StreamscopeError) as error:
        raise ParcelError(f"the cluster sent something malformed ({error})") from error


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


def make_entrance() -> Callable[[str, bytes, bytes, bytes], bytes]:
    """The function that a worker calls: it makes the shipped code importable, then hands over to `remote.answer`.

    It is local and imports for itself, so that it is pickled by value and loads where there is no streamscope.
    """

    def enter(digest: str, code: bytes, network: bytes, order: bytes) -> bytes:
        import atexit
        import importlib
        import os
        import shutil
        import sys
        import tempfile
        import threading

        # Two threads of a worker must not both load it; an attribute of sys outlives this function's own copies.
        lock = sys.__dict__.setdefault("_streamscope_lock", threading.Lock())
        with lock:
            loaded = sys.modules.get("streamscope")
            if f"{os.sep}{digest}.zip{os.sep}" not in str(getattr(loaded, "__file__", "")):
                # A folder that nobody else may write to: what lies there is imported.
                folder = tempfile.mkdtemp(prefix="streamscope-")
                atexit.register(shutil.rmtree, folder, ignore_errors=True)
                path = os.path.join(folder, f"{digest}.zip")
                with open(path, "wb") as file:
                    file.write(code)
                for name in [name for name in sys.modules if name.partition(".")[0] == "streamscope"]:
                    del sys.modules[name]
                sys.path.insert(0, path)
                importlib.invalidate_caches()
            remote = importlib.import_module("streamscope.core.jobs.cluster.remote")
        answer: bytes = remote.answer(network, order)
        return answer

    return enter
