"""A report for people who do not see it, or not well, and on paper: checked in a real browser."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from streamscope.core.model.blocks import TENSORS
from streamscope.core.report.material import gather
from streamscope.core.report.write import write_report
from tests.core.report.test_report import read_table
from tests.support.accessibility import barriers, set_paper, set_scheme
from tests.support.app_store import fill, make_info, open_store
from tests.support.browser import chromium, set_width, visit
from tests.support.report_store import Made

PAGES = ("index.html", "block-1.1.html", "block-1.1.html#2", "block-2.0.html#3", "comparison.html")
PAPER = 703
"""CSS px between the margins of a sheet of A4."""
ACROSS = 1031
"""The same of one turned, for tables of many columns."""


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    with chromium() as found:
        yield found


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("page", PAGES)
def test_nobody_is_kept_out(browser: webdriver.Chrome, made: Made, page: str, scheme: str) -> None:
    set_width(browser, 1280)
    set_scheme(browser, scheme)
    visit(browser, made.out, page)
    browser.execute_script("for (const part of document.querySelectorAll('details')) part.open = true")
    assert barriers(browser) == []


def test_the_rules_find_what_they_are_for(browser: webdriver.Chrome, tmp_path: Path) -> None:
    (tmp_path / "bad.html").write_text(
        "<title>t</title><h2>head</h2><img src='data:,'><svg width=9 height=9></svg><input><a href='#'></a>"
        "<p id=a style='color: #aaa; background: #fff'>pale</p><p id=a>dark</p><table><tr><th>x</th></tr></table>"
        "<span aria-label='x'>y</span>"
    )
    visit(browser, tmp_path, "bad.html")
    found = {line.split(":")[0] for line in barriers(browser)}
    assert found == {
        "picture without a text",
        "picture without a name",
        "drawing that is not described",
        "not one h1",
        "level of headings left out",
        "control without a label",
        "nothing to read out",
        "a name on what has no role",
        "head without a scope",
        "no language",
        "several of id a",
        "too little contrast",
    }


class Figures(HTMLParser):
    """The texts of a page's figures by their files' stems."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.texts: dict[str, str] = {}
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "img" and given["src"].startswith("figures/"):
            self.texts[Path(given["src"]).stem] = given["alt"]


def test_figures_are_told_with_the_numbers_of_their_tables(made: Made) -> None:
    texts = {**Figures(made.out / "index.html").texts, **Figures(made.out / "block-2.0.html").texts}
    texts |= Figures(made.out / "comparison.html").texts
    row = next(row for row in read_table(made.out, "blocks") if row["block"] == "2.0")
    counts = ", ".join(f"{row[kind]} {kind}" for kind in ("overwrite", "mix", "skip", "undefined"))
    for name in ("updates", "spectrum", "spectrum-2.0"):
        assert f"2.0: of {row['computed']} channels {counts}" in texts[name]
    bins = [row for row in read_table(made.out, "spectrum") if row["block"] == "2.0" and row["channels"] != "0"]
    for row in bins:
        assert f"{row['channels']} from {float(row['from']):.3f} to {float(row['to']):.3f}" in texts["spectrum-2.0"]
    for row in read_table(made.out, "shares"):
        if row["mix"] == "true" and row["n"] != "0":
            share = f"{100 * float(row['share']):.1f} % ({row['invariant']} of {row['n']}) by {row['by']}"
            assert share in texts["shares"]
    for row in read_table(made.out, "inhibition"):
        if row["block"] == "2.0":
            assert f"mean {float(row['mean_below']):.3f} of {row['n_below']} channels" in texts["inhibition-2.0"]
    for row in read_table(made.out, "tuning"):
        if row["block"] == "2.0":
            assert f"{row['read']} invariance {float(row['invariance']):.3f}" in texts["tuning-2.0"]
    for row in read_table(made.out, "comparison"):
        said = f"{row['block']}: {row['changed']} of {row['n']} channels change their {row['of']}"
        assert said in texts[f"comparison-{row['differ']}-{row['second']}"]
    for row in read_table(made.out, "ablation-2.0-1"):
        assert f"chosen channels ablated {100 * float(row['chosen']):.1f} %" in texts["ablation-2.0-1"]
    for row in read_table(made.out, "top_mixes"):
        assert f"{row['block']} channel {row['channel']}: M {float(row['mix_ratio']):.3f}" in texts["top_mixes"]


