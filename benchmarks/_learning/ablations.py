"""The ablations of ``benchmarks/ablations.yml``: what is asked, what is run, what is drawn."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks._learning.hyperparams import SOURCES
from benchmarks._learning.plans import (
    Experiment,
    check_numbers,
    mapping,
    read_file,
    seeds_of_file,
    series_of_file,
    values_of_file,
)

ABLATIONS = Path(__file__).resolve().parents[1] / "ablations.yml"
PANELS = ("curves", "seeds", "modes", "gap", "finals", "sweep")
_COUNTS = ("steps", "eval_every", "eval_episodes", "final_episodes")
_SHARED = ("env", *_COUNTS, "seeds", "hyperparams", "set", "runs", "reference", "panels")
_OPTIONAL = ("axis", "above", "gradients", "needs")


@dataclass(frozen=True)
class Ablation:
    """A question, the runs that answer it, and what is drawn of them.

    :param name: in the file, and of the report's folder
    :param question: what is asked
    :param source: where in the papers
    :param experiment: what is run
    :param runs: folder of the results that keeps the runs
    :param reference: the series that the others are compared with
    :param panels: of the figure, of ``PANELS``
    :param names: of the series, for the figure
    :param places: of the series on the axis of a sweep; what has none is a band across it
    :param axis: what the sweep changes
    :param above: counts the final episodes whose return is at least this
    :param gradients: file of ``benchmarks.gradients``, below the results
    :param needs: packages that must be importable, each with the extra that has it
    """

    name: str
    question: str
    source: str
    experiment: Experiment
    runs: str
    reference: str
    panels: tuple[str, ...]
    names: dict[str, str]
    places: dict[str, float]
    axis: str = ""
    above: float | None = None
    gradients: str | None = None
    needs: tuple[tuple[str, str], ...] = ()

    def check_packages(self) -> None:
        """Refuse to run without what it needs."""
        for package, extra in self.needs:
            if find_spec(package) is None:
                raise ValueError(f"{self.name} needs {package}, which is not installed: pip install -e '.[{extra}]'.")


def read_ablations(path: Path = ABLATIONS) -> dict[str, Ablation]:
    """The ablations of a file, by name.

    :param path: of the YAML
    :raises ValueError: something is missing, unknown, or cannot be
    """
    content = read_file(path, "defaults", "ablations")
    defaults = mapping(content["defaults"], "defaults", _SHARED)
    entries = mapping(content["ablations"], "ablations", optional=None)
    return {name: _ablation(name, {**defaults, **mapping(own, name, optional=None)}) for name, own in entries.items()}


def _ablation(name: str, entry: dict[str, Any]) -> Ablation:
    entry = mapping(entry, name, ("question", "source", "series", *_SHARED), _OPTIONAL)
    check_numbers(entry, name, _COUNTS, ("above",))
    if entry["hyperparams"] not in SOURCES:
        raise ValueError(f"{name}: hyperparams must be one of {', '.join(SOURCES)}, got {entry['hyperparams']!r}.")
    if not isinstance(entry["series"], list):
        raise ValueError(f"{name}: series must be a list, got {entry['series']!r}.")
    entries = entry["series"]
    common = values_of_file(entry["set"])
    series = tuple(series_of_file(e, f"{name}: series {e}", common, ("name", "x")) for e in entries)
    for e in entries:
        check_numbers(e, f"{name}: series {e}", (), ("x",))
    experiment = Experiment(
        entry["env"],
        series,
        seeds_of_file(entry["seeds"]),
        hyperparams=entry["hyperparams"],
        **{key: entry[key] for key in _COUNTS},
    )
    ablation = Ablation(
        name,
        entry["question"],
        entry["source"],
        experiment,
        entry["runs"],
        entry["reference"],
        tuple(entry["panels"]),
        {one.name: e.get("name", one.name) for one, e in zip(series, entries, strict=True)},
        {one.name: float(e["x"]) for one, e in zip(series, entries, strict=True) if "x" in e},
        entry.get("axis", ""),
        entry.get("above"),
        entry.get("gradients"),
        tuple(entry.get("needs", {}).items()),
    )
    _check(ablation)
    return ablation


def _check(ablation: Ablation) -> None:
    """What must hold between the parts."""
    unknown = [panel for panel in ablation.panels if panel not in PANELS]
    if unknown:
        raise ValueError(f"{ablation.name}: unknown panels {', '.join(unknown)}; known are {', '.join(PANELS)}.")
    if len(ablation.names) < len(ablation.experiment.series):
        raise ValueError(f"{ablation.name}: two series have one name; give each a label of its own.")
    if ablation.reference not in ablation.names:
        raise ValueError(
            f"{ablation.name}: reference {ablation.reference!r} is none of its series, {', '.join(ablation.names)}."
        )
    if "sweep" in ablation.panels and not (ablation.axis and ablation.places):
        raise ValueError(f"{ablation.name}: the panel sweep needs `axis`, and `x` of the series that lie on it.")
