"""A real Chromium without a window, for tests that open pages. Nothing is downloaded: it is the system's own."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
HOW = "install it with 'apt-get install chromium chromium-driver', or your system's own packages of Chromium"


@contextmanager
def chromium(width: int = 1280) -> Iterator[webdriver.Chrome]:
    """A browser whose window is `width` px wide; a phone's below 500.

    Skips the test where there is none; with STREAMSCOPE_TERMINALS=1 that is a failure.
    """
    binary = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    driver = shutil.which("chromedriver")
    if binary is None or driver is None:
        lacking = f"this test needs {'Chromium' if binary is None else 'chromedriver'}: {HOW}"
        if os.environ.get("STREAMSCOPE_TERMINALS") == "1":
            pytest.fail(lacking, pytrace=False)
        pytest.skip(lacking)
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(driver))
    try:
        set_width(browser, width)
        yield browser
    finally:
        browser.quit()


def set_width(browser: webdriver.Chrome, width: int) -> None:
    shape = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", shape)


def visit(browser: webdriver.Chrome, folder: Path, page: str) -> None:
    """Opens a page from disk."""
    # From a blank page, since a change of the part after # alone loads nothing.
    browser.get("about:blank")
    browser.get(f"file://{folder}/{page}")


def requested(browser: webdriver.Chrome) -> list[str]:
    """Every address that was asked for since the last call."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]


def complaints(browser: webdriver.Chrome) -> list[str]:
    """What the console said since the last call."""
    return [entry["message"] for entry in browser.get_log("browser")]
