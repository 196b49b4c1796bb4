"""An SSH server of the tests' own, on this machine, which lets in this user with a key of its own."""

from __future__ import annotations

import getpass
import os
import shlex
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.support.terminal.screen import needs
from tests.support.waiting import wait_until

SEPARATION = Path("/run/sshd")
"""Where a server that runs as root locks its children in; Debian makes it when it starts its own."""


@dataclass(frozen=True)
class Server:
    port: int
    key: Path

    def command(self, program: Sequence[str]) -> list[str]:
        """Runs a program over a connection of its own, on a terminal."""
        options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "BatchMode=yes", "IdentitiesOnly=yes"]
        given = [part for option in (*options, "LogLevel=ERROR") for part in ("-o", option)]
        place = os.environ.get("PYTHONPATH")
        there = ["env", f"PYTHONPATH={place}", *program] if place else program
        to = f"{getpass.getuser()}@127.0.0.1"
        return [
            "ssh",
            "-tt",
            "-F",
            "/dev/null",
            "-i",
            str(self.key),
            "-p",
            str(self.port),
            *given,
            to,
            shlex.join(there),
        ]


@contextmanager
def ssh_server(folder: Path) -> Iterator[Server]:
    """Runs in the foreground of a process of ours, and ends with this."""
    sshd = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    needs("ssh", "ssh-keygen", *([] if sshd else ["sshd"]))
    if os.geteuid() == 0:
        SEPARATION.mkdir(mode=0o755, exist_ok=True)
    folder.mkdir()
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    shutil.copy(folder / "user.pub", folder / "authorized")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    lines = [
        f"Port {port}",
        "ListenAddress 127.0.0.1",
        f"HostKey {folder / 'host'}",
        f"AuthorizedKeysFile {folder / 'authorized'}",
        "PidFile none",
        "UsePAM no",
        "StrictModes no",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        "PermitRootLogin prohibit-password",
    ]
    (folder / "config").write_text("\n".join(lines) + "\n")
    assert sshd is not None
    said = folder / "said.txt"
    with open(said, "wb") as output:
        # By its whole path: it starts itself again for each connection.
        server = subprocess.Popen([sshd, "-D", "-e", "-f", str(folder / "config")], stderr=output)

    def listens() -> bool:
        assert server.poll() is None, said.read_text()
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
        return False

    try:
        wait_until(listens, lambda: f"the SSH server to listen: {said.read_text()}")
        yield Server(port, folder / "user")
    finally:
        server.terminate()
        server.wait(timeout=30)
