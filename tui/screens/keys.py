"""What the keys do, read off the bindings themselves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.style import Style
from rich.text import Text
from textual.binding import Binding, BindingType
from textual.keys import format_key

from tui.widgets.columns import DIM


def key_help(sections: Iterable[tuple[str, Sequence[BindingType]]]) -> Text:
    """Each section's keys, one action a line."""
    text = Text()
    for title, bindings in sections:
        text.append(f"{title}\n", Style(bold=True))
        for keys, description in described(bindings):
            text.append(f"  {keys:<18}", Style(color="cyan")).append(f"{description}\n")
        text.append("\n")
    text.append("The command palette (Ctrl+P) finds all of these by name.", DIM)
    return text


def described(bindings: Sequence[BindingType]) -> list[tuple[str, str]]:
    """(keys, description) of every binding that has one; the keys of one action together."""
    actions: dict[tuple[str, str], list[str]] = {}
    for binding in Binding.make_bindings(bindings):
        if binding.description:
            actions.setdefault((binding.action, binding.description), []).append(
                binding.key_display or format_key(binding.key)
            )
    return [(", ".join(keys), description) for (_, description), keys in actions.items()]
