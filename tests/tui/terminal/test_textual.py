"""What the wire takes of Textual that is private to it: a version that changes it is noticed here."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
from rich.color import ColorSystem
from rich.style import Style
from textual._compositor import ChopsUpdate, LayoutUpdate
from textual.app import App
from textual.drivers.linux_driver import LinuxDriver
from textual.screen import Screen
from textual.strip import SGR_STYLES, Strip

from streamscope.tui.app.app import StreamscopeApp
from streamscope.tui.terminal.canvas import Canvas
from tests.support.app_driver import drawn, opened, options, screen_text, small_store, until

SIZE = (160, 48)


def parameters(function: object) -> list[str]:
    assert callable(function)
    return list(inspect.signature(function).parameters)


def test_its_private_parts_are_what_they_were() -> None:
    assert parameters(App._display) == ["self", "screen", "renderable"]
    assert parameters(App._handle_exception) == ["self", "error"]
    app: App[None] = App()
    assert (app._sync_available, app._batch_count, app._running, app._closed) == (False, 0, False, False)
    assert parameters(LayoutUpdate) == ["strips", "region"]
    assert parameters(ChopsUpdate) == ["chops", "spans", "chop_ends"]
    for name in ("_sigtstp_application", "_sigcont_application"):
        assert parameters(getattr(LinuxDriver, name)) == ["self", "_"]
    for name in ("suspend_application_mode", "resume_application_mode", "start_application_mode", "disable_input"):
        assert parameters(getattr(LinuxDriver, name)) == ["self"]
    source = inspect.getsource(LinuxDriver)
    for name in ("_must_signal_resume", "WriterThread(self._file)", "target=self._run_input_thread"):
        assert name in source


@pytest.mark.parametrize("words", ["", "bold", "underline reverse", "#ff0000 on #000080", "bold italic red on default"])
def test_letters_are_written_in_the_styles_that_it_would_write(words: str) -> None:
    style = Style.parse(words)
    bits = style._attributes & style._set_attributes
    attributes = [SGR_STYLES[bit] for bit in range(bits.bit_length()) if bits & (1 << bit)]
    codes = Strip.render_ansi(style, ColorSystem.TRUECOLOR)
    colours = [
        ";".join(colour.get_ansi_codes(front))
        for colour, front in ((style.color, True), (style.bgcolor, False))
        if colour is not None
    ]
    assert codes == ";".join([*attributes, *colours])


def whole(app: StreamscopeApp) -> Canvas:
    canvas = Canvas(*SIZE)
    lines = app.screen._compositor.render_strips()
    canvas.apply(LayoutUpdate([[line] for line in lines], app.screen.region))
    return canvas


async def test_what_it_draws_part_by_part_is_its_whole_screen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_store(tmp_path / "cache")
    canvas, others = Canvas(*SIZE), set()
    display = StreamscopeApp._display

    def look(app: StreamscopeApp, screen: Screen[object], renderable: object) -> None:
        if isinstance(renderable, (LayoutUpdate, ChopsUpdate)):
            assert screen._compositor.size == SIZE
            canvas.apply(renderable)
        else:
            others.add(type(renderable))
        display(app, screen, renderable)  # type: ignore[arg-type]

    monkeypatch.setattr(StreamscopeApp, "_display", look)
    async with opened(options(tmp_path), SIZE) as (app, pilot):
        await until(pilot, drawn(app))
        for keys, words in (("jj", "row 3 of 22"), ("?", "type to find"), ("\x1b", "row 3 of 22"), ("/", "Filter")):
            names = {"?": "question_mark", "\x1b": "escape", "/": "slash"}
            for key in keys:
                await pilot.press(names.get(key, key))
            await until(pilot, lambda words=words: words in screen_text(app))  # type: ignore[misc]
            await until(pilot, lambda: canvas._wanted == whole(app)._wanted)
    assert others <= {type(None)}
