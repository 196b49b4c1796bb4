"""How long a key takes until its effect is handed to the terminal, while a job computes: for `streamscope bench`."""

from __future__ import annotations

import asyncio
import os
import platform
import tempfile
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from streamscope.core.model.blocks import Block, Field, ModelInfo, SkipWeights, Target
from streamscope.core.model.fz import NO_FLAG, FZBatch
from streamscope.core.model.recipe import SetKey
from streamscope.core.model.spec import DEMO_MODEL, ModelSpec
from streamscope.core.store import FZSet, Job, JobSpec, Store, job_state, request_stop
from streamscope.tui.bench.app_start import app_start, first_look
from streamscope.tui.terminal.detection import Mode

ROWS = 15_000
"""As many channels as a resnet152 has: 15,104 in its fifty blocks."""
BLOCKS = 50
SIDE = 224
PICTURES = 300
"""Channels with FZs of their own, all in one block: the cursor moves there."""
WAIT_SECONDS = 60.0


@dataclass
class Samples:
    """Milliseconds of one kind of key."""

    times: list[float] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        found = np.array(self.times)
        shares = {f"p{share}_ms": round(float(np.percentile(found, share)), 1) for share in (50, 95, 99)}
        return {"n": len(found), **shares, "max_ms": round(float(found.max()), 1)}


def app_latencies(
    keys: int = 200, rows: int = ROWS, graphics: Mode = "kitty", busy: bool = True, device: str = "auto"
) -> dict[str, Any]:
    """Opens the app without a terminal on a store of `rows` channels and presses `keys` keys, while a job of the demo
    model computes (`busy`).

    Returns p50, p95, p99 and the greatest of, in milliseconds: `key` (a cursor key until the frame with the cursor at
    its new place is written), `preview` (the same key until the channel's three pictures are shown; 0.4 s between
    keys, as of somebody who looks), `preview_far` (a jump to a channel whose neighbours were never seen),
    `held` (cursor keys 30 ms apart) and `sort`, `filter` (a key typed in it) until the frame is written, each with its
    number of keys.
    And, without a job beside them, `start` and `first_look`: see the functions of `streamscope.tui.bench.app_start`.
    """
    with tempfile.TemporaryDirectory(prefix="streamscope-bench-") as folder:
        root = Path(folder)
        info = _model(rows)
        store = Store.open(root / "cache", create=True)
        store.register(info)
        spec = ModelSpec("resnet152")
        store.remember(spec.text, info.fingerprint)
        _fill(store.set(info, SetKey(info.default_recipe), create=True), info)
        start = app_start(store.root, spec.name, info.fingerprint)
        first = _first_look(root / "demo")
        return {**asyncio.run(_measure(root, spec, keys, graphics, busy, device)), "start": start, "first_look": first}


def _first_look(root: Path) -> dict[str, Any]:
    """`app_start.first_look` of the demo, whose filled store has every measure."""
    store, spec = Store.open(root, create=True), ModelSpec(DEMO_MODEL)
    info = store.recall(spec.text)
    assert info is not None
    store.remember(spec.text, info.fingerprint)
    _fill(store.set(info, SetKey(info.default_recipe), create=True), info)
    return first_look(root, spec.name, info.fingerprint)


