"""No modules import each other in circles, for type checking neither; the layers are `uv run lint-imports`'s."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import streamscope

ROOT = Path(streamscope.__file__).parent


def imports(part: str) -> Iterator[tuple[str, str]]:
    """(module, imported module) of every import of a part of streamscope from itself, wherever it stands."""
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in (ROOT / part).rglob("*.py")}
    for module, path in names.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("streamscope."):
                base = (node.module or "").removeprefix("streamscope.")
                # A package's own face is `__init__`; a name in it may be a module beside that.
                for name in {f"{base}.{alias.name}" for alias in node.names} | {base, f"{base}.__init__"}:
                    if name in names and name != module:
                        yield module, name


@pytest.mark.parametrize("part", ["core", "tui"])
def test_modules_do_not_import_each_other_in_circles(part: str) -> None:
    needed: dict[str, set[str]] = {}
    for module, imported in imports(part):
        needed.setdefault(module, set()).add(imported)
    while leaves := [module for module, below in needed.items() if not below & needed.keys()]:
        for leaf in leaves:
            del needed[leaf]
    assert needed == {}
