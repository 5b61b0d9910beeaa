"""Engines run the update they are given and average what it reports."""

import itertools

import pytest
import torch as th

from sb3_softac.engines.base import EagerEngine
from sb3_softac.engines.graph import MAX_KINDS, GraphEngine
from sb3_softac.updates.batch import Batch
from tests.engines.replays import FakeCapture
from tests.helpers import random_samples


def test_metrics_are_means_since_the_last_reading():
    calls = []

    def update(batch: Batch, n_updates: int) -> dict[str, th.Tensor]:
        calls.append(n_updates)
        return {"a": th.tensor(float(n_updates)), "b": th.tensor(1.0)}

    engine = EagerEngine(update)
    batch = Batch.from_samples(random_samples(1)[0], 0.9, 1.0)
    for n_updates in (1, 2, 6):
        engine.update(batch, n_updates)
    assert engine.read_metrics() == {"a": 3.0, "b": 1.0}
    engine.update(batch, 7)
    assert engine.read_metrics() == {"a": 7.0, "b": 1.0}
    assert calls == [1, 2, 6, 7]


@pytest.mark.parametrize("engine_class", ["eager", "graph"])
def test_a_metric_is_averaged_over_the_steps_that_have_it(engine_class):
    update = Delayed(interval=3)
    engine = EagerEngine(update) if engine_class == "eager" else GraphEngine(update, FakeCapture())
    given = [batch._replace(reward=th.full((32,), float(n))) for n, batch in enumerate(batches(24), start=1)]
    for n_updates, batch in enumerate(given, start=1):
        engine.update(batch, n_updates)
    # 1 to 24; 3, 6, ..., 24
    assert engine.read_metrics() == {"reward": 12.5, "delayed": 13.5}
    engine.update(given[0], 25)
    assert engine.read_metrics() == {"reward": 1.0}
    assert engine.read_metrics() == {}


def test_no_update_no_metrics():
    assert EagerEngine(lambda batch, n_updates: {}).read_metrics() == {}


class Recorder:
    """An update that notes what it is given.

    :param interval: of the phase that differs
    """

    def __init__(self, interval: int = 1) -> None:
        self.interval = interval
        self.seen: list[float] = []
        self.batches: set[int] = set()

    def phase(self, n_updates: int) -> bool:
        return n_updates % self.interval == 0

    def is_measured(self, n_updates: int) -> bool:
        return False

    def __call__(self, batch: Batch, n_updates: int) -> dict[str, th.Tensor]:
        self.seen.append(batch.reward.sum().item())
        self.batches.add(batch.reward.data_ptr())
        return {"reward": batch.reward.mean(), "phase": th.tensor(float(self.phase(n_updates)))}


class Delayed(Recorder):
    """An update with a metric that only every ``interval``-th step has."""

    def __call__(self, batch: Batch, n_updates: int) -> dict[str, th.Tensor]:
        mean = batch.reward.mean()
        return {"reward": mean} | ({"delayed": mean} if self.phase(n_updates) else {})


class Measured(Recorder):
    """An update of which every ``interval``-th step has a further metric."""

    is_measured = Recorder.phase

    def __call__(self, batch: Batch, n_updates: int) -> dict[str, th.Tensor]:
        metrics = super().__call__(batch, n_updates)
        return metrics | ({"measured": batch.reward.max()} if self.is_measured(n_updates) else {})


def batches(n_batches: int, batch_size: int = 32) -> list[Batch]:
    return [Batch.from_samples(samples, 0.9, 1.0) for samples in random_samples(n_batches, batch_size)]


def test_a_graph_reads_every_batch_from_the_same_place():
    update, graphs = Recorder(), FakeCapture()
    engine = GraphEngine(update, graphs)
    given = batches(8)
    for n_updates, batch in enumerate(given, start=1):
        engine.update(batch, n_updates)
    assert update.seen == pytest.approx([batch.reward.sum().item() for batch in given])
    assert len(update.batches) == 1
    assert (graphs.n_warm_ups, graphs.n_captures) == (FakeCapture.warm_ups, 1)
    expected = sum(batch.reward.mean().item() for batch in given) / 8
    assert engine.read_metrics() == pytest.approx({"reward": expected, "phase": 1.0}, abs=1e-6)
    assert engine.read_metrics() == {}


