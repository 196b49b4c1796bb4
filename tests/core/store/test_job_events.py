"""The lines that workers print and log are read by other programs, so they stay as they are."""

from __future__ import annotations

import json

import pytest

from streamscope.core.errors import NO_FAULT, Fault
from streamscope.core.model.recipe import Recipe, SetKey
from streamscope.core.store.jobs.events import (
    BatchDone,
    ClusterConnected,
    Counts,
    DownloadProgressed,
    Event,
    JobEnded,
    JobProgressed,
    JobStarted,
    ModelRegistered,
    ProblemOccurred,
    ProcessEnded,
    ProcessFailed,
    Report,
    read_event,
    write_event,
)

RECIPE = Recipe(steps=6)
REPORT = Report(done=1, total=4, share=0.25, rate=12.5, unit="image-steps", eta=None, message="2.1 in")
NUMBERS = '"done": 1, "total": 4, "share": 0.25, "rate": 12.5, "unit": "image-steps", "eta": null'
STARTED = JobStarted(SetKey(RECIPE, 1, "lucent", "channel"), ("2.1",), ("in", "block"), 4, {"2.1": (0, 3)}, 4)
SET = (
    f'{{"event": "started", "recipe": {json.dumps(RECIPE.to_json())}, "steps": 6, "seed": 1, "capture": "lucent", '
    '"objective": "channel", "blocks": ["2.1"], "tensors": ["in", "block"], "batch": 4, "channels": {"2.1": [0, 3]}, '
    '"missing": 4}'
)
LINES: list[tuple[Event, str]] = [
    (STARTED, SET),
    (JobProgressed(REPORT), f'{{"event": "progress", {NUMBERS}, "message": "2.1 in"}}'),
    (
        JobProgressed(REPORT, {"cuda:0": (10, 80)}, Counts(spent=1.5, done=1, steps=6.0)),
        f'{{"event": "progress", {NUMBERS}, "message": "2.1 in", "device_memory": {{"cuda:0": [10, 80]}}, '
        '"counts": {"spent": 1.5, "inside": 0.0, "again": 0.0, "done": 1, "steps": 6.0, "due": 0.0}}',
    ),
    (
        BatchDone("fz", "2.1", "in", 1, 4, (0, 3), 1.25, {"no gradient": 2}, 5.5, "cuda:0"),
        '{"event": "fz", "block": "2.1", "tensor": "in", "retry": 1, "count": 4, "flagged": {"no gradient": 2}, '
        '"mean_steps": 5.5, "channels": [0, 3], "seconds": 1.25, "device": "cuda:0"}',
    ),
    (
        BatchDone("measure", "2.1", "out", 0, 1, (7, 7), 0.5),
        '{"event": "measure", "block": "2.1", "tensor": "out", "retry": 0, "count": 1, "channels": [7, 7], '
        '"seconds": 0.5}',
    ),
    (ProblemOccurred(Fault("a truncated PNG")), '{"event": "problem", "message": "a truncated PNG"}'),
    (ClusterConnected(("cpu", "cuda"), True), '{"event": "cluster", "workers": ["cpu", "cuda"], "shared_disk": true}'),
    (DownloadProgressed(5, 0), '{"event": "download", "done": 5, "total": 0}'),
    (
        ModelRegistered("be" * 32, "no classifier", ("arch is another",)),
        f'{{"event": "model", "fingerprint": "{"be" * 32}", "layout": "no classifier", '
        '"warnings": ["arch is another"]}',
    ),
    (ModelRegistered("be" * 32), f'{{"event": "model", "fingerprint": "{"be" * 32}"}}'),
    (
        ProblemOccurred(Fault("x is damaged", "damage")),
        '{"event": "problem", "message": "x is damaged", "kind": "damage"}',
    ),
    (ProcessFailed(Fault("no such file")), '{"event": "error", "message": "no such file"}'),
    (ProcessEnded("failed", Fault("no memory")), '{"event": "ended", "state": "failed", "message": "no memory"}'),
    (JobEnded("stopped", Fault("stopped")), '{"event": "stopped", "message": "stopped"}'),
    (
        JobEnded("done", NO_FAULT, Report(done=1, total=4, share=0.25, rate=12.5, unit="image-steps")),
        f'{{"event": "done", "message": "", {NUMBERS}}}',
    ),
    (
        JobEnded("done", Fault("nothing is missing"), Report(done=4, total=4)),
        '{"event": "done", "message": "nothing is missing", "done": 4, "total": 4}',
    ),
]


@pytest.mark.parametrize(("event", "line"), LINES)
def test_an_event_is_this_line_and_the_line_is_this_event(event: Event, line: str) -> None:
    assert write_event(event) == line
    assert read_event(line) == event
    assert read_event(line.encode()) == event


def test_several_processes_name_their_devices_when_they_start() -> None:
    event = JobStarted(STARTED.key, ("2.1",), ("in", "block"), 4, {"2.1": (0, 3)}, 4, ("cpu", "cpu"))
    line = SET.removesuffix("}") + ', "devices": ["cpu", "cpu"]}'
    assert (write_event(event), read_event(line)) == (line, event)


def test_what_a_later_version_says_besides_is_let_be() -> None:
    for event, line in LINES:
        assert read_event(line.removesuffix("}") + ', "wings": {"many": [2]}}') == event


@pytest.mark.parametrize(
    "line",
    [
        "Downloading: 100 %",
        "[]",
        "7",
        "{}",
        '{"event": "of a later version"}',
        '{"event": ["fz"]}',
        '{"event": "fz", "block": "2.1"}',
        '{"event": "ended", "state": "asleep", "message": ""}',
        '{"event": "started", "recipe": {"wings": 2}, "seed": 0, "capture": "exact", "objective": "neuron"}',
        '{"event": "progress", "counts": []}',
        '{"event": "progress", "done": NaN}',
        '{"event": "progress", "done": 1.5}',
        '{"event": "progress", "rate": "1"}',
        '{"event": "progress", "rate": 1e999}',
        '{"event": "progress", "rate": 1' + "0" * 400 + "}",
        '{"event": "progress", "device_memory": {"cuda:0": [1]}}',
        '{"event": "waiting", "batch": "2.1", "holder": ["a"]}',
        '{"event": "done", "message": null}',
        '{"event": "done", "total": []}',
        "[" * 200_000,
        "\ufeff{}",
    ],
)
def test_any_other_line_is_no_event(line: str) -> None:
    assert read_event(line) is None
