"""Tables as files: the exact text, and that a failed write changes nothing."""

import csv
import errno
import io
import json
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from streamscope import __version__
from streamscope.core.errors import StreamscopeError, UsageError
from streamscope.core.export.files import replace_all, table_meta, to_csv, to_json, write_table
from streamscope.core.model.blocks import ModelInfo
from streamscope.core.model.recipe import Recipe, SetKey
from streamscope.core.table.columns import COLUMNS
from streamscope.core.table.frame import Frame
from streamscope.core.text import from_csv_cell
from tests.support.frames import small_frame

FRAME = small_frame(
    block=["2.1", "3.10", "4.0"],
    channel=[0, 511, 7],
    mix_ratio=[float(np.float32(0.1)), 2.0, None],
    in_on_in=[1 / 3, -1e-5, float("inf")],
    bn_weight=[12345678.0, 1e20, 0.0],
    scale_invariant=[1, 0, None],
    update=["overwrite", "skip", ""],
    note=['a, "b"', "two\nlines\r", "é — ☃"],
)
NAMES = ["block", "channel", "mix_ratio", "in_on_in", "bn_weight", "scale_invariant", "update", "note"]


@contextmanager
def files_no_longer_than(size: int) -> Iterator[None]:
    """The system refuses to write more: a disk that is full, as far as a program can tell."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_csv_text_is_exact() -> None:
    assert to_csv(FRAME, [0, 1, 2], NAMES) == (
        "block,channel,mix_ratio,in_on_in,bn_weight,scale_invariant,update,note\n"
        '2.1,0,0.1,0.33333334,12345678.0,true,overwrite,"a, ""b"""\n'
        '3.10,511,2.0,-1e-05,1e+20,false,skip,"two\nlines\\x0d"\n'
        "4.0,7,,,0.0,,,é — ☃\n"
    )


def test_texts_are_neither_run_nor_obeyed_and_come_back_and_numbers_stay_numbers() -> None:
    notes = ["=1+1", "-1", "'=1", "\x1b[2J", "\x9b\u202e\udcff", "+ and -"]
    frame = small_frame(block=["2.1"] * 6, channel=list(range(6)), rho=[-0.5, -1, 0, 0, 0, 0], note=notes)
    text = to_csv(frame, range(6), ["channel", "rho", "note"])
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [row["note"] for row in rows[:3]] == ["'=1+1", "'-1", "''=1"]
    assert [from_csv_cell(row["note"]) for row in rows] == notes
    assert [row["rho"] for row in rows[:2]] == ["-0.5", "-1.0"]
    json_ = to_json(frame, range(6), ["note"])
    assert [row["note"] for row in json.loads(json_)] == notes
    assert not set(text + json_) & set("\x1b\x9b\u202e\udcff")


def test_json_text_is_exact() -> None:
    assert to_json(FRAME, np.array([2, 0]), NAMES) == (
        "[\n"
        '{"block": "4.0", "channel": 7, "mix_ratio": null, "in_on_in": null, "bn_weight": 0.0, '
        '"scale_invariant": null, "update": null, "note": "é — ☃"},\n'
        '{"block": "2.1", "channel": 0, "mix_ratio": 0.1, "in_on_in": 0.33333334, "bn_weight": 12345678.0, '
        '"scale_invariant": true, "update": "overwrite", "note": "a, \\"b\\""}\n'
        "]\n"
    )


def test_no_rows_give_a_header_and_an_empty_list() -> None:
    assert to_csv(FRAME, [], ["block", "channel"]) == "block,channel\n"
    assert to_json(FRAME, [], ["block", "channel"]) == "[]\n"


def test_csv_and_json_give_back_the_same_float32_numbers_in_the_fewest_digits() -> None:
    numbers = (np.random.default_rng(0).normal(size=200) * 10 ** np.arange(-20, 20, 0.2)).astype(np.float32)
    frame = small_frame(rho=numbers.astype(np.float64).tolist())
    from_csv = [float(row["rho"]) for row in csv.DictReader(io.StringIO(to_csv(frame, range(200), ["rho"])))]
    from_json = [row["rho"] for row in json.loads(to_json(frame, range(200), ["rho"]))]
    assert from_csv == from_json
    assert from_csv == [float(str(number)) for number in numbers]
    np.testing.assert_array_equal(np.array(from_csv, dtype=np.float32), numbers)


def test_all_columns_have_the_contract_s_order_in_both_formats() -> None:
    names = [c.name for c in COLUMNS]
    assert to_csv(FRAME, [0], names).splitlines()[0] == ",".join(names)
    assert list(json.loads(to_json(FRAME, [0], names))[0]) == names


@pytest.mark.parametrize(("format_", "text"), [("csv", to_csv), ("json", to_json)])
def test_a_file_gets_its_meta_beside_it(
    tmp_path: Path, format_: str, text: Callable[[Frame, list[int], list[str]], str]
) -> None:
    path = tmp_path / f"t.{format_}"
    write_table(FRAME, [1, 0], ["block", "mix_ratio"], format_, path, {"model": "tiny", "filter": None})
    assert path.read_text(encoding="utf-8") == text(FRAME, [1, 0], ["block", "mix_ratio"])
    assert (tmp_path / f"t.{format_}.meta.json").read_text() == (
        "{\n"
        f'  "file": "t.{format_}",\n'
        '  "model": "tiny",\n'
        '  "filter": null,\n'
        f'  "format": "{format_}",\n'
        '  "columns": [\n'
        '    "block",\n'
        '    "mix_ratio"\n'
        "  ],\n"
        '  "rows": 2\n'
        "}\n"
    )
    assert sorted(os.listdir(tmp_path)) == [f"t.{format_}", f"t.{format_}.meta.json"]


