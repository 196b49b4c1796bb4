"""Zips of other people's: what is no sound bundle is refused in one line, and nothing of it is left on the disk."""

from __future__ import annotations

import json
import stat
import struct
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from streamscope.core.errors import DiskFullError, NewerError, ReadOnlyError, StoreError, UsageError
from streamscope.core.export.bundle import write_bundle
from streamscope.core.store import JobSpec, Store, create_job
from streamscope.core.store.bundles import archive as archive_module
from streamscope.core.store.bundles.archive import UNPACKED, unpacked, write_archive
from streamscope.core.store.bundles.record import BUNDLE
from streamscope.core.store.files.documents import document_bytes
from streamscope.core.table.frame import build_frame
from tests.support.app_store import fill, make_info, open_store
from tests.support.stores import python

Edit = Callable[[dict[str, bytes]], None]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where bundles are unpacked."""
    folder = tmp_path / "unpacked"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    info = make_info()
    store = open_store(tmp_path / "cache", info)
    fzset = fill(store, info, ["2.1"])
    path = tmp_path / "out.zip"
    write_bundle(path, store, fzset, build_frame(info, fzset, ["2.1"]), [0, 3], {})
    return path


def edited(path: Path, edit: Edit) -> Path:
    """The same zip with other files."""
    with zipfile.ZipFile(path) as zipped:
        files = {name: zipped.read(name) for name in zipped.namelist()}
    edit(files)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, content in files.items():
            zipped.writestr(name, content)
    return path


def refusal(path: Path, place: Path) -> str:
    with pytest.raises(StoreError) as caught, unpacked(path):
        pass
    assert list(place.iterdir()) == []
    text = str(caught.value)
    assert "\n" not in text
    assert str(place) not in text
    return text


def test_a_bundle_is_a_store_until_it_is_closed(bundle: Path, place: Path) -> None:
    before = bundle.read_bytes()
    with unpacked(bundle) as folder:
        store = Store.open(folder)
        assert [info.name for info in store.models()] == ["resnet18"]
        assert list(place.iterdir()) == [folder]
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert list(place.iterdir()) == []
    assert bundle.read_bytes() == before


@pytest.mark.parametrize("name", ["../evil", "/evil", "models/../../evil", "a\\..\\evil", "C:evil", "a//b", "./evil"])
def test_a_name_that_leads_elsewhere_is_refused(bundle: Path, place: Path, name: str) -> None:
    def add(files: dict[str, bytes]) -> None:
        files[name] = b"x"

    assert "would lie outside of its folder" in refusal(edited(bundle, add), place)
    assert not (place.parent / "evil").exists()


def test_a_link_is_refused(bundle: Path, place: Path) -> None:
    with zipfile.ZipFile(bundle, "a") as zipped:
        link = zipfile.ZipInfo("models/link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        zipped.writestr(link, "/etc/passwd")
    assert "is a link" in refusal(bundle, place)


def test_a_bomb_is_refused_before_it_goes_off(bundle: Path, place: Path) -> None:
    def add(files: dict[str, bytes]) -> None:
        files["zeros"] = bytes(100 * 2**20)

    assert "would unpack to" in refusal(edited(bundle, add), place)


def test_a_size_that_is_a_lie_is_refused(bundle: Path, place: Path) -> None:
    """The list says one byte where a thousand are packed."""
    with zipfile.ZipFile(bundle, "a", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("lie", bytes(1000))
    content = bytearray(bundle.read_bytes())
    entry = content.rindex(b"lie") - 46
    content[entry + 24 : entry + 28] = struct.pack("<I", 1)
    bundle.write_bytes(content)
    assert "is damaged or cut short" in refusal(bundle, place)


def test_two_files_of_one_name_are_refused(bundle: Path, place: Path) -> None:
    def add(files: dict[str, bytes]) -> None:
        files["Table.CSV"] = b"x"

    assert "two files of one name" in refusal(edited(bundle, add), place)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.999])
def test_one_that_is_cut_short_is_refused(bundle: Path, place: Path, share: float) -> None:
    content = bundle.read_bytes()
    bundle.write_bytes(content[: int(share * len(content))])
    assert "is damaged or cut short" in refusal(bundle, place)


def test_a_flipped_byte_is_found(bundle: Path, place: Path) -> None:
    with zipfile.ZipFile(bundle) as zipped:
        entry = next(entry for entry in zipped.infolist() if entry.filename.endswith(".png"))
    content = bytearray(bundle.read_bytes())
    content[entry.header_offset + 30 + len(entry.filename) + 100] ^= 1
    bundle.write_bytes(content)
    assert "is damaged or cut short" in refusal(bundle, place)


def test_a_zip_of_something_else_is_no_bundle(tmp_path: Path, place: Path) -> None:
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as zipped:
        zipped.writestr("photo.jpg", b"x")
    assert "is a zip, but no bundle" in refusal(tmp_path / "other.zip", place)


def test_one_of_a_later_version_is_refused_whatever_else_it_says(bundle: Path, place: Path) -> None:
    def change(files: dict[str, bytes]) -> None:
        files[BUNDLE] = document_bytes({"format": 2, "novel": True})

    with pytest.raises(NewerError, match="bundle format 2; this one reads 1"), unpacked(edited(bundle, change)):
        pass
    assert list(place.iterdir()) == []


def test_one_whose_record_was_changed_is_refused(bundle: Path, place: Path) -> None:
    def change(files: dict[str, bytes]) -> None:
        files[BUNDLE] = files[BUNDLE].replace(b"2.1", b"2.0")

    assert "is damaged" in refusal(edited(bundle, change), place)


def test_one_of_no_time_is_refused(bundle: Path, place: Path) -> None:
    def change(files: dict[str, bytes]) -> None:
        record = {**json.loads(files[BUNDLE]), "created": 1e300}
        del record["sha256"]
        files[BUNDLE] = document_bytes(record)

    assert "is no time" in refusal(edited(bundle, change), place)


def test_one_without_its_model_is_refused(bundle: Path, place: Path) -> None:
    def change(files: dict[str, bytes]) -> None:
        for name in [name for name in files if name.startswith("models/")]:
            del files[name]

    assert "lacks the model" in refusal(edited(bundle, change), place)


def test_without_room_nothing_is_unpacked(bundle: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_module, "free_bytes", lambda root: 10)
    with pytest.raises(DiskFullError, match="no space left to unpack"), unpacked(bundle):
        pass
    assert list(place.iterdir()) == []


def test_what_a_killed_process_left_goes_with_the_next_opening(bundle: Path, place: Path) -> None:
    code = """
