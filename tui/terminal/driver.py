"""The terminal as the app uses it: keys without late answers, and an end when the terminal is gone."""

from __future__ import annotations

import os
import selectors
import signal
import time
from codecs import getincrementaldecoder
from collections.abc import Callable
from typing import IO, Any, Protocol, cast

from textual.app import App
from textual.drivers.linux_driver import LinuxDriver

from streamscope.tui.terminal.input import QuietParser
from streamscope.tui.terminal.wire import Wire

READ_BYTES = 4096
TICK_SECONDS = 0.1
"""How often keys that were held back are looked at."""


class Wired(Protocol):
    """An app that sends what it draws over a `Wire`."""

    wire: Wire

    def pump_from_thread(self) -> None: ...


class TerminalDriver(LinuxDriver):
    """Ends the app as `q` does when its terminal vanished: a dropped line need not send SIGHUP.

    Textual dies of SIGHUP, reads the end of the input again and again, and its writer dies of the first error. Answers
    of the terminal about its status are handed to the app's `wire`.
    """

    def __init__(
        self, app: App[Any], *, debug: bool = False, mouse: bool = True, size: tuple[int, int] | None = None
    ) -> None:
        super().__init__(app, debug=debug, mouse=mouse, size=size)
        assert self._file is not None
        self._file = _Screen(self._file, self._hang_up)  # type: ignore[assignment]  # all of a file that the writer uses
        self._is_gone = False
        self._is_suspended = False
        self._wired = cast(Wired, app)
        self._wire = self._wired.wire
        # On the event loop: Textual would stop and start in the middle of whatever is being sent.
        self._loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        self._loop.add_signal_handler(signal.SIGTSTP, self._sigtstp_application)
        self._loop.add_signal_handler(signal.SIGCONT, self._sigcont_application)

    def start_application_mode(self) -> None:
        self._wire.forget()
        super().start_application_mode()  # type: ignore[no-untyped-call]  # Textual gives it no types

    def suspend_application_mode(self) -> None:
        self._is_suspended = True
        super().suspend_application_mode()

    def resume_application_mode(self) -> None:
        if not self._is_suspended:
            # After SIGSTOP, of which nobody hears: the terminal was somebody else's all the same.
            self.suspend_application_mode()
            self._must_signal_resume = True
        self._is_suspended = False
        super().resume_application_mode()

    def disable_input(self) -> None:
        # An answer that comes when nobody reads any more would be typed into the shell.
        self._wire.close()
        if not self._is_gone:
            self._wire.link.drain()
        super().disable_input()

    def _answered(self) -> None:
        self._wire.link.answered(time.monotonic())
        self._wired.pump_from_thread()

    def run_input_thread(self) -> None:
        """Hands on what is typed until the app exits or the input ends."""
        parser, decode = QuietParser(self._debug, self._answered), getincrementaldecoder("utf-8")("replace").decode
        with selectors.SelectSelector() as selector:
            selector.register(self.fileno, selectors.EVENT_READ)
            while not self.exit_event.is_set():
                if selector.select(TICK_SECONDS):
                    try:
                        data = os.read(self.fileno, READ_BYTES)
                    except OSError:
                        data = b""
                    if not data:
                        self._hang_up()
                        return
                    for message in parser.feed(decode(data)):
                        self.process_message(message)
                for message in parser.tick():
                    self.process_message(message)

    def _hang_up(self) -> None:
        """What is shown is remembered and marks are kept, as on any exit."""
        if not self._is_gone:
            self._is_gone = True
            self._app.call_later(self._app.exit)


class _Screen:
    """What is written to a terminal that is gone goes nowhere."""

    def __init__(self, file: IO[str], gone: Callable[[], None]) -> None:
        self._file, self._gone = file, gone

    def write(self, text: str) -> None:
        try:
            self._file.write(text)
        except OSError:
            self._gone()

    def flush(self) -> None:
        try:
            self._file.flush()
        except OSError:
            self._gone()

    def fileno(self) -> int:
        return self._file.fileno()

    def isatty(self) -> bool:
        return self._file.isatty()


def use_terminal(app: App[Any]) -> None:
    """To be called before an app runs: on a terminal of Unix it gets this driver."""
    if app.driver_class is LinuxDriver:
        app.driver_class = TerminalDriver
