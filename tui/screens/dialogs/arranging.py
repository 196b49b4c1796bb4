"""Choices of what the channel table shows: its order, its filter."""

from __future__ import annotations

from streamscope.core.table.columns import COLUMNS
from streamscope.tui.forms.quick_filters import quick_filters
from streamscope.tui.screens.dialogs.base import Choice
from streamscope.tui.table.arrangement import Arrangement
from streamscope.tui.table.channel_text import ChannelValues

STREAM_ORDER = "stream order"


def sort_choice(column: str | None) -> Choice:
    """A column to sort by, or `STREAM_ORDER`; `column` is the one sorted by now."""
    options = [(STREAM_ORDER, STREAM_ORDER), *((c.name, f"{c.name:<17} {c.help}") for c in COLUMNS)]
    return Choice("Sort by", options, column)


def quick_filter_choice(channel: ChannelValues, arrangement: Arrangement) -> Choice:
    """A condition to filter by, among them to be like `channel`."""
    filters = quick_filters(channel, arrangement)
    width = max(len(label) for _, label in filters)
    options = [(expression, f"{label:<{width}}  {expression}") for expression, label in filters]
    return Choice("Add to the filter", options)
