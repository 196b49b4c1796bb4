"""A report in one file: all of it in there, working from disk, of the channels that were chosen."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from streamscope.core.errors import UsageError
from streamscope.core.model.blocks import parse_channels
from streamscope.core.report import pictures, write
from streamscope.core.report.material import Chosen, gather
from streamscope.core.report.write import check_file, write_report, write_single
from streamscope.core.table.frame import Frame
from streamscope.tui.cli.main import main
from tests.core.report.test_report import Page, is_rounding, read_table
from tests.support.accessibility import barriers, set_scheme
from tests.support.app_store import SMALL, fill, make_info, open_store
from tests.support.browser import chromium, complaints, requested, visit
from tests.support.optional import present
from tests.support.report_store import Made


@pytest.fixture(scope="module")
def single(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The marked channels of two blocks, which are channels 3 and 5 of 2.0."""
    out = tmp_path_factory.mktemp("single") / "marked.html"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STREAMSCOPE_MARKS", str(made.marks))
        assert main([*made.arguments(out), "--single", "--marked"]) == 0
    return out


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    with chromium() as found:
        yield found


def open_file(browser: webdriver.Chrome, file: Path, address: str = "") -> None:
    visit(browser, file.parent, f"{file.name}{address}")


def shown(browser: webdriver.Chrome) -> list[str]:
    """The heads of what is shown, down to the second level."""
    return [head.text for head in browser.find_elements(By.CSS_SELECTOR, "main h1, main h2") if head.is_displayed()]


def test_it_is_one_file_that_asks_for_no_other(browser: webdriver.Chrome, single: Path) -> None:
    assert [path.name for path in single.parent.iterdir()] == [single.name]
    requested(browser), complaints(browser)
    open_file(browser, single)
    for address in ("#block-2.0", "#block-2.0/3", "#comparison", "#index"):
        browser.execute_script("location.hash = arguments[0]", address)
        browser.execute_script("document.querySelectorAll('img').forEach((image) => { image.loading = 'eager'; })")
        WebDriverWait(browser, 20).until(
            lambda b: b.execute_script("return [...document.images].every((i) => i.complete && i.naturalWidth)")
        )
        assert browser.execute_script("return document.images.length") > 0
    asked = {url.split("#")[0] for url in requested(browser) if not url.startswith(("data:", "about:"))}
    assert asked == {f"file://{single}"}
    assert complaints(browser) == []


def comes(browser: webdriver.Chrome, place: int, words: str) -> None:
    """Waits until the heading at a place begins with these words: pages change a moment after the address."""
    WebDriverWait(browser, 20).until(lambda b: any(h.startswith(words) for h in shown(b)[place : place + 1]))


def test_its_pages_are_reached_by_links_by_keys_and_by_address(browser: webdriver.Chrome, single: Path) -> None:
    open_file(browser, single)
    comes(browser, 0, "resnet18: what its residual stream does")
    browser.find_element(By.LINK_TEXT, "2.0").click()
    comes(browser, 0, "Block 2.0")
    comes(browser, 1, "Channels")
    assert browser.find_element(By.CSS_SELECTOR, "header [aria-current]").text == "2.0"
    assert [row.get_attribute("data-channel") for row in browser.find_elements(By.CSS_SELECTOR, "#rows tr")] == [
        "3",
        "5",
    ]
    browser.switch_to.active_element.send_keys("j", Keys.ENTER)
    comes(browser, 1, "2.0 channel 3")
    assert "2.0 channel 3" in browser.title
    channel = browser.find_element(By.ID, "channel")
    assert len(channel.find_elements(By.CSS_SELECTOR, ".curve svg")) == 4
    assert len(channel.find_elements(By.CSS_SELECTOR, ".meis > div > .nine img")) == 27
    browser.switch_to.active_element.send_keys("j")
    comes(browser, 1, "2.0 channel 5")
    browser.back()
    comes(browser, 1, "2.0 channel 3")
    browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    comes(browser, 0, "Block 2.0")
    comes(browser, 1, "Channels")
    browser.find_element(By.LINK_TEXT, "other sets").click()
    comes(browser, 0, "Other sets")
    browser.find_element(By.LINK_TEXT, "overview").click()
    comes(browser, 0, "resnet18: what its residual stream does")
    open_file(browser, single, "#block-2.0/5")
    comes(browser, 1, "2.0 channel 5")
    # Sorted and filtered as in a folder, also on a page that is opened again.
    open_file(browser, single, "#block-1.1")
    browser.execute_script("location.hash = '#block-2.0'")
    browser.find_element(By.ID, "filter").send_keys('marked == "reject"')
    assert browser.find_element(By.ID, "count").text == "1 of 2 channels"


