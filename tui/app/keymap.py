"""Every key of the app, read off the bindings themselves: for the help, the command palette and the settings."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from textual.binding import Binding
from textual.dom import DOMNode
from textual.keys import Keys, _character_to_key, format_key, key_to_character
from textual.screen import Screen

from streamscope.tui.app.settings import EXAMPLE

TITLES = {
    "StreamscopeApp": "Everywhere",
    "ChannelsScreen": "Channels",
    "ChannelTable": "Moving and choosing in the table",
    "BlockList": "Blocks",
    "FilterBar": "Filter line",
    "ChannelView": "Detail, compare and large pictures",
    "CursorView": "Moving in the detail and the large pictures",
    "ZoomScreen": "Large pictures",
}
TOGETHER = (
    ("StreamscopeApp", "ChannelsScreen", "ChannelTable"),
    ("StreamscopeApp", "ChannelsScreen", "BlockList"),
    ("StreamscopeApp", "ChannelView", "CompareScreen"),
    ("StreamscopeApp", "ChannelView", "WallScreen"),
    ("StreamscopeApp", "ChannelView", "CursorView", "DetailScreen"),
    ("StreamscopeApp", "ChannelView", "CursorView", "ZoomScreen"),
)
"""Classes whose bindings hold at the same time; any other screen shares its keys with the app only."""
DOING = {
    "Judging": ("keep", "reject", "unsure", "clear", "advance", "note", "tags", "undo", "redo"),
    "Finding channels": (
        *("filter", "off", "quick", "invert", "sort", "reverse", "sort.right", "sort.left", "columns"),
        *("block.next", "block.previous", "next_block", "previous_block", "blocks", "set", "problems"),
        *("filter.clear", "filter.complete", "filter.next_name", "filter.previous_name", "filter.earlier"),
        *("filter.later", "filter.leave"),
    ),
    "Selecting several": ("pick", "range", "all"),
    "Looking closer": (
        *("detail", "zoom", "wall", "compare", "spectrum", "look", "whole", "preview", "larger", "smaller"),
        *("in", "block", "out", "drop", "step", "step_back"),
    ),
    "Computing": (
        *("make", "compute", "more_steps", "steps", "seed", "decide", "nulls", "curves", "scan", "photographs"),
        *("ablate", "jobs", "stop", "pause", "cancel", "earlier", "later"),
    ),
    "Taking away": ("export", "report", "bundle"),
    "Moving": (),
    "The app": ("keys", "quit", "suspend", "leave"),
}
"""Actions by what a person is doing, by the ends of their names; what is in none moves about."""
MOVING = "Moving"
LEGEND = (
    ("I, B, O", "the input that bypasses a block, what the block adds, and their sum"),
    ("FZ(I)", "feature visualization: the image that excites a channel of I most"),
    ("M", "mix ratio: below 1/1.5 the block overwrites, above 1.5 it skips, between it mixes"),
    ("SM", "scale metric: how much both answer to the other's FZ at another size"),
    ("SI", "scale invariant: criteria c2 (mixes), c3 (B, enlarged) and c4 (I, reduced) all hold"),
    ("rob, rho", "SI by photographs too; correlation of B with I over photographs"),
)
"""The words of the table."""
_MODIFIERS = frozenset({"ctrl", "shift", "alt", "super"})
_NAMED = frozenset(key.value for key in Keys)
_WORDS = frozenset(_character_to_key(chr(code)) for code in range(33, 127))
"""Names such as question_mark."""


@dataclass(frozen=True)
class Action:
    """Something a key does; `keys` in Textual's names. `id` is what the settings call it."""

    id: str
    description: str
    keys: tuple[str, ...]
    where: str
    """The class it is bound in."""
    does: str
    """What Textual calls: a method of that class and its arguments."""

    @property
    def shown(self) -> str:
        """The keys as a person would name them."""
        return ", ".join(format_key(key) for key in self.keys)


def sections(keys: Mapping[str, str]) -> list[tuple[str, list[Action]]]:
    """Actions by the part of the app that they belong to, under these settings of keys."""
    found: dict[str, list[Action]] = {}
    for action in actions(keys):
        found.setdefault(title(action.where), []).append(action)
    order = [*TITLES.values()]
    return sorted(found.items(), key=lambda part: (order[1:] + order[:1]).index(part[0]) if part[0] in order else 3.5)


def sections_from(screen: Screen[Any], keys: Mapping[str, str]) -> list[tuple[str, list[Action]]]:
    """Those that hold on this screen by what a person is doing, then as `sections` those of the others."""
    here = {cls.__name__ for node in (screen, *screen.query("*")) for cls in type(node).__mro__} | {"StreamscopeApp"}
    found: dict[str, list[Action]] = {name: [] for name in DOING}
    for action in actions(keys):
        if action.where in here:
            found[doing(action)].append(action)
    elsewhere = [(name, [a for a in part if a.where not in here]) for name, part in sections(keys)]
    return [part for part in (*found.items(), *elsewhere) if part[1]]


