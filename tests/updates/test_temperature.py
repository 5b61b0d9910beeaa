"""A fixed temperature stays, a learned one moves against its constraint."""

import math

import pytest
import torch as th

from sb3_softac.updates.temperature import FixedTemperature, LearnedTemperature


def learned(initial: float = 1.0, target_entropy: float = 0.0) -> tuple[th.Tensor, LearnedTemperature]:
    log_alpha = th.tensor([initial]).log().requires_grad_(True)
    temperature = LearnedTemperature(log_alpha, th.optim.SGD([log_alpha], lr=0.1))
    temperature.set_target_entropy(target_entropy)
    return log_alpha, temperature


def test_learned_step_by_hand():
    log_alpha, temperature = learned(target_entropy=-1.0)
    metrics = temperature.step(th.tensor([-3.0, -4.0]))
    # log alpha <- 0 - 0.1 * (-3.5 + 1)
    assert log_alpha.item() == pytest.approx(0.25)
    assert metrics["ent_coef_loss"].item() == pytest.approx(0.0)  # log alpha was 0
    assert temperature.alpha().item() == pytest.approx(2.718281828**0.25)


def test_the_step_of_log_alpha_does_not_depend_on_alpha():
    steps = []
    for initial in (0.01, 7.0):
        log_alpha, temperature = learned(initial, target_entropy=1.0)
        temperature.step(th.tensor([0.0]))
        steps.append(log_alpha.item() - math.log(initial))
    assert steps == pytest.approx([0.1, 0.1], abs=1e-6)


def test_alpha_carries_no_gradient():
    _, temperature = learned()
    assert not temperature.alpha().requires_grad


def test_target_entropy_can_move():
    log_alpha, temperature = learned(target_entropy=1.0)
    temperature.step(th.tensor([1.0]))
    assert log_alpha.item() == 0.0
    temperature.set_target_entropy(2.0)
    temperature.step(th.tensor([1.0]))
    assert log_alpha.item() == pytest.approx(0.1)


def test_fixed_temperature_stays_and_logs_nothing():
    temperature = FixedTemperature(th.tensor(0.3))
    temperature.set_target_entropy(5.0)
    assert temperature.step(th.tensor([100.0])) == {}
    assert temperature.alpha().item() == pytest.approx(0.3)


def test_the_loss_that_is_logged_by_hand():
    """(log alpha) (entropy - target): log 2 times the mean of -3 - -1 and -4 - -1."""
    log_alpha = th.tensor([2.0]).log().requires_grad_(True)
    temperature = LearnedTemperature(log_alpha, th.optim.SGD([log_alpha], lr=0.1))
    temperature.set_target_entropy(-1.0)
    assert temperature.step(th.tensor([-3.0, -4.0]))["ent_coef_loss"].item() == pytest.approx(math.log(2.0) * -2.5)
