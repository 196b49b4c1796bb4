"""The detail screen: everything there is on one channel."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from rich.style import Style
from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.message import Message
from textual.widgets import Static

from streamscope.core.errors import StoreError
from streamscope.core.model.blocks import TENSORS, steps_of
from streamscope.core.table.retries import retry_of
from streamscope.tui.advice import worded
from streamscope.tui.data.channel_facts import Facts, FactsReader, curves_text, patches_text, steps_text, traces_text
from streamscope.tui.data.hints import KeyOf
from streamscope.tui.data.null_facts import NullsReader, against_nulls
from streamscope.tui.data.pictures import PICTURE_KINDS, PictureKind, kind_after
from streamscope.tui.screens.channel_view import CursorView
from streamscope.tui.screens.channels import ChannelsScreen
from streamscope.tui.screens.messages import WorkFailed
from streamscope.tui.table.channel_text import ChannelValues, describe, one_line
from streamscope.tui.table.headings import DIM, FAILED, PASSED, figure
from streamscope.tui.terminal.encoding import fit
from streamscope.tui.widgets.keys_footer import KeysFooter
from streamscope.tui.widgets.picture import GAP, PictureBox
from streamscope.tui.widgets.preview import DEBOUNCE, subjects
from streamscope.tui.widgets.status import MessageLine

if TYPE_CHECKING:
    from streamscope.core.analysis.nulls import Nulls

PICTURES_SHARE = 0.56
"""Of the width."""
MOST_KINDS = 3
MOST_STEPS = 4
"""Steps of a module whose FZ(B) are side by side; others are a step away."""
PLOT_ROWS = 7
WIDEST = 72
"""Cells of the figures at most: further apart they would not be read as one table."""
FIGURES = 76
"""Cells that the figures have beside the pictures on a wide terminal."""
WITHOUT_NAMES = 56
"""From this width on `describe` leaves the FZs' names out."""
WAIT = 0.08
"""Seconds of rest before curves are read: a held key passes channels by."""


PREFERENCES = {"B wants I's larger": "block", "I wants B's smaller": "in"}
"""Of patches: which columns each is in."""
PHOTO_TABLE = 57
"""Cells of its table, below which each preference has a line of its own."""