def doing(action: Action) -> str:
    """What a person is doing who uses it: one of DOING."""
    ends = action.id, action.id.rpartition(".")[2]
    return next((name for end in ends for name, known in DOING.items() if end in known), MOVING)


def title(where: str) -> str:
    """What a part of the app is called in the help."""
    return TITLES.get(where) or re.sub(r"(?<=[a-z])(?=[A-Z])", " ", where.removesuffix("Screen")).capitalize()


def actions(keys: Mapping[str, str]) -> list[Action]:
    """Every binding that has a name and a description, of every class of the app loaded so far."""
    found: dict[tuple[str, str], Action] = {}
    for owner in sorted(_own_classes(DOMNode), key=lambda cls: cls.__name__):
        for binding in Binding.make_bindings(owner.__dict__.get("BINDINGS", ())):
            if not binding.id or not binding.description:
                continue
            place = (owner.__name__, binding.id)
            known = found.get(place)
            own = tuple(split_keys(keys[binding.id])) if binding.id in keys else None
            bound = own or (*(known.keys if known else ()), binding.key)
            found[place] = Action(binding.id, binding.description, bound, owner.__name__, binding.action)
    return list(found.values())


def key_of(name: str, keys: Mapping[str, str]) -> str:
    """The first key of an action under these settings, as a person would name it."""
    action = next(action for action in actions(keys) if action.id == name)
    return format_key(action.keys[0])


def split_keys(text: str) -> list[str]:
    """`j, down` as Textual's names of keys."""
    return [key.strip() for key in text.split(",") if key.strip()] or [text.strip()]


def check_keys(keys: Mapping[str, str]) -> tuple[str, str] | None:
    """The first action of the settings that is wrong, and why; None when all will do."""
    known = {action.id: action for action in actions({})}
    for action, text in keys.items():
        if action not in known:
            return action, f"unknown action {action!r}; 'streamscope tui --print-settings' lists them"
        for key in split_keys(text):
            if not _is_key(key):
                return action, f'{key!r} is no key; write for example "x", "ctrl+x", "f5" or "question_mark"'
    # A screen may take over a key of the app, such as q; only new clashes are mistakes.
    meant = {(first.id, second.id, key) for first, second, key in _clashes(actions({}))}
    for first, second, key in _clashes(actions(keys)):
        if (first.id, second.id, key) in meant:
            continue
        culprit, other = (second, first) if second.id in keys else (first, second)
        if culprit.id in keys:
            return culprit.id, f"{key!r} is the key of {other.id} ({other.description}) too"
    return None


def _clashes(bound: list[Action]) -> Iterator[tuple[Action, Action, str]]:
    alone = {action.where for action in bound} - {name for group in TOGETHER for name in group}
    groups = [*TOGETHER, *(("StreamscopeApp", name) for name in alone if name.endswith("Screen"))]
    for group in groups:
        taken: dict[str, Action] = {}
        for action in bound:
            for key in action.keys if action.where in group else ():
                name = _normal(key)
                if name in taken and taken[name].id != action.id:
                    yield taken[name], action, key
                taken.setdefault(name, action)


def example() -> str:
    """The settings file with every setting and every action in it, the actions as comments."""
    lines = [EXAMPLE.rstrip()]
    for heading, found in sections({}):
        lines.append(f"# {heading}")
        for action in found:
            bound = ",".join(_written(key) for key in action.keys)
            lines.append(f'# "{action.id}" = "{bound}"'.ljust(40) + f" # {action.description}")
    return "\n".join(lines) + "\n"


def _is_key(key: str) -> bool:
    *modifiers, last = key.split("+") if key != "+" else ["plus"]
    if not set(modifiers) <= _MODIFIERS:
        return False
    return (len(last) == 1 and last.isprintable() and not last.isspace()) or last in _NAMED | _WORDS


def _normal(key: str) -> str:
    """Textual's name of a key that may be written as its character: question_mark for ?."""
    return _character_to_key(key) if len(key) == 1 else key


def _written(key: str) -> str:
    """The character of a key where it has one that does not separate keys or end the text."""
    character = key_to_character(key)
    return character if character and character.isprintable() and character not in ' ,"\\' else key


def _own_classes(base: type[DOMNode]) -> Iterator[type[DOMNode]]:
    known: list[type[DOMNode]] = base.__subclasses__()
    for cls in known:
        if cls.__module__.startswith("streamscope.tui."):
            yield cls
        yield from _own_classes(cls)
