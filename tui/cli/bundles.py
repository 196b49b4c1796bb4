"""`--cache OUT.zip`: a bundle is unpacked for as long as the command runs, and read as any other cache."""

from __future__ import annotations

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
    is asked for. Raises StoreError."""
    from streamscope.core.store.bundles.archive import unpacked

    folders: dict[Path, Path] = context.meta.setdefault(__name__, {})
    if path not in folders:
        folders[path] = context.find_root().with_resource(unpacked(path))
    return folders[path]
