"""Variance of the actor's gradient, and time of one update, for each way to estimate that gradient.

    python -m benchmarks.gradients

Trains agents on Pendulum-v1 (v2, v1, and v2 with a mixture policy), freezes each, and estimates the gradient of its
actor on one batch many times with fresh noise: by reparameterised actions, and by the score function with each
baseline. Reported for each estimator: the variance (trace of the covariance over the squared norm of the exact
gradient), the cosine between the mean of the estimates and the exact gradient, and the time of one whole update, all
measured in turn in one process, over that of v2's reparameterised gradient with one sample. Exact is the mean of all
reparameterised estimates with the most samples.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch as th
from stable_baselines3.common.logger import Logger

from benchmarks import _machine
from benchmarks._learning.tables import estimator
from benchmarks._output import Columns, number, publish, table
from sb3_softac import SoftAC
from sb3_softac.updates.batch import Batch
from sb3_softac.updates.variants import make_update

Key = tuple[str, str]  #: agent, estimator
RESULTS = Path(__file__).resolve().parent / "results" / "gradients"
SCORE = {"actor_gradient": "score_function"}
REFERENCE = "reparameterized, 1 sample"
EXACT = "reparameterized, 4 samples"  # the mean of its estimates
ESTIMATORS: dict[str, dict[str, Any]] = {
    REFERENCE: {},
    EXACT: {"n_action_samples": 4},
    "score function, no baseline, 1 sample": SCORE | {"baseline": "none"},
    "score function, state value, 1 sample": SCORE | {"baseline": "state_value"},
    "score function, no baseline, 4 samples": SCORE | {"baseline": "none", "n_action_samples": 4},
    "score function, state value, 4 samples": SCORE | {"baseline": "state_value", "n_action_samples": 4},
    "score function, leave one out, 4 samples": SCORE | {"baseline": "leave_one_out", "n_action_samples": 4},
}
# Temperatures of about the size that v2 learns on Pendulum-v1.
AGENTS: dict[str, dict[str, Any]] = {
    "v2": {"ent_coef": 0.2},
    "v1": {"variant": "v1", "reward_scale": 5.0},
    "v2, mixture of 4": {"ent_coef": 0.2, "policy_kwargs": {"n_components": 4}},
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
    rows = measure(options)
    result = {
        "settings": {key: str(value) for key, value in vars(options).items() if key != "out"},
        "machine": _machine.machine(),
        "versions": _machine.versions(),
        "rows": rows,
    }
    publish(options.out / "gradients", result, report(rows))


def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    """One row for each agent and estimator, the variances first: timing trains the agents, and so changes them."""
    copies: dict[tuple[str, str], SoftAC] = {}
    rows = []
    for agent, kwargs in AGENTS.items():
        trained = make_agent(options.seed, **kwargs).learn(options.steps)
        ours = {name: frozen_copy(trained, options.seed, kwargs | how) for name, how in ESTIMATORS.items()}
        for name, figures in variances(trained, ours, options.estimates).items():
            rows.append({"agent": agent, "name": name, **estimator(kwargs | ESTIMATORS[name]), **figures})
        copies |= {(agent, name): copy for name, copy in ours.items()}
    times = update_times(copies, options.rounds)
    reference = times["v2", REFERENCE]
    for row in rows:
        own = times[row["agent"], row["name"]]
        row["update_ms"] = 1000 * median(own)
        row["time_ratio"] = median(a / b for a, b in zip(own, reference, strict=True))
    return rows


def frozen_copy(trained: SoftAC, seed: int, kwargs: dict[str, Any]) -> SoftAC:
    """An agent with the same networks and transitions, and another estimator."""
    agent = make_agent(seed, **kwargs)
    agent.set_parameters(trained.get_parameters())
    agent.set_logger(Logger(folder=None, output_formats=[]))
    agent.replay_buffer = trained.replay_buffer
    return agent


def variances(trained: SoftAC, agents: dict[str, SoftAC], n_estimates: int) -> dict[str, dict[str, float]]:
    """How far each estimator's gradients scatter, and whether their mean points the right way."""
    batch = Batch.from_samples(trained.replay_buffer.sample(256), trained.gamma, trained.reward_scale)
    estimates = {name: estimate(agent, batch, n_estimates) for name, agent in agents.items()}
    exact = estimates[EXACT].mean(dim=0)
    return {
        name: {
            "relative_variance": (gradients.var(dim=0).sum() / exact.square().sum()).item(),
            "cosine_of_mean": th.cosine_similarity(gradients.mean(dim=0), exact, dim=0).item(),
        }
        for name, gradients in estimates.items()
    }


def make_agent(seed: int, **kwargs: Any) -> SoftAC:
    """On Pendulum-v1, with the settings of the learning runs."""
    settings = {"learning_rate": 1e-3, "gamma": 0.98, "buffer_size": 20_000, "seed": seed, "device": "cpu"}
    return SoftAC("MlpPolicy", "Pendulum-v1", **settings | kwargs)


def estimate(agent: SoftAC, batch: Batch, n_estimates: int) -> th.Tensor:
    """Gradients of the actor's loss on one batch, each with fresh noise: (n_estimates, parameters)."""
    settings, networks = agent.current_settings().update, agent.policy.networks()
    update = make_update(agent.variant, networks, agent.temperature, settings)
    actor, critics, alpha = update.actor, update.critics, agent.temperature.alpha()  # type: ignore[attr-defined]
    parameters = list(agent.actor.parameters())
    gradients = []
    for _ in range(n_estimates):
        support = actor.support_at(batch.obs, is_due=True)
        q = critics.reduce_q(critics.q_of(batch.obs, support, is_due=True))
        loss = actor.gradient.loss(batch.obs, q, support, alpha)
        gradients.append(th.nn.utils.parameters_to_vector(th.autograd.grad(loss, parameters)))
    return th.stack(gradients)


def update_times(agents: dict[Key, SoftAC], rounds: int, updates: int = 20) -> dict[Key, list[float]]:
    """Seconds of one update, by turns."""
    times: dict[Key, list[float]] = {key: [] for key in agents}
    for round_number in range(rounds + 1):
        for key, agent in agents.items():
            start = time.perf_counter()
            agent.train(updates, batch_size=256)
            if round_number > 0:  # the first warms up
                times[key].append((time.perf_counter() - start) / updates)
    return times


HEAD = """\
# Gradients of the actor, Pendulum-v1

Variance relative to the squared norm of the exact gradient, cosine between the mean of the estimates and the
exact gradient, time of one whole update and its ratio (paired, median) to the first row. See `gradients.py`.

"""
COLUMNS: Columns = (
    ("agent", lambda row: row["agent"]),
    ("estimator", lambda row: row["name"]),
    ("variance", lambda row: f"{row['relative_variance']:.3g}"),
    ("cosine", lambda row: number(row["cosine_of_mean"], 3)),
    ("update, ms", lambda row: number(row["update_ms"])),
    ("time", lambda row: number(row["time_ratio"], 2)),
)


def report(rows: list[dict[str, Any]]) -> str:
    """The rows in Markdown."""
    return HEAD + table(COLUMNS, rows)


if __name__ == "__main__":
    main()
