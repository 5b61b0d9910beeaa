"""Targets follow by tau, at their interval, statistics of batch normalisation at once; averages follow in all."""

import pytest
import torch as th
from stable_baselines3.common.utils import polyak_update
from torch import nn

from sb3_softac.updates.targets import TargetNetwork, WeightAverage


def networks() -> tuple[nn.Module, nn.Module]:
    return tuple(nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)) for _ in range(2))


@pytest.mark.parametrize("tau", [0.0, 0.005, 0.3, 1.0])
def test_step_equals_stable_baselines3(tau):
    online, target = networks()
    reference = [parameter.clone() for parameter in target.parameters()]
    polyak_update(online.parameters(), reference, tau)
    TargetNetwork(online, target, tau, interval=1).step(1)
    for ours, theirs in zip(target.parameters(), reference, strict=True):
        th.testing.assert_close(ours, theirs)


def test_step_by_hand():
    online, target = nn.Linear(1, 1), nn.Linear(1, 1)
    online.weight.data.fill_(1.0)
    target.weight.data.fill_(0.0)
    TargetNetwork(online, target, 0.25, 1).step(1)
    assert target.weight.item() == pytest.approx(0.25)


def test_interval_counts_the_whole_run():
    online, target = nn.Linear(1, 1), nn.Linear(1, 1)
    before = target.weight.clone()
    targets = TargetNetwork(online, target, 1.0, interval=1000)
    for n_updates in (1, 2, 999, 1001):
        targets.step(n_updates)
        th.testing.assert_close(target.weight, before)
    targets.step(2000)
    th.testing.assert_close(target.weight, online.weight)


def test_running_statistics_are_copied_whatever_tau_is():
    online, target = networks()
    online[1].running_mean.fill_(3.0)
    TargetNetwork(online, target, 0.0, 1).step(1)
    assert target[1].running_mean.tolist() == [3.0, 3.0, 3.0]


def test_an_average_by_hand_takes_the_running_statistics_along():
    online, average = networks()
    for tensor in online.state_dict().values():
        tensor.fill_(4.0)
    for tensor in average.state_dict().values():
        tensor.fill_(0.0)
    following = WeightAverage(online, average, 0.25)
    following.step()  # 0 + (4 - 0) / 4
    following.step()  # 1 + (4 - 1) / 4
    state = average.state_dict()
    assert state.pop("1.num_batches_tracked").item() == 0  # a count is not averaged
    assert all(tensor.unique().tolist() == [1.75] for tensor in state.values())
