"""What the documents say: links lead to files, versions agree. ``make test-docs`` runs their code."""

import re
from pathlib import Path

import pytest
import yaml

from sb3_softac.version import __version__

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"\]\((?!https?://|#|mailto:)([^)#\s]+)")


def pages(*kinds: str) -> list[Path]:
    """Pages of the manual, without what building it has left."""
    docs = ROOT / "docs"
    return [page for kind in kinds for page in docs.rglob(kind) if "_build" not in page.relative_to(docs).parts]


@pytest.mark.parametrize("page", sorted(str(path.relative_to(ROOT)) for path in [*ROOT.glob("*.md"), *pages("*.md")]))
def test_links_lead_to_files(page):
    path = ROOT / page
    assert [link for link in LINK.findall(path.read_text(encoding="utf-8")) if not (path.parent / link).exists()] == []


def test_the_readme_fits_on_a_screen_and_a_half():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


def test_the_citation_has_the_version_of_the_package():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == __version__


def test_every_page_is_in_the_table_of_contents():
    docs = ROOT / "docs"
    named = set(re.findall(r"^([a-z_0-9/-]+)$", (docs / "index.md").read_text(encoding="utf-8"), re.MULTILINE))
    found = {str(page.relative_to(docs).with_suffix("")) for page in pages("*.md", "*.ipynb")}
    assert found - {"index"} == named
