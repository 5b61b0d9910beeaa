"""The page in a real browser, from a file, without a network."""

import itertools
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sb3_softac.report import write_report
from sb3_softac.report.watch import PageServer
from tests.browser import MARKS, launched, offline_page

pytestmark = MARKS
NAMES = ("healthy_1", "healthy_2", "learning_rate_high", "never_arrives")
# What is drawn on the canvases of a figure: the number of pixels that are not transparent.
DRAWN = """figure => {
  const find = root => [...root.querySelectorAll('*')].flatMap(e => [e, ...(e.shadowRoot ? find(e.shadowRoot) : [])]);
  return find(figure).filter(e => e.tagName === 'CANVAS' && e.width).map(canvas => {
    const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
    return pixels.filter((value, i) => i % 4 === 3 && value > 0).length;
  }).reduce((a, b) => a + b, 0);
}"""
SHOWN = "() => Bokeh.documents[0].roots().map(r => r.renderers.filter(x => x.visible).length).reduce((a, b) => a + b)"


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with launched() as each:
        yield each


@pytest.fixture(scope="module")
def page_file(tmp_path_factory) -> Path:
    folders = [Path(__file__).parent / "data" / name for name in NAMES]
    return write_report(folders, tmp_path_factory.mktemp("page") / "report.html")


@pytest.fixture
def opened(browser, request) -> Iterator[object]:
    """A page that notes what it says and what it asks for; parameters of the context may be given."""
    with offline_page(browser, **getattr(request, "param", {})) as page:
        yield page


def open_file(page, path: Path):
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-ready=yes]")
    page.wait_for_timeout(300)
    return page


LOOKS = [
    {"color_scheme": scheme, "viewport": {"width": width, "height": 800}}
    for scheme in ("light", "dark")
    for width in (1200, 375)
]


@pytest.mark.parametrize("opened", LOOKS, indirect=True, ids=["light", "light-phone", "dark", "dark-phone"])
def test_every_plot_draws_and_nothing_is_said(opened, page_file):
    page = open_file(opened, page_file)
    figures = page.query_selector_all("figure .plot")
    assert len(figures) == 10
    assert [figure for figure in figures if figure.evaluate(DRAWN) < 2000] == []
    width = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert width[0] <= width[1]
    assert page.said == []


def test_dark_and_light_differ_and_can_be_read(opened, page_file):
    page = open_file(opened, page_file)
    contrasts, inks = {}, {}
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_timeout(100)
        ground, ink, quiet = page.evaluate("['--card', '--ink', '--quiet'].map(name => css(name))")
        contrasts[scheme] = [_contrast(ground, color) for color in (ink, quiet)]
        inks[scheme] = page.evaluate("Bokeh.documents[0].roots()[0].below[1].label_text_color")
        assert inks[scheme] == ink
    assert inks["light"] != inks["dark"]
    assert min(contrasts["light"] + contrasts["dark"]) >= 4.5  # WCAG AA
    assert page.said == []


def _contrast(first: str, second: str) -> float:
    def luminance(color: str) -> float:
        parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted([luminance(first), luminance(second)])
    return (high + 0.05) / (low + 0.05)


def test_hover_shows_values(opened, page_file):
    page = open_file(opened, page_file)
    plot = page.query_selector("figure .plot")
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    place = page.evaluate(
        """() => { const view = Bokeh.index.roots.find(v => v.model === Bokeh.documents[0].roots()[0]);
        const dots = view.model.renderers.find(r => r.glyph.type === 'Scatter').data_source.data;
        return [view.frame.x_scale.compute(dots.x[5]), view.frame.y_scale.compute(dots.mean[5])]; }"""
    )
    page.mouse.move(box["x"] + place[0], box["y"] + place[1])
    page.wait_for_timeout(300)
    assert page.locator(".bk-Tooltip").get_by_text("4,800", exact=True).count() >= 1
    assert page.said == []


def test_the_legend_hides_a_group(opened, page_file):
    page = open_file(opened, page_file)
    before = page.evaluate(SHOWN)
    legend = page.locator("figure .plot").first.locator(".bk-item").first
    legend.click()
    page.wait_for_timeout(200)
    assert page.evaluate(SHOWN) == before - 3  # the line, its points and its band
    legend.click()
    page.wait_for_timeout(200)
    assert page.evaluate(SHOWN) == before
    assert page.said == []


def test_any_metric_against_steps_or_time(opened, page_file):
    page = open_file(opened, page_file)
    first = "Bokeh.documents[0].get_model_by_name('explorer-0-0').data"
    label = "(Bokeh.documents[0].get_model_by_name('explorer-0').left[0].axis_label.text)"
    for key in page.evaluate("Object.keys(METRICS[0].metrics)"):
        page.get_by_role("combobox", name="Metric").first.select_option(key)
        assert page.evaluate(label) == key
    page.get_by_role("combobox", name="Metric").first.select_option("train/ent_coef")
    steps, values = page.evaluate(f"[Array.from({first}.x), Array.from({first}.mean)]")
    assert (len(steps), steps[-1]) == (len(values), 8000)
    page.get_by_role("combobox", name="against").first.select_option("time")
    assert page.evaluate(f"Array.from({first}.x)") == sorted(page.evaluate(f"Array.from({first}.x)"))
    assert page.evaluate(f"{first}.x.at(-1)") < 600
    page.get_by_label("logarithmic").first.check()
    assert page.evaluate(f"Math.abs({first}.mean[3] - Math.log10({values[3]})) < 1e-9")
    assert page.evaluate(label) == "log10 of train/ent_coef"
    assert page.said == []


def test_controls_and_headings_have_names(opened, page_file):
    page = open_file(opened, page_file)
    assert page.evaluate("document.documentElement.lang") == "en"
    levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4,h5')].map(h => +h.tagName[1])")
    assert (levels[0], levels.count(1)) == (1, 1)
    assert all(next_level - level <= 1 for level, next_level in itertools.pairwise(levels))
    unnamed = "[...document.querySelectorAll('select,input')].filter(each => !each.labels.length).length"
    assert page.evaluate(unnamed) == 0
    pictures = page.evaluate("[...document.querySelectorAll('[role=img]')].map(each => each.ariaLabel)")
    assert len(pictures) == 10
    assert min(map(len, pictures)) > 20


@pytest.mark.parametrize("opened", [{"offline": False}], indirect=True)
def test_a_watched_page_reloads_when_the_run_goes_on(opened, tmp_path):
    data = Path(__file__).parent / "data" / "healthy_1"
    folder = shutil.copytree(data, tmp_path / "run")
    with PageServer([folder]) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        opened.goto(server.address)
        opened.wait_for_selector("html[data-ready=yes]")
        opened.get_by_role("combobox", name="Metric").first.select_option("train/entropy")
        with (folder / "0.monitor.csv").open("a") as file:
            file.write("-777.0,200,99.0\n")
        opened.wait_for_selector("text=8,200", timeout=20_000)
        opened.wait_for_selector("html[data-ready=yes]")
        assert (
            opened.get_by_role("combobox", name="Metric").first.input_value() == "train/entropy"
        )  # what its reader chose
        assert [text for text in opened.said if not text.startswith(server.address)] == []
        server.shutdown()
        thread.join()
