"""What the documents say: links lead to files, versions agree. ``make test-docs`` runs their code."""

import re
from pathlib import Path

import pytest
import yaml

from sb3_softac.version import __version__

ROOT = Path(__file__).resolve().parents[1]
<<<<<<< HEAD
=======
PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def examples(page: str) -> list[str]:
    return PYTHON.findall((ROOT / page).read_text(encoding="utf-8"))


@pytest.fixture
def short_training(monkeypatch):
    """What takes minutes as printed: enough steps for the random ones, and some that learn."""
    learn = SoftAC.learn

    def shortly(self: SoftAC, steps: int, *args, **kwargs) -> SoftAC:
        return learn(self, min(steps, 110 if self.num_timesteps == 0 else 10), *args, **kwargs)

    learn_offline = SoftAC.learn_offline
    monkeypatch.setattr(SoftAC, "learn", shortly)
    monkeypatch.setattr(SoftAC, "learn_offline", lambda self, steps, **_: learn_offline(self, min(steps, 110)))


@pytest.mark.parametrize(
    "page", ["README.md", "docs/recipes.md", "docs/export.md", "docs/offline.md", "docs/observations.md"]
)
@pytest.mark.usefixtures("short_training")
def test_the_examples_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    SAC("MlpPolicy", "Pendulum-v1", buffer_size=10).save("sac.zip")  # the README's user has one
    exec(compile("\n".join(examples(page)), page, "exec"), {})
    assert SoftAC.load("agent.zip").num_timesteps >= 100


@pytest.mark.usefixtures("short_training")
def test_the_examples_of_first_contact_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(compile("\n".join(examples("docs/first-contact.md")), "docs/first-contact.md", "exec"), names)
    assert names["model"].critic.n_critics == 5


@pytest.mark.parametrize("name", ["droq", "redq", "crossq"])
def test_the_settings_of_the_readme_are_arguments(name):
    names: dict = {}
    exec(next(block for block in examples("README.md") if name in block), names)
    model = SoftAC("MlpPolicy", "Pendulum-v1", learning_starts=10, batch_size=10, **names[name]).learn(11)
    assert model._n_updates > 0


>>>>>>> main
LINK = re.compile(r"\]\((?!https?://|#|mailto:)([^)#\s]+)")


@pytest.mark.parametrize(
    "page", sorted(str(path.relative_to(ROOT)) for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
)
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
    pages = {str(page.relative_to(docs).with_suffix("")) for page in docs.rglob("*.md") if "_build" not in page.parts}
    assert pages - {"index"} == named