class DetailScreen(CursorView):
    """At the left the pictures, as many kinds as there is room for, at the right the figures and curves."""

    CSS = """
    DetailScreen #body { height: 1fr; }
    DetailScreen #pictures { height: 1fr; }
    DetailScreen #pictures Horizontal { height: 1fr; }
    DetailScreen #facts { width: 1fr; height: 1fr; padding: 0 1; scrollbar-size-vertical: 1; background: $surface; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("p", "app.ask('zoom')", "Large", id="detail.zoom"),
        Binding("ctrl+d,pagedown", "page(1)", "Figures down", show=False, id="detail.down"),
        Binding("ctrl+u,pageup", "page(-1)", "Figures up", show=False, id="detail.up"),
        Binding("l,right", "step(1)", "Next step", id="detail.step"),
        Binding("h,left", "step(-1)", "Previous step", id="detail.step_back"),
        Binding("enter", "leave", "Back", show=False, id="detail.leave"),
    ]

    class FactsRead(Message):
        def __init__(self, facts: Facts) -> None:
            super().__init__()
            self.facts = facts

    class NullsRead(Message):
        def __init__(self, block: str, nulls: Nulls | None) -> None:
            super().__init__()
            self.block = block
            self.nulls = nulls

    def __init__(
        self, source: ChannelsScreen, reader: FactsReader, nulls_reader: NullsReader, keys: KeyOf = str
    ) -> None:
        super().__init__(source)
        self._keys = keys
        self._reader = reader
        self._nulls_reader = nulls_reader
        self._row: ChannelValues | None = None
        self._steps: tuple[str, ...] = ()
        """The blocks that are steps of the module of the channel shown."""
        self._facts: Facts | None = None
        self._nulls: Nulls | None = None
        self._nulls_asked: tuple[str, object] = ("", None)
        """The block whose nulls were asked for last, and the measures that stood in the table then."""

    def compose(self) -> ComposeResult:
        yield Static(id="title", classes="line")
        with Horizontal(id="body"):
            with Vertical(id="pictures"):
                for place in range(MOST_KINDS):
                    with Horizontal(id=f"kind-{place}"):
                        for tensor in TENSORS:
                            yield PictureBox(self.source.painter, id=f"detail-{place}-{tensor}")
                with Horizontal(id="steps"):
                    for place in range(MOST_STEPS):
                        yield PictureBox(self.source.painter, id=f"step-{place}")
            with VerticalScroll(id="facts", can_focus=False):
                yield Static(id="text")
        yield MessageLine(id="message", classes="line")
        yield KeysFooter()

    def on_resize(self) -> None:
        self._arrange()
        self.call_after_refresh(self.show)

    def _arrange(self) -> None:
        """Rows of three pictures each, as many as fit at the width that pictures may take."""
        cell = self.source.painter.graphics.cell
        height = max(2, self.size.height - 3)
        share = max(int(self.size.width * PICTURES_SHARE), self.size.width - FIGURES)
        most = max(6, share // 3 - GAP)
        rows = fit((most, height - 1), cell)[1]
        self._kind_count = max(1, min(MOST_KINDS, height // (rows + 1), self._kinds_there()))
        columns = fit((most, height // self._kind_count - 1), cell)[0]
        self.query_one("#pictures").styles.width = 3 * (columns + GAP)
        self._display()

    def _display(self) -> None:
        """The last row of pictures is that of the steps where there are any, and more rows than one."""
        stepped = len(self._steps) > 1 and self._kind_count > 1
        for place in range(MOST_KINDS):
            self.query_one(f"#kind-{place}").display = place < self._kind_count - stepped
        self.query_one("#steps").display = stepped
        first = self._first_step()
        for place in range(MOST_STEPS):
            self.query_one(f"#step-{place}").display = first + place < len(self._steps)

    def _first_step(self) -> int:
        """Of those side by side: the step shown is among them."""
        at = self._steps.index(str(self._row["block"])) if self._row is not None and self._steps else 0
        return max(0, min(at - MOST_STEPS // 2, len(self._steps) - MOST_STEPS))

    def _step_rows(self) -> list[ChannelValues]:
        channel = int(str(self._row["channel"])) if self._row is not None else 0
        rows = (self.row_at((step, channel)) for step in self._steps)
        return [row for row in rows if row is not None]

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """There are keys for steps only where there are steps."""
        return len(self._steps) > 1 if action == "step" else super().check_action(action, parameters)

    def action_step(self, by: int) -> None:
        """Go on to the same channel at another step."""
        if self._row is None:
            return
        place = self._steps.index(str(self._row["block"])) + by
        if not 0 <= place < len(self._steps):
            self.say(f"this is the {'last' if by > 0 else 'first'} step")
        elif not self.source.go_to((self._steps[place], int(str(self._row["channel"])))):
            self.say(f"the filter hides this channel at {self._steps[place]}")
        self.show()

    def shown_kinds(self) -> list[PictureKind]:
        """The kinds of pictures shown: the one chosen, then those after it of which there can be any."""
        after = [kind_after(self.kind, by) for by in range(1, len(PICTURE_KINDS))]
        return [self.kind, *(kind for kind in after if self._can_be(kind))][: self._kind_count]

    def _kinds_there(self) -> int:
        """How many rows of pictures there are to show, with that of the steps."""
        after = [kind_after(self.kind, by) for by in range(1, len(PICTURE_KINDS))]
        return 1 + sum(map(self._can_be, after)) + (len(self._steps) > 1)

    def _can_be(self, kind: PictureKind) -> bool:
        reading = self.source.reading
        if reading is None:
            return False
        if kind in ("meis", "patches"):
            return reading.scan is not None
        if kind == "seeds":
            others = [key for key in reading.sets if key != reading.key]
            return any(replace(key, seed=reading.key.seed) == reading.key for key in others)
        return kind != "channel"

    def show(self) -> None:
        if not hasattr(self, "_kind_count"):
            return
        key = self.source.table.key
        self._row = self.row_at(key)
        self.query_one("#title", Static).update(one_line(self._row) if self._row is not None else "")
        steps = steps_of(self.source.info, str(self._row["block"])) if self._row is not None else ()
        if steps != self._steps:
            self._steps = steps
            self.refresh_bindings()
        self._arrange()
        kinds = self.shown_kinds()
        for place in range(len(kinds), MOST_KINDS):
            for tensor in TENSORS:
                self.query_one(f"#detail-{place}-{tensor}", PictureBox).want(None)
        for place, kind in enumerate(kinds):
            for tensor, subject in zip(TENSORS, subjects(self._row, kind, self.whole), strict=True):
                self.query_one(f"#detail-{place}-{tensor}", PictureBox).want(subject, DEBOUNCE)
        near = self._step_rows()[self._first_step() :][:MOST_STEPS] if len(self._steps) > 1 else []
        for place, row in enumerate(near):
            shown = subjects(row, "fzs", self.whole)[TENSORS.index("block")]
            self.query_one(f"#step-{place}", PictureBox).want(shown, DEBOUNCE)
        if self._facts is not None and self._facts.key != key:
            self._facts = None
        self._describe()
        if self._row is not None:
            self.set_timer(WAIT, self._ask_facts)

    def _ask_facts(self) -> None:
        if self._row is not None and self.is_running:
            self._read(self._row)
            self._ask_nulls(str(self._row["block"]))

    def _ask_nulls(self, block: str) -> None:
        frame, (asked, measures) = self.source.frame, self._nulls_asked
        # A mark makes a new frame of the same measures; a block of 2,048 channels takes a second to read.
        if frame is not None and (block != asked or frame["mix_ratio"] is not measures):
            self._nulls = self._nulls if block == asked else None
            self._nulls_asked = block, frame["mix_ratio"]
            self._read_nulls(block)

    @work(thread=True, exclusive=True, group="facts")
    def _read(self, row: ChannelValues) -> None:
        facts = self._reader.read((str(row["block"]), int(str(row["channel"]))), retry_of(row))
        self.post_message(self.FactsRead(facts))

    def on_detail_screen_facts_read(self, event: FactsRead) -> None:
        if event.facts.key == self.source.table.key:
            self._facts = event.facts
            self._describe()

    @work(thread=True, exclusive=True, group="nulls")
    def _read_nulls(self, block: str) -> None:
        try:
            self.post_message(self.NullsRead(block, self._nulls_reader.read(block)))
        except StoreError as error:
            self.app.post_message(WorkFailed("Reading the nulls", worded(error)))

    def on_detail_screen_nulls_read(self, event: NullsRead) -> None:
        if event.block == self._nulls_asked[0]:
            self._nulls = event.nulls
            self._describe()

    def _describe(self) -> None:
        width = self.query_one("#facts").size.width - 3
        if self._row is None or width < 10:
            return
        lines = [
            *measures_text(self._row, min(width, WIDEST)),
            *self._stream_text(width),
            *images_text(self._row, self._keys),
            *photographs_text(self._row, width),
            *seeds_text(self._row),
        ]
        if self._nulls is not None and self._nulls.block == self._row["block"]:
            lines += [Text(), *against_nulls(self._nulls, width, self._keys)]
        if self._facts is not None:
            lines += [
                Text(),
                *traces_text(self._facts, width),
                Text(),
                *patches_text(self._facts, width, PLOT_ROWS, self._keys),
                *curves_text(self._facts, width, PLOT_ROWS, self._keys),
            ]
        self.query_one("#text", Static).update(Text("\n").join(lines))

    def _stream_text(self, width: int) -> list[Text]:
        """What is peculiar to the block: no ReLU after the sum, steps of one module."""
        assert self._row is not None
        block = str(self._row["block"])
        said = self.source.info.block(block).unrectified
        lines = [Text(said, style=DIM)] if said else []
        if len(self._steps) > 1:
            lines += [Text(), *steps_text(self.source.info, self._step_rows(), block, min(width, WIDEST))]
        return lines

    def action_page(self, by: int) -> None:
        facts = self.query_one("#facts", VerticalScroll)
        facts.scroll_page_down(animate=False) if by > 0 else facts.scroll_page_up(animate=False)


def measures_text(row: ChannelValues, width: int) -> list[Text]:
    """The figures of the preview; where those leave the FZs' names to the pictures above, with names of their own."""
    title, *rest = describe(row, width).split("\n")
    if width < WITHOUT_NAMES:
        return [title, *rest]
    third = width // 3
    names = "".join(f"FZ({letter})".center(third) for letter in "IBO")
    return [title, Text(names, style=DIM), *rest]