async def _measure(root: Path, spec: ModelSpec, keys: int, graphics: Mode, busy: bool, device: str) -> dict[str, Any]:
    from textual.widgets import Input

    from streamscope.tui.app.app import StreamscopeApp
    from streamscope.tui.app.options import AppOptions
    from streamscope.tui.data.job_control import Workers
    from streamscope.tui.terminal.detection import Graphics
    from streamscope.tui.widgets.picture import PictureBox

    options = AppOptions(spec=spec, cache=root / "cache", marks=root / "marks", device=device)
    started = time.perf_counter()
    app = StreamscopeApp(options, Store.open(options.cache), Graphics(graphics, (8, 17)), spec.text)
    found: dict[str, Samples] = {
        name: Samples() for name in ("key", "preview", "preview_far", "held", "sort", "filter")
    }
    job, computed = None, False
    other = Store.open(root / "computing", create=True)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(app.run_test(size=(200, 60)))
        await _until(lambda: app.channels is not None and app.channels.frame is not None)
        opening = time.perf_counter() - started
        screen = app.channels
        assert screen is not None
        boxes = list(screen.query("#pictures PictureBox").results(PictureBox))
        table = screen.table

        def shown() -> bool:
            key = table.key
            return all(box.subject is not None and box.subject.key == key and box.message != "…" for box in boxes)

        if busy:
            job = Workers().start(other, _demo_job(device))
            stack.callback(request_stop, job)
            await _until(lambda: _computes(other, job), 300.0)
        await _until(shown)
        for place in range(keys):
            # Somebody who looks at each channel, to and fro in the block that has pictures.
            await asyncio.sleep(0.4)
            key = "j" if place % (PICTURES - 20) < (PICTURES - 20) // 2 or place < keys // 2 else "k"
            began = time.perf_counter()
            await _press(app, key)
            found["key"].times.append(1000 * (time.perf_counter() - began))
            await _until(shown)
            found["preview"].times.append(1000 * (time.perf_counter() - began))
        for place in range(max(20, keys // 5)):
            await asyncio.sleep(0.4)
            began = time.perf_counter()
            table.move_to((info_block(app), (place * 37) % PICTURES))
            await _painted(app)
            await _until(shown)
            found["preview_far"].times.append(1000 * (time.perf_counter() - began))
        for _ in range(keys):
            began = time.perf_counter()
            await _press(app, "j")
            took = time.perf_counter() - began
            found["held"].times.append(1000 * took)
            await asyncio.sleep(max(0.0, 0.03 - took))
        for place in range(max(20, keys // 10)):
            await asyncio.sleep(0.2)
            began = time.perf_counter()
            screen.choose_column(("mix_ratio", "scale_metric")[place % 2])
            await _painted(app)
            found["sort"].times.append(1000 * (time.perf_counter() - began))
        await _press(app, "slash")
        screen.filter_bar.query_one(Input).value = "mix_ratio > 0.5"
        await _painted(app)
        for place in range(max(20, keys // 10)):
            await asyncio.sleep(0.2)
            began = time.perf_counter()
            await _press(app, ("9", "backspace")[place % 2])
            found["filter"].times.append(1000 * (time.perf_counter() - began))
        computed = job is not None and job_state(other, job).state == "running"
        rows = len(screen.frame) if screen.frame is not None else 0
    return {
        "rows": rows,
        "graphics": graphics,
        "job_running": computed,
        "cores": os.cpu_count(),
        "load": [round(value, 1) for value in os.getloadavg()],
        "python": platform.python_version(),
        "open_ms": round(1000 * opening, 1),
        **{name: samples.to_json() for name, samples in found.items()},
    }


def info_block(app: Any) -> str:
    """The block whose channels have pictures."""
    return str(app.info.blocks[1].name)


async def _press(app: Any, key: str) -> None:
    from textual import events

    character = {"slash": "/"}.get(key, key)
    app.post_message(events.Key(key, character))
    await _painted(app)


async def _painted(app: Any) -> None:
    """Until everything posted so far is handled and the frame it asked for is written."""
    done = asyncio.Event()
    screen = app.screen
    # Messages of app, screen and focused widget are handled in turn; the refresh comes after them.
    for pump in (app, screen, screen.focused or screen, screen):
        passed = asyncio.Event()
        pump.call_next(passed.set)
        await passed.wait()
    screen.call_after_refresh(done.set)
    await done.wait()


async def _until(condition: Callable[[], bool], seconds: float = WAIT_SECONDS) -> None:
    end = time.perf_counter() + seconds
    while not condition():
        if time.perf_counter() > end:
            raise TimeoutError("the app did not come to what was waited for")
        await asyncio.sleep(0.001)


def _computes(store: Store, job: Job) -> bool:
    """Whether a job's worker is past loading the weights."""
    return job_state(store, job).rate is not None


def _demo_job(device: str) -> JobSpec:
    """More of the demo model than the measurement lasts."""
    return JobSpec(DEMO_MODEL, device=device, steps=100_000)


def _model(rows: int) -> ModelInfo:
    """Blocks of equal width; the second one's channels get FZs."""
    from streamscope.core.model.recipe import Recipe

    width = rows // BLOCKS
    names = [f"{1 + number // 10}.{number % 10}" for number in range(BLOCKS)]
    blocks = tuple(
        Block(name, "downsample" if name.endswith(".0") else "simple", width, names[place - 1] if place else None)
        for place, name in enumerate(names)
    )
    fields = {f"{name}.{tensor}": Field(62, 161, 99) for name in names for tensor in ("in", "block", "out")}
    weights = {name: SkipWeights(*(tuple(np.linspace(0.1, 1, width).tolist()) for _ in range(3))) for name in names}
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    return ModelInfo("resnet152", "be" * 32, SIDE, mean, std, blocks, tuple(names[1:]), Recipe(), fields, weights)


def _fill(fzset: FZSet, info: ModelInfo) -> None:
    """Measures of every channel, FZs of the first of the second block."""
    random = np.random.default_rng(0)
    for block in info.blocks:
        count = block.channels
        channels = list(range(count))
        for tensor in ("in", "block"):
            own = np.zeros((count, 3, count), dtype=np.float32)
            own[channels, :, channels] = random.gamma(2.0, 1.0, (count, 3))
            fzset.commit_measures(block.name, tensor, channels, own, own * 1.1)
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    chosen = list(range(min(PICTURES, info.blocks[1].channels)))
    studied = info.blocks[1].name
    for target in dict.fromkeys(fzset.target(studied, tensor) for tensor in ("in", "block", "out")):
        _commit(fzset, target, chosen, x, y)


def _commit(fzset: FZSet, target: Target, channels: list[int], x: np.ndarray, y: np.ndarray) -> None:
    for first in range(0, len(channels), 50):
        part = channels[first : first + 50]
        phases = np.array(part)[:, None, None, None] * 0.7 + np.arange(3)
        waves = np.sin(2 * np.pi * (8 * x + 5 * y)[None, :, :, None] + phases)
        images = (127 + 120 * waves * np.exp(-8 * ((x - 0.5) ** 2 + (y - 0.5) ** 2))[None, :, :, None]).astype(np.uint8)
        trace = np.tile(np.linspace(0, 9, 32), (len(part), 1))
        batch = FZBatch(target, tuple(part), images, trace[:, -1], trace, (NO_FLAG,) * len(part))
        fzset.commit_fzs(batch, {"device": "cpu"})
