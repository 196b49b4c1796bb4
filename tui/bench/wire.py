"""What the app sends over a slow line, and how far the screen is behind the keys: for `streamscope bench`."""

from __future__ import annotations

import os
import secrets
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from streamscope.core.model.blocks import Block, Field, ModelInfo, SkipWeights
from streamscope.core.model.fz import NO_FLAG, FZBatch
from streamscope.core.model.recipe import Recipe, SetKey
from streamscope.core.model.spec import ModelSpec
from streamscope.core.processes import COMMAND_LINE, module_command
from streamscope.core.store import Store
from streamscope.tui.bench.app_start import own_environment
from streamscope.tui.bench.line import Line
from streamscope.tui.bench.screen import Screen
from streamscope.tui.terminal.detection import Mode

MODES: tuple[Mode, ...] = ("sixel", "kitty", "half", "off")
RATES = {"125 KB/s": 125e3, "1 MB/s": 1e6, "10 MB/s": 10e6, "unthrottled": None}
DELAYS = (0.02, 0.2)
"""Seconds to the program and back."""
SIZE = (200, 60)
"""Columns and rows."""
SIDE = 224
CHANNELS = 48
MOVES = 20
MOVE_SECONDS = 0.3
LOOKS = 4
LOOK_SECONDS = 2.5
LOOKED_SECONDS = 0.3
"""With nothing coming for so long afterwards, what a look brought has come: not yet what comes after a long rest."""
PAUSE_SECONDS = 1.0
"""With nothing coming for so long, what is seen is settled,"""
QUIET_SECONDS = 2.0
"""and for so long, all there is to come has come."""
KITTY = "kitty(0.35.2)"


def wire(
    modes: Sequence[Mode] = MODES, rates: Sequence[str] = tuple(RATES), tmux: bool = True
) -> dict[str, dict[str, Any]]:
    """Opens the app at the end of a line of each rate and delay, in each mode, plain and (where there is tmux) in tmux.

    Somebody first looks at channels, a cursor key every 2.5 s, then walks past 20 of them, one every 0.3 s. Of each
    combination: `look_kb` and `walk_kb` (thousands of bytes a move); of the looks, from the key on, `text_ms` (until
    the new row's number stands on the screen), `picture_ms` (until a first picture does, medians) and `whole_ms` (until
    the last byte came, the longest); of the walk `text_behind_s` (from a key until its row's number, or a later one's,
    stands on the screen, the longest), and from its last key on `settled_s` (until the last byte before a second of
    nothing) and `full_s` (before two seconds of nothing).
    """
    found = {}
    with tempfile.TemporaryDirectory(prefix="streamscope-bench-") as folder:
        cache = Path(folder) / "cache"
        fill_store(cache)
        for through in (False, True) if tmux and shutil.which("tmux") else (False,):
            for mode in modes:
                # tmux draws Sixel itself or not at all, and what it makes of it is its own.
                if through and mode == "sixel":
                    continue
                for rate in rates:
                    for delay in DELAYS:
                        # Each opens where nobody has been yet.
                        with own_environment() as environment:
                            measured = _measure(cache, environment, mode, RATES[rate], delay, through)
                        name = f"{mode}, {rate}, {1000 * delay:.0f} ms{', in tmux' * through}"
                        found[name] = measured
    return found


def _measure(
    cache: Path, environment: Mapping[str, str], mode: Mode, rate: float | None, delay: float, through: bool
) -> dict[str, Any]:
    app = module_command(COMMAND_LINE, "--model", "resnet18", "--cache", str(cache), "--graphics", mode)
    with _program(app, environment, through) as program:
        screen = Screen(*SIZE, KITTY if mode == "kitty" else "XTerm(379)", sixel=mode == "sixel", kitty=mode == "kitty")
        environ = {**environment, "COLORTERM": "truecolor"}
        for name in ("TMUX", "TMUX_PANE"):
            environ.pop(name, None)
        line = Line(program, environ, screen, rate, delay)
        try:
            line.until(lambda: screen.shows(f"row 1 of {CHANNELS}"), "its table")
            line.settle(QUIET_SECONDS)
            return _looks(line, mode) | _walk(line)
        finally:
            line.close()


def _looks(line: Line, mode: Mode) -> dict[str, Any]:
    """Cursor keys of somebody who looks at each channel."""
    texts, pictures, whole, before = [], [], [], line.delivered
    for place in range(LOOKS):
        drawn = line.screen.pictures
        began = time.monotonic()
        line.type("j")
        wanted = f"row {place + 2} of {CHANNELS}"
        texts.append(line.until(partial(line.screen.shows, wanted), wanted) - began)
        if mode != "off":
            pictures.append(line.until(partial(line.screen.has_more_than, drawn), "a picture") - began)
        line.wait(max(0.0, began + LOOK_SECONDS - time.monotonic()))
        line.settle(LOOKED_SECONDS)
        whole.append(line.last - began)
    return {
        "look_kb": round((line.delivered - before) / LOOKS / 1000, 1),
        "text_ms": round(1000 * statistics.median(texts)),
        "picture_ms": round(1000 * statistics.median(pictures)) if pictures else None,
        "whole_ms": round(1000 * max(whole)),
    }


