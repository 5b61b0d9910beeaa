"""Where the time of one environment step goes: timers around the methods that the training loop calls."""

from __future__ import annotations

import importlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any

#: in the order of the plot
PARTS = (
    "environment",
    "acting",
    "storing",
    "rest of the loop",
    "sampling",
    "actor forward",
    "critic forward",
    "backward",
    "optimizers",
    "targets",
    "rest of the update",
)
#: attributes of the agent, by part; SB3's names and ours. What an agent lacks is left out.
METHODS = {
    "environment": ("env.step",),
    "acting": ("_sample_action",),
    "storing": ("_store_transition",),
    "sampling": ("replay_buffer.sample",),
    "rest of the update": ("train",),
    "actor forward": ("actor.action_log_prob", "actor.support", "actor.supports", "actor.score_support"),
    "critic forward": tuple(
        f"{network}.{method}"
        for network in ("critic", "critic_target", "value_net", "value_target")
        for method in ("forward", "q_taken", "q_values", "q_joint")
    ),
    "optimizers": tuple(
        f"{owner}.{method}"
        for owner in ("actor.optimizer", "critic.optimizer", "value_net.optimizer", "ent_coef_optimizer")
        for method in ("zero_grad", "step")
    ),
}
#: the same for what hangs on a module or a class
SHARED = {
    "backward": ("torch:Tensor.backward", "torch:autograd.grad"),
    "optimizers": ("sb3_softac.updates.gradient:fused_adam_step",),
    "targets": ("stable_baselines3.sac.sac:polyak_update", "sb3_softac.updates.targets:TargetNetwork.step"),
}


class Timers:
    """Seconds by part; the time of a call inside another counts for the inner one alone.

    :param synchronize: called around each part: waits for the device
    """

    def __init__(self, synchronize: Callable[[], None]) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._synchronize = synchronize
        self._inner: list[float] = []  # seconds of the calls inside each open one

    def around(self, function: Callable[..., Any], part: str) -> Callable[..., Any]:
        """The function with a timer.

        :param function: any
        :param part: of ``PARTS``
        """

        @wraps(function)
        def timed(*arguments: Any, **named: Any) -> Any:
            self._synchronize()
            self._inner.append(0.0)
            started = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                self._synchronize()
                elapsed = time.perf_counter() - started
                self.seconds[part] += elapsed - self._inner.pop()
                if self._inner:
                    self._inner[-1] += elapsed

        return timed

    @contextmanager
    def attached(self, model: Any) -> Iterator[None]:
        """Time the parts of an agent; afterwards it is as it was.

        :param model: an SB3 algorithm
        """
        with ExitStack() as stack:
            for part, paths in METHODS.items():
                for path in paths:
                    stack.enter_context(self._on(model, path, part))
            for part, places in SHARED.items():
                for place in places:
                    module, path = place.split(":")
                    try:
                        owner = importlib.import_module(module)
                    except ImportError:
                        continue
                    stack.enter_context(self._on(owner, path, part))
            yield

    @contextmanager
    def _on(self, owner: Any, path: str, part: str) -> Iterator[None]:
        *steps, name = path.split(".")
        for step in steps:
            owner = getattr(owner, step, None)
        function = getattr(owner, name, None)
        if function is None:
            yield
            return
        was_own = name in vars(owner)
        setattr(owner, name, self.around(function, part))
        try:
            yield
        finally:
            if was_own:
                setattr(owner, name, function)
            else:
                delattr(owner, name)  # the class's is visible again


def breakdown(agent: Any, steps: int) -> dict[str, Any]:
    """Milliseconds of one environment step by part, and of a whole step with and without the timers.

    :param agent: an ``Agent``, started
    :param steps: with the timers, and as many without
    """
    timers = Timers(agent.synchronize)
    plain = agent.learn(steps)
    with timers.attached(agent.model):
        timed = agent.learn(steps)
    each = {part: 1e3 * seconds / timed["count"] for part, seconds in timers.seconds.items()}
    whole = 1e3 * timed["wall"] / timed["count"]
    each["rest of the loop"] = whole - sum(each.values())
    return {
        "parts": {part: each.get(part, 0.0) for part in PARTS},
        "step_ms": whole,
        "step_without_timers_ms": 1e3 * plain["wall"] / plain["count"],
    }
