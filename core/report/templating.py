"""How a report's templates are filled: everything that people wrote is text in them, never markup."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from streamscope.core.text import visible_lines

_FOLDER = Path(__file__).parent / "templates"


def templates(**functions: Callable[..., object]) -> Environment:
    """The templates, which may call `functions`."""
    found = Environment(
        loader=PackageLoader("streamscope.core.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    found.policies["json.dumps_function"] = page_json
    found.policies["json.dumps_kwargs"] = {}
    found.globals.update(functions)
    return found


def verbatim(*names: str) -> Markup:
    """Style sheets or scripts, one after another."""
    return Markup("\n".join((_FOLDER / name).read_text(encoding="utf-8") for name in names))


def _shown(value: object) -> object:
    """What a page shows of a value: control characters in texts are pictures. Jinja escapes the rest."""
    return visible_lines(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def page_json(data: object) -> str:
    """What scripts get, as short as it goes; of every text what a page shows of it."""

    def shown(part: Any) -> Any:
        if isinstance(part, Mapping):
            return {shown(key): shown(value) for key, value in part.items()}
        return [shown(value) for value in part] if isinstance(part, list | tuple) else _shown(part)

    return json.dumps(shown(data), separators=(",", ":"), ensure_ascii=False, allow_nan=False)
