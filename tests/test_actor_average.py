"""An average of the actor acts where actions are deterministic, and leaves the learning as it was."""

import copy

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import SAC

from sb3_softac import SoftAC
from sb3_softac.policies import MlpPolicy
from tests.helpers import SMALL, Target, image_space, parameters_of

OBS = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)


def make_model(**kwargs) -> SoftAC:
    return SoftAC("MlpPolicy", kwargs.pop("env", None) or Target(), **SMALL | {"seed": 0} | kwargs)


def state_of(network: th.nn.Module) -> dict[str, th.Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def deterministic(model: SoftAC) -> np.ndarray:
    return model.predict(OBS, deterministic=True)[0]


def actions_of(actor: th.nn.Module) -> np.ndarray:
    with th.no_grad():
        return actor(th.as_tensor(OBS), True).numpy()


@pytest.mark.parametrize("kwargs", [{}, {"use_sde": True}, {"variant": "v1"}, {"policy_delay": 3}], ids=str)
def test_what_is_learnt_is_the_same(kwargs):
    plain, averaged = (make_model(actor_tau=tau, **kwargs).learn(60) for tau in (None, 0.05))
    ours = {name: value for name, value in parameters_of(averaged).items() if "actor_average" not in name}
    theirs = parameters_of(plain)
    assert ours.keys() == theirs.keys()
    assert all(th.equal(ours[name], theirs[name]) for name in theirs)
    np.testing.assert_array_equal(plain.replay_buffer.actions[:60], averaged.replay_buffer.actions[:60])


def test_it_follows_each_step_of_the_actor_and_no_other():
    model = make_model(env=Target(truncate=True), actor_tau=0.25, policy_delay=2, learning_starts=50).learn(50)
    for n_updates in range(1, 5):
        before = state_of(model.policy.actor_average)
        model.train(1, 16)
        actor, average = model.actor.state_dict(), model.policy.actor_average.state_dict()
        for name, value in average.items():
            followed = before[name] + 0.25 * (actor[name] - before[name])
            th.testing.assert_close(value, followed if n_updates % 2 == 0 else before[name], msg=name)


def test_it_acts_where_actions_are_deterministic_and_nowhere_else():
    model = make_model(actor_tau=0.01).learn(65)
    np.testing.assert_allclose(deterministic(model), actions_of(model.policy.actor_average), atol=1e-5)
    assert np.abs(deterministic(model) - actions_of(model.actor)).max() > 1e-3
    th.manual_seed(0)
    sampled = model.predict(OBS)[0]
    for parameter in model.policy.actor_average.parameters():
        parameter.data.fill_(th.nan)
    th.manual_seed(0)
    np.testing.assert_array_equal(model.predict(OBS)[0], sampled)


def test_a_tau_of_one_is_the_actor():
    model = make_model(actor_tau=1.0, policy_kwargs={"net_arch": [8], "batch_norm": True}).learn(60)
    np.testing.assert_allclose(deterministic(model), actions_of(model.actor), atol=1e-5)


@pytest.mark.parametrize("space", [spaces.Discrete(3), spaces.MultiDiscrete([3, 2])], ids=str)
def test_discrete_actions(space):
    model = make_model(env=Target(action_space=space), actor_tau=0.01).learn(60)
    acting = actions_of(model.policy.actor_average)
    np.testing.assert_array_equal(deterministic(model), acting.reshape(deterministic(model).shape))


def test_a_shared_features_extractor_is_averaged_too():
    kwargs = {"features_extractor_kwargs": {"features_dim": 8}, "net_arch": [8], "share_features_extractor": True}
    env = Target(image_space())
    model = SoftAC("CnnPolicy", env, **SMALL | {"policy_kwargs": kwargs}, actor_tau=0.5, seed=0)
    before = state_of(model.policy.actor_average.features_extractor)
    model.learn(20)
    after = model.policy.actor_average.features_extractor.state_dict()
    assert any(not th.equal(before[name], after[name]) for name in before)


def test_it_is_saved_with_the_model_and_with_the_policy(tmp_path):
    model = make_model(actor_tau=0.01).learn(60)
    model.save(tmp_path / "model")
    loaded = SoftAC.load(tmp_path / "model", env=Target())
    assert loaded.actor_tau == 0.01
    np.testing.assert_array_equal(deterministic(loaded), deterministic(model))
    model.policy.save(tmp_path / "policy")
    policy = MlpPolicy.load(tmp_path / "policy")
    np.testing.assert_array_equal(policy.predict(OBS, deterministic=True)[0], deterministic(model))


def test_loading_can_begin_an_average_and_drop_one(tmp_path):
    plain = make_model().learn(40)
    plain.save(tmp_path / "plain")
    averaged = SoftAC.load(tmp_path / "plain", env=Target(), actor_tau=0.01)
    np.testing.assert_array_equal(deterministic(averaged), deterministic(plain))  # it begins at the actor
    averaged.learn(40, reset_num_timesteps=False)
    assert np.abs(deterministic(averaged) - actions_of(averaged.actor)).max() > 1e-4
    averaged.save(tmp_path / "averaged")
    dropped = SoftAC.load(tmp_path / "averaged", actor_tau=None)
    assert dropped.policy.actor_average is None
    np.testing.assert_allclose(deterministic(dropped), actions_of(averaged.actor), atol=1e-5)


def test_an_imported_sac_can_be_averaged():
    sac = SAC("MlpPolicy", Target(), **copy.deepcopy(SMALL), seed=0).learn(30)
    model = SoftAC.from_sac(sac, actor_tau=0.01)
    np.testing.assert_allclose(deterministic(model), deterministic(sac), atol=1e-5)


@pytest.mark.parametrize("tau", [0, -0.1, 1.5, "much", True, float("nan")])
def test_bad_values(tau):
    with pytest.raises(ValueError, match=r"`actor_tau` must be a number above 0, to 1, but .* was given"):
        make_model(actor_tau=tau)


def test_switching_it_on_or_off_afterwards_is_refused():
    for tau, changed in ((None, 0.1), (0.1, None)):
        model = make_model(actor_tau=tau).learn(30)
        model.actor_tau = changed
        with pytest.raises(ValueError, match=f"`actor_tau={changed}` was set on a model .*pass it to the constructor"):
            model.learn(10, reset_num_timesteps=False)


def test_its_step_can_be_changed_between_trainings():
    model = make_model(actor_tau=0.01).learn(30)
    model.actor_tau = 1.0
    model.learn(10, reset_num_timesteps=False)
    np.testing.assert_allclose(deterministic(model), actions_of(model.actor), atol=1e-5)


def test_an_actor_that_is_loaded_alone_acts():
    model, other = make_model(actor_tau=0.001).learn(40), make_model(seed=1).learn(40)
    model.set_parameters({"actor": other.actor.state_dict()}, exact_match=False)
    np.testing.assert_allclose(deterministic(model), deterministic(other), atol=1e-6)