def _walk(line: Line) -> dict[str, Any]:
    """Cursor keys of somebody who passes by."""
    line.settle(QUIET_SECONDS)
    before, began = line.delivered, time.monotonic()
    for place in range(MOVES):
        line.wait(max(0.0, began + place * MOVE_SECONDS - time.monotonic()))
        line.type("j", f"row {2 + LOOKS + place} of {CHANNELS}")
    last_key = time.monotonic()
    line.until(lambda: len(line.behind) == MOVES, f"row {1 + LOOKS + MOVES}")
    line.settle(PAUSE_SECONDS)
    settled = line.last
    line.settle(QUIET_SECONDS)
    return {
        "walk_kb": round((line.delivered - before) / MOVES / 1000, 1),
        "text_behind_s": round(max(line.behind), 2),
        "settled_s": round(settled - last_key, 2),
        "full_s": round(line.last - last_key, 2),
    }


@contextmanager
def _program(app: Sequence[str], environment: Mapping[str, str], through: bool) -> Iterator[list[str]]:
    """The command to run on the terminal: the app, or a tmux in which it runs."""
    if not through:
        yield list(app)
        return
    server = ["tmux", "-L", f"streamscope-{os.getpid()}-{secrets.token_hex(4)}", "-f", "/dev/null"]

    def tell(*arguments: str) -> None:
        environ = {name: value for name, value in environment.items() if name not in ("TMUX", "TMUX_PANE")}
        subprocess.run([*server, *arguments], env=environ, check=False, capture_output=True)

    tell("new-session", "-d", "-x", str(SIZE[0]), "-y", str(SIZE[1]), "sleep", "600")
    tell("set-option", "-g", "allow-passthrough", "on")
    tell("set-option", "-g", "status", "off")
    tell("set-option", "-ga", "terminal-overrides", ",*:Tc")
    # The app asks tmux for the terminal around it, which has to be there first.
    started = ["COLORTERM=truecolor", *app]
    start = f"sleep 1.5; {' '.join(server)} respawn-pane -k env {' '.join(started)}"
    try:
        yield ["sh", "-c", f"({start}) & exec {' '.join(server)} attach"]
    finally:
        tell("kill-server")


def fill_store(root: Path) -> None:
    """A store with FZs of one block of a ResNet18, and numbers for it."""
    info = model()
    store = Store.open(root, create=True)
    store.register(info)
    store.remember(ModelSpec("resnet18").text, info.fingerprint)
    fzset = store.set(info, SetKey(info.default_recipe), create=True)
    block, channels = info.default_blocks[0], list(range(CHANNELS))
    random = np.random.default_rng(0)
    for tensor in ("in", "block"):
        own = np.zeros((CHANNELS, 3, CHANNELS), dtype=np.float32)
        own[channels, :, channels] = random.gamma(2.0, 1.0, (CHANNELS, 3))
        fzset.commit_measures(block, tensor, channels, own, own * 1.1)
    for target in dict.fromkeys(fzset.target(block, tensor) for tensor in ("in", "block", "out")):
        images = np.stack([picture(random) for _ in channels])
        trace = np.tile(np.linspace(0, 9, 32), (CHANNELS, 1))
        batch = FZBatch(target, tuple(channels), images, trace[:, -1], trace, (NO_FLAG,) * CHANNELS)
        fzset.commit_fzs(batch, {"device": "cpu"})


def model() -> ModelInfo:
    blocks = (Block("3.0", "downsample", CHANNELS, None), Block("3.1", "simple", CHANNELS, "3.0"))
    fields = {f"{block.name}.{tensor}": Field(6, 217, 211) for block in blocks for tensor in ("in", "block", "out")}
    weights = {
        block.name: SkipWeights(*(tuple(np.linspace(0.1, 1, CHANNELS).tolist()) for _ in range(3))) for block in blocks
    }
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    return ModelInfo("resnet18", "ce" * 32, SIDE, mean, std, blocks, ("3.1",), Recipe(), fields, weights)


def picture(random: np.random.Generator) -> np.ndarray:
    """(224, 224, 3) uint8: of a few frequencies, strong in the middle only, as an FZ is: 40 to 50 KB in Sixel."""
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(SIDE), np.fft.rfftfreq(SIDE), indexing="ij"))
    spectrum = random.normal(size=(3, SIDE, SIDE // 2 + 1)) + 1j * random.normal(size=(3, SIDE, SIDE // 2 + 1))
    noise = np.fft.irfft2(spectrum / np.maximum(frequency, 4 / SIDE) ** 2, s=(SIDE, SIDE))
    noise /= noise.std()
    y, x = (np.mgrid[:SIDE, :SIDE] - SIDE / 2) / SIDE
    strength = 6 + 60 * np.exp(-16 * (x**2 + y**2))
    image: np.ndarray = (127 + strength * noise).clip(0, 255).astype(np.uint8).transpose(1, 2, 0)
    return image
