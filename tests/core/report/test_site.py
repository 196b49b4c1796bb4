"""The site of a report in a real browser: opened from disk, without a network, by keyboard, on a phone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from streamscope.core.model.recipe import Recipe, SetKey
from streamscope.core.report.material import gather
from streamscope.core.report.site import write_report
from streamscope.core.table.columns import number_text
from streamscope.core.table.filter import compile_filter
from streamscope.core.table.frame import Frame, build_frame
from tests.support.app_store import make_info, open_store
from tests.support.browser import chromium, complaints, requested, set_width
from tests.support.optional import present
from tests.support.report_store import NOTE, Made


@pytest.fixture
def site(made: Made) -> Path:
    return made.out


@pytest.fixture(scope="module")
def rows(made: Made) -> Frame:
    return made.rows("2.0")


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    with chromium() as found:
        yield found


@pytest.fixture(autouse=True)
def quiet(request: pytest.FixtureRequest, browser: webdriver.Chrome) -> Iterator[None]:
    """Whatever a test does: nothing but files is asked for, and the console says nothing."""
    requested(browser), complaints(browser)
    set_width(browser, 1280)
    yield
    assert [url for url in requested(browser) if not url.startswith(("file:", "data:"))] == []
    assert complaints(browser) == []


def visit(browser: webdriver.Chrome, site: Path, page: str) -> None:
    # From a blank page, since a change of the part after # alone loads nothing.
    browser.get("about:blank")
    browser.get(f"file://{site}/{page}")


def channels(browser: webdriver.Chrome) -> list[int]:
    rows = browser.find_elements(By.CSS_SELECTOR, "#rows tr")
    return [int(present(row.get_attribute("data-channel"))) for row in rows]


def press(browser: webdriver.Chrome, keys: str) -> None:
    browser.switch_to.active_element.send_keys(keys)


def shown_channel(browser: webdriver.Chrome) -> str:
    """The title of the channel that is open, empty when the table is."""
    found = browser.find_elements(By.CSS_SELECTOR, "#channel:not([hidden]) #channel-title")
    return found[0].text if found else ""


def filter_by(browser: webdriver.Chrome, expression: str) -> None:
    box = browser.find_element(By.ID, "filter")
    box.send_keys(Keys.CONTROL, "a")
    box.send_keys(expression or Keys.DELETE)


def test_every_page_loads_all_of_its_pictures_from_disk(browser: webdriver.Chrome, site: Path) -> None:
    pages = sorted(path.name for path in site.glob("*.html"))
    assert pages == ["block-1.1.html", "block-2.0.html", "comparison.html", "index.html"]
    for page in [*pages, "block-2.0.html#3"]:
        visit(browser, site, page)
        browser.execute_script("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
        browser.execute_script("document.querySelectorAll('img').forEach((image) => { image.loading = 'eager'; })")
        WebDriverWait(browser, 20).until(
            lambda b: b.execute_script("return [...document.images].every((i) => i.complete)")
        )
        broken = "return [...document.images].filter((i) => !i.naturalWidth).map((i) => i.src)"
        assert browser.execute_script(broken) == []
        assert browser.execute_script("return document.images.length") > 0


def test_a_header_sorts_and_sorts_back_with_empty_fields_last(
    browser: webdriver.Chrome, site: Path, rows: Frame
) -> None:
    visit(browser, site, "block-2.0.html")
    assert channels(browser) == list(range(8))
    for column in ("mix_ratio", "scale_metric", "rho"):
        header = f'th[data-column="{column}"]'
        for descending in (True, False):
            browser.find_element(By.CSS_SELECTOR, f"{header} button").click()
            assert channels(browser) == rows["channel"][rows.order(column, descending)].astype(int).tolist()
            sorted_by = browser.find_element(By.CSS_SELECTOR, header).get_attribute("aria-sort")
            assert sorted_by == ("descending" if descending else "ascending")
    browser.find_element(By.CSS_SELECTOR, 'th[data-column="marked"] button').click()
    assert channels(browser)[:2] == [3, 5]


@pytest.mark.parametrize(
    "expression",
    [
        "mix_ratio > 1",
        "0.3 < mix_ratio <= 2 and not scale_invariant",
        "scale_metric > 0.1 and meets_block",
        'update == "skip"',
        'update != "skip" and block_on_in_up >= block_on_in',
        "marked",
        "not marked and mix_ratio < 2",
        'tagged("edge")',
        "not missing(note)",
        "scale_invariant == true",
    ],
)
def test_a_condition_filters_as_it_does_in_the_terminal(
    browser: webdriver.Chrome, site: Path, rows: Frame, expression: str
) -> None:
    visit(browser, site, "block-2.0.html")
    filter_by(browser, expression)
    wanted = np.flatnonzero(compile_filter(expression).mask(rows)).tolist()
    assert channels(browser) == wanted
    assert browser.find_element(By.ID, "count").text == f"{len(wanted)} of 8 channels"


def test_a_condition_that_makes_no_sense_is_said_and_changes_nothing(browser: webdriver.Chrome, site: Path) -> None:
    visit(browser, site, "block-2.0.html")
    for expression, said in (("mixratio > 1", "unknown column mixratio"), ("mix_ratio >", 'cannot read "mix_ratio >"')):
        filter_by(browser, expression)
        assert said in browser.find_element(By.ID, "filter-error").text
        assert channels(browser) == list(range(8))
    browser.find_element(By.ID, "clear").click()
    assert browser.find_element(By.ID, "filter-error").text == ""


def test_the_menus_filter_too(browser: webdriver.Chrome, site: Path, rows: Frame) -> None:
    visit(browser, site, "block-2.0.html")
    for menu, value, wanted in (
        ("by-update", "mix", rows["update"] == "mix"),
        ("by-invariant", "false", rows["scale_invariant"] == 0),
        ("by-mark", "none", rows["marked"] == ""),
    ):
        browser.find_element(By.ID, "clear").click()
        browser.find_element(By.CSS_SELECTOR, f'#{menu} option[value="{value}"], #{menu} option').click()
        browser.execute_script(
            "const menu = document.getElementById(arguments[0]); menu.value = arguments[1];"
            "menu.dispatchEvent(new Event('input'))",
            menu,
            value,
        )
        assert channels(browser) == np.flatnonzero(wanted).tolist()


def test_the_keyboard_opens_a_channel_steps_through_the_order_and_goes_back(
    browser: webdriver.Chrome, site: Path
) -> None:
    visit(browser, site, "block-2.0.html")
    browser.find_element(By.CSS_SELECTOR, 'th[data-column="mix_ratio"] button').click()
    order = channels(browser)
    browser.find_element(By.TAG_NAME, "body").click()
    press(browser, "jj")
    press(browser, Keys.ARROW_DOWN)
    press(browser, "k")
    press(browser, Keys.ENTER)
    assert shown_channel(browser).startswith(f"2.0 channel {order[1]} ")
    press(browser, "j")
    assert shown_channel(browser).startswith(f"2.0 channel {order[2]} ")
    press(browser, Keys.ARROW_LEFT)
    assert shown_channel(browser).startswith(f"2.0 channel {order[1]} ")
    press(browser, Keys.ESCAPE)
    assert shown_channel(browser) == ""
    assert browser.switch_to.active_element.get_attribute("data-channel") == str(order[1])
    press(browser, "/")
    assert browser.switch_to.active_element.get_attribute("id") == "filter"
    press(browser, "mix_ratio > 1e9")
    assert browser.find_element(By.ID, "nothing").is_displayed()


def test_a_channel_has_an_address_of_its_own(browser: webdriver.Chrome, site: Path) -> None:
    visit(browser, site, "index.html")
    link = browser.find_element(By.CSS_SELECTOR, ".gallery a")
    block, channel = link.text.split()
    link.click()
    assert browser.current_url.endswith(f"block-{block}.html#{channel}")
    assert shown_channel(browser).startswith(f"{block} channel {channel}")
    browser.back()
    assert browser.current_url.endswith("index.html")


def test_a_channel_shows_everything_that_is_known_of_it(browser: webdriver.Chrome, site: Path, rows: Frame) -> None:
    visit(browser, site, "block-2.0.html#3")
    article = browser.find_element(By.ID, "channel")
    for name in ("mix_ratio", "block_gain", "input_gain", "scale_metric", "bn_weight", "effective_gain", "rho"):
        assert number_text(float(rows[name][3])) in article.text
    for criterion in ("meets_mix", "meets_block", "meets_input", "scale_invariant", "robust"):
        found = article.find_element(By.CSS_SELECTOR, f'.verdict [data-cell="channels-2.0:3:{criterion}"]')
        assert found.text == ("✓" if rows[criterion][3] else "✗")
    assert len(article.find_elements(By.CSS_SELECTOR, ".matrix data")) == 9
    assert len(article.find_elements(By.CSS_SELECTOR, ".curve svg polyline")) == 12
    assert len(article.find_elements(By.CSS_SELECTOR, ".nine")) == 6
    assert len(article.find_elements(By.CSS_SELECTOR, ".meis > div > .nine img")) == 27
    assert len(article.find_elements(By.CSS_SELECTOR, ".pictures img")) == 5
    assert article.find_element(By.CSS_SELECTOR, "dd.tags").text == "edge late"


def test_a_channel_shows_its_patches_with_their_curves_and_what_they_are_compared_with(
    browser: webdriver.Chrome, site: Path
) -> None:
    visit(browser, site, "block-1.1.html#2")
    article = browser.find_element(By.ID, "channel")
    images = article.find_elements(By.CSS_SELECTOR, "img.patches")
    assert [image.get_attribute("alt") for image in images] == [
        f"Best patches of {letter} of channel 2, a row each, at 0.5, 0.71, 1, 1.41, 2 times their size"
        for letter in "IBO"
    ]
    labels = [svg.get_attribute("aria-label") for svg in article.find_elements(By.CSS_SELECTOR, ".curve svg")]
    for letter in "IBO":
        assert f"I, B and O over scale, on the patches of {letter}" in labels
    for name in ("photo_block_larger", "photo_in_smaller", "photo_pairs_block", "photo_p_in", "photo_images"):
        assert article.find_elements(By.CSS_SELECTOR, f'[data-cell="channels-1.1:2:{name}"]')
    visit(browser, site, "block-2.0.html#3")
    assert "no photographs of 2.0 are read" in browser.find_element(By.ID, "channel").text


def test_w_shows_whole_images_in_place_of_what_the_neuron_sees(browser: webdriver.Chrome, site: Path) -> None:
    visit(browser, site, "block-1.1.html#2")
    side = "return getComputedStyle(document.querySelector('#channel .picture')).getPropertyValue('--shown')"
    assert browser.execute_script(side) == "43"
    press(browser, "w")
    assert browser.execute_script(side) == "48"
    assert browser.find_element(By.ID, "whole").get_attribute("aria-pressed") == "true"
    press(browser, "w")
    assert browser.execute_script(side) == "43"


def test_a_note_is_text_whatever_it_says(browser: webdriver.Chrome, site: Path) -> None:
    visit(browser, site, "block-2.0.html#3")
    assert browser.find_element(By.CSS_SELECTOR, "#channel dd.note").text == NOTE
    press(browser, Keys.ESCAPE)
    assert browser.find_element(By.CSS_SELECTOR, '#rows tr[data-channel="3"] td[data-column="note"]').text == NOTE
    assert browser.execute_script("return window.hacked") is None


def test_numbers_look_as_in_the_terminal(browser: webdriver.Chrome, site: Path) -> None:
    visit(browser, site, "block-2.0.html")
    numbers = [0.0625, 0.1875, -0.0625, 1.0005, 2.5, 0.0004, -0.00049, 1e-12, 999.94, 1000.25, 123456.7, 0.0, -3.14159]
    numbers += np.random.default_rng(0).normal(0, 10, 200).tolist()
    shown = browser.execute_script("return arguments[0].map((number) => shown(number))", numbers)
    assert shown == [number_text(number) for number in numbers]


@pytest.mark.parametrize("page", ["index.html", "block-2.0.html", "block-2.0.html#3", "comparison.html"])
def test_nothing_is_wider_than_a_phone(browser: webdriver.Chrome, site: Path, page: str) -> None:
    set_width(browser, 390)
    visit(browser, site, page)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
    assert browser.execute_script("return innerWidth") == 390


def test_columns_can_be_chosen(browser: webdriver.Chrome, site: Path) -> None:
    visit(browser, site, "block-2.0.html")
    heads = "return [...document.querySelectorAll('#head th[data-column]')].map((head) => head.dataset.column)"
    assert "out_on_in" not in browser.execute_script(heads)
    browser.find_element(By.CSS_SELECTOR, ".picker summary").click()
    for label in browser.find_elements(By.CSS_SELECTOR, "#columns label"):
        if label.text in ("out_on_in", "late_rise"):
            label.click()
    found = browser.execute_script(heads)
    assert "out_on_in" in found
    assert "late_rise" not in found


def test_a_block_of_two_thousand_channels_makes_rows_as_they_are_needed(
    browser: webdriver.Chrome, tmp_path: Path
) -> None:
    info = make_info((("1.0", 2048), ("1.1", 2048)))
    store = open_store(tmp_path / "cache", info)
    fzset = store.set(info, SetKey(Recipe(steps=10)), create=True)
    out = tmp_path / "report"
    write_report(gather(store, info, fzset, ["1.1"]), out)
    visit(browser, out, "block-1.1.html")
    made = len(channels(browser))
    assert 0 < made <= 300
    assert browser.find_element(By.ID, "count").text == "2048 of 2048 channels"
    filter_by(browser, "channel >= 2040")
    assert channels(browser) == list(range(2040, 2048))
    filter_by(browser, "")
    assert len(channels(browser)) < 2048
    WebDriverWait(browser, 60, poll_frequency=0.1).until(
        lambda b: b.execute_script("scrollTo(0, document.body.scrollHeight); return state.made") > made
    )
    assert len(build_frame(info, fzset, ["1.1"])) == 2048
    data = json.loads(present(browser.find_element(By.ID, "data").get_attribute("textContent")))
    assert len(data["channels"]["rows"]) == 2048
