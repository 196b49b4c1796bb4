"""Folders of models under another name: nothing reads them, and all that they need is their own name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from streamscope.core.errors import MisplacedError, StoreError
from streamscope.core.model.blocks import ModelInfo
from streamscope.core.store.ablations import read_ablation
from streamscope.core.store.layout import ModelFolder, inside
from streamscope.core.store.scans.scan import Described
from streamscope.core.store.sets.documents import read_key
from streamscope.core.store.store import SHORT, is_folder_of, model_folder_name, read_described


def renamed(folder: ModelFolder) -> str:
    """What to do about the folder of another model than its name says, for people; "" when only the description in it
    is another's. Raises OSError, or StoreError when it is damaged."""
    info = read_described(folder)
    if not _holds(folder, info):
        return ""
    model = f"{info.name} {info.identity[:SHORT]}"
    others = [other.name for other in inside(folder.path.parent) if is_folder_of(info, other)]
    if others:
        return f"is a second folder of {model}; only {others[0]} is read, where its sets and scans can be moved"
    return f"is of {model}; rename it to {model_folder_name(info)}, and it is read again"


def _holds(folder: ModelFolder, info: ModelInfo) -> bool:
    """Whether something in a folder is a model's or may be, or nothing in it says whose it is."""
    reads: list[Callable[[], object]] = [partial(read_key, path, info) for path in inside(folder.sets)]
    reads += [partial(Described.read, path, info) for path in inside(folder.scans)]
    reads += [partial(read_ablation, path, info) for path in inside(folder.ablations)]
    return not reads or not all(map(_is_anothers, reads))


def _is_anothers(read: Callable[[], object]) -> bool:
    try:
        read()
    except MisplacedError:
        return True
    except (OSError, StoreError):
        return False
    return False
