"""A scan of real files by small networks: what it reads, that it survives anything, and what it refuses."""

import os
import shutil
import signal
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from streamscope.core.engine.fourier import from_8_bit
from streamscope.core.engine.network import Network
from streamscope.core.errors import DiskFullError, ImageError, StoreError
from streamscope.core.images.decoding import PER_TASK, Decoders
from streamscope.core.images.folder import Preparation, find_images, read_image
from streamscope.core.images.lanczos import scaling
from streamscope.core.measures.criteria import mix_ratio
from streamscope.core.measures.robust import own_activations
from streamscope.core.model.blocks import Tensor
from streamscope.core.model.stream import Stream
from streamscope.core.reading.activations import scale_down, scale_up
from streamscope.core.reading.scan import scan_images
from streamscope.core.store import Leases, Store, drop, verify
from streamscope.core.store.scans.scan import Scan
from streamscope.core.watch import PhaseWatch
from tests.support.by_hand import forward_by_hand
from tests.support.deadly import Deadly
from tests.support.leases import KEEPER, lease_files, take_over
from tests.support.networks import SCALE_INVARIANT, hand_set_network, untrained
from tests.support.optional import present
from tests.support.scans import draw_images
from tests.support.stores import python, tiny_disk
from tests.support.waiting import wait_until

COUNT = 40
PER_CHUNK, BATCH = 16, 7
"""Three chunks of the 40 images, and batches that fill neither a chunk nor each other."""
CHUNKS = ["chunks/0000000-0000015", "chunks/0000016-0000031", "chunks/0000032-0000039"]
FIRST_PATCHES = "patch-chunks/0000000-0000015"


@pytest.fixture(scope="module")
def network() -> Network:
    return hand_set_network()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "cache", create=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Blobs of two sizes and noise, as files of 64 px: the hand-set network's input."""
    folder = tmp_path / "images"
    draw_images(folder, COUNT - 20, side=64)
    y, x = np.mgrid[0:64, 0:64] - 32.0
    for number in range(20):
        radius = 1 + number % 2 * 2
        blob = (np.hypot(x, y) <= radius) * (1 - 0.01 * number)
        Image.fromarray((np.repeat(blob[..., None], 3, axis=2) * 255).astype(np.uint8)).save(
            folder / f"{number:02}.png"
        )
    return folder


def run(network: Network, store: Store, folder: Path, watch: PhaseWatch = lambda done, total, what: None) -> Scan:
    return scan_images(network, store, folder, find_images(folder), 1, watch, PER_CHUNK, BATCH)


def contents(scan: Scan) -> dict[Path, bytes]:
    """Every committed byte of a scan, but for times and versions."""
    return {
        path.relative_to(scan.path): path.read_bytes()
        for part in ("result", "robust", "robust-centred", "patches")
        for path in (scan.path / part).iterdir()
        if path.suffix in (".npy", ".safetensors")
    }


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_one_pass_reads_what_a_pass_for_every_block_reads(name: str) -> None:
    module = untrained(name)
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    before = images.clone()
    with torch.no_grad():
        stream = Stream.of(module)
        found = stream.read_centres(images)
        assert torch.equal(images, before)
        by_hand = forward_by_hand(module, images)
        assert list(found) == list(by_hand)
        for block, tensors in by_hand.items():
            one = stream.read_block(images, block)
            for axis, tensor in enumerate(("in", "block", "pre")):
                assert torch.equal(found[block][:, axis], one.centre(tensor))
                side = tensors[tensor].shape[2] // 2
                limit = 2e-5 * float(tensors[tensor].abs().max())
                assert torch.allclose(found[block][:, axis], tensors[tensor][:, :, side, side], rtol=0, atol=limit)


