"""A real browser for the tests of pages: without a network, and every word that a page says is kept."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
ARGUMENTS += ["--disable-component-update", "--disable-sync"]
#: of a module whose tests need a browser
MARKS = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium; `apt-get install chromium`, or name one by CHROMIUM"),
]


@contextmanager
def launched() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the extra `dev`")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@contextmanager
def offline_page(browser: Any, **context: Any) -> Iterator[Any]:
    """A page whose list ``said`` gets console messages, errors, and addresses that were asked for over a network."""
    opened = browser.new_context(**{"viewport": {"width": 1200, "height": 900}, "offline": True} | context)
    page = opened.new_page()
    page.said = []
    page.on("console", lambda message: page.said.append(message.text))
    page.on("pageerror", lambda error: page.said.append(str(error)))
    page.on("request", lambda asked: asked.url.startswith("http") and page.said.append(asked.url))
    yield page
    opened.close()