def test_its_tables_are_the_files_of_a_folder_of_the_same_channels(
    browser: webdriver.Chrome, made: Made, single: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAMSCOPE_MARKS", str(made.marks))
    assert main([*made.arguments(tmp_path / "folder"), "--marked"]) == 0
    files = Page(single).data["table-files"]
    folder = {f"tables/{path.name}": path.read_text() for path in (tmp_path / "folder" / "tables").iterdir()}
    assert files == folder
    browser.execute_cdp_cmd(
        "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path / "saved")}
    )
    open_file(browser, single)
    browser.find_element(By.CSS_SELECTOR, 'a[data-file="tables/shares.csv"]').click()
    saved = tmp_path / "saved" / "shares.csv"
    WebDriverWait(browser, 20).until(lambda _: saved.exists())
    assert saved.read_text() == folder["tables/shares.csv"]


def test_every_number_is_that_of_its_tables_and_of_all_channels(single: Path, made: Made) -> None:
    page = Page(single)
    rows = {
        Path(name).stem: list(csv.DictReader(io.StringIO(text)))
        for name, text in page.data["table-files"].items()
        if name.endswith(".csv")
    }
    assert len(page.cells) > 500
    for source, value, text in page.cells:
        name, row, column = source.split(":")
        assert rows[name][int(row)][column] == value
        assert text == "–" if value == "" else is_rounding(text, value), (source, text, value)
    for name in ("blocks", "shares", "nulls", "tuning", "inhibition"):
        assert rows[name] == read_table(made.out, name)
    whole = read_table(made.out, "channels-2.0")
    assert rows["channels-2.0"] == [whole[3], whole[5]]
    assert {row["channel"] for name in ("tuning-2.0", "meis-2.0") for row in rows[name]} == {"3", "5"}
    data = page.data["data-block-2.0"]
    assert [values[data["channels"]["columns"].index("channel")] for values in data["channels"]["rows"]] == [3, 5]


def test_it_says_which_channels_it_shows_and_links_to_no_other(single: Path) -> None:
    page, text = Page(single), single.read_text()
    assert "2 channels are shown one by one, on the pages of their blocks: those that are marked." in page.text
    linked = set(re.findall(r'href="#(block-[\w.]+/\d+)"', text))
    assert linked <= {"block-2.0/3", "block-2.0/5"}
    meta = json.loads(page.data["table-files"]["tables/shares.csv.meta.json"])
    assert meta["chosen"] == "those that are marked"


def test_pictures_are_of_the_chosen_channels_and_of_the_top_lists(single: Path, made: Made) -> None:
    data = Page(single).data
    listed = {
        (row["block"], int(row["channel"])) for name in ("top_mixes", "top_scale") for row in read_table(made.out, name)
    }
    listed |= {("2.0", 3), ("2.0", 5)}
    fzs = [file for file in data["picture-files"] if "/fz/" in file]
    assert 6 <= len(fzs) <= 3 * len(listed)
    assert all(source.startswith("data:image/jpeg;base64,") for source in data["picture-files"].values())
    named = {file for files in data["data-block-2.0"]["fz"].values() for file in files if file}
    assert named <= set(data["picture-files"])
    assert {int(Path(file).stem) for file in named} == {3, 5}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nobody_is_kept_out_of_one_file(browser: webdriver.Chrome, single: Path, scheme: str) -> None:
    set_scheme(browser, scheme)
    for address in ("", "#block-2.0", "#block-2.0/3", "#comparison"):
        open_file(browser, single, address)
        browser.execute_script("for (const part of document.querySelectorAll('details')) part.open = true")
        assert barriers(browser) == []


def test_its_size_is_told_and_one_that_mailers_refuse_is_warned_of(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "some.html"
    words = [*made.arguments(out), "--single", "--filter", "channel < 2"]
    assert main(words) == 0
    said = capsys.readouterr()
    size = out.stat().st_size
    assert said.out == f"wrote {out}: 4 channels of 2 blocks, {size / 1e6:.1f} MB\n"
    assert "mail servers" not in said.err
    monkeypatch.setattr(write, "MAILABLE", size - 1)
    assert main([*words, "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["bytes"] == size
    assert "for 4 channels are more than most mail servers take" in said.err
    assert "choose fewer with --block, --channels, --filter or --marked" in said.err


def test_more_pictures_than_a_browser_opens_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = make_info(SMALL)
    store = open_store(tmp_path / "cache", info)
    material = gather(store, info, fill(store, info, ["2.0"]), ["2.0"])
    monkeypatch.setattr(pictures, "MOST", 5000)
    with pytest.raises(UsageError, match="the pictures of 8 channels are more than one file can hold"):
        write_single(material, tmp_path / "out.html")
    assert not (tmp_path / "out.html").exists()
    # A folder has no such bound.
    assert write_report(material, tmp_path / "out") == []


def test_only_a_report_is_replaced(tmp_path: Path, made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    thesis = tmp_path / "thesis.html"
    thesis.write_text("<p>years of work")
    assert main([*made.arguments(thesis), "--single"]) == 2
    assert "is not a streamscope report and stays" in capsys.readouterr().err
    assert thesis.read_text() == "<p>years of work"
    assert main([*made.arguments(tmp_path), "--single"]) == 2
    assert "is a folder; a report in one file takes a file" in capsys.readouterr().err
    assert main(made.arguments(tmp_path / "report.html")) == 2
    assert "add --single for a report in one file, or name a folder" in capsys.readouterr().err
    assert main([*made.arguments(tmp_path / "none.html"), "--single", "--filter", "mix_ratio > 99"]) == 2
    assert "no channel of these blocks is chosen by those with mix_ratio > 99" in capsys.readouterr().err


def test_an_earlier_one_is_replaced(single: Path) -> None:
    check_file(single)


def test_a_folder_of_chosen_channels_has_the_figures_of_all(tmp_path: Path) -> None:
    info = make_info(SMALL)
    store = open_store(tmp_path / "cache", info)
    fzset = fill(store, info, ["2.0", "2.1"])

    def choose(frame: Frame) -> Chosen:
        assert np.unique(frame["block"]).tolist() == ["2.0", "2.1"]
        return Chosen({"2.0": tuple(parse_channels("1,4", 8))}, "channels 1,4")

    everything: dict[str, Any] = {}
    for name, how in (("all", lambda frame: None), ("some", choose)):
        material = gather(store, info, fzset, ["2.0", "2.1"], choose=how)
        write_report(material, tmp_path / name)
        everything[name] = {path.name: path.read_bytes() for path in (tmp_path / name / "figures").iterdir()}
    assert everything["all"] == everything["some"]
    assert len(read_table(tmp_path / "some", "channels-2.0")) == 2
    assert read_table(tmp_path / "some", "channels-2.1") == []
    assert len(list((tmp_path / "some" / "pictures" / "down" / "2.0.block").iterdir())) == 2
    assert "2 of these channels are shown one by one: channels 1,4." in Page(tmp_path / "some" / "block-2.0.html").text


def test_the_same_store_gives_the_same_file(made: Made, single: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMSCOPE_MARKS", str(made.marks))
    before = single.read_bytes()
    assert main([*made.arguments(single), "--single", "--marked"]) == 0
    assert single.read_bytes() == before
    assert present(re.search(rb"data-single", before))