def test_a_scan_has_every_image_every_tensor_and_robust_measures_as_reckoned_by_hand(
    network: Network, store: Store, folder: Path
) -> None:
    scan = run(network, store, folder)
    images = np.stack([read_image(folder / image.path, Preparation.of(network.info)).pixels for image in scan.images])
    assert len(images) == COUNT
    plain, up, down = (
        forward_by_hand(network.module, scale(from_8_bit(images))) for scale in (lambda x: x, scale_up, scale_down)
    )
    for block in ("1.0", "1.1"):
        for tensor in ("in", "block", "pre"):
            expected = plain[block][tensor][:, :, 8, 8].numpy()
            assert scan.activations(block, tensor) == pytest.approx(expected, abs=1e-5)
    own = {t: plain["1.1"][t][:, SCALE_INVARIANT, 8, 8].numpy() for t in ("in", "block", "out")}
    top_in = np.argsort(-plain["1.0"]["pre"][:, SCALE_INVARIANT, 8, 8].numpy(), kind="stable")[:9]
    top_block = np.argsort(-own["block"], kind="stable")[:9]
    assert scan.extremes("1.1", "in").top[:, SCALE_INVARIANT].tolist() == top_in.tolist()
    assert scan.extremes("1.1", "block").top[:, SCALE_INVARIANT].tolist() == top_block.tolist()
    scaled = {
        "up": up["1.1"]["block"][top_in, SCALE_INVARIANT, 8, 8].numpy(),
        "down": down["1.1"]["in"][top_block, SCALE_INVARIANT, 8, 8].numpy(),
    }
    robust = scan.robust("1.1")
    m = mix_ratio(own["out"][top_in].mean(), own["out"][top_block].mean())
    assert robust.mix_ratio[SCALE_INVARIANT] == pytest.approx(float(m), abs=1e-5)
    larger = np.maximum(scaled["up"], 0).mean() > np.maximum(own["block"][top_in], 0).mean()
    smaller = np.maximum(scaled["down"], 0).mean() > np.maximum(own["in"][top_block], 0).mean()
    assert (robust.meets_block[SCALE_INVARIANT], robust.meets_input[SCALE_INVARIANT]) == (larger, smaller)
    # The small blob doubled is the large one, and the large one halved the small.
    assert robust.scale_invariant[SCALE_INVARIANT] == 1
    assert robust.images[SCALE_INVARIANT] == 9


def test_meis_are_scaled_about_the_receptive_field_s_centre_too(network: Network, store: Store, folder: Path) -> None:
    scan = run(network, store, folder)
    images = np.stack([read_image(folder / image.path, Preparation.of(network.info)).pixels for image in scan.images])
    values: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    ways: tuple[tuple[Tensor, str, float], ...] = (("in", "block", 2), ("block", "in", 0.5))
    for on, read, factor in ways:
        resampling = scaling(64, 32, factor)
        passes = []
        for row, column in resampling.pairs:
            version = resampling.rows[row] @ (images.transpose(0, 3, 1, 2) / 255) @ resampling.columns[column].T
            passes.append(forward_by_hand(network.module, torch.from_numpy(version).float())["1.1"][read][:, :, 8, 8])
        top = scan.extremes("1.1", on).top
        scaled = own_activations(torch.stack(passes).mean(dim=0).numpy(), top)
        values[on] = np.maximum(scaled, 0).mean(axis=0), own_activations(scan.activations("1.1", read), top)
    centred, paper = scan.robust("1.1", "centred"), scan.robust("1.1")
    known = ~np.isnan(centred.meets_block)
    assert known[SCALE_INVARIANT]
    for found, on in ((centred.meets_block, "in"), (centred.meets_input, "block")):
        scaled, plain = values[on]
        assert np.array_equal(found[known], (scaled > np.maximum(plain, 0).mean(axis=0))[known])
    assert np.array_equal(centred.mix_ratio, paper.mix_ratio, equal_nan=True)
    assert centred.scale_invariant[SCALE_INVARIANT] == 1


def test_a_finished_scan_of_before_gets_what_is_centred_when_it_is_scanned_again(
    network: Network, store: Store, folder: Path
) -> None:
    scan = run(network, store, folder)
    before, finished = contents(scan), (scan.path / "finished.json").read_bytes()
    shutil.rmtree(scan.path / "robust-centred")
    assert not present(store.choose_scan(network.info)).has_robust("centred")
    phases = []
    again = run(network, store, folder, lambda done, total, what: phases.append(what))
    assert set(phases) == {"most exciting images, scaled"}
    assert contents(again) == before
    assert (scan.path / "finished.json").read_bytes() == finished


def test_a_damaged_centred_part_is_found_and_the_rest_of_the_scan_stays(
    network: Network, store: Store, folder: Path
) -> None:
    scan = run(network, store, folder)
    before = contents(scan)
    # Intact as a file, and of the other protocol.
    for name in ("1.1.safetensors", "SHA256SUMS"):
        shutil.copy(scan.path / "robust" / name, scan.path / "robust-centred" / name)
    problems = list(verify(store))
    assert {problem.removes for problem in problems} == {scan.path / "robust-centred"}
    assert drop(problems[0]) == [scan.path / "robust-centred"]
    assert present(store.choose_scan(network.info)).path == scan.path
    assert list(verify(store)) == []
    assert contents(run(network, store, folder)) == before


def test_a_scan_that_is_done_is_left_alone_and_a_changed_folder_is_scanned_anew(
    network: Network, store: Store, folder: Path
) -> None:
    first = run(network, store, folder)
    said = []
    assert run(network, store, folder, lambda *told: said.append(told)).path == first.path
    assert said == []
    shutil.copy(folder / "00.png", folder / "new.png")
    second = run(network, store, folder)
    assert second.path != first.path
    assert len(second.images) == COUNT + 1
    assert present(store.choose_scan(network.info, folder)).path == second.path


