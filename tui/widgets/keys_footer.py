"""The line of keys at the bottom; how to see all of them always has its place there."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.widgets import Footer
from textual.widgets._footer import FooterKey


class KeysFooter(Footer):
    """As Textual's, with the key of the help at the right, where a narrow terminal does not cut it off."""

    DEFAULT_CSS = """
    KeysFooter.-compact FooterKey.-command-palette { margin: 0; padding: 0 1 0 0; background: $footer-background; }
    """

    def __init__(self) -> None:
        super().__init__(compact=True, show_command_palette=False)

    def compose(self) -> ComposeResult:
        for widget in super().compose():
            if isinstance(widget, FooterKey) and widget.action.endswith("show_keys"):
                widget.add_class("-command-palette")
            yield widget
