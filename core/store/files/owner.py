"""Which process wrote something, and whether it is known to be gone."""

from __future__ import annotations

import functools
import hashlib
import os
import secrets
import socket
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from streamscope.core.schema import MalformedError, build_known, whole_number

LARGEST_PID = 2**31 - 1
"""What the kernel's own type holds."""


@dataclass(frozen=True)
class Owner:
    """A process, told apart from every other one that has or will have its pid."""

    host: str
    boot: str
    """One boot of one host and one pid namespace: containers on a host share its boot id but not its pids."""
    pid: int
    started: str
    """When the kernel started it, in the kernel's own ticks: unlike seconds since 1970 they never shift."""

    def __str__(self) -> str:
        return f"{self.host}, process {self.pid}"

    @property
    def tag(self) -> str:
        """Short text for the names of temporary files; `is_dead_tag` reads it back."""
        return f"{_place(self.host, self.boot)}-{self.pid}-{self.started}"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Any) -> Owner | None:
        """None when `data` does not describe a process."""
        try:
            owner = build_known(cls, data)
            whole_number(owner.pid, 1, LARGEST_PID)
        except MalformedError:
            return None
        return owner


def this_process() -> Owner:
    return _describe(os.getpid())


def is_here(owner: Owner) -> bool:
    """Whether it ran in this boot of this host, so that its end can be seen."""
    me = this_process()
    return (owner.host, owner.boot) == (me.host, me.boot)


def is_dead(owner: Owner) -> bool:
    """True only when it is certain: same boot of this host, and no such process any more (a zombie counts as none)."""
    return is_here(owner) and _is_gone(owner.pid, owner.started)


def is_alive(owner: Owner) -> bool:
    """True only when it is certain: a process of this host that is still there."""
    return is_here(owner) and not _is_gone(owner.pid, owner.started)


def is_dead_tag(tag: str) -> bool | None:
    """Whether the process that `Owner.tag` came from is gone; None when it ran elsewhere or the tag is not one."""
    place, _, rest = tag.partition("-")
    pid, _, started = rest.partition("-")
    me = this_process()
    if place != _place(me.host, me.boot) or not pid.isdecimal() or not started:
        return None
    return _is_gone(int(pid), started)


TEMPORARY = ".tmp-"
"""Names that start so are being written (or were left by a killed process): no reader looks at them."""


def temporary_name() -> str:
    return f"{TEMPORARY}{this_process().tag}-{secrets.token_hex(4)}"


@functools.cache
def _describe(pid: int) -> Owner:
    return Owner(socket.gethostname(), _boot(), pid, _started(pid) or "0")


def _place(host: str, boot: str) -> str:
    return hashlib.sha256(f"{host}\n{boot}".encode()).hexdigest()[:12]


def _boot() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return f"{psutil.boot_time():.0f}"


def _started(pid: int) -> str | None:
    """None when the process is gone, "" when it exists but may not be looked at."""
    try:
        # The command in parentheses may contain spaces and parentheses itself; what follows the last one is fixed.
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]
    except (OSError, IndexError):
        pass
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.2f}"
    except psutil.NoSuchProcess:
        return None if not psutil.pid_exists(pid) else ""
    except psutil.Error:
        return ""


def _is_gone(pid: int, started: str) -> bool:
    now = _started(pid)
    return now is None or (now != "" and now != started)
