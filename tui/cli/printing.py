"""Tables on the terminal: a name that is cut is another's name too, so none is."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from streamscope.core.measures.statistics import Proportion
from streamscope.core.text import visible

NUMBERS = ("FZs", "retries", "images", "MB")
"""Columns that are lined up to the right."""
WIDTH = 100
"""Of a table where no terminal says how wide it may be."""


def counted(count: int, what: str) -> str:
    """`1 scan`, `3 sets`."""
    return f"{count} {what}{'s' * (count != 1)}"


def cell(text: str, style: str = "") -> Text:
    """A field of a table on the terminal: no markup, no control characters."""
    return Text(visible(text), style)


def share_text(share: Proportion) -> str:
    """`20.3 % (14.3-28.0) of 128`: a share, its interval and what it is of."""
    if not share.n:
        return "of none"
    return f"{100 * share.share:.1f} % ({100 * share.low:.1f}-{100 * share.high:.1f}) of {share.n}"


def console_for(table: Table) -> Console:
    """What a table of numbers is printed on, so that none is cut: folded on a terminal that is too narrow, elsewhere as
    wide as the table, `WIDTH` at least."""
    console = Console(highlight=False)
    for column in table.columns:
        column.overflow, column.no_wrap = "fold", not console.is_terminal
    if not console.is_terminal:
        console.width = max(WIDTH, _whole_width(console, table))
    return console


def print_whole(columns: Sequence[str], rows: Sequence[Sequence[str | Sequence[str]]]) -> None:
    """Prints a table: folded within its columns on a terminal that is too narrow, a line a row everywhere else.

    A field may be several lines, which elsewhere are one, separated by `; `.
    """
    console = Console()
    piped = not console.is_terminal
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, justify="right" if name in NUMBERS else "left", no_wrap=piped, overflow="fold")
    for row in rows:
        fields = ([field] if isinstance(field, str) else field for field in row)
        table.add_row(*(Text("; " if piped else "\n").join(map(cell, lines)) for lines in fields))
    if piped:
        console.width = max(80, _whole_width(console, table))
    console.print(table)


def _whole_width(console: Console, table: Table) -> int:
    return console.measure(table, options=console.options.update(max_width=10**6)).maximum