def test_meta_tells_versions_model_recipe_filter_and_time() -> None:
    info = ModelInfo("tiny", "ab" * 32, 8, (0.5,) * 3, (0.5,) * 3, (), (), Recipe(steps=16))
    key = SetKey(Recipe(steps=16), seed=3, capture="lucent")
    meta = table_meta(info, key, "mix_ratio > 1", sort="block")
    time = datetime.fromisoformat(meta.pop("time"))
    assert abs((datetime.now(time.tzinfo) - time).total_seconds()) < 60
    assert meta.pop("versions")["numpy"] == version("numpy")
    assert meta == {
        "streamscope": __version__,
        "model": "tiny",
        "fingerprint": "ab" * 32,
        "preprocessing": {
            "resize": 9,
            "input_size": 8,
            "interpolation": "bilinear",
            "antialias": True,
            "value_range": [0, 1],
            "mean": [0.5] * 3,
            "std": [0.5] * 3,
        },
        "recipe": key.recipe.to_json(),
        "seed": 3,
        "capture": "lucent",
        "filter": "mix_ratio > 1",
        "sort": "block",
    }
    assert json.loads(json.dumps(meta)) == {**meta, "recipe": json.loads(json.dumps(meta["recipe"]))}
    empty = table_meta(info, None)
    assert (empty["recipe"], empty["seed"], empty["filter"]) == (None, None, None)


def test_text_that_utf8_cannot_say_is_escaped(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    write_table(small_frame(note=["a\udc80"]), [0], ["note"], "json", path, {"filter": "note == '\udc80'"})
    assert json.loads(path.read_text(encoding="utf-8")) == [{"note": "a\udc80"}]
    assert "\\udc80" in (tmp_path / "t.json.meta.json").read_text(encoding="utf-8")


def test_an_existing_file_is_replaced_and_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("old")
    path.chmod(0o640)
    write_table(FRAME, [0], ["block"], "csv", path, {})
    assert path.read_text() == "block\n2.1\n"
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_new_file_has_the_usual_mode(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    write_table(FRAME, [0], ["block"], "csv", tmp_path / "t.csv", {})
    assert (tmp_path / "t.csv").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link.csv").symlink_to(tmp_path / "real" / "t.csv")
    write_table(FRAME, [0], ["block"], "csv", tmp_path / "link.csv", {})
    assert (tmp_path / "link.csv").is_symlink()
    assert sorted(os.listdir(tmp_path / "real")) == ["t.csv", "t.csv.meta.json"]


@pytest.mark.parametrize("size", [0, 400])
def test_a_full_disk_leaves_neither_file(tmp_path: Path, size: int) -> None:
    path = tmp_path / "t.csv"
    rows = [0] * 1000  # the table is longer than 400 bytes, the meta file is not
    with files_no_longer_than(size), pytest.raises(StreamscopeError) as caught:
        write_table(FRAME, rows, ["block"], "csv", path, {})
    assert str(caught.value) == f"cannot write {path}: {os.strerror(errno.EFBIG)}"
    assert caught.value.exit_code == 1
    assert os.listdir(tmp_path) == []


def test_a_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    write_table(FRAME, [0], ["block"], "csv", path, {"run": 1})
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with files_no_longer_than(400), pytest.raises(StreamscopeError):
        write_table(FRAME, [0] * 1000, ["block"], "csv", path, {"run": 2})
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_when_the_second_file_cannot_be_placed_the_first_gets_back_what_it_had(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    for name in ("new-0", "new-1", "new-2"):
        (work / name).write_text("new")
    old, fresh, blocked = tmp_path / "old", tmp_path / "fresh", tmp_path / "blocked"
    old.write_text("old")
    (blocked / "in the way").mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        replace_all(work, [(work / "new-0", old), (work / "new-1", fresh), (work / "new-2", blocked)])
    assert old.read_text() == "old"
    assert not fresh.exists()
    assert os.listdir(blocked) == ["in the way"]


def test_a_folder_where_a_file_is_meant_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        write_table(FRAME, [0], ["block"], "csv", tmp_path, {})
    assert str(caught.value) == f"cannot write {tmp_path}: it is a folder; name a file"
    (tmp_path / "t.csv.meta.json").mkdir()
    with pytest.raises(UsageError) as caught:
        write_table(FRAME, [0], ["block"], "csv", tmp_path / "t.csv", {})
    assert str(caught.value) == f"cannot write {tmp_path / 't.csv.meta.json'}: it is a folder; name a file"
    assert os.listdir(tmp_path) == ["t.csv.meta.json"]


def test_places_that_cannot_hold_a_file_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    os.mkfifo(tmp_path / "pipe")
    for place, reason in (
        (tmp_path / "none" / "t.csv", f"there is no folder {tmp_path / 'none'}; make it first"),
        (tmp_path / "file" / "t.csv", f"there is no folder {tmp_path / 'file'}; make it first"),
        (tmp_path / "pipe", "it is not a regular file"),
        (tmp_path / ("n" * 300), "File name too long"),
        (tmp_path / "circle", "its links go in a circle"),
        (tmp_path / "nul\0", "null"),
    ):
        with pytest.raises(StreamscopeError) as caught:
            write_table(FRAME, [0], ["block"], "csv", place, {})
        assert str(caught.value).startswith("cannot write ")
        assert reason in str(caught.value)


def test_an_unknown_column_or_format_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean block"):
        write_table(FRAME, [0], ["blok"], "csv", tmp_path / "t.csv", {})
    with pytest.raises(UsageError, match="unknown format 'xml' for a file; use csv or json"):
        write_table(FRAME, [0], ["block"], "xml", tmp_path / "t.xml", {})
    assert os.listdir(tmp_path) == []
