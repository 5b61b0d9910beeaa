"""Models whose updates are captured at once and without a GPU, and the comparison of two that learn the same."""

import copy
from collections.abc import Callable
from unittest.mock import patch

import pytest
import torch as th

from sb3_softac import SoftAC
from sb3_softac.engines import choose
from sb3_softac.engines.graph import GraphEngine
from sb3_softac.engines.traced import TraceCapture
from tests.helpers import Target, fixed_samples, ready


class FakeCapture:
    """Captures by keeping the function: what a graph replays, without a GPU.

    :param fails: refuse to capture
    """

    warm_ups = 3
    runs_while_capturing = False

    def __init__(self, fails: bool = False) -> None:
        self.fails = fails
        self.n_warm_ups = self.n_captures = 0

    def warm_up(self, function: Callable[[], None]) -> None:
        self.n_warm_ups += 1
        function()

    def capture(self, function: Callable[[], None]) -> Callable[[], None]:
        if self.fails:
            raise RuntimeError("operation not permitted when stream is capturing")
        self.n_captures += 1
        return function


def make(engine: str, env: Target, policy: str = "MlpPolicy", **kwargs) -> SoftAC:
    if policy == "MlpPolicy":
        kwargs["policy_kwargs"] = {"net_arch": [16, 16]} | kwargs.get("policy_kwargs", {})
    return ready(SoftAC(policy, env, buffer_size=50, learning_starts=10, seed=3, device="cpu", engine=engine, **kwargs))


def assert_same_training(plain: SoftAC, fast: SoftAC, samples, tolerance: float) -> None:
    """Parameters after some updates from the same batches and noise, with moments of the optimizers."""
    for model in (plain, fast):
        model.policy.double()
        th.manual_seed(11)
        fixed_samples(model, copy.deepcopy(samples))
        with patch("sb3_softac.networks.blocks.preprocess", lambda obs, *args: obs):  # would cast
            model.train(len(samples), batch_size=40)
    before, after = plain.policy.state_dict(), fast.policy.state_dict()
    th.testing.assert_close(after, before, rtol=tolerance, atol=tolerance)
    theirs, ours = plain.critic.optimizer.state_dict()["state"], fast.critic.optimizer.state_dict()["state"]
    th.testing.assert_close(ours, theirs, rtol=10 * tolerance, atol=10 * tolerance, check_dtype=False)


def replayed(engine: str, **kwargs) -> SoftAC:
    """A model whose updates are replayed after the third of each kind; with traces, of fused networks."""
    if engine == "traced":
        return make(engine, Target(), **kwargs)
    model = make("eager", Target(), **kwargs)
    model._engine.name = engine
    return model


@pytest.fixture
def early_graphs():
    """Captures that need no GPU and no patience."""
    with (
        patch.dict(choose.CAPTURES, cuda_graph=lambda device: FakeCapture()),
        patch.object(TraceCapture, "warm_ups", FakeCapture.warm_ups),
    ):
        yield


def n_graphs(model: SoftAC) -> int:
    engine = model._current_engine()
    assert isinstance(engine, GraphEngine)
    return sum(step.replay is not None for step in engine._steps.values())
