"""A recorder sees all operations, and says where a replay would not do the same."""

from collections.abc import Callable

import pytest
import torch as th

from sb3_softac.engines.base import ReplayError
from sb3_softac.engines.graph import GraphEngine
from sb3_softac.engines.recorder import Recorder
from sb3_softac.engines.replays import interpreted
from sb3_softac.engines.traced import TraceCapture
from sb3_softac.updates.batch import Batch
from tests.helpers import random_samples

X = th.linspace(-1.0, 1.0, 6).view(2, 3)
OUT = th.zeros(2, 3)


def recorded(function: Callable[[], th.Tensor]) -> Recorder:
    """Recording of ``OUT.copy_(function())``."""
    with Recorder() as recorder:
        OUT.copy_(function())
    return recorder


def of_a_gradient() -> th.Tensor:
    x = X.clone().requires_grad_()
    return th.autograd.grad((x.tanh() ** 2).sum(), x)[0]


def of_a_constant_that_is_written_into() -> th.Tensor:
    return X + th.tensor(1.0).add_(1.0)


def of_several_results() -> th.Tensor:
    one, other = X.unbind()
    values, indices = X.max(dim=1)
    return th.stack([other, one]) + values.unsqueeze(1) * indices.unsqueeze(1)


def of_a_named_piece_of_code() -> th.Tensor:
    with th.profiler.record_function("a name"):
        return X.exp()


def of_chosen_rows() -> th.Tensor:
    return X[X.argmax(dim=1) % 2, X.argmin(dim=1)].unsqueeze(1) * X


@pytest.mark.parametrize(
    "function",
    [
        of_a_gradient,
        of_a_constant_that_is_written_into,
        of_several_results,
        of_a_named_piece_of_code,
        of_chosen_rows,
    ],
)
def test_a_replay_computes_the_same_from_new_numbers(function):
    recorder = recorded(function)
    assert recorder.obstacle is None
    replay = interpreted(recorder.graph, recorder.inputs.values)
    before = X.clone()
    try:
        for _ in range(2):
            X.mul_(0.5)
            replay()
            assert th.equal(OUT, function())
    finally:
        X.copy_(before)


def of_a_branch() -> th.Tensor:
    return X if X.sum() > 0.0 else -X


def of_a_selection() -> th.Tensor:
    return X[X > 0.0].sum() * X


def of_numpy() -> th.Tensor:
    return th.from_numpy(X.exp().numpy()) * 2.0


def of_a_shape_that_is_changed() -> th.Tensor:
    return X.exp().resize_(3).sum() * X


def of_a_comparison_of_all() -> th.Tensor:
    return X * th.equal(X, X)


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (of_a_branch, "what follows aten._local_scalar_dense.default may depend on numbers"),
        (of_a_selection, "what follows aten.index.Tensor may depend on numbers"),
        (of_numpy, "a result was passed on unseen"),
        (of_a_shape_that_is_changed, "aten.resize_.default changes the shape of a tensor"),
        (of_a_comparison_of_all, "what follows aten.equal.default may depend on numbers"),
    ],
)
def test_what_would_not_do_the_same_is_run_and_named(function, told):
    recorder = recorded(function)
    assert recorder.obstacle is not None
    assert told in recorder.obstacle
    assert th.equal(OUT, function())


class Steps:
    """An update that counts its calls, and reads a number."""

    def __init__(self, is_broken: bool = False) -> None:
        self.n_calls = 0
        self._is_broken = is_broken

    def phase(self, n_updates: int) -> bool:
        return True

    def is_measured(self, n_updates: int) -> bool:
        return False

    def __call__(self, batch: Batch, n_updates: int) -> dict[str, th.Tensor]:
        self.n_calls += 1
        if self._is_broken and self.n_calls > TraceCapture.warm_ups:
            raise RuntimeError("broken")
        return {"reward": batch.reward.mean() if batch.reward[0] > 0.0 else batch.reward[0]}


def test_an_update_that_cannot_be_replayed_is_made_once_all_the_same():
    update = Steps()
    engine = GraphEngine(update, TraceCapture())
    n_updates = TraceCapture.warm_ups + 3
    batches = [Batch.from_samples(samples, 0.9, 1.0) for samples in random_samples(n_updates, batch_size=4)]
    for count, batch in enumerate(batches[:-3], start=1):
        engine.update(batch, count)
    with pytest.warns(UserWarning, match="goes on operation by operation .*may depend on numbers"):
        engine.update(batches[-3], n_updates - 2)
    for count in (n_updates - 1, n_updates):
        engine.update(batches[count - 1], count)
    assert update.n_calls == n_updates
    expected = [batch.reward.mean() if batch.reward[0] > 0.0 else batch.reward[0] for batch in batches]
    assert engine.read_metrics()["reward"] == pytest.approx(float(th.stack(expected).mean()), abs=1e-6)


def test_an_error_of_the_update_itself_is_not_taken_for_one_of_the_recording():
    engine = GraphEngine(Steps(is_broken=True), TraceCapture())
    batch = Batch.from_samples(random_samples(1, batch_size=4)[0], 0.9, 1.0)
    for count in range(1, TraceCapture.warm_ups + 1):
        engine.update(batch, count)
    with pytest.raises(RuntimeError, match="broken"):
        engine.update(batch, TraceCapture.warm_ups + 1)


def test_what_cannot_be_run_again_does_not_stop_learning(monkeypatch):
    monkeypatch.setattr("sb3_softac.engines.traced.passes.lighten", lambda graph, inputs: [][0])
    recorder = TraceCapture()
    calls: list[None] = []
    with pytest.raises(ReplayError, match="IndexError: list index out of range"):
        recorder.capture(lambda: calls.append(None))
    assert len(calls) == 1
