"""The page: one HTML file with all that it needs, which opens without a network."""

import datetime
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from sb3_softac.report import tables
from sb3_softac.report.groups import Group, grouped, run_label
from sb3_softac.report.load import find_runs
from sb3_softac.report.plots import Plot, curves_plot, evaluations_plot, metrics_plot
from sb3_softac.report.rules import findings
from sb3_softac.report.run import Run
from sb3_softac.report.series import metrics_of, points_for
from sb3_softac.report.video import Video, record_videos
from sb3_softac.saving.files import replaced
from sb3_softac.version import __version__

TEMPLATES = Path(__file__).parent / "template"
NAME = "report.html"
MISSING = "the report needs {name}. Install the extra: pip install 'sb3_softac[report]'"


def write_report(
    folders: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    output: str | os.PathLike[str] | None = None,
    video: bool | None = None,
) -> Path:
    """Write a page on one or more training runs.

    :param folders: of a run or of runs, such as ``logs/softac/Pendulum-v1_1`` or ``logs``; one, or a list
    :param output: path of the page. None: ``report.html`` in the folder if there is one, in the current folder if
        there are more
    :param video: whether to show the saved agents. None: those that can be shown without running code of their files
        or wrappers
    :return: path of the page
    :raises ValueError: a folder is missing, or is no run and holds none, or its files cannot be read
    :raises ImportError: the extra ``report`` is not installed
    :raises OSError: the page cannot be written
    """
    given = [folders] if isinstance(folders, str | os.PathLike) else list(folders)
    path = Path(output) if output is not None else (Path(given[0]) if len(given) == 1 else Path()) / NAME
    html = make_page(given, video)
    with replaced(path) as file:
        file.write(html.encode())
    return path


def make_page(folders: Sequence[str | os.PathLike[str]], video: bool | None = None, version: str | None = None) -> str:
    """The page as a text; see :func:`write_report`.

    :param version: of the logs, if the page is to look for newer ones
    """
    _check_installed()
    import jinja2
    from bokeh.embed import components
    from bokeh.resources import Resources

    runs = find_runs(map(Path, folders))
    n_points = points_for(runs)
    by_environment = grouped(runs)
    videos = record_videos([group.runs[0] for groups in by_environment.values() for group in groups], video)
    sections = [
        _section(number, env_id, groups, n_points, videos)
        for number, (env_id, groups) in enumerate(by_environment.items())
    ]
    plots = {f"{number}-{n}": plot for number, each in enumerate(sections) for n, plot in enumerate(each["plots"])}
    script, divs = (
        components({name: plot.figure for name, plot in plots.items()}, wrap_script=False) if plots else ("", {})
    )
    environment = jinja2.Environment(autoescape=True, loader=jinja2.FileSystemLoader(TEMPLATES), trim_blocks=True)
    return environment.get_template("page.html").render(
        title=_title(by_environment),
        sections=sections,
        divs=divs,
        plot_script=script,
        bokeh=Resources(mode="inline", components=["bokeh"]).js_raw[0],  # the others set a level of logging, loudly
        metrics=[each["metrics"] for each in sections],
        version=version,
        written=datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        sb3_softac=__version__,
    )


def _check_installed() -> None:
    for name in ("bokeh", "jinja2", "pandas", "scipy"):
        try:
            __import__(name)
        except ImportError as error:
            raise ImportError(MISSING.format(name=name)) from error


def _title(by_environment: dict[str, list[Group]]) -> str:
    runs = [run for groups in by_environment.values() for group in groups for run in group.runs]
    algos = dict.fromkeys(run.algo for run in runs if run.algo)
    name = f"{' and '.join(algos) or 'Training'} on {', '.join(by_environment)}"
    return name if len(name) <= 90 else f"{len(runs)} runs on {len(by_environment)} environments"


def _section(number: int, env_id: str, groups: list[Group], n_points: int, videos: dict[Path, Video]) -> dict[str, Any]:
    """All that the page shows of an environment."""
    returns: list[Plot | None] = [curves_plot(groups, of) for of in ("evaluation", "training")]
    evaluations: list[Plot | None] = [evaluations_plot(groups, of) for of in ("returns", "lengths")]
    metrics = metrics_of(groups, n_points)
    explorer = metrics_plot(f"explorer-{number}", groups, metrics["metrics"]) if metrics["metrics"] else None
    plots = [*returns, explorer, *evaluations]
    all_tables = {
        "differences": tables.differences_table(groups),
        "episodes": tables.episodes_table(groups),
        "settings": tables.settings_table(groups),
        "versions": tables.versions_table(groups),
    }
    return {
        "env_id": env_id,
        "groups": groups,
        "n_runs": sum(len(group.runs) for group in groups),
        "runs": tables.runs_table(groups),
        "findings": [
            (run_label(group, run), run.folder.resolve().name, found)
            for group in groups
            for run in group.runs
            if (found := findings(run))
        ],
        "notes": [(run.folder.resolve().name, note) for group in groups for run in group.runs for note in _notes(run)],
        "plots": [plot for plot in plots if plot is not None],
        "explorer": None if explorer is None else [plot for plot in plots if plot is not None].index(explorer),
        "metrics": metrics,
        "videos": [(group.label, videos[group.runs[0].folder]) for group in groups if group.runs[0].folder in videos],
        "tables": all_tables,
    }


def _notes(run: Run) -> tuple[str, ...]:
    if run.is_empty:
        return (*run.notes, "No episode has ended yet and nothing was logged: come back later.")
    if run.metrics.empty:
        return (*run.notes, "No progress.csv and no TensorBoard log: only returns can be judged.")
    return run.notes
