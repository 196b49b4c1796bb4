"""`--cache OUT.zip`: a bundle is unpacked for as long as the command runs, and read as any other cache."""

from __future__ import annotations

import sys
from pathlib import Path

import click


def is_bundle_file(path: Path) -> bool:
    """Whether a path is a file that begins as a zip does; whether it can be opened is another question."""
    if not path.is_file():
        return False
    from streamscope.core.store.bundles.archive import is_zip

    return is_zip(path)


def unpacked_for(context: click.Context, path: Path) -> Path:
    """The folder that a bundle is unpacked into until the outermost command is done; once a command, however often it
    is asked for. On a terminal it is said while it lasts. Raises StoreError."""
    from streamscope.core.store.bundles.archive import unpacked
    from streamscope.core.text import visible

    folders: dict[Path, Path] = context.meta.setdefault(__name__, {})
    if path not in folders:
        _show(f"streamscope: unpacking {visible(path.name)} …")
        try:
            folders[path] = context.find_root().with_resource(unpacked(path))
        finally:
            _show("")
    return folders[path]


def _show(line: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{line}")
        sys.stderr.flush()
