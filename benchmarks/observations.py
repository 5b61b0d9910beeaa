"""What does it gain, and cost, to prepare observations? Normalisation inside the policy, and images.

    python -m benchmarks.observations normalize cost
    python -m benchmarks.observations normalize --quick        # a look, into logs/observations

Each study writes ``<name>.json`` and ``<name>.md``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch as th
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from benchmarks import _machine
from benchmarks._observations import envs, runs
from benchmarks._output import Columns, number, publish, ratio_interval, table
from benchmarks._speed.pairs import Calls, Plan, alternate
from sb3_softac import SoftAC

RESULTS = Path(__file__).resolve().parent / "results" / "observations"

SMALL = {"learning_rate": 1e-3, "batch_size": 128, "learning_starts": 500, "buffer_size": 20_000, "device": "cpu"}
NET = {"net_arch": [64, 64]}


# Normalisation


def pendulum(factors: tuple[float, ...]) -> gym.Env:
    """Pendulum in other units; its last speeds and angles as ever."""
    return envs.Rescaled(gym.make("Pendulum-v1"), factors)


def normalizing(env: VecEnv, seed: int, **policy_kwargs: Any) -> SoftAC:
    """A small agent."""
    return SoftAC("MlpPolicy", env, seed=seed, policy_kwargs=NET | policy_kwargs, **SMALL)


def vec_normalized(make: Callable[[int], VecEnv], n_envs: int) -> VecEnv:
    """Environments in a VecNormalize, whose statistics an evaluation takes over from the training."""
    return VecNormalize(make(n_envs), training=n_envs == 1, norm_reward=False)


NONE, OURS, THEIRS = "none", "`normalize_obs=True`", "`VecNormalize(norm_reward=False)`"
UNITS = {"Pendulum-v1": (1.0, 1.0, 1.0), "Pendulum-v1, numbers times 0.001, 1 and 1000": envs.UNEVEN}


def measure_normalization(quick: bool) -> list[dict[str, Any]]:
    """Curves without and with normalisation, of each kind."""
    budget = (
        {"steps": 1000, "every": 500, "n_episodes": 2} if quick else {"steps": 5000, "every": 500, "n_episodes": 10}
    )
    rows = []
    for case, factors in UNITS.items():
        make = runs.vec(partial(pendulum, factors))
        contenders = {NONE: normalizing, OURS: partial(normalizing, normalize_obs=True), THEIRS: normalizing}
        make_env = {NONE: make, OURS: make, THEIRS: partial(vec_normalized, make)}
        found = runs.compare(contenders, make_env, range(1 if quick else 5), **budget)
        rows += [{"case": case, **row} for row in found]
    return rows


def measure_cost(quick: bool) -> list[dict[str, Any]]:
    """Ratio of rates of learning without and with normalisation, in neighbouring blocks."""
    rows = []
    for name, kwargs in {
        "networks of 256, batches of 256": {},
        "networks of 64, batches of 128": SMALL | {"policy_kwargs": NET},
    }.items():
        models = [_learner(kwargs, normalize_obs) for normalize_obs in (True, False)]
        ours, reference = (Calls(each) for each in models)
        found = alternate({"ours": ours}, reference, "", Plan(pairs=4 if quick else 60, seconds=240.0))
        rows.append({"case": name, **found["contenders"]["ours"]})
    return rows


def _learner(kwargs: dict[str, Any], normalize_obs: bool) -> Callable[[int], None]:
    policy_kwargs = kwargs.get("policy_kwargs", {}) | {"normalize_obs": normalize_obs}
    model = SoftAC("MlpPolicy", "Pendulum-v1", seed=0, **{"device": "cpu", **kwargs, "policy_kwargs": policy_kwargs})
    model.learn(700)  # beyond where the update is recorded
    return lambda count: model.learn(count, log_interval=None, reset_num_timesteps=False)  # type: ignore[arg-type, return-value]


class Study(NamedTuple):
    """A question, and how it is answered.

    :param title: the question
    :param measure: measures it; True for a quick look
    :param columns: of the table, from a row of ``summary``
    :param summary: rows of the table, from those of the result
    :param notes: how it was measured
    """

    title: str
    measure: Callable[[bool], list[Any]]
    columns: Columns
    summary: Callable[[list[Any]], list[Any]]
    notes: str


def middle_and_end(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean and spread over the seeds, of the mean of the curve and of its end."""
    found = []
    for case, contender in dict.fromkeys((row.get("case", ""), row["contender"]) for row in rows):
        own = [row for row in rows if (row.get("case", ""), row["contender"]) == (case, contender)]
        scores = np.array([[point["return"] for point in row["curve"]] for row in own])
        cpu = [1e3 * row["curve"][-1]["cpu"] / row["curve"][-1]["step"] for row in own]
        steps = [point["step"] for point in own[0]["curve"]]
        found.append({"case": case, "contender": contender, "scores": scores, "steps": steps, "cpu": np.median(cpu)})
    return found


def _spread(scores: np.ndarray) -> str:
    return f"{number(scores.mean())} ± {number(scores.std(ddof=1) if len(scores) > 1 else 0.0)}"


def _at(part: float) -> Callable[[Any], str]:
    return lambda row: _spread(row["scores"][:, round(part * len(row["steps"])) - 1])


CURVES: Columns = (
    ("observations", lambda row: row["contender"]),
    ("return, mean of the curve", lambda row: _spread(row["scores"].mean(axis=1))),
    ("at half of the steps", _at(0.5)),
    ("at the end", _at(1.0)),
    ("worst seed at the end", lambda row: number(row["scores"][:, -1].min())),
)
STUDIES = {
    "normalize": Study(
        "Running normalisation of observations",
        measure_normalization,
        (("environment", lambda row: row["case"]), *CURVES),
        middle_and_end,
        "Networks of 64, batches of 128, 5000 steps of the environment, deterministic actions in 10 episodes after "
        "every 500 steps. Mean ± standard deviation over seeds 0 to 4. `none` learns from the numbers as they are.",
    ),
    "cost": Study(
        "Cost of `normalize_obs=True`",
        measure_cost,
        (
            ("", lambda row: row["case"]),
            ("steps a second without", lambda row: number(row["reference_per_second"]["median"], 0)),
            ("rate with / without", lambda row: ratio_interval(row["ratio"])),
            ("by CPU time", lambda row: ratio_interval(row["cpu_time_ratio"])),
        ),
        lambda rows: rows,
        "Pendulum-v1, one thread, `learn()` with one update in each step. Medians of neighbouring blocks with their "
        "95 % intervals; below 1, normalisation costs time.",
    ),
}


def report(study: Study, result: dict[str, Any]) -> str:
    """The result in Markdown."""
    named = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    text = f"# {study.title}\n\n{table(study.columns, study.summary(result['rows']))}\n{study.notes}\n"
    return f"{text}\n- Machine: {result['machine']['cpu']}.\n- Versions: {named}.\n"


def main() -> None:
    """Run studies."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", nargs="+", choices=STUDIES, metavar="STUDY", help=", ".join(STUDIES))
    parser.add_argument("--quick", action="store_true", help="fewer of everything, into logs/observations")
    parser.add_argument("--out", type=Path, help="folder of the results")
    options = parser.parse_args()
    th.set_num_threads(1)
    for name in options.studies:
        rows = STUDIES[name].measure(options.quick)
        result = {"rows": rows, "machine": _machine.machine(), "versions": _machine.versions()}
        out = options.out or (Path("logs/observations") if options.quick else RESULTS)
        publish(out / name, result, report(STUDIES[name], result))


if __name__ == "__main__":
    main()
