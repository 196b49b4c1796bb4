"""What of a page people cannot use who do not see it, or not well: rules of WCAG 2.2 that a browser can check."""

from __future__ import annotations

from pathlib import Path

from selenium import webdriver

_AUDIT = Path(__file__).with_suffix(".js")


def barriers(browser: webdriver.Chrome) -> list[str]:
    """What is wrong with the page that is open, as it stands; a line each."""
    found: list[str] = browser.execute_script(_AUDIT.read_text())
    return found


def set_scheme(browser: webdriver.Chrome, scheme: str) -> None:
    """Asks pages for their `light` or `dark` colours."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def set_paper(browser: webdriver.Chrome, on: bool) -> None:
    """Shows pages as they are printed, or no longer."""
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print" if on else ""})
