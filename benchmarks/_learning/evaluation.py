"""Evaluation episodes: the same start states for every algorithm, and no trace left in the training."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv, sync_envs_normalization

# Far from any training seed, and apart: the episodes of the final table are not those of the curve.
CURVE_SEED = 1_000_000
FINAL_SEED = 2_000_000


class Episode(NamedTuple):
    """One evaluation episode; ``score`` is the undiscounted return of the bare environment."""

    seed: int
    score: float
    length: int


def run_episodes(
    model: BaseAlgorithm, env: VecEnv, n_episodes: int, deterministic: bool, first_seed: int
) -> list[Episode]:
    """Play ``n_episodes``, the k-th from ``reset(seed=first_seed + k)``.

    As many episodes run at once as ``env`` has copies: one forward pass serves them all.

    :param model: the agent; its random numbers, its noise and its mode stay as they were
    :param env: evaluation environments, each with SB3's Monitor inside
    :param n_episodes: number of episodes
    :param deterministic: the policy's mode or mean, else a sample
    :param first_seed: seed of the first episode, and of the policy's sampling
    """
    if model.get_vec_normalize_env() is not None:
        sync_envs_normalization(model.get_env(), env)
    episodes: dict[int, Episode] = {}
    with untouched_randomness(first_seed), untouched_samples(model.action_space, first_seed):
        for start in range(0, n_episodes, env.num_envs):
            env.seed(first_seed + start)  # DummyVecEnv hands seed + i to its i-th copy
            for index, (score, length) in enumerate(_play_once(model, env, deterministic)):
                seed = first_seed + start + index
                episodes[start + index] = Episode(seed, score, length)
    return [episodes[k] for k in range(n_episodes)]


def _play_once(model: BaseAlgorithm, env: VecEnv, deterministic: bool) -> list[tuple[float, int]]:
    """One episode in every copy of ``env``; copies that finish early play on unrecorded."""
    obs = env.reset()
    results: list[tuple[float, int] | None] = [None] * env.num_envs
    with fresh_state_dependent_noise(model, env.num_envs):
        while any(result is None for result in results):
            actions, _ = model.predict(obs, deterministic=deterministic)  # type: ignore[arg-type]
            obs, _, dones, infos = env.step(actions)
            for index in np.flatnonzero(dones):
                if results[index] is None:
                    monitored = infos[index]["episode"]
                    results[index] = (float(monitored["r"]), int(monitored["l"]))
    return [result for result in results if result is not None]


@contextmanager
def fresh_state_dependent_noise(model: BaseAlgorithm, n_episodes: int) -> Iterator[None]:
    """With gSDE, draw a noise matrix for each episode, and give the training its own back afterwards.

    The training may keep one matrix for thousands of steps: a score with that one would judge the draw.
    """
    if not getattr(model, "use_sde", False):
        yield
        return
    holder = state_dependent_noise(model)
    training_noise = dict(vars(holder))
    model.policy.reset_noise(n_episodes)
    try:
        yield
    finally:
        vars(holder).update(training_noise)


def state_dependent_noise(model: BaseAlgorithm) -> Any:
    """The object that keeps the matrices of gSDE: of the actor or the policy, under SB3's name or SoftAC's."""
    owner = getattr(model.policy, "actor", model.policy)
    for name in ("sde_noise", "action_dist"):
        if hasattr(owner, name):
            return getattr(owner, name)
    raise ValueError(f"Cannot evaluate {type(model).__name__} with gSDE: unknown where it keeps its noise.")


@contextmanager
def untouched_randomness(seed: int) -> Iterator[None]:
    """Seed Python, numpy and torch for the block, and give them their state back after it.

    Else the training would depend on how often it is evaluated, and evaluating twice would give two results.
    """
    python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with th.random.fork_rng():
            random.seed(seed)
            np.random.seed(seed)  # noqa: NPY002
            th.manual_seed(seed)
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)  # noqa: NPY002


@contextmanager
def untouched_samples(space: spaces.Space, seed: int) -> Iterator[None]:
    """Seed the generator of a space, from which DQN draws its random actions, and give it its state back."""
    generator = space.np_random.bit_generator
    state = generator.state
    generator.state = type(generator)(seed).state
    try:
        yield
    finally:
        generator.state = state


def summarise(episodes: list[Episode]) -> tuple[float, float]:
    """Mean and population standard deviation of the returns, as SB3's ``evaluate_policy`` gives them."""
    scores = [episode.score for episode in episodes]
    return float(np.mean(scores)), float(np.std(scores))
