"""The packages of `tui` are layers: each imports only what lies below it, for type checking too."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import streamscope.tui

ROOT = Path(streamscope.tui.__file__).parent
LAYERS = (
    ("command_lines",),
    ("advice",),
    ("terminal", "table"),
    ("forms", "data"),
    ("widgets",),
    ("screens.dialogs",),
    ("screens",),
    ("app",),
)
"""Lowest first; packages beside each other do not import each other."""
COMMAND_LINE = (("cli",), ("commands",), ("cli.main",), ("cli.entry",))
"""The command line beside them: its lower layer knows nothing of the app, which knows nothing of it."""


def layer_of(module: str, layers: tuple[tuple[str, ...], ...]) -> tuple[int, str] | None:
    """The number of a module's layer and its package there: the longest name that fits."""
    fitting = [
        (len(package), number, package)
        for number, packages in enumerate(layers)
        for package in packages
        if module == package or module.startswith(f"{package}.")
    ]
    return max(fitting)[1:] if fitting else None


def imports() -> Iterator[tuple[str, str]]:
    """(module, imported module) of every import of `tui` from itself, wherever it stands, without the common prefix."""
    prefix = f"{streamscope.tui.__name__}."
    for path in ROOT.rglob("*.py"):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                if name.startswith(prefix):
                    yield module, name.removeprefix(prefix)


def test_every_package_imports_only_what_lies_below_it() -> None:
    wrong = []
    for layers in (LAYERS, COMMAND_LINE):
        for module, imported in imports():
            above, below = layer_of(module, layers), layer_of(imported, layers)
            if above and below and above[1] != below[1] and above[0] <= below[0]:
                wrong.append(f"{module} imports {imported}")
    assert wrong == []


def test_the_app_does_not_know_the_command_line() -> None:
    wrong = [
        f"{module} imports {imported}"
        for module, imported in imports()
        if layer_of(module, LAYERS) and layer_of(imported, (*COMMAND_LINE, ("bench",)))
    ]
    assert wrong == []


def test_modules_of_one_package_do_not_import_each_other_in_circles() -> None:
    below: dict[str, set[str]] = {}
    for module, imported in imports():
        below.setdefault(module, set()).add(imported)
    while leaves := [module for module, needed in below.items() if not needed & below.keys()]:
        for leaf in leaves:
            del below[leaf]
    assert below == {}