def test_a_scan_interrupted_anywhere_goes_on_where_it_was(
    network: Network, store: Store, folder: Path, tmp_path: Path
) -> None:
    whole = contents(run(network, Store.open(tmp_path / "other", create=True), folder))
    points = [("images", 3), ("images", 20), ("putting activations together", 0)]
    points += [("finding the most and least exciting images", 1), ("correlating in and block", 1)]
    points += [("putting patches together", 1), ("most exciting images, scaled", 7)]
    read = []
    for what, after in points:

        def watch(done: int, total: int, phase: str, what: str = what, after: int = after) -> None:
            if phase == "images":
                read.append(done)
            if phase == what and done > after:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run(network, store, folder, watch)
        assert store.scans(network.info) == []
    scan = run(network, store, folder)
    assert contents(scan) == whole
    # Nothing of the first chunk was read again once it was committed, and nothing at all later on.
    assert read.count(3) == 2
    assert read.count(17) == 2
    assert read.count(33) == 1
    assert not list(scan.path.rglob(".tmp-*"))
    assert not (scan.path / "chunks").exists()
    assert not (scan.path / "patch-chunks").exists()


def test_a_killed_scan_leaves_no_process_and_is_resumed_to_the_same_result(
    store: Store, folder: Path, tmp_path: Path
) -> None:
    network = hand_set_network()
    whole = contents(run(network, Store.open(tmp_path / "other", create=True), folder))
    code = """
import os, signal, sys
from pathlib import Path
import psutil
from streamscope.core.images.folder import find_images
from streamscope.core.reading.scan import scan_images
from streamscope.core.store import Store
from tests.support.leases import KEEPER, lease_files, take_over
from tests.support.networks import hand_set_network

if __name__ == "__main__":
    folder = Path(sys.argv[2])

    def watch(done, total, what):
        if done == 20:
            print(*(p.pid for p in psutil.Process().children(recursive=True)), flush=True)
            os.kill(os.getpid(), signal.SIGKILL)

    store = Store.open(Path(sys.argv[1]))
    scan_images(hand_set_network(), store, folder, find_images(folder), 2, watch, int(sys.argv[3]), int(sys.argv[4]))
"""
    killed = python(code, store.root, folder, PER_CHUNK, BATCH)
    children = [int(pid) for pid in killed.communicate(timeout=120)[0].split()]
    assert killed.returncode == -signal.SIGKILL
    assert len(children) >= 2
    wait_until(lambda: not any(map(_alive, children)), "the decoding processes to end", seconds=20)
    seen = []
    scan = run(network, store, folder, lambda done, total, what: seen.append((done, what)))
    assert seen[0] == (16, "images")
    assert contents(scan) == whole


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_unreadable_images_are_counted_and_named_and_the_rest_is_as_without_them(
    network: Network, store: Store, folder: Path, tmp_path: Path
) -> None:
    whole = (folder / "disc" / "003.png").read_bytes()
    (folder / "03a.png").write_bytes(whole[: len(whole) // 2])
    (folder / "aaa.jpg").write_text("no image")
    (folder / "ring" / "gone.png").symlink_to(folder / "nowhere.png")
    (folder / "notes.txt").write_text("no image, and none by its name")
    scan = run(network, store, folder)
    assert [path for path, _ in scan.unreadable] == ["03a.png", "aaa.jpg", "ring/gone.png"]
    assert "truncated" in scan.unreadable[0][1]
    assert "No such file" in scan.unreadable[2][1]
    assert len(scan.images) == COUNT
    for path in ("03a.png", "aaa.jpg", "ring/gone.png"):
        (folder / path).unlink()
    clean = run(network, Store.open(tmp_path / "other", create=True), folder)
    assert scan.images == clean.images
    assert scan.activations("1.1", "pre") == pytest.approx(clean.activations("1.1", "pre"), abs=1e-6)


def test_a_folder_of_nothing_but_broken_images_is_an_error(network: Network, store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.png").write_text("no image")
    with pytest.raises(ImageError, match=r"none of the 3 images could be read; the first: .*0\.png is not an image"):
        run(network, store, folder)
    assert store.scans(network.info) == []


def test_a_folder_that_goes_away_stops_the_scan_instead_of_making_all_of_it_unreadable(
    network: Network, store: Store, folder: Path
) -> None:
    away = folder.with_name("away")

    def watch(done: int, total: int, what: str) -> None:
        if done == 1 and folder.is_dir():
            folder.rename(away)

    with pytest.raises(ImageError, match="is gone: run the scan again when it is back"):
        run(network, store, folder, watch)
    away.rename(folder)
    assert len(run(network, store, folder).images) == COUNT


def test_an_image_that_changed_between_the_passes_stops_the_scan(network: Network, store: Store, folder: Path) -> None:
    path = folder / "01.png"
    state, content = path.stat(), path.read_bytes()

    def watch(done: int, total: int, what: str) -> None:
        if what == "correlating in and block":
            # Same size and date, so that only its content tells.
            path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
            os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))

    with pytest.raises(ImageError, match=r"01\.png .*changed while it was scanned"):
        run(network, store, folder, watch)


def test_a_renamed_scan_goes_as_a_whole(network: Network, store: Store, folder: Path) -> None:
    scan = run(network, store, folder)
    renamed = scan.path.rename(scan.path.with_name("before"))
    (found,) = verify(store)
    assert found.path == renamed / "scan.json"
    assert drop(found) == [renamed]
    assert list(verify(store)) == []
    assert not list(renamed.parent.iterdir())


def test_two_scans_of_one_folder_at_once_are_refused(network: Network, store: Store, folder: Path) -> None:
    other = Leases(store.root, "other")

    def watch(done: int, total: int, what: str) -> None:
        if done == 1 and what == "images":
            with pytest.raises(StoreError, match="is at work on the scan of"):
                run(network, Store(store.root), folder)

    scan = run(network, store, folder, watch)
    # The lease is given back.
    assert other.claim(f"scan {network.info.fingerprint} {scan.path.name}")


@pytest.mark.parametrize(
    ("phase", "at", "committed"),
    [
        ("images", 20, [CHUNKS[0], FIRST_PATCHES]),
        ("most exciting images, scaled", BATCH, [*CHUNKS, "patches", "result"]),
    ],
)
def test_a_scan_that_another_took_over_is_left_to_it_before_the_next_commit_and_goes_on_where_both_left_it(
    network: Network, store: Store, folder: Path, phase: str, at: int, committed: list[str]
) -> None:
    taken: list[Path] = []

    def watch(done: int, total: int, what: str) -> None:
        if (what, done) == (phase, at) and not taken:
            taken.extend(lease_files(store))
            take_over(taken[0])

    with pytest.raises(StoreError, match=rf"another process \({KEEPER}\) took over the scan of"):
        run(network, store, folder, watch)
    (described,) = store.root.rglob("scan.json")
    sums = described.parent.rglob("SHA256SUMS")
    assert sorted(str(path.parent.relative_to(described.parent)) for path in sums) == committed
    taken[0].unlink()
    assert len(run(network, store, folder, watch).images) == COUNT


def test_a_disk_with_too_little_room_is_noticed_before_anything_is_read(
    network: Network, folder: Path, tmp_path: Path
) -> None:
    with tiny_disk(tmp_path / "disk", 4096) as disk:
        store = Store.open(disk / "cache", create=True)
        with pytest.raises(DiskFullError, match=r"the scan of 40 images needs about 17 MB and .* has \d MB free"):
            run(network, store, folder)


def test_a_damaged_part_of_a_scan_is_found_and_made_again(network: Network, store: Store, folder: Path) -> None:
    scan = run(network, store, folder)
    before = contents(scan)
    robust = scan.path / "robust" / "1.1.safetensors"
    robust.write_bytes(robust.read_bytes()[:-1] + b"x")
    (problem,) = verify(store)
    assert (problem.path, problem.removes) == (robust, scan.path / "robust")
    drop(problem)
    phases = []
    again = run(network, store, folder, lambda done, total, what: phases.append(what))
    assert set(phases) == {"most exciting images, scaled"}
    assert contents(again) == before
    matrix = scan.path / "result" / "1.0.block.npy"
    matrix.write_bytes(matrix.read_bytes()[:-1] + b"x")
    (problem,) = verify(store)
    assert problem.removes == scan.path
    drop(problem)
    assert contents(run(network, store, folder)) == before
    assert list(verify(store)) == []


def test_a_damaged_chunk_is_made_again(network: Network, store: Store, folder: Path) -> None:
    def stop(done: int, total: int, what: str) -> None:
        if done == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(network, store, folder, stop)
    (chunk,) = store.root.rglob("activations.safetensors")
    chunk.write_bytes(chunk.read_bytes()[:-1] + b"x")
    seen = []
    scan = run(network, store, folder, lambda done, total, what: seen.append(done))
    assert seen[0] == 0
    assert len(scan.images) == COUNT


def test_an_image_that_kills_its_process_is_a_problem_like_another(folder: Path) -> None:
    good = sorted(folder.glob("*.png"))
    paths = [*good[:3], Deadly(folder / "deadly.png"), *good[3:], *good]
    assert len(paths) > 2 * PER_TASK
    with Decoders(Preparation(64, 64), 2) as decoders:
        found = list(decoders.read(paths))
    assert [image.path for image in found] == paths
    assert [str(Path(image.path)) for image in found if image.problem] == [str(folder / "deadly.png")]
    assert found[3].problem.endswith("makes the process that decodes it die")
