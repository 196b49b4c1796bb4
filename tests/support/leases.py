"""Leases as another worker of another machine holds them."""

from __future__ import annotations

import json
import os
from pathlib import Path

from streamscope.core.store import Store

HOST, PID = "gpu-node-7", 4711
KEEPER = f"{HOST}, process {PID}"


def lease_files(store: Store) -> list[Path]:
    return list((store.root / "leases").glob("*.json"))


def lease_file(store: Store, key: str) -> Path:
    (path,) = (path for path in lease_files(store) if json.loads(path.read_text())["key"] == key)
    return path


def take_over(path: Path) -> None:
    """As a worker of another host does that saw no renewal for too long: the lease is its own now."""
    data = json.loads(path.read_text())
    data["process"].update(host=HOST, pid=PID)
    path.with_suffix(".new").write_text(json.dumps({**data, "token": "0123456789abcdef"}))
    path.with_suffix(".new").replace(path)


def make_old(path: Path, seconds: float = 50.0) -> float:
    """Dates a lease back; returns its date then, in seconds since 1970."""
    date = path.stat().st_mtime - seconds
    os.utime(path, (date, date))
    return date
