"""Acting on the device of the networks against acting by a copy of the actor on the CPU."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch as th
from stable_baselines3.common.utils import obs_as_tensor

from benchmarks._algorithms import load_algorithm
from benchmarks._speed.case import Case

ROUNDS = 9


def measure(case: Case, actions: int = 100) -> dict[str, Any]:
    """Milliseconds of an action either way, and of bringing the weights over; medians of rounds in turn.

    :param case: with observations that are vectors
    :param actions: in each round
    """
    from sb3_softac.collecting.actor_copy import ActorCopy

    model = case.build(load_algorithm("softac"), {})
    obs = model.env.reset()
    copy = ActorCopy(model.actor)
    actor = copy.up_to_date(0)
    ways: dict[str, Callable[[], Any]] = {
        "device_ms": lambda: model.policy(obs_as_tensor(obs, model.device)).cpu(),
        "copy_ms": lambda: actor(obs_as_tensor(obs, th.device("cpu"))),
        "transfer_ms": copy._follow,
    }
    with th.no_grad():
        times = [{name: _milliseconds(act, actions) for name, act in ways.items()} for _ in range(ROUNDS)]
    return {name: round(median(each[name] for each in times), 4) for name in ways}


def _milliseconds(function: Callable[[], Any], calls: int) -> float:
    started = time.perf_counter()
    for _ in range(calls):
        function()  # each ends on the CPU, so there is nothing left to wait for
    return 1e3 * (time.perf_counter() - started) / calls
