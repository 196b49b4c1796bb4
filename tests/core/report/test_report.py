"""What a report writes: figures, tables and pages that say the same, and nothing in the wrong place."""

from __future__ import annotations

import csv
import hashlib
import html
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from streamscope.core.analysis.null_shares import CRITERIA
from streamscope.core.analysis.skip_weights import WEIGHTS
from streamscope.core.errors import StoreError, UsageError
from streamscope.core.measures.agreement import kappa
from streamscope.core.model.blocks import ModelInfo
from streamscope.core.model.recipe import Recipe, SetKey
from streamscope.core.report.analyses import AGREEMENT_WORDS
from streamscope.core.report.folder import check_place, report_folder
from streamscope.core.report.material import gather
from streamscope.core.report.pictures import Pictures
from streamscope.core.report.tables import Field, make_table
from streamscope.core.store import FZSet, Marks, Store, marks_folder
from streamscope.core.store.sets.responses import SHAM_TRANSFORMS
from streamscope.tui.cli.main import main
from tests.support.app_store import SMALL, commit_fzs, fill, make_info, open_store
from tests.support.optional import present
from tests.support.report_store import NOTE, Made


@pytest.fixture
def report(made: Made) -> Path:
    return made.out


WORDS = {**CRITERIA, **WEIGHTS, **AGREEMENT_WORDS, "block_on_in": "B(FZ(I))", "rho": "rho of B against I"}
"""What pages say for values that are names."""