def test_pictures_of_a_channel_are_told_with_its_numbers(browser: webdriver.Chrome, made: Made) -> None:
    visit(browser, made.out, "block-2.0.html#3")
    row = read_table(made.out, "channels-2.0")[3]
    fz, scaled, mei = browser.execute_script(
        "return ['.pictures.three img', '.pictures.three ~ .pictures.three img', '.nine img']"
        ".map((which) => document.querySelector(`#channel ${which}`).alt)"
    )
    answers = ", ".join(
        f"{letter} {float(row[f'{read}_on_in']):.3f}" for letter, read in zip("IBO", TENSORS, strict=True)
    )
    assert fz == f"FZ(I) of 2.0 channel 3; activations on it: {answers}"
    assert scaled == f"S(FZ(I)) of 2.0 channel 3; activation on it: B: {float(row['block_on_in_up']):.3f}"
    first = next(r for r in read_table(made.out, "meis-2.0") if (r["channel"], r["tensor"]) == ("3", "in"))
    assert mei.startswith(f"1. image that excites I most: {first['image']}")
    assert mei.endswith(f"; activation {float(first['activation']):.3f}")


def test_a_curve_is_told_with_its_ends_and_its_highest_point(browser: webdriver.Chrome, made: Made) -> None:
    visit(browser, made.out, "block-2.0.html#3")
    title, text = browser.execute_script(
        "const drawing = document.querySelector('.curve svg');"
        "return [drawing.querySelector('title').textContent, drawing.querySelector('desc').textContent]"
    )
    rows = [r for r in read_table(made.out, "tuning-2.0") if (r["channel"], r["source"], r["on"]) == ("3", "FZ", "in")]
    assert title == "Activation over scale, on FZ(I)"
    for row, letter in zip(rows, "IBO", strict=True):
        values = {float(name[1:]): float(value) for name, value in row.items() if name[0] == "x" and value}
        peak = max(values.values())
        assert f"{letter}: highest, {peak:.3f} at " in text
        assert f"{values[min(values)]:.3f} at 0.5 times the size" in text


def test_on_paper_there_is_all_of_a_page_and_nothing_to_click(browser: webdriver.Chrome, made: Made) -> None:
    for page in PAGES:
        visit(browser, made.out, page)
        set_width(browser, PAPER)
        set_paper(browser, True)
        browser.execute_script("window.dispatchEvent(new Event('beforeprint'))")
        seen = browser.execute_script(
            "return [...document.querySelectorAll('header nav, .tools, .picker, summary, .skip-link, #channel > nav')]"
            ".filter((part) => part.checkVisibility()).map((part) => part.className || part.tagName)"
        )
        assert seen == []
        # Nothing scrolls on paper, so nothing may be wider than it.
        wide = browser.execute_script(
            "return [...document.querySelectorAll('main *')].filter((part) => part.checkVisibility() && "
            "!part.closest('.picture, .unseen') && "
            "part.getBoundingClientRect().right > (part.closest('.wide') ? arguments[0] : innerWidth) + 1)"
            ".map((part) => part.outerHTML.slice(0, 90))",
            ACROSS,
        )
        assert wide == [], page
        assert browser.execute_script(
            "return [...document.querySelectorAll('details')].every((part) => "
            "part.open || part.matches('.picker, .words'))"
        )
        kept = browser.execute_script(
            "return [...document.querySelectorAll('main figure, main tr, main .picture')]"
            ".filter((part) => getComputedStyle(part).breakInside !== 'avoid').length"
        )
        assert kept == 0
        set_paper(browser, False)
    set_width(browser, 1280)


def test_a_page_is_printed_whole(browser: webdriver.Chrome, tmp_path: Path) -> None:
    count = 150
    info = make_info((("1.0", count), ("1.1", count)))
    store = open_store(tmp_path / "cache", info)
    write_report(gather(store, info, fill(store, info, ["1.1"]), ["1.1"]), tmp_path / "report")
    visit(browser, tmp_path / "report", "block-1.1.html")
    assert browser.execute_script("return document.querySelectorAll('#rows tr').length") < count
    browser.execute_script("window.print = () => { window.printed = true; }")
    browser.switch_to.active_element.send_keys(Keys.CONTROL, "p")
    WebDriverWait(browser, 20).until(lambda b: b.execute_script("return window.printed"))
    printed = base64.b64decode(browser.print_page())
    assert printed.startswith(b"%PDF")
    # Each FZ of each row.
    assert printed.count(b"/Subtype /Image") >= count * 3


def test_closed_parts_are_closed_again_after_printing(browser: webdriver.Chrome, made: Made) -> None:
    visit(browser, made.out, "index.html")
    count = "return document.querySelectorAll('details[open]').length"
    before = browser.execute_script(count)
    browser.execute_script("window.dispatchEvent(new Event('beforeprint'))")
    assert browser.execute_script(count) > before
    browser.execute_script("window.dispatchEvent(new Event('afterprint'))")
    assert browser.execute_script(count) == before
