"""Which estimator of the actor's gradient a run uses, and what ``benchmarks.gradients`` measured of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks._learning.data import Runs

DEFAULTS = {
    "variant": "v2",
    "actor_gradient": "reparameterized",
    "baseline": "state_value",
    "n_action_samples": 1,
    "n_components": 1,
}


def estimator(hyperparams: dict[str, Any]) -> dict[str, Any]:
    """The arguments of SoftAC that decide on the estimator, with their defaults.

    :param hyperparams: constructor arguments; others are left out
    """
    policy_kwargs = hyperparams.get("policy_kwargs")
    given = {**hyperparams, **(policy_kwargs if isinstance(policy_kwargs, dict) else {})}
    chosen = {name: given.get(name, default) for name, default in DEFAULTS.items()}
    if chosen["actor_gradient"] == "reparameterized":
        chosen["baseline"] = "none"  # it has none
    return chosen


def gradient_table(runs: Runs, path: Path, reference: str) -> pd.DataFrame:
    """One row for each series whose estimator was measured, whatever the environment of its runs.

    :param runs: the stored runs
    :param path: ``gradients.json``
    :param reference: the series that comes first
    """
    measured = json.loads(path.read_text(encoding="utf-8"))["rows"]
    rows = []
    for env, series in sorted(runs.metas, key=lambda key: (key[0], key[1] != reference, key[1])):
        settings = runs.metas[env, series][0]["settings"]
        if settings["algo"] == "softac":
            ours = estimator(settings["hyperparams"])
            rows += [{"env": env, "series": series, **row} for row in measured if estimator(row) == ours]
    return pd.DataFrame(rows)
