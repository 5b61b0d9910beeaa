"""What the diagnostics cost.

python -m benchmarks.diagnostics cost            # about five minutes
python -m benchmarks.diagnostics cost --quick    # a look, into logs/diagnostics
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stable_baselines3.common.env_util import make_vec_env

from benchmarks._output import ratio_interval
from benchmarks._speed.pairs import Calls, Plan, alternate
from benchmarks._studies import Study, run
from sb3_softac import SoftAC

RESULTS = Path(__file__).resolve().parent / "results" / "diagnostics"
LOG_INTERVAL = 4  # episodes, as by default
SMALL = {"policy_kwargs": {"net_arch": [16, 16]}, "batch_size": 16}
CASES: dict[str, dict[str, Any]] = {
    "Pendulum-v1": {"env": "Pendulum-v1", "n_envs": 1, "arguments": {}},
    "Pendulum-v1, 8 environments": {"env": "Pendulum-v1", "n_envs": 8, "arguments": {}},
    "Pendulum-v1, networks of 16, batches of 16": {"env": "Pendulum-v1", "n_envs": 1, "arguments": SMALL},
    "CartPole-v1": {"env": "CartPole-v1", "n_envs": 1, "arguments": {}},
}


def make(case: dict[str, Any], diagnostics: str) -> SoftAC:
    """An agent that has begun to learn, beyond where its update is recorded."""
    env = make_vec_env(case["env"], case["n_envs"], seed=0)
    return SoftAC("MlpPolicy", env, seed=0, device="cpu", diagnostics=diagnostics, **case["arguments"]).learn(1000)


def measure(pairs: int) -> list[Any]:
    """Rates of learning with diagnostics, relative to those without, of agents that learn by turns in one process."""
    rows = []
    for name, case in CASES.items():
        calls = {each: Calls(learner(make(case, each))) for each in ("off", "basic", "full")}
        timings = alternate(calls, calls.pop("off"), "", Plan(pairs=pairs))["contenders"]
        rows.append({"name": name} | {each: timings[each]["ratio"] for each in ("basic", "full")})
    return rows


def learner(model: SoftAC) -> Any:
    """Steps of the environments with their updates, as a function of their number."""

    def learn(count: int) -> None:
        model.learn(count, log_interval=LOG_INTERVAL, reset_num_timesteps=False)

    return learn


STUDIES = {
    "cost": Study(
        "The default diagnostics cost less than 2 % of the time",
        lambda quick: measure(4 if quick else 60),
        (
            ("", lambda row: row["name"]),
            ("basic / off", lambda row: ratio_interval(row["basic"])),
            ("full / off", lambda row: ratio_interval(row["full"])),
        ),
        f"Steps of `learn()` a second, one thread, a log every {LOG_INTERVAL} episodes; medians of the ratios of "
        "neighbouring blocks with their 95% intervals. Below 1, diagnostics cost time.",
    )
}

if __name__ == "__main__":
    run(__doc__, STUDIES, RESULTS)
