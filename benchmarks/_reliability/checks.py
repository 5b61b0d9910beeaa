"""Cost of the checks of steps, batches and parameters.

Two agents learn in short blocks by turns in one process, one of which looks neither at steps nor at batches and
parameters. Below 1, the checks cost time. Beside it stands what they take by themselves, timed where they stand.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from stable_baselines3.common.env_util import make_vec_env

from benchmarks._output import Columns, number, ratio_interval
from benchmarks._speed.pairs import Calls, Plan, alternate
from sb3_softac import SoftAC
from sb3_softac.engines.divergence import UPDATES_BETWEEN_COPIES

#: attributes of a model, and their methods that are called in every step
CHECKS = {"_step_check": ("check", "check_ends", "check_finals", "keep_statistics"), "_watch": ("begin", "see")}
STEPS = 2000  # in which they are timed
SMALL = {"policy_kwargs": {"net_arch": [16, 16]}, "batch_size": 16}
CASES: dict[str, dict[str, Any]] = {
    "defaults": {"n_envs": 1, "arguments": {}},
    "8 environments": {"n_envs": 8, "arguments": {}},
    "networks of 16, batches of 16": {"n_envs": 1, "arguments": SMALL},
}


def make(env_id: str, case: dict[str, Any], has_checks: bool) -> SoftAC:
    """An agent that has begun to learn.

    :param env_id: of Gymnasium
    :param case: of :data:`CASES`
    :param has_checks: False: nothing is looked at
    """
    model = SoftAC("MlpPolicy", make_vec_env(env_id, case["n_envs"], seed=0), seed=0, device="cpu", **case["arguments"])
    if not has_checks:
        for part, names in CHECKS.items():
            for name in names:
                setattr(getattr(model, part), name, _nothing)
    return model.learn(1000)  # beyond where the update is recorded


def _nothing(*arguments: Any) -> bool:
    return True


def in_place(model: SoftAC, steps: int) -> dict[str, float]:
    """Microseconds of each check in a step of the environments, where it stands: in a loop it would be faster.

    :param model: has begun to learn
    :param steps: how many to learn for
    """
    seconds = dict.fromkeys(CHECKS, 0.0)
    for part, names in CHECKS.items():
        for name in names:
            setattr(getattr(model, part), name, _timed(getattr(getattr(model, part), name), part, seconds))
    model.learn(steps, log_interval=None, reset_num_timesteps=False)
    return {part: 1e6 * model.n_envs * taken / steps for part, taken in seconds.items()}


def _timed(function: Callable[..., Any], part: str, seconds: dict[str, float]) -> Callable[..., Any]:
    def timed(*arguments: Any) -> Any:
        began = time.perf_counter()
        result = function(*arguments)
        seconds[part] += time.perf_counter() - began
        return result

    return timed


def measure(env_id: str, pairs: int) -> dict[str, Any]:
    """Rows of :data:`CASES`: ratios of rates, and the time of each check where it stands."""
    rows = {}
    for name, case in CASES.items():
        models = [make(env_id, case, has_checks) for has_checks in (True, False)]
        checked, unchecked = (Calls(learner(model)) for model in models)
        timing = alternate({"checks": checked}, unchecked, "", Plan(pairs=pairs))["contenders"]["checks"]
        step = 1e6 * case["n_envs"] / timing["reference_per_second"]["median"]
        own = in_place(models[0], STEPS * case["n_envs"])
        rows[name] = timing | {"parts": own, "step_microseconds": step, "share": sum(own.values()) / step}
    return rows


def learner(model: SoftAC) -> Callable[[int], None]:
    """Steps of the environments with their updates, as a function of their number."""

    def run(count: int) -> None:
        model.learn(count, log_interval=None, reset_num_timesteps=False)

    return run


COLUMNS: Columns = (
    ("", lambda item: item[0]),
    ("a step with its update, µs", lambda item: number(item[1]["step_microseconds"], 0)),
    ("of it: checks of the step, µs", lambda item: number(item[1]["parts"]["_step_check"])),
    ("of batch and parameters, µs", lambda item: number(item[1]["parts"]["_watch"])),
    ("together", lambda item: f"{item[1]['share']:.2%}"),
    ("rate with / without", lambda item: ratio_interval(item[1]["ratio"])),
)


def notes(env_id: str, pairs: int) -> str:
    """Explanation below the table."""
    return (
        f"{env_id}, one thread. Timed where they stand, over {STEPS} steps, the clock's own time included; parameters "
        f"are looked at and copied after every {UPDATES_BETWEEN_COPIES} updates. The ratio of rates is the median of "
        f"{pairs} neighbouring blocks with its 95% interval; below 1, checks cost time."
    )