def read_table(report: Path, name: str) -> list[dict[str, str]]:
    with (report / "tables" / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


class Page(HTMLParser):
    """The cited numbers of a page, the text of each, and the JSON in it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.cells: list[tuple[str, str, str]] = []
        self.data: dict[str, Any] = {}
        self.text = ""
        self._json = ""
        self._cell: tuple[str, str] | None = None
        self._in = ""
        self.feed(path.read_text())

    def of_block(self, block: str) -> dict[str, Any]:
        """What the scripts of a block's page get."""
        (file,) = self.path.parent.glob(f"details/details-block-{block}-*.js")
        called = re.fullmatch(r'keepDetails\("(.*?)", (".*")\);\n', file.read_text())
        assert called is not None
        assert called[1] == file.stem
        return {**self.data["data"], **json.loads(json.loads(called[2]))}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self._in = "code" if tag in ("script", "style") else ""
        if tag == "data":
            self._cell = (given["data-cell"], given["value"])
        if given.get("type") == "application/json":
            self._in = given["id"]
            self._json = ""

    def handle_endtag(self, tag: str) -> None:
        if self._in not in ("", "code"):
            self.data[self._in] = json.loads(self._json)
        self._in = ""
        if tag == "data":
            self._cell = None

    def handle_data(self, text: str) -> None:
        if self._in not in ("", "code"):
            self._json += text
        elif not self._in:
            self.text += text
        if self._cell:
            self.cells.append((*self._cell, text))


def pages(report: Path) -> dict[str, Page]:
    return {path.name: Page(path) for path in sorted(report.glob("*.html"))}


def test_every_number_of_every_page_is_that_of_the_csv(report: Path) -> None:
    found = pages(report)
    assert list(found) == ["block-1.1.html", "block-2.0.html", "comparison.html", "index.html"]
    cited = [cell for page in found.values() for cell in page.cells]
    tables = {source.split(":")[0] for source, _, _ in cited}
    assert {"blocks", "shares", "top_mixes", "skip_weights", "inhibition", "nulls", "seeds", "comparison"} <= tables
    rows = {name: read_table(report, name) for name in tables}
    for source, value, text in cited:
        name, row, column = source.split(":")
        assert rows[name][int(row)][column] == value
        assert text == "–" if value == "" else is_rounding(text, value), (source, text, value)


def is_rounding(text: str, value: str) -> bool:
    """Whether `text` is `value` with fewer digits."""
    try:
        exact = float(value)
    except ValueError:
        # A verdict is a criterion of the nulls, and what changes between sets.
        return text in ({"true": "yes", "false": "no", **WORDS}.get(value, value), value)
    if text.endswith(" %"):
        return abs(float(text[:-2]) / 100 - exact) < 0.0006
    return abs(float(text) - exact) <= max(0.00051, abs(exact) * 0.06 if abs(exact) < 0.0005 else 0)


def test_a_block_page_counts_its_nulls_and_says_which_are_not_stored(report: Path, made: Made) -> None:
    found = pages(report)
    cited = {source for source, _, _ in found["block-2.0.html"].cells}
    for number, row in enumerate(read_table(report, "nulls")):
        if row["block"] == "2.0" and row["criterion"] in ("scale_invariant", "meets_both"):
            names = ["null_share", "null_k", "null_n", *(name for name in ("p", "holm_p") if row[name])]
            assert {f"nulls:{number}:{name}" for name in names} <= cited
    by_images = ("mei_scale_invariant", "robust", "photo_invariant")
    shown = {source for source, _, _ in found["block-1.1.html"].cells}
    rows = [row for row in enumerate(read_table(report, "nulls")) if row[1]["criterion"] in by_images]
    assert {row["null"] for _, row in rows} == {f"sham: {name}" for name in SHAM_TRANSFORMS}
    assert {f"nulls:{number}:null_share" for number, row in rows if row["block"] == "1.1"} <= shown
    assert "Scale-invariant channels by images" in found["block-1.1.html"].text
    agreements = [number for number, row in enumerate(read_table(report, "seeds")) if row["block"] == "2.0"]
    assert len(agreements) == 3
    assert {f"seeds:{number}:{name}" for number in agreements for name in ("share", "k", "n")} <= cited
    command = f"(q against pairs, sham transforms, untrained copy): run 'streamscope --cache {made.cache} nulls --block"
    options = "--protocol paper --pairs --shams --untrained'."
    assert f"no nulls stored for 2.0 {command} 2.0 {options}" in found["block-2.0.html"].text
    assert f"no nulls stored for 1.1, 2.0 {command} 1.1 --block 2.0 {options}" in found["index.html"].text


@pytest.mark.parametrize("block", ["1.1", "2.0"])
def test_the_data_of_a_block_page_is_that_of_the_csv(report: Path, block: str) -> None:
    data = Page(report / f"block-{block}.html").of_block(block)
    for name in ("channels", "tuning", "meis"):
        table, rows = data[name], read_table(report, f"{name}-{block}")
        assert len(table["rows"]) == len(rows) > 0
        for values, row in zip(table["rows"], rows, strict=True):
            for column, value in zip(table["columns"], values, strict=True):
                text = json.dumps(value) if isinstance(value, bool) else "" if value is None else str(value)
                assert row[column] == text
    assert [data["images"][row["row"]][:2] for row in rows] == [[row["image"], row["label"]] for row in rows]


def test_a_block_page_has_its_channels_patches_and_how_verdicts_agree(report: Path, made: Made) -> None:
    page = Page(report / "block-1.1.html")
    data, rows = page.of_block("1.1"), read_table(report, "patches-1.1")
    patches = data["patches"]
    assert len(patches["rows"]) == len(rows) > 0
    for values, row in zip(patches["rows"], rows, strict=True):
        assert [row[column] for column in patches["columns"]] == ["" if v is None else str(v) for v in values]
    sides = {Image.open(report / file).size[0] for files in data["patch_pictures"].values() for file in files if file}
    side = data["crop"]["block"][1] - data["crop"]["block"][0]
    assert sides == {5 * (side + 2) - 2}
    found, *more = read_table(report, "photographs")
    assert {row["by"] for row in more} <= {"FZ seeds"}
    fz, photo = (made.rows("1.1")[name] for name in ("scale_invariant", "photo_invariant"))
    known = ~np.isnan(fz) & ~np.isnan(photo)
    counts = [int(((fz == a) & (photo == b))[known].sum()) for a, b in ((1, 1), (1, 0), (0, 1), (0, 0))]
    assert [found["block"], found["by"], found["n"]] == ["1.1", "FZ", str(known.sum())]
    assert [int(found[name]) for name in ("both", "fz_only", "photo_only", "neither")] == counts
    assert float(found["kappa"]) == pytest.approx(kappa([counts[:2], counts[2:]]))
    assert "Beside verdicts by FZ: " in page.text
    other = Page(report / "block-2.0.html")
    assert (
        f"no photographs of 2.0 are read: run 'streamscope --cache {made.cache} photographs --block 2.0" in other.text
    )
    assert "Beside verdicts by FZ: " not in other.text


def test_the_channel_csv_is_what_the_table_command_writes(
    made: Made, report: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--cache", str(made.cache), "--block", "1.1", "--seed", "0", "--capture", "exact", "--format", "csv"]
    assert main(["table", *arguments]) == 0
    assert capsys.readouterr().out == (report / "tables" / "channels-1.1.csv").read_text()


def test_every_table_says_what_it_was_made_from(report: Path) -> None:
    tables = sorted((report / "tables").glob("*.csv"))
    assert len(tables) > 15
    for path in tables:
        meta = json.loads(path.with_name(f"{path.name}.meta.json").read_text())
        assert meta["model"] == "resnet18"
        assert meta["recipe"]["steps"] == 2560
        assert meta["images"]["folder"] == "photographs"
        assert meta["rows"] == len(read_table(report, path.stem))


def test_every_figure_is_a_png_and_a_pdf_that_name_model_weights_recipe_and_images(report: Path) -> None:
    pngs = sorted((report / "figures").glob("*.png"))
    assert {path.stem for path in pngs} >= {
        *("updates", "spectrum", "shares", "top_mixes", "top_scale", "spectrum-1.1", "skip_weights-1.1"),
        *("inhibition-2.0", "tuning-2.0", "comparison-capture-lucent", "comparison-seed-1", "ablation-2.0-1"),
    }
    for path in pngs:
        with Image.open(path) as image:
            said = image.info["Description"]
        assert path.with_suffix(".pdf").read_bytes().startswith(b"%PDF")
        images = "200 images in photographs" if path.stem.startswith("ablation") else "24 images in photographs"
        assert said == f"resnet18 f37072fd0000 · paper recipe, 2560 steps, seed 0, capture exact · {images}"


def test_each_block_s_page_has_the_figure_of_its_evidence_and_says_in_words_what_it_shows(
    report: Path,
) -> None:
    for block, photographed in (("1.1", " and by photographs ("), ("2.0", ". Numbered:")):
        text = html.unescape((report / f"block-{block}.html").read_text())
        caption = f"channels of {block}, by FZs (2 seeds: 0, 1){photographed}"
        assert (report / "figures" / f"evidence-{block}.pdf").is_file()
        picture = re.search(rf'<img [^>]*src="figures/evidence-{block}.png" alt="([^"]*)"', text)
        assert picture is not None
        assert caption in picture[1]
        assert "pairs of one channel's I with another's B" in picture[1]


def test_what_users_wrote_is_never_markup(report: Path) -> None:
    text = (report / "block-2.0.html").read_text()
    assert "<script>window.hacked" not in text
    assert "<img src=x" not in text
    assert NOTE in [row["note"] for row in read_table(report, "channels-2.0")]


def test_no_page_has_a_control_character_and_none_stops_a_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    info = make_info()
    fill(open_store(tmp_path / "cache", info), info, ["2.1"], range(4))
    marks = Marks(marks_folder(), info.fingerprint, info.name)
    marks.note("2.1", 0, "=1+1\x1b]0;t\x07 \x9b2J \u202e\udcff </script><script>1</script>")
    out = tmp_path / "report"
    words = ["report", "--out", str(out), "--cache", str(tmp_path / "cache"), "--block", "2.1"]
    assert main(words) == 0, capsys.readouterr().err
    page = (out / "block-2.1.html").read_text()
    assert "=1+1␛]0;t␇ \\\\x9b2J \\\\u202e\\\\xff" in page
    assert "</script><script>1" not in page
    for path in [*out.glob("*.html"), *out.rglob("*.csv"), *out.rglob("*.json")]:
        assert not set(path.read_text()) & set("\x1b\x07\x9b\u202e"), path


def test_pages_link_only_to_files_of_the_report(report: Path) -> None:
    class Links(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            for name, value in attrs:
                if name in ("href", "src") and not present(value).startswith(("#", "data:")):
                    assert (report / present(value).split("#")[0]).is_file(), value

    for path in report.glob("*.html"):
        Links().feed(path.read_text())


def test_the_same_store_gives_the_same_report_in_place_of_the_old_one(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def digests(report: Path) -> dict[str, str]:
        files = [path for path in report.rglob("*") if path.is_file()]
        return {str(path.relative_to(report)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    again = tmp_path / "report"
    shutil.copytree(made.out, again)
    (again / "index.html").write_text("an old one")
    monkeypatch.setenv("STREAMSCOPE_MARKS", str(made.marks))
    assert main(made.arguments(again)) == 0
    assert digests(again) == digests(made.out)
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_parts_that_are_not_stored_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    info = make_info(SMALL)
    store = open_store(tmp_path / "cache", info)
    fill(store, info, ["1.1"], range(2))
    out = tmp_path / "report"
    blocks = ["--block", "1.1", "--block", "2.1"]
    assert main(["report", "--cache", str(tmp_path / "cache"), *blocks, "--top", "1", "--out", str(out)]) == 0
    streamscope = f"streamscope --cache {store.root}"
    overview, begun, block = (Page(out / name).text for name in ("index.html", "block-1.1.html", "block-2.1.html"))
    for said in (
        f"block 2.1 is not computed: run '{streamscope} compute --block 2.1 --protocol paper'",
        f"4 channels of 1.1 are not computed: 2-5: run '{streamscope} compute --block 1.1 --protocol paper'",
        "not in this report: 1.0, 2.0",
        f"no images have been scanned: run '{streamscope} scan DIR'",
        f"no tuning curves are stored: run '{streamscope} curves --protocol paper'",
        f"no ablation of 1.1, 2.1 is stored: run '{streamscope} ablate --block 1.1 --block 2.1 --protocol paper DIR'",
        f"no nulls of 2.1, of which nothing is measured yet: run '{streamscope} compute --block 2.1 --protocol paper'",
        "only one FZ seed is stored",
        "no set of this model is stored that differs",
    ):
        assert said in overview
    assert "block 2.1 is not computed" in block
    assert "4 channels of 1.1 are not computed: 2-5" in begun
    assert [row["share"] for row in read_table(out, "shares") if row["block"] == "2.1"] == [""] * 6
    assert capsys.readouterr().out == f"wrote {out}/index.html: 14 channels of 2 blocks\n"


def test_what_some_blocks_lack_is_said_where_others_have_it(report: Path, made: Made) -> None:
    found = pages(report)["index.html"].text
    assert (
        f"no ablation of 1.1 is stored: run 'streamscope --cache {made.cache} ablate --block 1.1 --protocol paper DIR'"
        in found
    )


def test_headings_and_names_of_findings_are_words_in_pages_and_names_in_the_csv(report: Path) -> None:
    text = pages(report)["index.html"].text
    for raw in ("real_k", "null_low", "n_below", "holds_again", "meets_both", "mean_above", "scale_metric"):
        assert raw not in text
    for words in ("really meet it", "channels, M < 1", "(3) and (4)", "scale invariant, and again"):
        assert words in text
    assert {"real_k", "null_low"} <= read_table(report, "nulls")[0].keys()


def test_pictures_that_cannot_be_read_are_said_and_left_out(tmp_path: Path) -> None:
    info = make_info(SMALL)
    store = open_store(tmp_path / "cache", info)
    fzset = fill(store, info, ["2.0"])
    fzset.fzs(info.source("2.0", "block"))[5].path.write_bytes(b"not a picture")
    material = gather(store, info, fzset, ["2.0"])
    pictures = Pictures(material, tmp_path)
    found = pictures.of_block(info.block("2.0"))
    assert [channel for channel, file in enumerate(found.fz["block"]) if file is None] == [5]
    assert found.scaled["block"][5] is None
    assert None not in found.fz["in"]
    with Image.open(tmp_path / str(found.scaled["in"][0])) as image:
        assert image.size == (48, 48)
    assert len(pictures.problems) == 1
    assert "0005.png is damaged" in str(pictures.problems[0])


def test_a_channel_shows_the_fz_that_its_row_was_read_from(tmp_path: Path) -> None:
    info = make_info(SMALL)
    store = open_store(tmp_path / "cache", info)
    fzset = fill(store, info, ["2.0"])
    for tensor in ("in", "block"):
        commit_fzs(fzset, info.source("2.0", tensor), [2], retry=1)
    material = gather(store, info, fzset, ["2.0"])
    assert Pictures(material, tmp_path).of_block(info.block("2.0")).fz["in"][2] == "pictures/fz/2.0.in/0002.jpg"
    undefined = gather(store, info, retried_set(store, info), ["2.0"])
    found = Pictures(undefined, tmp_path).of_block(info.block("2.0"))
    assert found.fz["in"][2] == "pictures/fz/2.0.in/0002-retry1.jpg"
    assert found.scaled["block"][2] == "pictures/down/2.0.block/0002-retry1.jpg"
    assert found.fz["in"][3] == "pictures/fz/2.0.in/0003.jpg"


def retried_set(store: Store, info: ModelInfo) -> FZSet:
    """A set of which channel 2 has an undefined M at first, and FZs of the next seed that define it."""
    fzset = store.set(info, SetKey(Recipe(steps=7)), create=True)
    channels = list(range(8))
    ones = np.ones((8, 3, 8), dtype=np.float32)
    undefined = ones.copy()
    undefined[2] = -1
    for tensor in ("in", "block"):
        commit_fzs(fzset, info.source("2.0", tensor), channels)
        commit_fzs(fzset, info.source("2.0", tensor), [2], retry=1)
        fzset.commit_measures("2.0", tensor, channels, undefined, ones)
        fzset.commit_measures("2.0", tensor, [2], ones[:1], ones[:1], retry=1)
    return fzset


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "thesis"
    other.mkdir()
    check_place(other)
    (other / "chapter.txt").write_text("years of work")
    with pytest.raises(UsageError, match="holds files that aren't a streamscope report"):
        check_place(other)
    with pytest.raises(UsageError, match="is not a folder"):
        check_place(other / "chapter.txt")
    with pytest.raises(UsageError, match=r"aren.t a streamscope report"), report_folder(other, {}):
        pytest.fail("the body must not run")
    assert [path.name for path in tmp_path.rglob("*")] == ["thesis", "chapter.txt"]


def test_a_file_that_the_user_put_into_a_report_is_not_lost(tmp_path: Path) -> None:
    out = tmp_path / "report"
    with report_folder(out, {"model": "x"}) as folder:
        (folder / "index.html").write_text("one")
    with report_folder(out, {"model": "x"}) as folder:
        (folder / "index.html").write_text("two")
    assert (out / "index.html").read_text() == "two"
    (out / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"notes\.txt in it is not the report's own"), report_folder(out, {}):
        pytest.fail("the body must not run")
    assert (out / "notes.txt").read_text() == "mine"


def test_a_report_that_fails_half_way_leaves_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    out = tmp_path / "report"
    with report_folder(out, {}) as folder:
        (folder / "index.html").write_text("whole")

    def fail_half_way() -> None:
        with report_folder(out, {}) as folder:
            (folder / "index.html").write_text("half")
            raise StoreError("the disk is full")

    with pytest.raises(StoreError):
        fail_half_way()
    assert (out / "index.html").read_text() == "whole"
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_unknown_blocks_and_empty_stores_end_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    info = make_info(SMALL)
    open_store(tmp_path / "cache", info)
    given = ["report", "--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "report")]
    assert main([*given, "--block", "9.9"]) == 2
    assert "unknown block '9.9'" in capsys.readouterr().err
    assert main(given) == 1
    assert "nothing is stored of resnet18" in capsys.readouterr().err
    assert not (tmp_path / "report").exists()


def test_tables_keep_what_csv_can_hold() -> None:
    table = make_table("t", "T", [Field("a", ""), Field("b", "", "percent")], [(float("nan"), 0.125), ("x", None)])
    assert table.csv() == "a,b\n,0.125\nx,\n"
    assert (table.cell(0, "b").text, table.cell(0, "b").value, table.cell(0, "a").text) == ("12.5 %", "0.125", "–")
    assert table.find(a="x") == 1
    assert table.find(a="y") is None
    with pytest.raises(KeyError):
        table.cell(0, "c")
