"""Full screens that look at channels of the table below, and the simplest of them: pictures as large as they go."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.screen import Screen
from textual.widgets import Static

from streamscope.core.model.blocks import TENSORS
from streamscope.tui.data.pictures import PICTURE_KINDS, PictureKind, kind_after
from streamscope.tui.screens.channels import AHEAD, ChannelsScreen
from streamscope.tui.table.arrangement import Key
from streamscope.tui.table.channel_text import ChannelValues, one_line
from streamscope.tui.widgets.keys_footer import KeysFooter
from streamscope.tui.widgets.picture import PictureBox
from streamscope.tui.widgets.preview import DEBOUNCE, Preview, subjects
from streamscope.tui.widgets.status import MessageLine


class ChannelView(Screen[None]):
    """What these screens share: judging with the keys of the table, other pictures, whole or cropped, the way back.

    `source` is the screen below: its frame, its table's order and cursor are the truth. Subclasses say in `show` what
    changes when any of that does.
    """

    CSS = """
    ChannelView { layout: vertical; }
    ChannelView .line { height: 1; background: $panel; padding: 0 1; }
    ChannelView .figures { padding: 0 1; scrollbar-size-vertical: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "mark('keep')", "Keep", id="view.keep"),
        Binding("n", "mark('reject')", "Reject", id="view.reject"),
        Binding("u", "mark('unsure')", "Unsure", id="view.unsure"),
        Binding("c", "mark('')", "Clear the mark", show=False, id="view.clear"),
        Binding(
            "a",
            "toggle_advance",
            "After a mark or space: go on, or stay",
            show=False,
            id="view.advance",
        ),
        Binding("e", "app.ask('note')", "Note", id="view.note"),
        Binding("t", "app.ask('tags')", "Set tags", show=False, id="view.tags"),
        Binding("z", "app.ask('undo')", "Undo", show=False, id="view.undo"),
        Binding("Z,ctrl+r", "app.ask('redo')", "Redo", show=False, id="view.redo"),
        Binding("plus", "app.ask('more_steps')", "Compute more steps for what is shown", show=False, id="view.steps"),
        Binding(
            "asterisk", "app.ask('another_seed')", "Compute another seed of what is shown", show=False, id="view.seed"
        ),
        Binding("J", "app.ask('jobs')", "Jobs", show=False, id="view.jobs"),
        Binding("E", "app.ask('export')", "Export", show=False, id="view.export"),
        Binding("x", "next_kind", "Other pictures", id="view.look"),
        Binding("w", "toggle_whole", "Whole image, or what the neuron sees", show=False, id="view.whole"),
        Binding("escape,q", "leave", "Back", id="view.leave"),
    ]

    def __init__(self, source: ChannelsScreen) -> None:
        super().__init__()
        self.source = source
        preview = source.query_one(Preview)
        self.kind: PictureKind = preview.kind
        self.whole = preview.whole

    def show(self) -> None:
        """Show what the table below holds now."""
        raise NotImplementedError

    def marked_keys(self) -> list[Key]:
        """What a mark, a tag or a note is for."""
        return [self.source.table.key] if self.source.table.key is not None else []

    def computed_keys(self) -> list[Key]:
        """What more steps or another seed are for: every channel shown."""
        return self.marked_keys()

    def after_mark(self) -> None:
        """Where to go after a mark, when the table would go on to the next channel."""
        self.source.table.action_move(1)
        self.show()

    def say(self, text: str, failed: bool = False) -> None:
        """Put a line at the bottom."""
        self.query_one("#message", MessageLine).say(text, failed)

    def row_at(self, key: Key | None) -> ChannelValues | None:
        """A channel's fields; None when the frame has none."""
        frame = self.source.frame
        place = frame.row_of(*key) if frame is not None and key is not None else None
        return frame.rows([place])[0] if frame is not None and place is not None else None

    def on_mount(self) -> None:
        self.call_after_refresh(self.show)

    def action_mark(self, mark: str) -> None:
        keys = self.marked_keys()
        if keys:
            self.source.post_message(ChannelsScreen.MarkGiven(keys, mark))
            if self.source.advance and mark:
                self.after_mark()

    def action_toggle_advance(self) -> None:
        self.source.action_toggle_advance()
        self.say(self.source.advance_text)

    def action_next_kind(self) -> None:
        self.kind = kind_after(self.kind)
        self.say(PICTURE_KINDS[self.kind])
        self.show()

    def action_toggle_whole(self) -> None:
        self.whole = not self.whole
        self.say("whole images" if self.whole else "what the centre neuron sees")
        self.show()

    def action_leave(self) -> None:
        preview = self.source.query_one(Preview)
        preview.whole, preview.kind = self.whole, self.kind
        self.dismiss()


class CursorView(ChannelView):
    """A view of the channel under the table's cursor, which it moves."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j,down", "move(1)", "Next", id="view.next"),
        Binding("k,up", "move(-1)", "Previous", id="view.previous"),
    ]

    def action_move(self, by: int) -> None:
        self.source.table.action_move(by)
        self.show()

    def neighbours(self) -> list[ChannelValues]:
        """Channels that the cursor may come to next."""
        table, frame = self.source.table, self.source.frame
        if frame is None:
            return []
        near = [table.position + by for by in AHEAD if 0 <= table.position + by < len(table.index)]
        return [*frame.rows(table.index[near])] if near else []


class ZoomScreen(CursorView):
    """The three pictures, or one of them, as large as the terminal is."""

    CSS = """
    ZoomScreen #pictures { height: 1fr; }
    ZoomScreen PictureBox.hidden { display: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("1", "only('in')", "I", id="zoom.in"),
        Binding("2", "only('block')", "B", id="zoom.block"),
        Binding("3", "only('out')", "O", id="zoom.out"),
        Binding("p", "leave", "Back", show=False, id="zoom.leave"),
    ]

    def __init__(self, source: ChannelsScreen) -> None:
        super().__init__(source)
        self._only = ""

    def compose(self) -> ComposeResult:
        yield Static(id="title", classes="line")
        with Horizontal(id="pictures"):
            for tensor in TENSORS:
                yield PictureBox(self.source.painter, id=f"zoom-{tensor}")
        yield MessageLine(id="message", classes="line")
        yield KeysFooter()

    def show(self) -> None:
        row = self.row_at(self.source.table.key)
        self.query_one("#title", Static).update(one_line(row) if row is not None else "")
        boxes = [self.query_one(f"#zoom-{tensor}", PictureBox) for tensor in TENSORS]
        # A cell more of width can be a line more of picture: side by side they are to be of one size.
        width = "1fr" if self._only else self.size.width // len(TENSORS)
        for box in boxes:
            box.styles.width = width
        for box, subject in zip(boxes, subjects(row, self.kind, self.whole), strict=True):
            box.want(subject if box.display else None, DEBOUNCE)
        ahead = [
            box.request_for(subject)
            for near in self.neighbours()[:2]
            for box, subject in zip(boxes, subjects(near, self.kind, self.whole), strict=True)
            if subject is not None and box.display
        ]
        self.source.painter.prepare([request for request in ahead if request is not None])

    def action_only(self, tensor: str) -> None:
        self._only = "" if self._only == tensor else tensor
        for name in TENSORS:
            self.query_one(f"#zoom-{name}").set_class(bool(self._only) and name != self._only, "hidden")
        self.call_after_refresh(self.show)
