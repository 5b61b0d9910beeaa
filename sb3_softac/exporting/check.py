"""Comparison of an exported policy with ``predict``, on random observations."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecNormalize

from sb3_softac.exporting.deployed import DeployedPolicy, ExportError
from sb3_softac.exporting.draws import drawn_from
from sb3_softac.exporting.inputs import OBSERVATION, noise, sample

#: from inputs by name to actions
Run = Callable[[Mapping[str, np.ndarray]], np.ndarray]
# One row, a few, and enough for the kernels of large batches.
BATCHES = (1, 3, 64)
# Scores closer than this are a tie, which rounding may decide either way.
TIE = 1e-4


def largest_difference(deployed: DeployedPolicy, normalize: VecNormalize | None, run: Run) -> float:
    """Largest difference between the actions of an exported policy and those of ``predict``.

    Sampled actions are compared with the same random numbers on both sides. Where ``predict`` chose between discrete
    actions, or between the components of a mixture, whose scores are a tie, both choices are right.

    :param deployed: the policy that was exported
    :param normalize: ``VecNormalize`` of the environment; None for none
    :param run: runs the exported policy
    :return: for Box as a part of the range of the action; otherwise 0 if all actions are the same, and 1 if one is not
    :raises ExportError: actions of another shape
    """
    # By numpy, whose largest number is NaN if one is.
    return float(np.max([_difference(deployed, normalize, run, rows) for rows in BATCHES]))


def _difference(deployed: DeployedPolicy, normalize: VecNormalize | None, run: Run, rows: int) -> float:
    policy = deployed.policy
    values = sample(policy.observation_space, deployed.action_space, normalize, rows, seed=rows)
    draws = noise(deployed.inputs, rows, seed=rows)
    expected, margin = _predicted(deployed, normalize, values, draws)
    observed = {each.name: _in_layout(values[each.name], each.full_shape(rows)) for each in deployed.observations}
    actual = run(observed | draws)
    if actual.shape != expected.shape:
        raise ExportError(f"The exported policy gives actions of the shape {actual.shape}, `predict` {expected.shape}")
    difference = _per_row(actual, expected, deployed.action_space)
    is_tie = np.zeros(rows, bool) if margin is None else margin.numpy() < TIE
    # Not by `>`, which a difference that is no number would pass.
    is_wrong = ~(difference <= TIE)
    difference[is_wrong & is_tie] = 0.0
    return float(difference.max())


def _predicted(
    deployed: DeployedPolicy, normalize: VecNormalize | None, values: Mapping[str, np.ndarray], draws: Mapping[str, Any]
) -> tuple[np.ndarray, th.Tensor | None]:
    """Actions of ``predict``, and how clear its choices were."""
    observation: Any = dict(values) if deployed.is_dict else values[OBSERVATION]
    if normalize is not None:
        observation = normalize.normalize_obs(observation)
    policy, source = deployed.policy, iter(map(th.as_tensor, draws.values()))
    actor = None if deployed.deterministic else policy.actor
    with drawn_from(lambda *_: next(source), actor) as choices:
        actions, _ = policy.predict(observation, deterministic=deployed.deterministic)
    return actions, choices.margin


def _in_layout(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Observations in the layout of the input: images with the channels last, if it takes them so."""
    return values if values.shape == shape else np.ascontiguousarray(np.moveaxis(values, 1, -1))


def _per_row(actual: np.ndarray, expected: np.ndarray, space: spaces.Space) -> np.ndarray:
    """Largest difference in each row, (B,)."""
    if isinstance(space, spaces.Box):
        difference = np.abs(actual.astype(float) - expected) / (space.high.astype(float) - space.low)
    else:
        difference = (actual != expected).astype(float)
    return difference.reshape(len(actual), -1).max(axis=1)
