"""Actions by the operations of an actor alone: those of its modules, to the bit, whatever a user changes."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.policies import BasePolicy
from torch import nn

from sb3_softac import MlpPolicy, SoftAC
from sb3_softac.engines.traced import TraceCapture
from sb3_softac.networks.actors import SquashedGaussianActor
from sb3_softac.networks.direct import DirectActor
from sb3_softac.spaces import Unscaling
from tests.helpers import SMALL, DiscreteTarget, Target, dict_space, image_space

RNG = np.random.default_rng(0)
OBS = RNG.uniform(-1, 1, (40, 3)).astype(np.float32)
UNEVEN = spaces.Box(np.array([-0.3, 2.0], np.float32), np.array([0.7, 9.0], np.float32))
HIDDEN = {"net_arch": [16, 16]}
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "one layer of another activation": {"policy_kwargs": {"net_arch": [8], "activation_fn": nn.Tanh}},
    "no hidden layer": {"policy_kwargs": {"net_arch": []}},
    "batch norm": {"policy_kwargs": HIDDEN | {"batch_norm": True}},
    "blocks": {"policy_kwargs": HIDDEN | {"blocks": "simba"}},
    "unit norm": {"policy_kwargs": HIDDEN | {"unit_norm_weights": "linear"}},
    "normalised observations": {"policy_kwargs": HIDDEN | {"normalize_obs": True}},
    "shared features": {"policy_kwargs": HIDDEN | {"share_features_extractor": True}},
    "an average": {"actor_tau": 0.01},
    "v1": {"variant": "v1"},
    "bfloat16": {"precision": "bfloat16"},
}


@pytest.fixture(autouse=True)
def early_graphs(monkeypatch):
    monkeypatch.setattr(TraceCapture, "warm_ups", 3)


def make(env: Target | None = None, **kwargs: Any) -> SoftAC:
    return SoftAC("MlpPolicy", Target() if env is None else env, seed=0, **SMALL | kwargs)


class Spy:
    """Counts the actions that were taken directly."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.n_direct = 0
        self._call = DirectActor.__call__
        monkeypatch.setattr(DirectActor, "__call__", lambda *args: self._counted(*args))

    def _counted(self, *args: Any) -> th.Tensor | None:
        action = self._call(*args)
        self.n_direct += action is not None
        return action


@pytest.fixture
def spy(monkeypatch) -> Spy:
    return Spy(monkeypatch)


def by_modules(model: SoftAC, obs: Any, deterministic: bool) -> tuple[np.ndarray, th.Tensor]:
    """Action of Stable-Baselines3's ``predict()``, and the state of the generator after it, which is put back."""
    before = th.get_rng_state()
    action, _ = BasePolicy.predict(model.policy, obs, deterministic=deterministic)
    after = th.get_rng_state()
    th.set_rng_state(before)
    return action, after


def check_equal(model: SoftAC, obs: Any = OBS[0]) -> None:
    """Mode and sample are those of the modules: the same numbers, shape, dtype and random draws."""
    for deterministic in (True, False):
        expected, state = by_modules(model, obs, deterministic)
        action, _ = model.predict(obs, deterministic=deterministic)
        np.testing.assert_array_equal(action, expected)
        assert (type(action), action.shape, action.dtype) == (type(expected), expected.shape, expected.dtype)
        assert th.equal(th.get_rng_state(), state)


@pytest.mark.filterwarnings("ignore:.*bfloat16")
@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("engine", ["eager", "fused", "traced"])
def test_actions_of_trained_agents_are_those_of_the_modules(name, engine, spy):
    if name == "bfloat16" and engine == "eager":
        pytest.skip("it has no products of its own")
    model = make(engine=engine, **VARIANTS[name]).learn(40)
    spy.n_direct = 0
    for rows in (OBS[0], OBS[:1], OBS[:4], OBS[:16], OBS[0].astype(np.float64), OBS[::2][:5]):
        check_equal(model, rows)
    assert spy.n_direct == 12


