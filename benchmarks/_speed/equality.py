"""Whether an engine of SoftAC makes the updates of the plain path: same weights, same batches, same noise.

Adam divides by the size of a gradient: where one is nearly zero, rounding decides its sign. So single weights may
differ by a step of the learning rate, and what is compared is a whole network: how far the two ended apart, in parts
of how far they have come. In five updates of float32 another order of summation makes 1e-5 of that, a discount of 0.98
in place of 0.99 makes 3e-3, and an update that lacks a term or follows the wrong target 1e-2 to 1.
"""

from __future__ import annotations

import copy
import io
import sys
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np
import torch as th
from stable_baselines3.common.logger import Logger

from benchmarks._speed.agent import Agent
from benchmarks._speed.case import Case
from benchmarks._speed.contenders import RefusedError, named

TOLERANCE = 1e-3  # largest distance between two engines' networks, in parts of that from the initial weights
TRANSITIONS = 600


def compare(engine: str, case: Case, updates: int) -> dict[str, Any]:
    """Train by an engine and by the plain path, and change what a user may change in between.

    :param engine: of SoftAC
    :param case: sizes and arguments of both
    :param updates: in each phase
    :return: ``equal``, and the distance after each phase; or why it was ``skipped``
    """
    if engine == "cuda_graph" and not case.device.startswith("cuda"):
        return {"skipped": "cuda_graph needs a CUDA device"}
    with warnings.catch_warnings(record=True) as caught, exact_products():
        warnings.simplefilter("always")
        try:
            plain, fast = (_filled(name, case) for name in ("softac-eager", f"softac-{engine}"))
            fast.set_parameters(plain.get_parameters())
            fast.replay_buffer = plain.replay_buffer
            _forget_compiled()
            with fixed_noise():
                distances = _phases(plain, fast, case.batch_size, updates)
            _forget_compiled()
            fresh = draws_anew(_reloaded(fast), case.batch_size)  # a graph that was captured has the fixed noise in it
        except (RefusedError, RuntimeError) as error:
            return {"skipped": (str(error).splitlines() or [type(error).__name__])[0]}
    return {
        "equal": max(distances.values()) <= TOLERANCE and fresh is not False,
        "tolerance": TOLERANCE,
        "distances": distances,
        "draws_anew": fresh,
        "warnings": sorted({str(warning.message) for warning in caught}),
    }


def _forget_compiled() -> None:
    """Compiled code does not see that the noise is another function now."""
    if "torch._dynamo" in sys.modules:
        th.compiler.reset()


def _filled(name: str, case: Case) -> Any:
    agent = Agent(named(name), case, TRANSITIONS)
    agent.fill()
    return agent.model


def _phases(plain: Any, fast: Any, batch_size: int, updates: int) -> dict[str, float]:
    """Distance after each phase; both models go through the same."""
    initial = copy.deepcopy(plain.get_parameters())  # they are the weights themselves
    start = _networks(plain)
    distances = {}
    phases: dict[str, tuple[Callable[[Any], Any], int]] = {
        "as built": (lambda model: model, batch_size),
        "another learning rate": (_slower, batch_size),
        "another batch size": (lambda model: model, max(1, batch_size // 2)),
        "after set_parameters": (lambda model: model.set_parameters(initial) or model, batch_size),
        "after load": (_reloaded, batch_size),
    }
    for number, (phase, (change, size)) in enumerate(phases.items()):
        plain, fast = change(plain), change(fast)
        for model in (plain, fast):
            for index in range(updates):
                # Replay buffers draw their batches from numpy, or from torch.
                np.random.seed(1000 * number + index)  # noqa: NPY002
                th.manual_seed(1000 * number + index)
                model.train(gradient_steps=1, batch_size=size)
        distances[phase] = distance(_networks(fast), _networks(plain), start)
    return distances


def _slower(model: Any) -> Any:
    schedule = model.lr_schedule
    model.lr_schedule = lambda progress: 0.3 * schedule(progress)
    return model


def _reloaded(model: Any) -> Any:
    stored = io.BytesIO()
    model.save(stored, exclude=["lr_schedule"])
    stored.seek(0)
    loaded = type(model).load(stored, env=model.env, device=model.device)
    loaded.set_logger(Logger(folder=None, output_formats=[]))
    loaded.replay_buffer = model.replay_buffer
    return loaded


def _networks(model: Any) -> dict[str, th.Tensor]:
    """All weights of each network, and the temperature, as one vector each."""
    networks: dict[str, list[th.Tensor]] = defaultdict(list)
    for name, weight in model.policy.state_dict().items():
        networks[name.split(".")[0]].append(weight.detach().flatten().double().cpu())
    if model.log_ent_coef is not None:
        networks["log_ent_coef"] = [model.log_ent_coef.detach().double().cpu().clone()]
    return {name: th.cat(weights) for name, weights in networks.items()}


def distance(ours: dict[str, th.Tensor], theirs: dict[str, th.Tensor], start: dict[str, th.Tensor]) -> float:
    """The largest over the networks of |ours - theirs| / |theirs - start|, each network one vector."""
    return max(
        float((ours[name] - theirs[name]).norm() / (theirs[name] - start[name]).norm().clamp_min(1e-12))
        for name in theirs
    )


def draws_anew(model: Any, batch_size: int) -> bool | None:
    """Whether two updates on one batch with frozen weights see different noise: a graph must not repeat its own.

    :return: None where the losses need no noise
    """
    if model.actor.has_exact_support:
        return None
    model.lr_schedule = lambda _: 0.0
    entropies = []
    for _ in range(3):  # the first may capture
        np.random.seed(0)  # noqa: NPY002  # the batch; the noise goes on
        model.train(gradient_steps=1, batch_size=batch_size)
        entropies.append(model.logger.name_to_value["train/entropy"])
    return entropies[1] != entropies[2]


@contextmanager
def exact_products() -> Iterator[None]:
    """No TensorFloat-32: it would hide what is looked for."""
    backends = th.backends.cuda.matmul, th.backends.cudnn
    before = [backend.allow_tf32 for backend in backends]
    for backend in backends:
        backend.allow_tf32 = False
    try:
        yield
    finally:
        for backend, value in zip(backends, before, strict=True):
            backend.allow_tf32 = value


@contextmanager
def fixed_noise() -> Iterator[None]:
    """Normal draws that depend on the last dimension's index alone.

    Engines may draw for obs and next_obs together or apart: no seed makes them draw the same.
    """
    with (
        patch.object(th, "randn", _randn),
        patch.object(th, "randn_like", lambda like, **_: _noise(like.shape, like.dtype, like.device)),
        patch.object(th, "normal", lambda mean, std, *_, **__: mean + std * th.randn_like(mean)),
        patch.object(th.Tensor, "normal_", lambda self, *_, **__: self.copy_(th.randn_like(self))),
    ):
        yield


def _randn(*size: Any, **options: Any) -> th.Tensor:
    shape = size[0] if len(size) == 1 and not isinstance(size[0], int) else size
    noise = _noise(shape, options.get("dtype"), options.get("device"))
    return noise if options.get("out") is None else options["out"].copy_(noise)


def _noise(shape: Any, dtype: Any, device: Any) -> th.Tensor:
    column = th.arange(1, shape[-1] + 1, dtype=th.float32, device=device)
    return column.cos().to(dtype or th.float32).expand(*shape).clone()
