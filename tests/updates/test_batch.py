"""Scalars of a batch are (B,), rewards are scaled here and nowhere else."""

import torch as th

from sb3_softac.updates.batch import Batch
from tests.helpers import random_samples


def test_layout_and_reward_scale():
    samples = random_samples(1, batch_size=5)[0]
    batch = Batch.from_samples(samples, gamma=0.9, reward_scale=3.0)
    assert batch.reward.shape == batch.done.shape == (5,)
    assert batch.discount == 0.9
    th.testing.assert_close(batch.reward, 3.0 * samples.rewards.squeeze(1))
    th.testing.assert_close(batch.action, samples.actions)


def test_discounts_of_an_n_step_buffer_win():
    samples = random_samples(1, batch_size=5)[0]._replace(discounts=th.full((5, 1), 0.7))
    batch = Batch.from_samples(samples, gamma=0.9, reward_scale=1.0)
    assert batch.discount.tolist() == [samples.discounts[0].item()] * 5