@pytest.mark.parametrize("action_space", [UNEVEN, spaces.Box(-2.0, 5.0, (2, 2), np.float64), spaces.Discrete(4)])
def test_actions_of_any_space(action_space, spy):
    env = DiscreteTarget() if isinstance(action_space, spaces.Discrete) else Target(action_space=action_space)
    model = make(env)
    for rows in (OBS[0], OBS[:1], OBS[:7]):
        check_equal(model, rows)
    assert spy.n_direct == 6


def test_squashed_log_std(spy):
    check_equal(make(policy_kwargs=HIDDEN | {"squash_log_std": True, "log_std_bounds": (-10.0, 2.0)}))
    assert spy.n_direct == 2


@pytest.mark.parametrize("context", [th.no_grad, th.inference_mode, th.enable_grad])
def test_the_callers_gradient_mode_stays(context, spy):
    model = make()
    with context():
        before = th.is_grad_enabled()
        check_equal(model)
        assert th.is_grad_enabled() == before
    assert spy.n_direct == 2


def test_modes_are_switched_as_by_stable_baselines3(spy):
    model = make(policy_kwargs=HIDDEN | {"batch_norm": True, "dropout": 0.5})
    model.policy.set_training_mode(True)
    check_equal(model)
    model.policy.set_training_mode(True)
    model.predict(OBS[0], deterministic=True)
    assert not model.policy.training
    assert not model.critic.training
    assert spy.n_direct == 3


def step(model: SoftAC) -> None:
    """A step of the actor's optimizer."""
    loss = model.actor(th.as_tensor(OBS), deterministic=False).square().mean()
    model.actor.optimizer.zero_grad()
    loss.backward()
    model.actor.optimizer.step()


def in_place(model: SoftAC) -> None:
    with th.no_grad():
        model.actor.mu.weight.mul_(-2.0)
        model.actor.latent_pi[0].bias.fill_(0.5)


def other_memory(model: SoftAC) -> None:
    for parameter in model.actor.parameters():
        parameter.data = -parameter.data


def other_parameter(model: SoftAC) -> None:
    model.actor.mu.weight = nn.Parameter(-model.actor.mu.weight.detach())


def other_head(model: SoftAC) -> None:
    model.actor.mu = nn.Linear(16, 2)


def other_layer(model: SoftAC) -> None:
    model.actor.latent_pi[0] = nn.Linear(3, 16)


def other_parameters(model: SoftAC) -> None:
    model.set_parameters(make(gamma=0.9, policy_kwargs=HIDDEN | {"n_critics": 2}).learn(60).get_parameters())