import os, sys, signal, tempfile
from pathlib import Path
from streamscope.core.store.bundles.archive import unpacked
tempfile.tempdir = sys.argv[2]
with unpacked(Path(sys.argv[1])):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    with python(code, bundle, place) as process:
        process.wait()
    (left,) = place.iterdir()
    other = place / f"{UNPACKED}somebody-elses"
    other.mkdir()
    with unpacked(bundle):
        assert not left.exists()
    assert list(place.iterdir()) == [other]


def test_nothing_is_written_into_a_bundle(bundle: Path, tmp_path: Path) -> None:
    with unpacked(bundle) as folder:
        store = Store.open(folder)
        (info,) = store.models()
        (fzset,) = store.sets(info)
        files = sorted(folder.rglob("*"))
        with pytest.raises(ReadOnlyError):
            Store.open(folder, create=True)
        with pytest.raises(ReadOnlyError):
            store.set(info, fzset.key, create=True)
        with pytest.raises(ReadOnlyError):
            store.remember("another name", info.identity)
        with pytest.raises(ReadOnlyError):
            create_job(store, JobSpec("resnet18"))
        assert sorted(folder.rglob("*")) == files


def test_only_a_bundle_is_replaced_and_only_by_a_whole_one(bundle: Path, tmp_path: Path) -> None:
    before = bundle.read_bytes()

    class StopError(Exception):
        pass

    def files() -> list[tuple[str, bytes]]:
        raise StopError

    with pytest.raises(StopError):
        write_archive(bundle, (item for item in [("a", b"x")] if files()))
    assert bundle.read_bytes() == before
    mine = tmp_path / "thesis.zip"
    mine.write_bytes(b"years of work")
    with pytest.raises(UsageError, match="no bundle"):
        write_archive(mine, [("a", b"x")])
    assert mine.read_bytes() == b"years of work"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "out.zip", "thesis.zip", "unpacked"]


def test_a_refused_file_is_named_without_what_a_terminal_obeys(bundle: Path, place: Path) -> None:
    def add(files: dict[str, bytes]) -> None:
        files["\x1b]0;x\x07"] = b"x"

    assert "\x1b" not in refusal(edited(bundle, add), place)
