"""Engines run the update they are given and average what it reports."""

import torch as th

from sb3_softac.updates.batch import Batch
from sb3_softac.updates.engine import EagerEngine
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


def test_no_update_no_metrics():
    assert EagerEngine(lambda batch, n_updates: {}).read_metrics() == {}
