"""Dialogs that change what the channel table shows: its order, its columns, its filter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamscope.core.table.columns import COLUMNS
from streamscope.tui.forms.quick_filters import inverted, joined, quick_filters
from streamscope.tui.screens.dialogs.base import Choice
from streamscope.tui.screens.dialogs.columns import ColumnsDialog

if TYPE_CHECKING:
    from streamscope.tui.screens.channels import ChannelsScreen

STREAM_ORDER = "stream order"


def ask_sort(screen: ChannelsScreen) -> None:
    options = [(STREAM_ORDER, STREAM_ORDER), *((c.name, f"{c.name:<17} {c.help}") for c in COLUMNS)]

    def chosen(column: str | None) -> None:
        if column == STREAM_ORDER:
            screen.sort_by(None, False)
        elif column is not None:
            screen.choose_column(column)

    screen.app.push_screen(Choice("Sort by", options, screen.arrangement.column), chosen)


def ask_columns(screen: ChannelsScreen) -> None:
    def chosen(shown: tuple[str, ...] | None) -> None:
        if shown is not None:
            screen.show_columns(shown)

    screen.app.push_screen(ColumnsDialog(screen.arrangement.shown), chosen)


def ask_quick_filter(screen: ChannelsScreen) -> None:
    fields = screen.fields
    if fields is None:
        screen.say("no channel is shown; Esc clears the filter")
        return
    bar = screen.filter_bar

    def chosen(expression: str | None) -> None:
        if expression is not None:
            bar.write(joined(bar.text, expression))

    found = quick_filters(fields, screen.arrangement)
    width = max(len(label) for _, label in found)
    options = [(expression, f"{label:<{width}}  {expression}") for expression, label in found]
    screen.app.push_screen(Choice("Show only (with the filter there is)", options), chosen)


def invert_filter(screen: ChannelsScreen) -> None:
    if screen.arrangement.filter is None:
        screen.say("no filter to invert; / writes one, f offers some")
    else:
        screen.filter_bar.write(inverted(screen.arrangement.filter.expression))
