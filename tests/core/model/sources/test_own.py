"""Networks of one's own: which code runs, what is taken from it, and what is said where it is none."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from streamscope.core.engine.network import Network, load_network, network_of, rebuild_network
from streamscope.core.errors import ArchitectureError, StreamscopeError, UsageError, WeightsError
from streamscope.core.model.blocks import ModelInfo
from streamscope.core.model.checkpoints.key_sets import Expected
from streamscope.core.model.checkpoints.reading import read_weights
from streamscope.core.model.preprocessing import Changes, Preprocessing
from streamscope.core.model.sources.building import build_architecture
from streamscope.core.model.sources.own import Code, code_here
from streamscope.core.model.spec import ModelSpec
from tests.support.optional import present
from tests.support.own_code import research_folder

HALF = (0.5, 0.5, 0.5)
QUARTER = (0.25, 0.25, 0.25)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return research_folder(tmp_path / "research")


def own(
    path: Path, function: str = "make", weights: Path | None = None, size: int | None = None, resize: int | None = None
) -> ModelSpec:
    return ModelSpec.given(f"{path}:{function}", str(weights) if weights else None, changes=Changes(size, resize))


def load(spec: ModelSpec) -> Network:
    return load_network(spec, "cpu")


def test_a_function_of_a_file_is_a_model_with_the_constants_beside_it(path: Path) -> None:
    network = load(own(path))
    info = network.info
    assert info.name == "net.py:make"
    assert [block.name for block in info.blocks] == ["1.0", "1.1"]
    assert info.full_preprocessing == Preprocessing(64, 73, "bilinear", HALF, QUARTER)
    assert info.code == own(path).code_sha256 == present(network.code).digest
    assert network.classes == 5
    assert ModelInfo.from_json(info.to_json()) == info
    again = load(own(path))
    assert again.info.identity == info.identity


def test_what_is_said_of_the_preprocessing_goes_before_the_constants(path: Path) -> None:
    network = load(own(path, size=97))
    assert network.info.full_preprocessing == Preprocessing(97, 110, "bilinear", HALF, QUARTER)
    # What it wants unasked is kept, so that another command finds the resize that belongs to what is said there.
    assert present(network.info.wanted).size == 64
    assert own(path, size=97, resize=128).showing(network.info).shorter_side == 128
    assert own(path, size=97).text.endswith(", --input-size 97")
    assert own(path, resize=128).text == own(path).text


def test_without_constants_a_network_is_shown_what_imagenets_are(tmp_path: Path) -> None:
    path = tmp_path / "net.py"
    path.write_text("from torchvision.models import resnet18\n\ndef make():\n    return resnet18()\n")
    assert build_architecture(own(path)).state_dict()["conv1.weight"].shape == (64, 3, 7, 7)
    assert load(own(path)).info.full_preprocessing == Preprocessing()


def test_a_function_that_draws_its_weights_makes_the_same_ones_each_time(path: Path) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = load(own(path)).info.fingerprint
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert load(own(path)).info.fingerprint == first


def test_weights_are_read_into_it_from_any_layout(path: Path, tmp_path: Path) -> None:
    module = build_architecture(own(path))
    state = {f"module.{key}": value + 0.5 for key, value in module.state_dict().items() if value.is_floating_point()}
    file = tmp_path / "mine.pth"
    torch.save({"state_dict": state}, file)
    network = load(own(path, weights=file))
    assert torch.equal(network.module.state_dict()["conv1.weight"], state["module.conv1.weight"])
    assert network.layout == "unwrapped state_dict, dropped the prefix module."
    torch.save({"state_dict": {**state, "module.conv1.weight": torch.zeros(9, 3, 7, 7)}}, file)
    with pytest.raises(WeightsError, match=r"does not fit net\.py:make"):
        load(own(path, weights=file))


def test_weights_are_read_into_a_network_with_names_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "vgg.py"
    path.write_text(
        "from torch import nn\n\n"
        "def make():\n"
        "    body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())\n"
        "    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 6))\n"
        "    return nn.Sequential(body, head)\n"
    )
    spec = own(path, weights=tmp_path / "w.pth")
    module = build_architecture(own(path))
    state = module.state_dict()
    torch.save({"model": {f"net.{key}": value for key, value in state.items()}}, tmp_path / "w.pth")
    read = read_weights(spec, Expected.of(module), HALF, QUARTER)
    assert read.line == "unwrapped model, dropped the prefix net."
    assert read.state.keys() == {key for key in state if not key.endswith("num_batches_tracked")}
    # Of a network whose classifier is not known to be one, every layer must fit.
    wider = {**state, "1.2.weight": torch.zeros(10, 4), "1.2.bias": torch.zeros(10)}
    torch.save(wider, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"2 of another shape \(1\.2\.bias \(10,\) instead of \(6,\)"):
        read_weights(spec, Expected.of(module), HALF, QUARTER)
    torch.save({key: value for key, value in state.items() if not key.startswith("0.1.")}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"4 missing \(0\.1\.bias"):
        read_weights(spec, Expected.of(module), HALF, QUARTER)


def test_a_folders_own_modules_are_imported_for_it_and_never_instead_of_ours(tmp_path: Path) -> None:
    folder = tmp_path / "research"
    path = research_folder(folder, "\nimport core.extras, scipy_like, textwrap\nassert core.extras.MINE\n")
    (folder / "core").mkdir()
    (folder / "core" / "__init__.py").write_text("")
    (folder / "core" / "extras.py").write_text("MINE = True\n")
    # As a folder's own file may be called that nothing has imported yet here.
    (folder / "scipy_like.py").write_text("import this_is_installed_elsewhere\n")
    (folder / "this_is_installed_elsewhere.py").write_text("MINE = True\n")
    (folder / "tabnanny.py").write_text("MINE = True\n")
    path.write_text(path.read_text() + "import tabnanny\nassert tabnanny.MINE\n")
    sys.modules.pop("tabnanny", None)
    load(own(path))
    assert str(folder) not in sys.path
    import tabnanny

    assert not hasattr(tabnanny, "MINE")
    import streamscope.core.text

    assert "research" not in str(streamscope.core.text.__file__)
    for name in ("core", "core.extras", "scipy_like", "this_is_installed_elsewhere", "widths"):
        sys.modules.pop(name, None)


def test_a_module_is_found_in_the_current_folder_or_among_what_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mypackage").mkdir()
    (tmp_path / "mypackage" / "__init__.py").write_text("raise SystemExit('looking for a file runs nothing')\n")
    (tmp_path / "mypackage" / "nets.py").write_text("")
    monkeypatch.chdir(tmp_path)
    spec = ModelSpec.given("mypackage.nets:make")
    assert spec.code == tmp_path / "mypackage" / "nets.py"
    assert "mypackage" not in sys.modules
    (tmp_path / "mypackage" / "__init__.py").write_text("")
    with pytest.raises(ArchitectureError, match=r"nets\.py has no function 'make'$"):
        load(spec)
    sys.modules.pop("mypackage.nets"), sys.modules.pop("mypackage")
    (tmp_path / "mypackage" / "nets.py").write_text("from torchvision.models import resnet18 as make\n")
    monkeypatch.chdir("/")
    # Wherever it is built: what was found where it was named.
    assert load(spec).info.name == "mypackage.nets:make"
    sys.modules.pop("mypackage.nets"), sys.modules.pop("mypackage")
    installed = ModelSpec.given("torchvision.models:resnet18")
    assert present(installed.code).name == "__init__.py"
    assert load(installed).info.code == installed.code_sha256
    with pytest.raises(ArchitectureError, match=r"^no module mypackage\.nets in the installed packages or in /$"):
        load(ModelSpec.given("mypackage.nets:make"))


@pytest.mark.parametrize(
    ("code", "function", "said"),
    [
        ("", "mak", r"net\.py has no function 'mak'; it has make$"),
        ("def make():\n    return 3\n", "make", r"^net\.py:make\(\) returns a int, not an nn\.Module$"),
        ("def make():\n    pass\n", "make", r"^net\.py:make\(\) returns nothing, not"),
        (
            "def make(depth):\n    pass\n",
            "make",
            r"^net\.py:make needs arguments \(missing a req.*'depth'\)",
        ),
        (
            "def make():\n    raise ValueError('no\\nsuch')\n",
            "make",
            r"^net\.py:make\(\) raised ValueError: no \(net\.py, line \d+\)$",
        ),
        (
            "import nothing_of_that_name\n",
            "make",
            r"^net\.py raised ModuleNotFoundError: .*_name' \(net\.py, line \d+\)$",
        ),
        ("def make(:\n", "make", r"^net\.py raised SyntaxError: .*\(net\.py, line \d+\)$"),
        ("raise SystemExit(2)\n", "make", r"^net\.py raised SystemExit: 2 \(net\.py, line \d+\)$"),
        (
            "def make():\n    return Net(1)\n",
            "make",
            r"^net\.py:make takes images of 1 channel \(grey images\), not 3$",
        ),
        ("INPUT_SIZE = '64'\n", "make", r"^INPUT_SIZE of net\.py is '64', not a whole number"),
        ("INPUT_SIZE = 8\n", "make", r"^net\.py: an input of 8 px"),
        ("MEAN = 0.5\n", "make", r"^MEAN of net\.py is 0\.5, not three numbers"),
        (
            "MEAN = (123.7, 116.3, 103.5)\n",
            "make",
            r"^net\.py: --mean 123\.7,116\.3,103\.5 is not of",
        ),
        (
            "def make():\n    net = Net()\n    net.bn1.running_mean = net.bn1.running_var = None\n    return net\n",
            "make",
            r"^net\.py:make has a batch norm that keeps no statistics \(bn1\)",
        ),
        (
            "class Stuck(Net):\n    def train(self, mode=True):\n        return super().train(True)\n",
            "Stuck",
            r"^net\.py:Stuck cannot be put into eval mode: the network stays in training mode$",
        ),
        (
            "class Dropping(Net):\n    def forward(self, x):\n        return nn.functional.dropout(x)\n",
            "Dropping",
            r"^net\.py:Dropping answers the same image differently each time",
        ),
        (
            "def make():\n    with torch.device('meta'):\n        return Net()\n",
            "make",
            r"^net\.py:make has parts without weights \(conv1\.weight\)",
        ),
        (
            "class Odd(Net):\n    def forward(self, x):\n        raise RuntimeError('of another size')\n",
            "Odd",
            r"^net\.py:Odd does not take an image of 64 px: RuntimeError: of another size$",
        ),
    ],
)
def test_what_is_no_network_is_refused_in_one_line(tmp_path: Path, code: str, function: str, said: str) -> None:
    path = research_folder(tmp_path / "research", "\n" + code)
    with pytest.raises(StreamscopeError, match=said) as raised:
        load(own(path, function))
    assert "\n" not in str(raised.value)


def test_a_file_that_is_not_there_and_a_name_that_is_none(tmp_path: Path) -> None:
    spec = own(tmp_path / "gone.py")
    for ask in (lambda: spec.text, lambda: load(spec)):
        with pytest.raises(ArchitectureError, match=r"^no such file: /.*/gone\.py$"):
            ask()
    for name in ("net.py", "net.py:", ":make", "net.py:make()", "a b:c", "net.py:make:more", "timm:", "timm:a b"):
        with pytest.raises(UsageError, match="unknown model"):
            ModelSpec.given(name)
    with pytest.raises(UsageError, match="where its file is was not said"):
        ModelSpec("net.py:make")
    with pytest.raises(UsageError, match="needs no file of code"):
        ModelSpec("resnet18", code=tmp_path / "net.py")


def test_the_store_remembers_the_path_and_what_the_file_holds(path: Path) -> None:
    spec = own(path)
    before = spec.text
    assert before == f"net.py:make {path} {spec.code_sha256}"
    assert spec.former_texts.fullmatch(before)
    path.write_text(path.read_text() + "# more\n")
    assert spec.text != before
    path.unlink()
    assert spec.former_texts.fullmatch(before)
    assert not own(path, size=97).former_texts.fullmatch(before)
    assert own(path, size=97).former_texts.fullmatch(f"{before}, --input-size 97")
    assert not own(path, "other").former_texts.fullmatch(before)


def test_code_that_has_changed_since_it_was_asked_for_is_not_run(path: Path) -> None:
    pinned = replace(own(path), pinned=own(path).code_sha256)
    assert load(pinned).info.name == "net.py:make"
    path.write_text(path.read_text() + "raise SystemExit\n")
    with pytest.raises(ArchitectureError, match="has changed since this was asked for"):
        load(pinned)


def test_an_untrained_copy_is_drawn_by_the_function_and_its_batch_norms_are_set(path: Path) -> None:
    first, second = (load(own(path, f"make-untrained-{seed}")) for seed in (0, 1))
    assert (first.info.name, second.info.name) == ("net.py:make-untrained-0", "net.py:make-untrained-1")
    assert first.info.fingerprint != second.info.fingerprint
    assert load(own(path, "make-untrained-0")).info.identity == first.info.identity
    assert not torch.equal(first.module.state_dict()["bn1.running_mean"], torch.zeros(8))
    assert first.info.full_preprocessing == load(own(path)).info.full_preprocessing


def test_of_a_function_whose_weights_are_always_the_same_there_is_no_untrained_copy(tmp_path: Path) -> None:
    code = "\ndef make():\n    torch.manual_seed(5)\n    return Net()\n"
    path = research_folder(tmp_path / "research", code)
    with pytest.raises(ArchitectureError, match=r"^net\.py:make has the same weights whatever they are drawn with"):
        load(own(path, "make-untrained-0"))


def test_what_the_function_prints_is_kept_off_stdout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load(own(research_folder(tmp_path / "research", "\nprint('loading')\n")))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "loading" in captured.err


def test_another_machine_builds_it_from_its_code(path: Path, tmp_path: Path) -> None:
    network = load(own(path))
    code = present(network.code)
    state = network.module.state_dict()
    sent = code_here("net.py:make", str(path), code.content)
    again = rebuild_network("net.py:make", state, network.info, "cpu", sent)
    image = torch.linspace(-1, 1, 3 * 64 * 64).reshape(1, 3, 64, 64)
    assert torch.equal(again.module(image), network.module(image))
    path.write_text(path.read_text() + "# another\n")
    with pytest.raises(ArchitectureError, match=r"net\.py is another at this worker"):
        code_here("net.py:make", str(path), code.content)
    # Where there is no such file what was sent is run, without what lies beside it.
    elsewhere = code_here("net.py:make", str(tmp_path / "elsewhere" / "net.py"), code.content)
    sys.modules.pop("widths", None)
    with pytest.raises(ArchitectureError, match="No module named 'widths'"):
        rebuild_network("net.py:make", state, network.info, "cpu", elsewhere)
    alone = code.content.replace(b"from widths import WIDTH", b"WIDTH = 8")
    rebuilt = rebuild_network("net.py:make", state, network.info, "cpu", Code(elsewhere.path, alone))
    assert torch.equal(rebuilt.module(image), network.module(image))


def test_a_module_that_another_machine_lacks_or_has_otherwise_is_refused_there() -> None:
    with pytest.raises(ArchitectureError, match=r"^this worker has no module mypackage\.nets; install it here too$"):
        code_here("mypackage.nets:make", "/elsewhere/mypackage/nets.py", b"")
    with pytest.raises(ArchitectureError, match="is another at this worker"):
        code_here("torchvision.models:resnet18", "/elsewhere/torchvision/models/__init__.py", b"")


def test_a_module_that_is_there_already_is_a_network_too(path: Path) -> None:
    module = build_architecture(own(path)).train()
    network = network_of(module, "mine", Preprocessing(64, 64), "cpu")
    assert (network.info.name, network.info.input_size) == ("mine", 64)
    assert [block.name for block in network.info.blocks] == ["1.0", "1.1"]
    # The caller's own is left as it was.
    assert module.training
    assert all(parameter.requires_grad for parameter in module.parameters())
    assert not network.module.training
    with pytest.raises(ArchitectureError, match=r"^grey takes images of 1 channel"):
        network_of(nn.Sequential(nn.Conv2d(1, 4, 3)), "grey", device="cpu")
    with pytest.raises(UsageError, match="characters that can be shown"):
        network_of(module, "a\nb", device="cpu")
    # Sets of those belong to the weights alone, and may be of other operations.
    for name in ("resnet18", "demo-untrained-0", "cornet_s"):
        with pytest.raises(UsageError, match="is what another network is called"):
            network_of(module, name, device="cpu")
