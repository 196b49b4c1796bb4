"""The site of a report in a real browser: opened from disk, without a network, by keyboard, on a phone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from streamscope.core.model.recipe import Recipe, SetKey
from streamscope.core.report import channels as of_channels
from streamscope.core.report.material import gather
from streamscope.core.report.write import write_report
from streamscope.core.store import Store
from streamscope.core.table.columns import number_text
from streamscope.core.table.filter import compile_filter
from streamscope.core.table.frame import Frame, build_frame
from tests.core.report.test_report import read_table
from tests.support.app_store import fill, make_info, open_store
from tests.support.browser import chromium, complaints, requested, set_width, visit
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
    titles = article.find_elements(By.CSS_SELECTOR, ".curve svg title")
    labels = [title.get_attribute("textContent") for title in titles]
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


def test_a_channel_leads_to_its_neighbours_its_block_and_along_its_stream(
    browser: webdriver.Chrome, site: Path, rows: Frame
) -> None:
    visit(browser, site, "block-2.0.html")
    browser.find_element(By.CSS_SELECTOR, 'th[data-column="mix_ratio"] button').click()
    order = channels(browser)
    middle = next(channel for channel in order[1:-1] if 0 < channel < 7)
    browser.find_element(By.CSS_SELECTOR, f'#rows tr[data-channel="{middle}"] a').click()
    place = order.index(middle)

    def target(name: str) -> str:
        return present(browser.find_element(By.ID, name).get_attribute("href")).split("#")[1]

    found = [target(name) for name in ("previous", "next", "lower", "higher", "back")]
    assert found == [str(order[place - 1]), str(order[place + 1]), str(middle - 1), str(middle + 1), ""]
    assert "in order of mix_ratio, largest first" in browser.find_element(By.CSS_SELECTOR, "#channel nav").text
    browser.find_element(By.ID, "higher").click()
    assert shown_channel(browser).startswith(f"2.0 channel {middle + 1}")


def test_the_same_channel_of_other_blocks_is_a_link_with_what_they_do_to_it(
    browser: webdriver.Chrome, tmp_path: Path
) -> None:
    info = make_info()
    store = open_store(tmp_path / "cache", info)
    fzset = fill(store, info, ["2.0", "2.1"])
    write_report(gather(store, info, fzset, ["1.1", "2.0", "2.1"]), tmp_path / "report")
    visit(browser, tmp_path / "report", "block-2.0.html#3")
    link = browser.find_element(By.CSS_SELECTOR, '#channel nav a[href="block-2.1.html#3"]')
    said = present(link.find_element(By.XPATH, "..")).text
    ratio, update = (build_frame(info, fzset, ["2.1"])[name][3] for name in ("mix_ratio", "update"))
    assert said == f"2.1 M {number_text(float(ratio))} {update}"
    link.click()
    assert shown_channel(browser).startswith("2.1 channel 3")
    assert browser.find_element(By.CSS_SELECTOR, "#channel nav [aria-current]").text == "2.1"
    # 1.0 begins the stream of 1.1 and is not in the report.
    visit(browser, tmp_path / "report", "block-1.1.html#3")
    assert browser.find_element(By.CSS_SELECTOR, '#channel nav [title="not in this report"]').text == "1.0"


def test_sorting_by_keyboard_keeps_the_head_that_was_pressed(browser: webdriver.Chrome, site: Path) -> None:
    visit(browser, site, "block-2.0.html")
    head = browser.find_element(By.CSS_SELECTOR, 'th[data-column="mix_ratio"] button')
    browser.execute_script("arguments[0].focus()", head)
    press(browser, Keys.ENTER)
    first = channels(browser)
    press(browser, Keys.SPACE)
    assert browser.switch_to.active_element.text == "mix_ratio"
    assert channels(browser) != first


def test_tables_of_every_page_sort_by_column_and_say_so(browser: webdriver.Chrome, site: Path) -> None:
    visit(browser, site, "index.html")
    table = 'table[data-table="inhibition"]'
    assert len(browser.find_elements(By.CSS_SELECTOR, "table.sortable thead button")) > 30

    def column(place: int) -> list[str]:
        cells = browser.find_elements(By.CSS_SELECTOR, f"{table} tbody td:nth-child({place}) data")
        return [present(cell.get_attribute("value")) for cell in cells]

    before = column(3)
    head = browser.find_element(By.CSS_SELECTOR, f"{table} th:nth-child(3)")
    browser.execute_script("arguments[0].focus()", head.find_element(By.TAG_NAME, "button"))
    for key, said, descending in ((Keys.ENTER, "descending", True), (Keys.SPACE, "ascending", False)):
        press(browser, key)
        assert head.get_attribute("aria-sort") == said
        assert column(3) == sorted(before, key=float, reverse=descending)
    browser.find_element(By.CSS_SELECTOR, f"{table} th:nth-child(1) button").click()
    assert column(1) == sorted(column(1))
    assert [h.get_attribute("aria-sort") for h in browser.find_elements(By.CSS_SELECTOR, f"{table} th[aria-sort]")] == [
        "ascending"
    ]


def test_what_is_empty_is_sorted_last_both_ways(browser: webdriver.Chrome, site: Path) -> None:
    visit(browser, site, "index.html")
    found = browser.execute_script(
        """
        const made = document.createElement("div");
        made.innerHTML = `<table><thead><tr><th class="number">n</th></tr></thead><tbody>${["2", "", "10", "-1"].map(
          (value) => `<tr><td><data value="${value}">${value || "–"}</data></td></tr>`).join("")}</tbody></table>`;
        const table = made.firstChild;
        makeSortable(table);
        const texts = () => [...table.tBodies[0].rows].map((row) => row.textContent);
        const button = table.querySelector("button");
        button.click();
        const first = texts();
        button.click();
        return [first, texts()];
        """
    )
    assert found == [["10", "2", "-1", "–"], ["-1", "2", "10", "–"]]


def test_the_link_to_the_content_leaves_a_channel_open(browser: webdriver.Chrome, site: Path) -> None:
    visit(browser, site, "block-2.0.html#3")
    browser.execute_script("document.querySelector('.skip-link').click()")
    assert shown_channel(browser).startswith("2.0 channel 3")


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


def is_complete(browser: webdriver.Chrome, channel: int) -> bool:
    found: bool = browser.execute_script(
        "return document.title.startsWith(`2.0 channel ${arguments[0]} `) && !document.getElementById('channel-meis')",
        channel,
    )
    return found


def test_curves_meis_and_patches_come_a_few_channels_at_a_time_with_the_rows_they_are_in(
    browser: webdriver.Chrome, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(of_channels, "AT_ONCE", 3)
    store = Store.open(made.cache)
    fzset = store.set(made.info, SetKey(Recipe(steps=2560)))
    out = tmp_path / "report"
    write_report(gather(store, made.info, fzset, ["2.0"], scan=store.choose_scan(made.info)), out)
    assert len(list((out / "details").iterdir())) == 3
    rows = {name: read_table(out, f"{name}-2.0") for name in ("tuning", "meis")}
    visit(browser, out, "block-2.0.html")
    for channel in (7, 0, 4):
        browser.execute_script("location.hash = arguments[0]", str(channel))
        script = "return [...document.querySelectorAll('#channel data')].map((d) => [d.dataset.cell, d.value])"
        WebDriverWait(browser, 20).until(partial(is_complete, channel=channel))
        cited = dict(browser.execute_script(script))
        for name, columns in (("tuning", ("invariance", "half_width")), ("meis", ("activation",))):
            for number, row in enumerate(rows[name]):
                for column in columns:
                    cell = f"{name}-2.0:{number}:{column}"
                    assert cited.get(cell) == (row[column] if row["channel"] == str(channel) else None)


def test_a_page_without_the_files_beside_it_says_which_it_lacks(
    browser: webdriver.Chrome, made: Made, tmp_path: Path
) -> None:
    shutil.copy(made.out / "block-2.0.html", tmp_path)
    visit(browser, tmp_path, "block-2.0.html#3")
    assert "details/details-block-2.0-0.js is not beside this page" in browser.find_element(By.ID, "channel").text
    # The browser complains of what is not there, too.
    complaints(browser)


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
