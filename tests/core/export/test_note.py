"""Contact sheets and Markdown notes: their content, their pictures, and all or nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from streamscope.core.errors import StreamscopeError, UsageError
from streamscope.core.export.files import table_meta
from streamscope.core.export.note import NOTE_COLUMNS, kind_of, to_markdown, write_note
from streamscope.core.export.sheet import GAP, MARGIN, SIDE, contact_sheet, pictured, sheet_size, write_sheet
from streamscope.core.model.blocks import TENSORS
from streamscope.core.store import FZSet, Judgement, Store
from streamscope.core.table.frame import Frame, build_frame, with_marks
from tests.support.app_store import fill, make_info, open_store


def some_channels(root: Path) -> tuple[FZSet, Frame]:
    info = make_info()
    fzset = fill(open_store(root, info), info, ["2.1"], range(4))
    said = {("2.1", 1): Judgement("keep", ("edge",), "two\nlines | and *stars*")}
    return fzset, with_marks(build_frame(info, fzset, ["2.1"]), said)


def test_a_picture_shows_the_stored_fz_cropped_to_what_the_neuron_sees(tmp_path: Path) -> None:
    fzset, frame = some_channels(tmp_path)
    info = fzset.info
    found = pictured(info, fzset, frame, 2)
    field = info.fields["2.1.block"]
    whole = fzset.fz_image(info.source("2.1", "block"), 2)
    fz = found.fzs["block"]
    assert fz is not None
    assert np.array_equal(fz, whole[field.start : field.stop, field.start : field.stop])
    assert pictured(info, fzset, frame, 5).fzs == {"in": None, "block": None, "out": None}


def test_a_sheet_has_every_channel_where_it_should_be(tmp_path: Path) -> None:
    fzset, frame = some_channels(tmp_path)
    channels = [pictured(fzset.info, fzset, frame, row) for row in (3, 1, 5)]
    sheet = contact_sheet("title", channels)
    assert sheet.size == sheet_size(3)
    top = sheet.height - MARGIN - SIDE
    for place, tensor in enumerate(TENSORS):
        pixels = channels[0].fzs[tensor]
        assert pixels is not None
        wanted = Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
        left = MARGIN + place * (SIDE + GAP)
        assert np.array_equal(np.asarray(sheet.crop((left, top, left + SIDE, top + SIDE))), np.asarray(wanted))


def test_a_sheet_is_written_with_what_it_was_made_from(tmp_path: Path) -> None:
    fzset, frame = some_channels(tmp_path / "cache")
    file = tmp_path / "sheet.png"
    write_sheet(fzset.info, fzset, frame, [0, 1], file, table_meta(fzset.info, fzset.key, "channel < 2"))
    assert Image.open(file).size == sheet_size(2)
    meta = json.loads((tmp_path / "sheet.png.meta.json").read_text())
    assert (meta["filter"], meta["rows"], meta["format"]) == ("channel < 2", 2, "png")


def test_a_note_links_a_picture_of_every_channel_and_says_what_was_said_of_it(tmp_path: Path) -> None:
    fzset, frame = some_channels(tmp_path / "cache")
    file = tmp_path / "tonight.md"
    write_note(fzset.info, fzset, frame, [1, 0], NOTE_COLUMNS, file, table_meta(fzset.info, fzset.key))
    text = file.read_text()
    assert text.index("## 2.1 · 1") < text.index("## 2.1 · 0")
    assert "![FZ(I), FZ(B) and FZ(O) of 2.1 · 1](tonight-pictures/2.1_0001.png)" in text
    assert "keep edge" in text
    assert "> two\n> lines \\| and \\*stars\\*" in text
    for name in ("2.1_0000.png", "2.1_0001.png"):
        assert Image.open(tmp_path / "tonight-pictures" / name).width == 3 * 224 + 2 * GAP
    assert json.loads((tmp_path / "tonight.md.meta.json").read_text())["columns"] == list(NOTE_COLUMNS)


def test_a_field_cannot_break_out_of_its_place_in_a_markdown_table(tmp_path: Path) -> None:
    _, frame = some_channels(tmp_path)
    lines = to_markdown(frame, [1], ("channel", "note")).splitlines()
    assert lines == ["| channel | note |", "| ---: | --- |", "| 1 | two lines \\| and \\*stars\\* |"]


def test_a_damaged_fz_stops_the_note_before_anything_is_written(tmp_path: Path) -> None:
    fzset, frame = some_channels(tmp_path / "cache")
    path = fzset.fzs(fzset.info.source("2.1", "block"))[1].path
    path.write_bytes(path.read_bytes()[:-9])
    again = Store(tmp_path / "cache").set(fzset.info, fzset.key)
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(StreamscopeError, match="damaged"):
        write_note(fzset.info, again, frame, [0, 1], NOTE_COLUMNS, out / "a.md", table_meta(fzset.info, fzset.key))
    assert list(out.iterdir()) == []


def test_no_channel_makes_no_sheet(tmp_path: Path) -> None:
    fzset, frame = some_channels(tmp_path)
    with pytest.raises(UsageError, match="no channel"):
        write_sheet(fzset.info, fzset, frame, [], tmp_path / "a.png", table_meta(fzset.info, fzset.key))


def test_the_ending_says_the_kind() -> None:
    assert [kind_of(Path(name)) for name in ("a.CSV", "a.md", "a.png", "a.txt", "a")] == [
        "csv",
        "md",
        "png",
        None,
        None,
    ]


def test_a_note_shows_what_would_be_obeyed_and_links_to_any_file_name(tmp_path: Path) -> None:
    info = make_info()
    fzset = fill(open_store(tmp_path, info), info, ["2.1"], range(2))
    said = {("2.1", 1): Judgement("keep", ("\x1b[31m",), "a\r\nb\x1b]0;t\x07 <script> &lt; \u202e\udcff")}
    frame = with_marks(build_frame(info, fzset, ["2.1"]), said)
    file = tmp_path / "a](x) `y`.md"
    write_note(info, fzset, frame, [1], NOTE_COLUMNS, file, table_meta(info, fzset.key, "note == '`'"))
    text = file.read_text()
    assert not set(text) & set("\x1b\x07\u202e\r")
    assert "> a\n> b␛\\]0;t␇ \\<script\\> \\&lt; \\\\u202e\\\\xff" in text
    assert "](a%5D%28x%29%20%60y%60-pictures/2.1_0001.png)" in text
    assert "filter `` note == '`' ``;" in text
    assert not set((tmp_path / "a](x) `y`.md.meta.json").read_text()) & set("\x1b\u202e")
