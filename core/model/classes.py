"""Which class of a classifier each folder of a labelled image set stands for. Never imports torch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from streamscope.core.errors import ClassNamesError, UsageError
from streamscope.core.files import read_regular

_WORDNET = re.compile(r"n\d{8}")
_LIMIT = 2**24
"""Bytes that a file of class names may have."""


def match_classes(labels: Iterable[str], names: Sequence[str] | None, count: int) -> dict[str, int]:
    """Class index of each label (a folder's name), for a classifier of `count` classes that are called `names`, in its
    order; None where nobody says what they are called.

    Labels are class names (exactly, else but for capitals and with _ for spaces), class indices, or WordNet ids such
    as n01440764, which stand for the classes in sorted order when there is one for every class. So do labels of any
    kind where the names are not known: classifiers are trained on such folders. Raises UsageError for anything else.
    """
    wanted = sorted(set(labels))
    if not wanted or "" in wanted:
        raise UsageError("the images have no class: put them in one folder a class, named by class name or index")
    if all(label.isdecimal() for label in wanted):
        outside = [label for label in wanted if int(label) >= count]
        if outside:
            raise UsageError(f"folder {outside[0]!r} is no class index; this model has classes 0-{count - 1}")
        return {label: int(label) for label in wanted}
    if all(_WORDNET.fullmatch(label) for label in wanted):
        if len(wanted) != count:
            raise UsageError(
                f"{len(wanted)} folders named by WordNet id, but the model has {count} classes: only a whole set "
                "says which is which; name the folders by class name or index (0 for the first)"
            )
        return {label: index for index, label in enumerate(wanted)}
    if names is not None:
        return {label: _by_name(label, names) for label in wanted}
    if len(wanted) != count:
        raise ClassNamesError(
            f"these weights do not say what their {count} classes are called, and {len(wanted)} folders are too "
            f"{'few' if len(wanted) < count else 'many'} to be all of them in sorted order; name the folders by class "
            f"index (0-{count - 1})"
        )
    return {label: index for index, label in enumerate(wanted)}


def read_class_names(path: Path, count: int) -> tuple[str, ...]:
    """The names of `count` classes in a text file, a line each, in the order of the scores. Raises UsageError."""
    try:
        text = read_regular(path, limit=_LIMIT).decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no text of class names, a line each") from error
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
    names = tuple(line.strip() for line in text.splitlines() if line.strip())
    if len(names) != count:
        raise UsageError(f"{path} has {len(names)} class names, a line each, but the model has {count} classes")
    return names


def _by_name(label: str, names: Sequence[str]) -> int:
    for same in (lambda a, b: a == b, lambda a, b: _plain(a) == _plain(b)):
        found = [index for index, name in enumerate(names) if same(name, label)]
        if len(found) == 1:
            return found[0]
        if found:
            raise UsageError(
                f"folder {label!r} may be any of the classes {', '.join(map(str, found))} of that name; "
                "name the folders by index"
            )
    raise UsageError(
        f"folder {label!r} is no class of this model; name folders by class name ({names[0]}, {names[-1]}), "
        f"by index (0-{len(names) - 1}), or have one for each class named by WordNet id"
    )


def _plain(name: str) -> str:
    return " ".join(name.casefold().replace("_", " ").split())
