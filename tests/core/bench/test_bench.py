import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from streamscope.core.bench import speed as bench_speed
from streamscope.core.bench.quality import Quality
from streamscope.core.bench.results import compare, differing_machine
from streamscope.core.bench.scan import patch_cost
from streamscope.core.engine.network import load_network
from streamscope.core.errors import UsageError
from streamscope.core.jobs.batch_loop import batches_at_once
from streamscope.core.model.spec import ModelSpec
from streamscope.tui.cli.main import main


def test_a_benchmark_on_the_demo_model_gives_speed_shares_and_quality(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a.json"
    options = ["--model", "demo", "--block", "1.1", "--batch", "2", "--rounds", "1", "--steps", "1"]
    quality = ["--parts", "speed,shares,quality", "--channels", "0", "--seeds", "2", "--quality-steps", "3"]
    assert main(["bench", *options, *quality, "--out", str(out)]) == 0
    found = json.loads(out.read_text())
    speed = found["speed"][0]
    assert speed["block"] == "1.1"
    assert speed["ratio"] == pytest.approx(speed["lucent"]["median"] / speed["ours"]["median"])
    parts = {name: share for name, share in found["shares"][0].items() if name != "block"}
    assert set(parts) == {"dft", "resampling", "convolution", "optimiser"}
    assert sum(parts.values()) == pytest.approx(1)
    assert len(found["quality"][0]["ours"]) == 2
    assert found["machine"]["model"] == "demo"
    assert "1.1 block:" in capfd.readouterr().out


def test_the_cost_of_best_patches_is_that_of_passes_with_and_without_in_turn() -> None:
    found = patch_cost(load_network(ModelSpec("demo"), "cpu"), rounds=2)
    assert found["ratio"] == pytest.approx(found["with"] / found["without"])
    assert found["with"] > 0


def test_lucent_is_not_compared_on_a_device_that_it_does_not_work_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    network = load_network(ModelSpec("demo"), "cpu")
    with pytest.raises(UsageError, match="torch-lucent works on cuda:0 here, not on cpu; use cuda:0, or hide"):
        bench_speed.speed(network, "1.1", 2, 1, 1)


def test_ours_is_timed_with_as_many_batches_as_a_job_optimises_at_once() -> None:
    assert batches_at_once(torch.device("cuda")) == 1
    assert batches_at_once(torch.device("cpu")) == min(torch.get_num_threads(), 4)


def test_a_lane_that_fails_ends_the_others() -> None:
    seen: list[int] = []

    def run(tick: Callable[[], None]) -> None:
        seen.append(1)
        for _ in range(8 if len(seen) == 1 else 1):
            tick()
        raise ValueError("no room")

    with pytest.raises(ValueError, match="no room"):
        bench_speed.step_times(run, lanes=2, device=torch.device("cpu"), steps=4)


def test_quality_is_the_mean_ratio_of_channels_with_a_t_interval_whatever_the_seeds_of_each() -> None:
    found = Quality("1.1", 3, 2, ours=[0.0, 4.0, 2.0, 2.0, 0.0, 4.0], lucent=[1.0] * 6)
    # By hand: mean 2, standard error 1 / sqrt(3), t(0.975, 2) = 4.303.
    assert found.mean == 2
    assert found.high - found.mean == pytest.approx(4.3027 / 3**0.5, rel=1e-4)


def test_two_results_are_compared_figure_by_figure_whatever_was_measured_beside_them() -> None:
    def speed(block: str, ms: float) -> dict[str, Any]:
        return {"block": block, "ours": {"median": ms}}

    before = {"machine": {"torch": "1"}, "speed": [speed("1.1", 4.0), speed("2.1", 8.0)]}
    after = {"machine": {"torch": "2"}, "speed": [speed("2.1", 2.0)], "new": 1}
    changes = compare(before, after)
    assert [(c.name, c.before, c.after, c.ratio) for c in changes] == [("speed.2.1.ours.median", 8.0, 2.0, 0.25)]
    assert differing_machine(before, after) == ["torch: 1 and 2"]


@pytest.mark.parametrize("content", [None, "not json", "[]", "{}"])
def test_what_is_no_benchmark_is_refused_in_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], content: str | None
) -> None:
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text('{"machine": {}}')
    if content is not None:
        bad.write_text(content)
    assert main(["bench", "--compare", str(good), str(bad)]) == 2
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "bad.json" in lines[0]


def test_an_unknown_part_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--parts", "speed,colour"]) == 2
    assert "unknown part 'colour'; use speed, shares" in capfd.readouterr().err