CHANGES: dict[str, Callable[[SoftAC], Any]] = {
    "a step of the optimizer": step,
    "training": lambda model: model.learn(40, reset_num_timesteps=False),
    "in place": in_place,
    "other memory": other_memory,
    "another parameter": other_parameter,
    "set_parameters": other_parameters,
    "begin_anew": lambda model: model.policy.begin_anew(),
    "another head": other_head,
    "another layer": other_layer,
    "half precision of weights": lambda model: model.policy.to(th.float16).to(th.float32),
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("engine", ["fused", "traced"])
def test_a_change_of_the_parameters_takes_effect_at_once(name, engine, spy):
    model = make(engine=engine).learn(30)
    before, _ = model.predict(OBS[:4], deterministic=True)
    CHANGES[name](model)
    spy.n_direct = 0
    check_equal(model, OBS[:4])
    assert spy.n_direct == 2
    assert not np.array_equal(model.predict(OBS[:4], deterministic=True)[0], before)


def test_loaded_and_copied_agents_act_by_their_own_parameters(tmp_path, spy):
    model = make().learn(30)
    before, _ = model.predict(OBS[:4], deterministic=True)
    model.save(tmp_path / "agent.zip")
    loaded, copied = SoftAC.load(tmp_path / "agent.zip"), copy.deepcopy(model.policy)
    in_place(model)
    spy.n_direct = 0
    np.testing.assert_array_equal(loaded.predict(OBS[:4], deterministic=True)[0], before)
    np.testing.assert_array_equal(copied.predict(OBS[:4], deterministic=True)[0], before)
    assert spy.n_direct == 2
    other_memory(copied)
    assert not np.array_equal(copied.predict(OBS[:4], deterministic=True)[0], before)


def test_an_observation_may_change_and_be_read_only(spy):
    model = make()
    obs = OBS[0].copy()
    first, _ = model.predict(obs, deterministic=True)
    kept = first.copy()
    obs[:] = -obs
    obs.flags.writeable = False
    second, _ = model.predict(obs, deterministic=True)
    np.testing.assert_array_equal(first, kept)
    assert not np.array_equal(first, second)
    assert spy.n_direct == 2


def test_what_stable_baselines3_refuses_is_refused(spy):
    model = make()
    for wrong in (np.zeros(4, np.float32), np.zeros((2, 4), np.float32), np.zeros((2, 2, 3), np.float32)):
        with pytest.raises(ValueError, match="Unexpected observation shape"):
            model.predict(wrong)
    with pytest.raises(ValueError, match="is not a number"):
        model.predict(np.array([0.0, np.nan, 0.0], np.float32))
    with pytest.raises(ValueError, match="mixing Gym API"):
        model.predict((OBS[0], {}))
    assert spy.n_direct == 1  # the observation that is not a number


# What has to act by its modules


class Twice(MlpPolicy):
    """Gives actions of its own."""

    def _predict(self, observation: Any, deterministic: bool = False) -> th.Tensor:
        return super()._predict(2.0 * observation, deterministic)


class Constant(SquashedGaussianActor):
    """Gives an action of its own."""

    def forward(self, obs: Any, deterministic: bool = False) -> th.Tensor:
        return th.full((len(obs), 2), 0.25)


def hooked(model: SoftAC, module: nn.Module) -> SoftAC:
    module.register_forward_hook(lambda module, inputs, output: output + 0.1)
    return model


def with_forward(model: SoftAC, module: nn.Module, forward: Callable[..., th.Tensor]) -> SoftAC:
    module.forward = forward
    return model


def of_class(model: SoftAC) -> SoftAC:
    model.actor.__class__ = Constant
    return model


def parametrized(model: SoftAC) -> SoftAC:
    nn.utils.parametrizations.weight_norm(model.actor.mu)
    return model


def with_sequential_head(model: SoftAC) -> SoftAC:
    model.actor.mu = nn.Sequential(nn.Linear(16, 2), nn.Hardtanh(-0.1, 0.1))
    return model


def with_extractor(model: SoftAC) -> SoftAC:
    model.actor.features_extractor = nn.Sequential(nn.Flatten(), nn.Linear(3, 3))
    return model


OTHERS: dict[str, Callable[[], SoftAC]] = {
    "gSDE": lambda: make(use_sde=True),
    "gSDE without a bound of the mean": lambda: make(use_sde=True, policy_kwargs=HIDDEN | {"clip_mean": 0.0}),
    "a mixture": lambda: make(policy_kwargs=HIDDEN | {"n_components": 2}),
    "soft Q-learning": lambda: make(variant="soft_q"),
    "a matrix": lambda: make(Target(spaces.Box(-1.0, 1.0, (1, 3)))),
    "a subclass of the policy": lambda: SoftAC(Twice, Target(), **SMALL),
    "another class of the actor": lambda: of_class(make()),
    "a hook of a layer": lambda: hooked(model := make(), model.actor.latent_pi[0]),
    "a hook of a head": lambda: hooked(model := make(), model.actor.mu),
    "a hook of the actor": lambda: hooked(model := make(), model.actor),
    "a parametrization": lambda: parametrized(make()),
    "forward of a layer": lambda: with_forward(model := make(), model.actor.mu, lambda x: x[:, :2]),
    "forward of the actor": lambda: with_forward(
        model := make(), model.actor, lambda obs, deterministic=False: obs[:, :2].tanh()
    ),
    "a head of two modules": lambda: with_sequential_head(make()),
    "a features extractor": lambda: with_extractor(make()),
}


@pytest.mark.parametrize("name", OTHERS)
def test_others_act_by_their_modules(name, spy):
    model = OTHERS[name]()
    rows = OBS[:4].reshape(4, *model.observation_space.shape)
    for obs in (rows[0], rows):
        check_equal(model, obs)
    assert spy.n_direct == 0


def test_images_and_dicts_act_by_their_modules(spy):
    for space in (image_space(), dict_space()):
        model = SoftAC("auto", Target(space), buffer_size=10, seed=0)
        check_equal(model, model.env.reset())
    assert spy.n_direct == 0


def test_many_rows_and_other_arrays_go_through_the_modules(spy):
    model = make(engine="fused")
    for obs in (OBS, OBS[:4].tolist(), OBS[:4].astype(np.int64)):
        check_equal(model, obs)
    np.testing.assert_array_equal(model.predict(th.as_tensor(OBS[0]))[0].shape, (2,))
    assert spy.n_direct == 1  # the tensor, as an array


def test_a_prediction_of_the_instance_is_called(monkeypatch, spy):
    model = make()
    monkeypatch.setattr(model.policy, "_predict", lambda obs, deterministic: th.zeros(len(obs), 2))
    assert (model.predict(OBS[0])[0] == 0.0).all()
    assert spy.n_direct == 0


def test_a_hook_acts_until_it_is_removed(spy):
    model = make()
    before, _ = model.predict(OBS[0], deterministic=True)
    handle = model.actor.mu.register_forward_hook(lambda module, inputs, output: output + 1.0)
    assert not np.array_equal(model.predict(OBS[0], deterministic=True)[0], before)
    handle.remove()
    np.testing.assert_array_equal(model.predict(OBS[0], deterministic=True)[0], before)
    assert spy.n_direct == 2


# Exploring

RUNS: dict[str, dict[str, Any]] = {
    "plain": {},
    "held noise": {"noise_repeat": 4},
    "action noise": {"action_noise": NormalActionNoise(np.zeros(2), np.full(2, 0.1))},
    "normalised observations": {"policy_kwargs": HIDDEN | {"normalize_obs": True}},
}


@pytest.mark.parametrize("name", [*RUNS, "discrete"])
def test_a_run_is_the_same_to_the_bit(name, monkeypatch, spy):
    def run() -> dict[str, th.Tensor]:
        model = make(DiscreteTarget()) if name == "discrete" else make(**copy.deepcopy(RUNS[name]))
        return model.learn(60).policy.state_dict()

    direct = run()
    assert spy.n_direct == 60 - SMALL["learning_starts"]
    monkeypatch.setattr(DirectActor, "__call__", lambda *args: None)
    plain = run()
    assert all(map(th.equal, direct.values(), plain.values()))


def test_several_environments_explore_directly(spy):
    model = SoftAC("MlpPolicy", "Pendulum-v1", seed=0, buffer_size=500, learning_starts=16)
    model.learn(40)
    assert spy.n_direct == 24


# Bounds


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(3,), (2, 2)])
def test_bounds_are_those_of_stable_baselines3_to_the_bit(shape, dtype):
    low = RNG.uniform(-9, 1, shape).astype(dtype)
    space = spaces.Box(low, (low + RNG.uniform(1e-3, 7, shape)).astype(dtype), dtype=dtype)
    policy = make(Target(action_space=space)).policy
    unscale = Unscaling(space)
    for n_rows in (1, 5, 5, 40):
        actions = RNG.uniform(-1, 1, (n_rows, *shape)).astype(np.float32)
        actions[0] = -1.0
        expected = BasePolicy.unscale_action(policy, actions)
        for found in (unscale(actions), policy.unscale_action(actions), policy.unscale_action(actions[0])[None]):
            np.testing.assert_array_equal(found, expected[: len(found)])
            assert found.dtype == expected.dtype
            assert not np.shares_memory(found, space.low)


def test_bounds_follow_a_new_space():
    policy = make().policy
    actions = OBS[:4, :2]
    np.testing.assert_array_equal(policy.unscale_action(actions), actions + 1 - 1)
    policy.action_space = UNEVEN
    np.testing.assert_array_equal(policy.unscale_action(actions), BasePolicy.unscale_action(policy, actions))
