"""Variance of the actor's gradient, and time of one update, for each way to estimate that gradient.

    python -m benchmarks.gradients

Trains an agent on Pendulum-v1, freezes it, and estimates the gradient of its actor on one batch many times with fresh
noise: by reparameterised actions, and by the score function with each baseline. Reported for each estimator: the
variance (trace of the covariance over the squared norm of the exact gradient), the cosine between the mean of the
estimates and the exact gradient, and the time of one whole update, measured in turn in one process, over that of the
reparameterised gradient with one sample. Exact is the mean of all reparameterised estimates with the most samples.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch as th
from stable_baselines3.common.logger import Logger

from benchmarks import _machine
from sb3_softac import SoftAC
from sb3_softac.updates.batch import Batch
from sb3_softac.updates.factory import make_update

RESULTS = Path(__file__).resolve().parent / "results" / "gradients"
SCORE = {"actor_gradient": "score_function"}
ESTIMATORS: dict[str, dict[str, Any]] = {
    "reparameterized, 1 sample": {},
    "reparameterized, 8 samples": {"n_action_samples": 8},
    "score function, no baseline, 1 sample": SCORE | {"baseline": "none"},
    "score function, state value, 1 sample": SCORE | {"baseline": "state_value"},
    "score function, no baseline, 8 samples": SCORE | {"baseline": "none", "n_action_samples": 8},
    "score function, state value, 8 samples": SCORE | {"baseline": "state_value", "n_action_samples": 8},
    "score function, leave one out, 8 samples": SCORE | {"baseline": "leave_one_out", "n_action_samples": 8},
}


def main() -> None:
    """Train, measure, write `gradients.json` and `gradients.md`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=5000, help="of training before the agent is frozen")
    parser.add_argument("--estimates", type=int, default=400, help="of each gradient")
    parser.add_argument("--rounds", type=int, default=20, help="of timing")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    th.set_num_threads(1)
    rows = {variant: measure(variant, options) for variant in ("v1", "v2")}
    result = {
        "settings": {key: str(value) for key, value in vars(options).items() if key != "out"},
        "machine": _machine.machine(),
        "versions": _machine.versions(),
        "rows": rows,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "gradients.json").write_text(json.dumps(result, indent=2) + "\n")
    (options.out / "gradients.md").write_text(table(rows))
    print(table(rows))


def measure(variant: str, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """All estimators on one frozen agent."""
    trained = make_agent(variant, options.seed).learn(options.steps)
    agents = {name: make_agent(variant, options.seed, **kwargs) for name, kwargs in ESTIMATORS.items()}
    for agent in agents.values():
        agent.set_parameters(trained.get_parameters())
        agent.set_logger(Logger(folder=None, output_formats=[]))
        agent.replay_buffer = trained.replay_buffer
    batch = Batch.from_samples(trained.replay_buffer.sample(256), trained.gamma, trained.reward_scale)
    estimates = {name: estimate(agent, batch, options.estimates) for name, agent in agents.items()}
    exact = estimates["reparameterized, 8 samples"].mean(dim=0)
    # Times last: they train, and so change the agents.
    times = update_times(agents, options.rounds)
    reference = times["reparameterized, 1 sample"]
    return {
        name: {
            "relative_variance": (gradients.var(dim=0).sum() / exact.square().sum()).item(),
            "cosine_of_mean": th.cosine_similarity(gradients.mean(dim=0), exact, dim=0).item(),
            "update_ms": 1000 * median(times[name]),
            "time_ratio": median(a / b for a, b in zip(times[name], reference, strict=True)),
        }
        for name, gradients in estimates.items()
    }


def make_agent(variant: str, seed: int, **kwargs: Any) -> SoftAC:
    """Pendulum-v1 with a temperature of about the size that v2 learns there."""
    temperature = {"reward_scale": 5.0} if variant == "v1" else {"ent_coef": 0.2}
    settings = {"learning_rate": 1e-3, "gamma": 0.98, "buffer_size": 20_000, "seed": seed, "device": "cpu"}
    return SoftAC("MlpPolicy", "Pendulum-v1", variant=variant, **temperature | settings | kwargs)


def estimate(agent: SoftAC, batch: Batch, n_estimates: int) -> th.Tensor:
    """Gradients of the actor's loss on one batch, each with fresh noise: (n_estimates, parameters)."""
    learner = make_update(agent)._learner  # type: ignore[attr-defined]
    alpha = agent.temperature.alpha()
    parameters = list(agent.actor.parameters())
    gradients = []
    for _ in range(n_estimates):
        support = learner.support(batch.obs)
        loss = learner.actor_gradient.loss(batch.obs, learner.q_of(batch.obs, support), support, alpha)
        gradients.append(th.nn.utils.parameters_to_vector(th.autograd.grad(loss, parameters)))
    return th.stack(gradients)


def update_times(agents: dict[str, SoftAC], rounds: int, updates: int = 20) -> dict[str, list[float]]:
    """Seconds of one update, by turns."""
    times: dict[str, list[float]] = {name: [] for name in agents}
    for round_number in range(rounds + 1):
        for name, agent in agents.items():
            start = time.perf_counter()
            agent.train(updates, batch_size=256)
            if round_number > 0:  # the first warms up
                times[name].append((time.perf_counter() - start) / updates)
    return times


def table(rows: dict[str, dict[str, dict[str, float]]]) -> str:
    """The rows in Markdown."""
    lines = [
        "# Gradients of the actor, Pendulum-v1",
        "",
        "Variance relative to the squared norm of the exact gradient, cosine between the mean of the estimates and the",
        "exact gradient, time of one whole update and its ratio (paired, median) to the first row. See `gradients.py`.",
        "",
        "| variant | estimator | variance | cosine | update, ms | time |",
        "|---|---|---|---|---|---|",
    ]
    for variant, estimators in rows.items():
        for name, row in estimators.items():
            lines.append(
                f"| {variant} | {name} | {row['relative_variance']:.3g} | {row['cosine_of_mean']:.3f} "
                f"| {row['update_ms']:.1f} | {row['time_ratio']:.2f} |"
            )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
