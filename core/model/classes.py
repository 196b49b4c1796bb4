"""Which class of a classifier each folder of a labelled image set stands for. Never imports torch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from streamscope.core.errors import UsageError

_WORDNET = re.compile(r"n\d{8}")


def match_classes(labels: Iterable[str], names: Sequence[str]) -> dict[str, int]:
    """Class index of each label (a folder's name), for a classifier whose classes are called `names`, in its order.

    Labels are class names (exactly, else but for capitals and with _ for spaces), class indices, or WordNet ids such
    as n01440764, which stand for the classes in sorted order when there is one for every class. Raises UsageError for
    anything else.
    """
    wanted = sorted(set(labels))
    if not wanted or "" in wanted:
        raise UsageError("the images have no class: put them in one folder a class, named by class name or index")
    if all(label.isdecimal() for label in wanted):
        outside = [label for label in wanted if int(label) >= len(names)]
        if outside:
            raise UsageError(f"folder {outside[0]!r} is no class index; this model has classes 0-{len(names) - 1}")
        return {label: int(label) for label in wanted}
    if all(_WORDNET.fullmatch(label) for label in wanted):
        if len(wanted) != len(names):
            raise UsageError(
                f"{len(wanted)} folders named by WordNet id, but the model has {len(names)} classes: only a whole set "
                "says which is which; name the folders by class name or index (0 for the first)"
            )
        return {label: index for index, label in enumerate(wanted)}
    return {label: _by_name(label, names) for label in wanted}


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