def test_measured_steps_are_not_captured_and_their_metrics_are_averaged():
    update, graphs = Measured(interval=3), FakeCapture()
    engine = GraphEngine(update, graphs)
    given = batches(30)
    for n_updates, batch in enumerate(given, start=1):
        engine.update(batch, n_updates)
    assert graphs.n_captures == 1
    assert graphs.n_warm_ups == FakeCapture.warm_ups + 10
    assert update.seen == pytest.approx([batch.reward.sum().item() for batch in given])
    expected = sum(batch.reward.max().item() for batch in given[2::3]) / 10
    assert engine.read_metrics()["measured"] == pytest.approx(expected)


def test_each_phase_and_each_size_has_a_graph():
    update, graphs = Recorder(interval=3), FakeCapture()
    engine = GraphEngine(update, graphs)
    for n_updates, batch in enumerate(batches(30), start=1):
        engine.update(batch, n_updates)
    assert graphs.n_captures == 2
    assert engine.read_metrics()["phase"] == pytest.approx(1 / 3)
    for n_updates, batch in enumerate(batches(30, batch_size=16), start=1):
        engine.update(batch, n_updates)
    assert graphs.n_captures == 4


def test_kinds_without_end_are_forgotten_and_their_metrics_are_not():
    n_kinds, n_each = 2 * MAX_KINDS, FakeCapture.warm_ups + 2
    held, graphs = itertools.count(), FakeCapture()
    engine = GraphEngine(Recorder(), graphs, lambda: next(held) // n_each)  # a weight decay that falls, say
    given = batches(n_kinds * n_each)
    for n_updates, batch in enumerate(given, start=1):
        engine.begin()
        engine.update(batch, n_updates)
    assert graphs.n_captures == n_kinds
    assert len(engine._steps) == MAX_KINDS
    expected = sum(batch.reward.mean().item() for batch in given) / len(given)
    assert engine.read_metrics()["reward"] == pytest.approx(expected, abs=1e-6)


def test_what_a_user_may_have_changed_is_looked_at_once_in_a_training_of_replays():
    asked: list[None] = []
    engine = GraphEngine(Recorder(), FakeCapture(), lambda: asked.append(None) or "as it was")
    given = batches(20)
    for n_updates, batch in enumerate(given, start=1):
        if n_updates % 5 == 1:
            engine.begin()
        engine.update(batch, n_updates)
    assert len(asked) == FakeCapture.warm_ups + 2 + 3


def test_a_graph_reads_the_discount_of_each_batch():
    """A schedule of gamma may change it at every step: no graph for each value."""
    seen = []

    class Discounts(Recorder):
        def __call__(self, batch: Batch, n_updates: int) -> dict[str, th.Tensor]:
            seen.append(batch.discount.item())
            return super().__call__(batch, n_updates)

    graphs = FakeCapture()
    engine = GraphEngine(Discounts(), graphs)
    discounts = [0.5, 0.25, 0.125, 1.0, 0.75]
    for n_updates, (batch, discount) in enumerate(zip(batches(5), discounts, strict=True), start=1):
        engine.update(batch._replace(discount=discount), n_updates)
    assert seen == discounts
    assert graphs.n_captures == 1


def test_where_capturing_fails_the_update_goes_on_with_one_warning():
    update = Recorder()
    engine = GraphEngine(update, FakeCapture(fails=True))
    given = batches(9)
    for n_updates in (1, 2, 3):
        engine.update(given[n_updates - 1], n_updates)
    with pytest.warns(UserWarning, match=r"cannot be captured.*not permitted"):
        engine.update(given[3], 4)
    for n_updates in range(5, 10):  # a second warning would be an error
        engine.update(given[n_updates - 1], n_updates)
    assert update.seen == pytest.approx([batch.reward.sum().item() for batch in given])


def test_dict_observations_are_copied_too():
    engine = GraphEngine(Recorder(), FakeCapture())
    for n_updates, batch in enumerate(batches(6), start=1):
        obs = {"a": batch.obs, "b": batch.next_obs}
        engine.update(batch._replace(obs=obs), n_updates)
    (step,) = engine._steps.values()
    th.testing.assert_close(step._batch.obs, obs)
    assert step._batch.obs["a"].data_ptr() != obs["a"].data_ptr()
