"""Denormal numbers count as zero while a model learns, and not a moment longer."""

from contextlib import nullcontext

import pytest
import torch as th

from sb3_softac import SoftAC, softac
from sb3_softac.engines.denormals import denormals_as_zero

SUPPORTED = th.set_flush_denormal(True)
th.set_flush_denormal(False)
needs_support = pytest.mark.skipif(not SUPPORTED, reason="this CPU cannot take denormal numbers for zero")


def denormal_survives() -> bool:
    return bool((th.tensor([1e-40]) * th.tensor([0.5])).item())


@needs_support
def test_denormals_are_zero_inside_only():
    assert denormal_survives()
    with denormals_as_zero():
        assert not denormal_survives()
    assert denormal_survives()
    with pytest.raises(KeyError), denormals_as_zero():
        raise KeyError
    assert denormal_survives()


@needs_support
def test_what_the_user_has_set_is_kept():
    th.set_flush_denormal(True)
    try:
        with denormals_as_zero():
            assert not denormal_survives()
        assert not denormal_survives()
    finally:
        th.set_flush_denormal(False)


@needs_support
@pytest.mark.parametrize("engine", ["eager", "fused"])
def test_moments_do_not_stay_denormal_and_weights_do_not_care(engine):
    """A denormal mean of gradients of a unit that is never active goes to zero; no weight is another for it."""
    weights = []
    for denormal in (0.0, 4e-45):
        model = SoftAC("MlpPolicy", "Pendulum-v1", learning_starts=0, engine=engine, seed=0, buffer_size=300)
        model.learn(5)
        layer = model.critic.q_networks[0][0]
        with th.no_grad():
            layer.bias[:8] = -1e6  # never active
        state = model.critic.optimizer.state[layer.weight]
        state["exp_avg"][:8] = denormal
        model.train(1, 4)
        assert not state["exp_avg"][:8].any()
        assert state["exp_avg"][8:].any()
        weights.append(layer.weight.detach().clone())
    assert th.equal(*weights)
    assert denormal_survives()


@needs_support
@pytest.mark.parametrize("engine", ["eager", "traced"])
def test_learning_is_the_same_as_with_denormal_numbers(engine, monkeypatch):
    """To the last bit, as no weight moves by that much; while in Adam's state there were some."""
    states, n_denormal = [], []
    for context in (denormals_as_zero, nullcontext):
        monkeypatch.setattr(softac, "denormals_as_zero", context)
        forgetful = dict(betas=(0.7, 0.999))  # 0.7^250 is denormal, 0.9^830
        policy_kwargs = dict(net_arch=[64, 64], optimizer_kwargs=forgetful)
        small = dict(learning_rate=1e-2, batch_size=16, buffer_size=500, policy_kwargs=policy_kwargs)
        model = SoftAC("MlpPolicy", "Pendulum-v1", **small, engine=engine, seed=0)
        model.learn(500)
        moments = th.cat([state["exp_avg"].flatten() for state in model.critic.optimizer.state.values()])
        n_denormal.append(int(((moments != 0) & (moments.abs() < th.finfo(th.float32).tiny)).sum()))
        states.append(model.policy.state_dict())
    assert n_denormal[0] == 0
    assert n_denormal[1] > 0
    assert all(th.equal(states[0][name], states[1][name]) for name in states[0])
