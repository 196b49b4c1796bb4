"""What the `streamscope` command starts: it says at once what takes seconds, then runs the command line.

Where Python has no bytecode of the app yet, compiling it takes seconds (4 after an installation, 12 on a slow disk) in
which nothing could be seen. So this module imports nothing that needs compiling.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import MAGIC_NUMBER, cache_from_source
from pathlib import Path

from streamscope.tui.cli.imports import without_collection
from streamscope.tui.cli.streams import mend_streams

APP = "streamscope.tui.app.app"
LATE = Path(__file__).parents[1] / "screens" / "loading.py"
"""A module that the app imports after nearly all others: once its bytecode is there, theirs is."""

FLAGS = frozenset({"--json", "--debug", "--until-converged"})
"""Options of the app that take no value; a test compares them with the command line's."""
ENDING = frozenset({"-h", "--help", "--version", "--print-settings"})
"""Options that print something and open no app."""

COMPILING = "streamscope: compiling modules for the first start (a few seconds, once) ..."
UNKEPT = "streamscope: loading (a few seconds: Python keeps no bytecode here) ..."


def main() -> int:
    """Runs the command line of this process; returns the exit code."""
    mend_streams()
    words = first_words(sys.argv[1:])
    if words:
        _show(words)
        try:
            with without_collection():
                import_module(APP)
        except KeyboardInterrupt:
            _show("")
            print("streamscope: interrupted", file=sys.stderr)
            return 1
        except Exception:
            # The command line meets it again, and says what it is.
            pass
        _show("")
    with without_collection():
        from streamscope.tui.cli.main import main as run

    return run()


def first_words(arguments: Sequence[str]) -> str:
    """What to say before the imports; "" where they are quick or no app is to be opened on this terminal."""
    if not opens_app(arguments) or os.environ.get("TERM", "") in ("", "dumb"):
        return ""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return ""
    bytecode = Path(cache_from_source(str(LATE)))
    if is_current(bytecode, LATE):
        return ""
    return COMPILING if _can_be_kept(bytecode) else UNKEPT


def opens_app(arguments: Sequence[str]) -> bool:
    """Whether a command line opens the app, as far as can be told without parsing it."""
    rest = iter(arguments)
    for word in rest:
        if word in ENDING:
            return False
        if word.startswith("-"):
            if word not in FLAGS and "=" not in word:
                next(rest, None)
        elif word != "tui":
            return False
    return True


def is_current(bytecode: Path, source: Path) -> bool:
    """Whether Python would take a module's bytecode as it is (PEP 552; what is checked by hash is taken to be)."""
    try:
        with bytecode.open("rb") as file:
            header = file.read(16)
        state = source.stat()
    except OSError:
        return False
    magic, flags, modified, size = (header[i : i + 4] for i in range(0, 16, 4))
    if magic != MAGIC_NUMBER or flags != bytes(4):
        return magic == MAGIC_NUMBER
    numbers = (int(state.st_mtime) & 0xFFFFFFFF, state.st_size & 0xFFFFFFFF)
    return (modified, size) == tuple(number.to_bytes(4, "little") for number in numbers)


def _can_be_kept(bytecode: Path) -> bool:
    if sys.dont_write_bytecode:
        return False
    folder = next((folder for folder in bytecode.parents if folder.is_dir()), bytecode)
    return os.access(folder, os.W_OK)


def _show(line: str) -> None:
    """Over what the line had before, on one row however narrow the terminal."""
    width = shutil.get_terminal_size().columns - 1
    sys.stdout.write(f"\r\x1b[K{line[:width]}")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