def images_text(row: ChannelValues, keys: KeyOf = str) -> list[Text]:
    """What follows from the MEIs and from rho, each with how many images it comes from."""
    if row.get("images") is None:
        return [Text(f"\nno images scanned yet; {keys('scan')} scans a folder of them", style=DIM)]
    ticks = [
        Text.assemble(_tick(row.get(name)), (f" {label}", DIM))
        for name, label in (
            ("mei_meets_mix", "(2) mix"),
            ("mei_meets_block", "(3) block"),
            ("mei_meets_input", "(4) input"),
            ("robust", "robust (by FZ and MEI)"),
        )
    ]
    figures = Text.assemble(
        ("\nby MEIs  ", Style(bold=True)),
        f"M {_number(row, 'mei_mix_ratio')}  ",
        (f"of {_number(row, 'mei_images', 0)} MEIs among {_number(row, 'images', 0)} images", DIM),
    )
    rho = Text.assemble(
        ("rho of B against I  ", DIM),
        _number(row, "rho"),
        (f"  p {_number(row, 'rho_p', 3)}  n {_number(row, 'rho_images', 0)}", DIM),
    )
    return [figures, Text("  ").join(ticks), rho]


def photographs_text(row: ChannelValues, width: int) -> list[Text]:
    """What the best patches of photographs say, each figure beside its nulls: the other channels on the same patches
    (pairs), and those of them that answer as strongly (mates)."""
    if row.get("photo_images") is None:
        return []
    head = Text.assemble(
        ("\nin photographs  ", Style(bold=True)),
        _tick(row.get("photo_invariant")),
        (" both ways  ", DIM),
        _tick(row.get("photo_beyond_blur")),
        (" beyond blur  ", DIM),
        (f"n {_number(row, 'photo_images', 0)} images", DIM),
    )
    wide = width >= PHOTO_TABLE
    label = max(map(len, PREFERENCES))
    columns = (
        f"{'sd':>8}{'95% from':>10}{'> pairs':>9}{'p':>6}{'mates':>7}" if wide else "sd, 95% from, > pairs, p of mates"
    )
    lines = [Text(f"{'' if not wide else ' ' * label}{columns}", style=DIM)]
    for name, tensor in PREFERENCES.items():
        larger = "larger" if tensor == "block" else "smaller"
        sd, low = _signed(row, f"photo_{tensor}_{larger}"), _signed(row, f"photo_{tensor}_low")
        pairs, p = _percent(row, f"photo_pairs_{tensor}"), _number(row, f"photo_p_{tensor}", 3)
        mates = _number(row, f"photo_mates_{tensor}", 0)
        if wide:
            numbers = Text.assemble((f"{sd:>8}", Style(bold=True)), f"{low:>10}{pairs:>9}{p:>6}{mates:>7}")
            lines.append(Text.assemble((f"{name:<{label}}", DIM), numbers))
        else:
            lines += [
                Text(name, style=DIM),
                Text.assemble("  ", (sd, Style(bold=True)), f"  {low}  {pairs}  {p} of {mates}"),
            ]
    peaks = Text.assemble(
        ("peak  B ", DIM),
        _signed(row, "photo_peak_block"),
        (" on I's, I ", DIM),
        _signed(row, "photo_peak_in"),
        (" on B's;  half-width  I ", DIM),
        _number(row, "photo_width_in"),
        ("  O ", DIM),
        _number(row, "photo_width_out"),
        (" oct", DIM),
    )
    return [head, *lines, peaks]


def seeds_text(row: ChannelValues) -> list[Text]:
    """How often the verdicts hold over the sets that differ in seed only."""
    if not isinstance(row.get("seeds"), int) or int(str(row["seeds"])) < 2:
        return [Text("one seed stored; * computes another to compare with", style=DIM)]
    return [
        Text.assemble(
            (f"{row['seeds']} seeds  ", Style(bold=True)),
            f"same update {_percent(row, 'stable_update')}",
            f"  scale invariant {_percent(row, 'stable_scale_invariant')}",
        )
    ]


def _tick(value: object) -> tuple[str, Style]:
    if value is None:
        return "·", DIM
    return ("✓", PASSED) if value else ("✗", FAILED)


def _number(row: ChannelValues, name: str, places: int = 2) -> str:
    value = row.get(name)
    return figure(name, float(value) if isinstance(value, (int, float)) else None, places)


def _signed(row: ChannelValues, name: str) -> str:
    value, text = row.get(name), _number(row, name)
    return f"+{text}" if isinstance(value, (int, float)) and value > 0 else text


def _percent(row: ChannelValues, name: str) -> str:
    value = row.get(name)
    return f"{100 * float(value):.0f}%" if isinstance(value, (int, float)) else "·"
