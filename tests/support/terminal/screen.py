"""Real terminals on a virtual screen, driven by key events and looked at as pictures."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from streamscope.core.processes import COMMAND_LINE, module_command
from tests.support.waiting import PATIENCE, wait_until

REPOSITORY = Path(__file__).parents[3]


def needs(*programs: str) -> None:
    """Skips the test where programs are missing; with STREAMSCOPE_TERMINALS=1 that is a failure."""
    missing = [program for program in programs if shutil.which(program) is None]
    if not missing:
        return
    packages = "xvfb xterm kitty xdotool imagemagick tmux openssh-server"
    said = f"needs {', '.join(missing)} (Debian: apt-get install {packages})"
    if os.environ.get("STREAMSCOPE_TERMINALS") == "1":
        pytest.fail(said)
    pytest.skip(said)


def command(folder: Path, *arguments: str) -> list[str]:
    """Runs the app from this checkout on the store in a folder, with places of its own."""
    places = {"STREAMSCOPE_MARKS": folder / "marks", "XDG_CONFIG_HOME": folder, "XDG_STATE_HOME": folder}
    given = [f"{name}={value}" for name, value in places.items()]
    app = module_command(COMMAND_LINE, "--cache", str(folder / "cache"), *arguments)
    # Whoever runs the tests may have a size of their own in the environment (pytest-xdist does).
    return [
        "env",
        "-u",
        "COLUMNS",
        "-u",
        "LINES",
        "-C",
        str(REPOSITORY),
        "TERM=xterm-256color",
        "COLORTERM=truecolor",
        *given,
        *app,
    ]


class Display:
    """A virtual screen with one terminal on it."""

    def __init__(self, number: str, folder: Path) -> None:
        self.environ = {**os.environ, "DISPLAY": f":{number}", "LIBGL_ALWAYS_SOFTWARE": "1", "LC_ALL": "C.UTF-8"}
        self.environ.pop("TMUX", None)
        self._folder = folder
        self._window = ""

    def open(self, terminal: Sequence[str], stack: ExitStack) -> None:
        """Starts a terminal and waits for its window.

        One that ends before it has a window is started once more: a virtual screen that begins while another one ends
        may refuse its first client.
        """
        for attempt in (1, 2):
            said = self._folder / f"{terminal[0]}-{attempt}.txt"
            with open(said, "wb") as output:
                process = subprocess.Popen(
                    terminal, env=self.environ, stdout=output, stderr=output, start_new_session=True
                )
            stack.callback(_end, process)
            wait_until(partial(self._ready, process), f"{terminal[0]} to open a window")
            if self._window:
                return
        raise AssertionError(f"{terminal[0]} ended with {process.poll()}: {said.read_text(errors='replace')[-500:]}")

    def _ready(self, process: subprocess.Popen[bytes]) -> bool:
        return self._find() != "" or process.poll() is not None

    def _find(self) -> str:
        found = self._xdotool("search", "--onlyvisible", "--class", "xterm|kitty").split()
        self._window = found[-1] if found else ""
        return self._window

    def _xdotool(self, *arguments: str) -> str:
        done = subprocess.run(["xdotool", *arguments], env=self.environ, capture_output=True, text=True, check=False)
        return done.stdout

    def key(self, *names: str) -> None:
        """Presses keys, as xdotool names them, one right after another."""
        # The virtual screen has no window manager: keys go where the pointer is.
        self._xdotool("mousemove", "--window", self._window, "60", "60")
        self._xdotool("key", "--delay", "12", *names)

    def resize(self, width: int, height: int) -> None:
        """Gives the window another size, in pixels."""
        self._xdotool("windowsize", self._window, str(width), str(height))

    def size(self) -> tuple[int, int]:
        """Of the window, in pixels."""
        said = dict(
            line.split("=", 1)
            for line in self._xdotool("getwindowgeometry", "--shell", self._window).split()
            if "=" in line
        )
        return int(said["WIDTH"]), int(said["HEIGHT"])

    def picture(self) -> np.ndarray:
        """(H, W, 3) uint8: the whole screen as it is now."""
        shot = subprocess.run(
            ["import", "-window", "root", "png:-"], env=self.environ, capture_output=True, check=True, timeout=PATIENCE
        )
        return np.asarray(Image.open(io.BytesIO(shot.stdout)).convert("RGB"))

    def keep(self, name: str) -> str:
        """Writes the screen to a file, for whoever reads of a failure."""
        path = self._folder / name
        Image.fromarray(self.picture()).save(path)
        return str(path)


@contextmanager
def display(folder: Path) -> Iterator[tuple[Display, ExitStack]]:
    """A virtual screen of its own; everything started on the stack ends with it."""
    with ExitStack() as stack:
        read, write = os.pipe()
        process = subprocess.Popen(
            ["Xvfb", "-displayfd", str(write), "-screen", "0", "1400x900x24", "-nolisten", "tcp"],
            pass_fds=[write],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        stack.callback(_end, process)
        os.close(write)
        with os.fdopen(read) as told:
            number = told.readline().strip()
        assert number, f"Xvfb did not start; it ended with {process.poll()}"
        yield Display(number, folder), stack


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
