from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from streamscope.core.engine.converging import has_converged
from streamscope.core.engine.network import Network
from streamscope.core.engine.visualize import visualize
from streamscope.core.errors import UsageError
from streamscope.core.model.blocks import Target
from streamscope.core.model.recipe import Recipe, SetKey
from streamscope.tui.cli.main import main
from tests.support.networks import hand_set_network

TARGET = Target("1.1", "block")
CHANNELS = (2, 0, 1, 3, 2)


@pytest.fixture(scope="module")
def network() -> Network:
    return hand_set_network()


def test_images_that_never_converge_are_those_of_a_whole_run(network: Network) -> None:
    recipe = Recipe(steps=32)
    whole = visualize(network, TARGET, CHANNELS, recipe)
    found = visualize(network, TARGET, CHANNELS, replace(recipe, plateau=1e-9))
    assert found.channels == CHANNELS
    # Only rounding differs: other images share their passes.
    assert np.abs(found.images.astype(int) - whole.images).max() <= 1
    assert found.activation == pytest.approx(whole.activation, rel=1e-3)
    assert found.trace == pytest.approx(whole.trace, rel=1e-3, abs=1e-4)
    assert found.steps == (32,) * 5


def test_what_has_converged_stops_and_the_next_channel_takes_its_place(network: Network) -> None:
    seen = []
    recipe = Recipe(steps=320).until_converged(0.05)
    found = visualize(network, TARGET, CHANNELS, recipe, watch=lambda step, steps: seen.append((step, steps)))
    assert all(80 <= steps < 320 for steps in found.steps), found.steps
    whole = visualize(network, TARGET, CHANNELS, Recipe(steps=320))
    assert (found.activation > 0.8 * whole.activation).all()
    assert seen == [(step, 320) for step in range(1, 321)]
    assert found.trace[:, -1] == pytest.approx(found.activation, rel=0.02)


def test_an_activation_has_converged_when_its_last_quarter_rose_by_less_than_the_plateau() -> None:
    rising = [1.0, 2.0, 3.0, 3.96, 3.98, 3.99, 4.0, 4.0]
    # The last quarter of eight samples begins after the sixth: (4 - 3.99) / 4.
    assert has_converged(rising, 0.003)
    assert not has_converged(rising, 0.002)
    assert has_converged([4.0, 3.0, 2.0, 1.0], 0.01)
    assert not has_converged([-1.0, -1.0, -1.0, -1.0], 0.5)


def test_a_set_of_converged_fzs_is_another_set_and_a_set_without_is_named_as_before() -> None:
    assert SetKey(Recipe()).folder == "paper-2560-s0-exact-b2456363"
    converged = SetKey(Recipe().until_converged())
    assert converged.folder.startswith("paper-converged-2560-s0-exact-")
    assert Recipe.from_json(converged.recipe.to_json()) == converged.recipe
    assert "plateau" not in Recipe().to_json()


@pytest.mark.parametrize("plateau", [0, 1, -0.1])
def test_a_plateau_that_makes_no_sense_is_refused(plateau: float) -> None:
    with pytest.raises(UsageError, match="plateau"):
        Recipe(plateau=plateau)


def test_compute_until_converged_makes_a_set_of_its_own_that_reading_commands_find(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    cache = ["--model", "demo", "--cache", str(tmp_path)]
    chosen = ["--block", "1.0", "--channels", "0,1", "--tensor", "block", "--protocol", "paper", "--steps", "64"]
    assert main(["compute", *cache, *chosen]) == 0
    assert main(["compute", *cache, *chosen, "--until-converged"]) == 0
    capfd.readouterr()
    assert main(["table", *cache, "--block", "1.0", "--channels", "0", "--until-converged", "--json"]) == 0
    assert "demo-converged" not in capfd.readouterr().err
    names = [path.name for path in (tmp_path / "models").glob("demo-*/sets/*")]
    assert sorted(name.rsplit("-", 1)[0] for name in names) == ["demo-64-s0-exact", "demo-converged-64-s0-exact"]
    assert main(["cache", "prune", *cache, "--until-converged", "--yes"]) == 0
    assert [p.name.startswith("demo-64") for p in (tmp_path / "models").glob("demo-*/sets/*")] == [True]
