"""The manual is built without a warning, and opens in a browser without a network: formulas, pictures, search."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import MARKS, launched, offline_page

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def manual(tmp_path_factory) -> Path:
    """Folder of the manual's pages."""
    pytest.importorskip("furo", reason="needs the extra `docs`")
    folder = tmp_path_factory.mktemp("manual")
    command = [
        "-m",
        "sphinx",
        "-W",
        "--keep-going",
        "-q",
        "-b",
        "html",
        "-d",
        str(folder / "trees"),
        "docs",
        str(folder / "html"),
    ]
    built = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr[-3000:]
    return folder / "html"


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with launched() as each:
        yield each


def test_every_page_is_built(manual):
    pages = [page.relative_to(ROOT / "docs").with_suffix(".html") for page in (ROOT / "docs").rglob("*.md")]
    assert [page for page in pages if "_build" not in page.parts and not (manual / page).is_file()] == []


class TestInABrowser:
    pytestmark = MARKS

    @pytest.mark.parametrize("page", ["index", "guide/how_it_works", "guide/quickstart", "results/index", "api"])
    def test_a_page_opens_and_says_nothing(self, manual, browser, page):
        with offline_page(browser) as opened:
            opened.goto((manual / f"{page}.html").as_uri())
            opened.wait_for_load_state("networkidle")
            broken = "() => [...document.images].filter(i => i.complete && i.naturalWidth === 0).map(i => i.src)"
            assert opened.evaluate(broken) == []
            assert opened.said == []

    def test_formulas_are_drawn_without_a_network(self, manual, browser):
        with offline_page(browser) as opened:
            opened.goto((manual / "guide/how_it_works.html").as_uri())
            opened.wait_for_selector("mjx-container")
            n_formulas = opened.locator(".math").count()
            assert opened.locator(".math mjx-container").count() == n_formulas > 20
            assert opened.locator("mjx-merror").count() == 0

    def test_the_search_finds_a_word(self, manual, browser):
        with offline_page(browser) as opened:
            opened.goto((manual / "search.html").as_uri() + "?q=temperature")
            opened.wait_for_selector("#search-results li a")
            links = opened.locator("#search-results li a").evaluate_all("each => each.map(link => link.href)")
            assert any("how_it_works" in link for link in links)

    @pytest.mark.parametrize("page", ["index", "guide/diagnostics", "api"])
    def test_a_phone_shows_a_page_without_scrolling_sideways(self, manual, browser, page):
        with offline_page(browser, viewport={"width": 375, "height": 800}) as opened:
            opened.goto((manual / f"{page}.html").as_uri())
            assert opened.evaluate("document.documentElement.scrollWidth") <= 375
