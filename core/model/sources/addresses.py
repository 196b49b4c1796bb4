"""How networks are called that are timm's or one's own, and which file one's own are in. Runs nothing, and imports
neither torch nor timm.

`timm:NAME` is a network of timm's; `FILE.py:FUNCTION` and `PACKAGE.MODULE:FUNCTION` are functions of one's own that
return one. The file of a module is looked for only where it is named: a job goes on with that file, whichever folder
its worker is started in.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import sys
from pathlib import Path

from streamscope.core.errors import ArchitectureError
from streamscope.core.files import read_regular

TIMM = "timm:"
_TIMM_NAME = re.compile(r"\w+(\.[\w-]+)?", re.ASCII)
"""An architecture, and the tag of its weights: `resnet50`, `resnet50.a1_in1k`."""
_IDENTIFIER = r"[^\W\d]\w*"
_FILE = re.compile(rf"(.+\.py):({_IDENTIFIER})")
_MODULE = re.compile(rf"({_IDENTIFIER}(?:\.{_IDENTIFIER})*):({_IDENTIFIER})")
_LARGEST_FILE = 2**24
"""Bytes that a file of code may have."""


def is_timm(architecture: str) -> bool:
    return architecture.startswith(TIMM) and _TIMM_NAME.fullmatch(architecture.removeprefix(TIMM)) is not None


def split_own(architecture: str) -> tuple[str, str] | None:
    """A file or module of one's own, and the function in it; None for what is called otherwise."""
    if architecture.startswith(TIMM):
        return None
    found = _FILE.fullmatch(architecture) or _MODULE.fullmatch(architecture)
    return (found[1], found[2]) if found else None


def is_file(where: str) -> bool:
    """Whether the first half of `split_own` is a file, not a module."""
    return where.endswith(".py")


def find_module(module: str) -> Path | None:
    """The file of a module: of the installed packages, else of the current folder. Nothing is imported to find it."""
    top, *rest = module.split(".")
    roots = [Path(entry).absolute() for entry in sys.path]
    try:
        # Packages that are installed in place are in no folder of sys.path.
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        spec = None
    if spec is not None:
        roots += [Path(folder).parent for folder in spec.submodule_search_locations or ()]
    for root in (*roots, Path.cwd()):
        path = root.joinpath(top, *rest)
        for candidate in (path / "__init__.py", path.with_name(f"{path.name}.py")):
            if candidate.is_file():
                return candidate
    return None


def import_root(module: str, code: Path) -> Path:
    """The folder that a module is found from whose file is `code`."""
    depth = module.count(".") + (code.name == "__init__.py")
    return code.absolute().parents[depth]


def read_code(code: Path) -> bytes:
    """What a file of code holds. Raises ArchitectureError."""
    try:
        return read_regular(code, limit=_LARGEST_FILE)
    except FileNotFoundError as error:
        raise ArchitectureError(f"no such file: {code}") from error
    except OSError as error:
        raise ArchitectureError(f"cannot read {code}: {error.strerror or error}") from error


def code_digest(content: bytes) -> str:
    """SHA-256, hex, of a file of code: what records say of it."""
    return hashlib.sha256(content).hexdigest()


def remembered_code(name: str, text: str) -> Path | None:
    """The file of one's own network called `name`, in what a store remembers it by (`ModelSpec.text`); None in that of
    another."""
    found = re.match(rf"{re.escape(name)} (/.*) [0-9a-f]{{64}}(?=[ ,]|$)", text)
    return Path(os.fsdecode(found[1])) if found else None
