"""Channel FZs: the mean over space, over whole images; kept apart, never measured, never read unless asked for."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from streamscope.core.engine.cone import Read, fold_network
from streamscope.core.engine.fourier import from_8_bit
from streamscope.core.engine.transforms.lucent import LucentTransform
from streamscope.core.engine.visualize import visualize
from streamscope.core.engine.whole_map import WholeMap
from streamscope.core.errors import UsageError
from streamscope.core.jobs.plan import Request, missing
from streamscope.core.model.blocks import Target
from streamscope.core.model.recipe import Recipe, SetKey
from streamscope.core.model.spec import ModelSpec
from streamscope.core.model.stream import Stream
from streamscope.core.store import Store, verify
from streamscope.tui.cli.main import main
from tests.support.lucent import CLOSE, MEAN, STD, lucent_transforms
from tests.support.networks import hand_set_network, untrained
from tests.support.optional import present
from tests.support.stores import KEY, commit, names_under, toy_info, toy_set

CHANNELS = SetKey(Recipe(steps=10), objective="channel")


@pytest.fixture(scope="module")
def module() -> nn.Module:
    return untrained("resnet18")


@pytest.mark.parametrize(
    ("block", "read"), [("1.0", "in"), ("1.1", "pre"), ("2.0", "in"), ("2.0", "block"), ("3.1", "aliased")]
)
def test_the_mean_over_each_images_own_map_is_that_of_the_forward_pass(
    module: nn.Module, block: str, read: Read
) -> None:
    sizes = [64, 65, 70]
    whole = WholeMap(fold_network(module), block, read, sizes)
    images = [torch.randn(1, 3, s, s, generator=torch.Generator().manual_seed(s)) for s in sizes]
    padded = torch.cat([torch.nn.functional.pad(x, (0, 70 - x.shape[3], 0, 70 - x.shape[2])) for x in images])
    got = whole(padded, torch.arange(3))
    assert (whole.patch.length, whole.origin(0)) == (70, 0)
    for row, image in enumerate(images):
        tensors = Stream.of(module).read_block(image, block)
        expected = {"in": tensors.input, "block": tensors.block, "pre": tensors.pre, "aliased": tensors.out}[read]
        mean = expected.mean(dim=(2, 3))[0]
        assert torch.allclose(got[row], mean, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("jitter", [0, 4, 16])
def test_whole_images_are_transformed_as_lucent_does(module: nn.Module, jitter: int) -> None:
    size = 64
    recipe = Recipe()
    ours = LucentTransform(fold_network(module), "2.1", "block", recipe, jitter, size, MEAN, STD, WholeMap)
    assert (ours.start, ours.stop) == (0, size)
    choices = np.stack([ours.choices(1, np.random.default_rng(seed))[0] for seed in range(12)])
    choices[:5, 0] = range(5)
    images = torch.rand(len(choices), 3, size, size, generator=torch.Generator().manual_seed(0))
    draws = ours.draws(choices)
    got = ours(images, draws)
    seen = draws.size
    for row, choice in enumerate(choices):
        lucents = lucent_transforms(images[row : row + 1], choice, jitter, recipe, size)[0]
        side = ours.cone.sizes[seen[row]]
        assert lucents.shape[-1] == side
        assert float((got[row, :, :side, :side] - lucents).abs().max()) < CLOSE
        assert not got[row, :, side:].any()
        assert not got[row, :, :, side:].any()


def test_a_channel_fz_raises_the_mean_of_its_own_channel() -> None:
    network = hand_set_network()
    recipe = Recipe(steps=24)
    target = Target("1.1", "block")
    batch = visualize(network, target, [0, 2], recipe, of="channel")
    neuron = visualize(network, target, [0, 2], recipe)
    stored = network.stream.read_block(from_8_bit(batch.images), "1.1").block.mean(dim=(2, 3))
    assert batch.activation == pytest.approx([float(stored[0, 0]), float(stored[1, 2])], rel=1e-4)
    assert (batch.trace[:, -1] > batch.trace[:, 0]).all()
    others = network.stream.read_block(from_8_bit(neuron.images), "1.1").block.mean(dim=(2, 3))
    assert (batch.activation > [float(others[0, 0]), float(others[1, 2])]).all()
    assert batch.flags == ("", "")


def test_names_of_neuron_sets_are_what_they_were_before_there_were_objectives() -> None:
    assert SetKey(Recipe()).folder == "paper-2560-s0-exact-b2456363"
    assert SetKey(Recipe(steps=512), 3, "lucent").folder == "paper-512-s3-lucent-8d218adb"
    assert CHANNELS.folder.startswith("paper-10-s0-exact-channel-")
    assert str(CHANNELS).endswith("capture exact, channel objective")
    with pytest.raises(UsageError, match="unknown objective 'layer'"):
        SetKey(Recipe(), objective="layer")  # type: ignore[arg-type]  # which is refused


def test_channel_sets_are_chosen_only_when_asked_for(tmp_path: Path) -> None:
    neuron, channel = (toy_set(tmp_path / "cache", key) for key in (KEY, CHANNELS))
    commit(channel)
    channel.mark_completed("job")
    store, info = Store.open(tmp_path / "cache"), toy_info()
    assert {s.key for s in store.sets(info)} == {KEY, CHANNELS}
    assert present(store.choose_set(info)).key == KEY
    assert present(store.choose_set(info, objective="channel")).key == CHANNELS
    assert present(store.choose_set(info, objective="channel")).fzs(Target("1.0", "block")).keys() == {0, 1}
    assert not neuron.fzs(Target("1.0", "block"))
    assert list(verify(store)) == []


def test_a_set_from_before_there_were_objectives_is_the_neurons(tmp_path: Path) -> None:
    from streamscope.core.store.files.documents import read_document, write_document

    path = toy_set(tmp_path / "cache").path / "set.json"
    older = read_document(path)
    assert older.pop("objective") == "neuron"
    write_document(path, older)
    assert present(Store.open(tmp_path / "cache").choose_set(toy_info())).key == KEY


def test_channel_fzs_are_planned_without_measures_or_retries(tmp_path: Path) -> None:
    info = toy_info()
    request = Request.of(info, CHANNELS, ["1.1"], ["in", "block", "out"], 4)
    assert Request.of_job(info, request.job_spec(ModelSpec("demo")), 4) == request
    fzset = toy_set(tmp_path / "cache", CHANNELS)
    tasks = list(missing(info, fzset, request))
    assert [(t.kind, t.tensor) for t in tasks] == [("fz", "in"), ("fz", "block"), ("fz", "out")]
    other = replace(request, key=KEY)
    assert tasks[0].lease(info, CHANNELS) != next(missing(info, fzset, other)).lease(info, KEY)
    for task in tasks:
        commit(fzset, info.source(task.block, task.tensor), task.channels)
    assert list(missing(info, fzset, request)) == []


def test_compute_and_fz_make_and_write_them_and_no_other_command_reads_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([*arguments, "--model", "demo", "--cache", str(tmp_path / "cache")])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    which = ("--block", "1.1", "--channels", "0,3")
    made = run("compute", *which, "--objective", "channel", "--tensor", "block", "--steps", "4", "--device", "cpu")
    assert made[:2] == (0, "1.1.block: 2 of 2 channel FZs stored\n")
    assert not [name for name in names_under(tmp_path / "cache") if "measures" in name]
    out = tmp_path / "pictures"
    code, _, err = run("fz", *which, "--tensor", "block", "--objective", "channel", "--out", str(out))
    assert (code, err) == (0, "")
    assert names_under(out) == ["1.1_block_0000_channel.png", "1.1_block_0003_channel.png"]
    code, _, err = run("table", *which)
    assert code == 1
    assert "nothing is stored of demo" in err
    code, _, err = run("fz", *which, "--tensor", "block", "--out", str(out))
    assert code == 1
    code, _, err = run("fz", *which, "--tensor", "block", "--objective", "channel", "--steps", "9", "--out", str(out))
    assert "compute --steps 9 --objective channel' first" in err


def test_pruning_a_set_takes_the_neurons_unless_channel_fzs_are_named(tmp_path: Path) -> None:
    for key in (KEY, CHANNELS):
        toy_set(tmp_path / "cache", key)
    store, info = Store.open(tmp_path / "cache"), toy_info("demo")
    store.remember(ModelSpec("demo").text, info.fingerprint)
    prune = ["cache", "prune", "--model", "demo", "--cache", str(tmp_path / "cache"), "--yes"]
    assert main([*prune, "--objective", "channel"]) == 0
    assert {s.key for s in store.sets(info)} == {KEY}
    toy_set(tmp_path / "cache", CHANNELS)
    assert main([*prune, "--seed", "0"]) == 0
    assert {s.key for s in Store.open(tmp_path / "cache").sets(info)} == {CHANNELS}
