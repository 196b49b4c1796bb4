"""What comes with the package about models is what their networks say."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from streamscope.core.engine.network import Network, load_network
from streamscope.core.engine.train_demo import write, write_description
from streamscope.core.errors import UsageError
from streamscope.core.model.demo import accuracy, description_path, weights_path
from streamscope.core.model.demo.network import INPUT_SIZE, build
from streamscope.core.model.descriptions import (
    Architecture,
    architecture,
    architectures_path,
    bundled_description,
)
from streamscope.core.model.spec import DEMO_MODEL, MODELS, ModelSpec
from streamscope.core.model.stream import Stream
from streamscope.core.store import Store


def described_anew(name: str) -> Architecture:
    # Shapes do not depend on weights, so none are made.
    with torch.device("meta"):
        module = build() if name == DEMO_MODEL else torchvision.models.get_model(name, weights=None)
    side = INPUT_SIZE if name == DEMO_MODEL else 224
    return Architecture(name, side, Stream.of(module.eval(), side).blocks)


@pytest.fixture(scope="module")
def demo() -> Network:
    return load_network(ModelSpec(DEMO_MODEL), "cpu")


def test_the_bundled_description_of_the_demo_is_what_its_weights_say(demo: Network, tmp_path: Path) -> None:
    """After training anew: `python -m streamscope.core.engine.train_demo` writes it beside the weights."""
    assert bundled_description(ModelSpec(DEMO_MODEL).text) == demo.info
    copy = tmp_path / "demo.safetensors"
    copy.write_bytes(weights_path().read_bytes())
    write_description(copy)
    assert description_path(copy).read_bytes() == description_path().read_bytes()


def test_a_store_gets_the_same_bytes_from_the_bundled_description_as_from_the_weights(
    demo: Network, tmp_path: Path
) -> None:
    text = ModelSpec(DEMO_MODEL).text
    written = []
    for name, info in (("computed", demo.info), ("bundled", bundled_description(text))):
        store = Store.open(tmp_path / name, create=True)
        assert info is not None
        store.register(info)
        store.remember(text, info.fingerprint)
        root = tmp_path / name
        written.append({p.relative_to(root): p.read_bytes() for p in root.rglob("*") if p.is_file()})
    assert written[0] == written[1]
    assert [path.name for path in written[0]].count("model.json") == 1


def test_training_writes_the_description_of_what_it_trained(demo: Network, tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    torch.manual_seed(1)
    net = build()
    write(net, accuracy(), path)
    document = json.loads((tmp_path / "other.model.json").read_text())
    assert document["model"]["fingerprint"] == load_network(ModelSpec(DEMO_MODEL, path), "cpu").info.fingerprint
    assert document["model"]["fingerprint"] != demo.info.fingerprint


def test_an_empty_store_knows_the_demo_but_no_other_weights(demo: Network, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "cache")
    assert store.recall(ModelSpec(DEMO_MODEL).text) == demo.info
    weights = tmp_path / "weights.safetensors"
    save_file(build().state_dict(), weights)
    for spec in (ModelSpec(DEMO_MODEL, weights), ModelSpec("demo-untrained-0"), ModelSpec("resnet18")):
        assert store.recall(spec.text) is None
    assert not (tmp_path / "cache").exists()


def test_weights_that_were_changed_are_not_taken_for_those_described() -> None:
    digest = ModelSpec(DEMO_MODEL).text.split()[1]
    assert bundled_description(f"{DEMO_MODEL} {digest[::-1]}") is None


def test_the_bundled_architectures_are_the_networks_own(request: pytest.FixtureRequest) -> None:
    found = {name: described_anew(name) for name in MODELS}
    lines = [f"{json.dumps(n)}:{json.dumps(a.to_json(), separators=(',', ':'))}" for n, a in found.items()]
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    if request.config.getoption("--update-snapshots"):
        architectures_path().write_text(text)
    assert architectures_path().read_text() == text
    assert {name: architecture(name) for name in MODELS} == found


def test_an_architecture_has_the_default_blocks_of_its_networks(demo: Network) -> None:
    known = architecture(DEMO_MODEL)
    assert (known.blocks, known.default_blocks) == (demo.info.blocks, demo.info.default_blocks)
    assert known.input_size == demo.info.input_size


def test_an_unknown_architecture_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown model 'alexnet'; use one of resnet18"):
        architecture("alexnet")


def test_what_is_bundled_is_known_without_torch() -> None:
    code = """
import sys
from streamscope.core.model.descriptions import architecture, bundled_description
from streamscope.core.model.spec import ModelSpec
print(bundled_description(ModelSpec('demo').text).name, len(architecture('resnet50').blocks), 'torch' in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["demo", "16", "False"]
