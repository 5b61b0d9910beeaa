"""Agents with `normalize_obs=True`: what moves the statistics, who uses them, and which files hold them."""

import copy
import warnings
from typing import Any
from unittest.mock import patch

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import HerReplayBuffer
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize

from sb3_softac import BadStepError, MlpPolicy, SoftAC
from sb3_softac.collecting.actor_copy import ActorCopy
from sb3_softac.diagnostics import policy_improvement
from tests.configurations import BOX
from tests.engines.replays import assert_same_training, early_graphs, make, n_graphs, replayed  # noqa: F401
from tests.helpers import (
    SMALL,
    DiscreteTarget,
    Simulator,
    Target,
    dict_space,
    fixed_samples,
    random_samples,
    ready,
    update_once,
)

SCALES = np.array([1e-3, 1.0, 1e3], np.float32)
NORMALIZED = {"net_arch": [16, 16], "normalize_obs": True}


class Scaled(gym.ObservationWrapper):
    """Observations of `Target` with numbers of very different sizes."""

    def __init__(self, env: gym.Env | None = None) -> None:
        super().__init__(env or Target())
        self.observation_space = spaces.Box(-np.inf, np.inf, (3,))

    def observation(self, observation: np.ndarray) -> np.ndarray:
        return (observation + 2.0) * SCALES


class Goals(Target):
    """A goal environment, whose reward says whether both goals are close."""

    def __init__(self) -> None:
        place = spaces.Box(-1.0, 1.0, (2,))
        super().__init__(spaces.Dict({"observation": place, "achieved_goal": place, "desired_goal": place}))

    def compute_reward(self, achieved: np.ndarray, desired: np.ndarray, info: Any) -> np.ndarray:
        return -np.square(achieved - desired).mean(axis=-1)


def agent(env: Any = None, policy: str = "MlpPolicy", policy_kwargs: dict | None = None, **kwargs: Any) -> SoftAC:
    policy_kwargs = NORMALIZED | (policy_kwargs or {})
    return SoftAC(policy, env or Scaled(), **SMALL | {"seed": 0} | kwargs | {"policy_kwargs": policy_kwargs})


def statistics(model: SoftAC) -> dict[str, th.Tensor]:
    return copy.deepcopy(model.policy.obs_normalizer.state_dict())


def equal(one: dict[str, th.Tensor], other: dict[str, th.Tensor]) -> bool:
    return one.keys() == other.keys() and all(th.equal(value, other[name]) for name, value in one.items())


# The statistics


@pytest.mark.parametrize("kwargs", [{}, {"train_freq": 7}, {"train_freq": (1, "episode")}, {"n_steps": 3}], ids=str)
def test_statistics_are_of_what_the_agent_acted_on_since_the_first_random_step(kwargs):
    model = agent(**kwargs).learn(50)
    seen = model.replay_buffer.observations[: model.num_timesteps].reshape(-1, 3).astype(np.float64)
    normalizer = model.policy.obs_normalizer
    assert normalizer.count == len(seen) >= 50
    np.testing.assert_allclose(normalizer.mean, seen.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(normalizer.var, seen.var(axis=0), rtol=1e-6)


def test_all_environments_count():
    model = agent(make_vec_env(Scaled, 3)).learn(60)
    assert model.policy.obs_normalizer.count == model.num_timesteps == 60


def test_a_simulator_may_reuse_its_memory():
    class Reusing(Simulator):
        def __init__(self) -> None:
            super().__init__(as_lists=False)
            self._memories = np.zeros((2, 3, 2), np.float32)

        def _obs(self) -> np.ndarray:
            memory = self._memories[self._step % 2]
            memory[:] = self._step % 7
            return memory

    model = agent(Reusing(), train_freq=20, gamma=0.0).learn(60)
    np.testing.assert_allclose(model.policy.obs_normalizer.mean, [2.85, 2.85])  # of 0 to 6, twice, and 0 to 5


def test_acting_and_evaluating_leave_the_statistics():
    model = agent().learn(30)
    before = statistics(model)
    evaluate_policy(model, Scaled(), n_eval_episodes=2, warn=False)
    model.predict(np.ones(3, np.float32) * 1e6)
    model.train(3, batch_size=16)
    assert equal(statistics(model), before)


def test_they_stay_as_they_are_within_a_rollout():
    counts = []
    agent(train_freq=5).learn(
        20, callback=lambda names, _: bool(counts.append(names["self"].policy.obs_normalizer.count.item())) or True
    )
    assert counts == [0.0] * 5 + [5.0] * 5 + [10.0] * 5 + [15.0] * 5


def test_steps_before_an_error_count():
    class Broken(Scaled):
        n_steps = 0

        def step(self, action: Any) -> Any:
            self.n_steps += 1
            obs, *others = super().step(action)
            return obs * (np.nan if self.n_steps == 15 else 1.0), *others

    model = agent(Broken(), train_freq=10)
    with pytest.raises(BadStepError):
        model.learn(30)
    assert model.policy.obs_normalizer.count == 14
    model.learn(10, reset_num_timesteps=False)
    assert model.policy.obs_normalizer.count == 24


def test_a_buffer_that_was_filled_elsewhere_gives_the_first_statistics(tmp_path):
    source = agent().learn(40)
    source.save_replay_buffer(tmp_path / "buffer")
    model = ready(agent())
    model.load_replay_buffer(tmp_path / "buffer")
    model.train(1, batch_size=16)
    ours, theirs = statistics(model), statistics(source)
    for name in ours:
        th.testing.assert_close(ours[name], theirs[name])
    model.train(1, batch_size=16)
    assert equal(statistics(model), ours)


# Acting


@pytest.mark.parametrize("deterministic", [True, False])
@pytest.mark.parametrize("kwargs", [{}, {"actor_tau": 0.1}], ids=str)
def test_the_policy_acts_on_normalised_observations(deterministic, kwargs):
    model = agent(**kwargs).learn(40)
    obs = (np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32) + 2.0) * SCALES
    normalizer = model.policy.obs_normalizer
    by_hand = (obs - normalizer.mean.numpy()) / np.sqrt(normalizer.var.numpy() + 1e-8)
    network = model.policy.actor_average if kwargs and deterministic else model.actor
    th.manual_seed(1)
    with th.no_grad():
        expected = network(th.as_tensor(by_hand.clip(-10, 10), dtype=th.float32), deterministic)
    th.manual_seed(1)
    np.testing.assert_allclose(model.predict(obs, deterministic=deterministic)[0], expected, atol=1e-5)
    th.manual_seed(1)
    explored, _ = model.explorer.action(obs, 0)
    if not deterministic:
        np.testing.assert_allclose(explored, expected, atol=1e-5)


@pytest.mark.parametrize("batch_norm", [True, False])
def test_a_copy_of_the_actor_follows_the_statistics(batch_norm):
    def learned(copied: bool) -> list[th.Tensor]:
        model = agent(train_freq=4, policy_kwargs={"batch_norm": batch_norm})
        if copied:
            model.explorer.actor_copy = ActorCopy(model.actor, model.policy.obs_normalizer)
        return list(model.learn(60).policy.state_dict().values())

    assert all(map(th.equal, learned(True), learned(False)))


def test_diagnostics_compare_both_at_normalised_observations():
    model = agent(Scaled(Target(action_space=spaces.Box(-1.0, 1.0, (1,))))).learn(40)
    obs = (np.zeros((4, 3), np.float32) + 2.0) * SCALES
    result = policy_improvement(model, obs)
    by_hand = model.policy.obs_normalizer(th.as_tensor(obs)).numpy()
    model.policy.obs_normalizer = None
    np.testing.assert_array_equal(result.kl, policy_improvement(model, by_hand).kl)
    assert np.isfinite(result.kl).all()


def test_logs_are_of_what_the_networks_see():
    model = agent(diagnostics="full").learn(60)
    logged: dict[str, Any] = {}
    model.set_logger(Logger(folder=None, output_formats=[]))
    with patch.object(Logger, "dump", lambda self, step: logged.update(self.name_to_value)):
        model.dump_logs()
    model.set_logger(Logger(folder=None, output_formats=[]))
    assert abs(logged["train/obs_max"]) <= 10.0  # not 3000
    batch = model._watch.last_batch()
    with th.no_grad():
        values = model.critic.q_taken(model.policy.normalized(batch.obs), batch.action)
    th.testing.assert_close(logged["diagnostics/q_values"], values)


# Learning


def scaled_samples(n_batches: int) -> list:
    scales = th.as_tensor(SCALES, dtype=th.float64)
    return [
        batch._replace(observations=batch.observations * scales, next_observations=batch.next_observations * scales)
        for batch in random_samples(n_batches, batch_size=40, dtype=th.float64)
    ]


def with_statistics(model: SoftAC) -> SoftAC:
    rows = np.random.default_rng(0).normal(size=(100, 3)) * SCALES
    model.policy.obs_normalizer.update(rows)
    return model


def trained_in_double(model: SoftAC, samples: list) -> None:
    model.policy.double()
    th.manual_seed(11)
    fixed_samples(model, samples)
    with patch("sb3_softac.networks.blocks.preprocess", lambda obs, *args: obs):  # would cast
        model.train(len(samples), batch_size=40)


CASES = ["default", "v1", "score function", "CrossQ", "v1, own targets", "mixture", "gSDE", "shared features"]


def normalized(case: str) -> dict[str, Any]:
    kwargs = copy.deepcopy(BOX[case])
    return kwargs | {"policy_kwargs": kwargs.get("policy_kwargs", {}) | {"normalize_obs": True}}


@pytest.mark.parametrize("case", CASES)
def test_an_update_sees_a_normalised_batch(case):
    """The update of an agent that gets the batch raw is that of one that gets it normalised by hand."""
    own = with_statistics(make("auto", Target(), **normalized(case)))
    by_hand = make("eager", Target(), **BOX[case])
    samples, normalize = scaled_samples(4), own.policy.obs_normalizer
    normal = [
        batch._replace(observations=normalize(batch.observations), next_observations=normalize(batch.next_observations))
        for batch in samples
    ]
    trained_in_double(own, samples)
    trained_in_double(by_hand, normal)
    ours, theirs = own.policy.state_dict(), by_hand.policy.state_dict()
    assert ours.keys() - theirs.keys() == {f"obs_normalizer.{name}" for name in ("mean", "var", "count")}
    for name, value in theirs.items():
        th.testing.assert_close(ours[name], value, rtol=1e-9, atol=1e-9)


REPLAYED = ["default", "v1", "delayed"]


@pytest.mark.usefixtures("early_graphs")
@pytest.mark.parametrize("engine", ["cuda_graph", "traced"])
@pytest.mark.parametrize("case", REPLAYED)
def test_a_captured_update_reads_the_statistics_of_the_moment(case, engine):
    kwargs = normalized(case)
    plain, graph = with_statistics(make("eager", Target(), **kwargs)), with_statistics(replayed(engine, **kwargs))
    assert_same_training(plain, graph, scaled_samples(12), tolerance=1e-8)
    n_kinds = n_graphs(graph)
    for model in (plain, graph):
        model.policy.obs_normalizer.update(np.full((300, 3), 5.0))
    assert_same_training(plain, graph, scaled_samples(12), tolerance=1e-8)
    assert n_graphs(graph) == n_kinds


def test_scales_of_the_observations_hardly_matter():
    """A network on normalised observations is the same function of the state, whatever its units."""
    kwargs = {"learning_starts": 50, "engine": "fused"}
    one, other = (agent(env, **kwargs).learn(60) for env in (Target(truncate=True), Scaled(Target(truncate=True))))
    obs = np.random.default_rng(0).uniform(-1, 1, size=(20, 3)).astype(np.float32)
    actions = [one.predict(obs, deterministic=True)[0], other.predict((obs + 2.0) * SCALES, deterministic=True)[0]]
    np.testing.assert_allclose(*actions, atol=0.02)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # that the numbers are of very different sizes
        agent(Scaled(Target(truncate=True)), learning_starts=50).learn(60)


@pytest.mark.parametrize("variant", ["v1", "v2"])
@pytest.mark.parametrize(
    ("policy", "env", "kwargs"),
    [
        ("MlpPolicy", Target, {}),
        ("MlpPolicy", DiscreteTarget, {"actor_gradient": "score_function"}),
        ("MlpPolicy", lambda: Target(spaces.Box(-1.0, 1.0, (2, 3))), {"actor_tau": 0.1}),
        ("MultiInputPolicy", Goals, {"replay_buffer_class": HerReplayBuffer}),
        ("MultiInputPolicy", lambda: Target(dict_space()), {"n_steps": 2}),
    ],
    ids=["Box", "Discrete", "two dimensions", "goals", "Dict"],
)
def test_every_kind_of_agent_trains_and_is_loaded_with_its_statistics(policy, env, kwargs, variant, tmp_path):
    extractor = {"features_extractor_kwargs": {"cnn_output_dim": 8}} if policy == "MultiInputPolicy" else {}
    model = agent(env(), policy, extractor, variant=variant, **kwargs).learn(40)
    model.save(tmp_path / "agent")
    loaded = SoftAC.load(tmp_path / "agent", env=env())
    assert equal(statistics(loaded), statistics(model))
    obs = model.observation_space.sample()
    np.testing.assert_array_equal(loaded.predict(obs, deterministic=True)[0], model.predict(obs, deterministic=True)[0])
    count = model.policy.obs_normalizer.count.item()
    loaded.replay_buffer = model.replay_buffer
    loaded.learn(20, reset_num_timesteps=False)
    assert loaded.policy.obs_normalizer.count == count + 20


# Files


def test_a_run_goes_on_from_a_checkpoint_to_the_bit(tmp_path):
    whole = agent().learn(60)
    stopped = agent().learn(35)
    stopped.save_checkpoint(tmp_path)
    resumed = SoftAC.load_checkpoint(tmp_path, Scaled()).learn(25, reset_num_timesteps=False)
    assert equal(resumed.policy.state_dict(), whole.policy.state_dict())


def test_a_policy_alone_holds_its_statistics(tmp_path):
    model = agent().learn(40)
    model.policy.save(tmp_path / "policy")
    policy = MlpPolicy.load(tmp_path / "policy")
    obs = np.array([2e-3, 1.0, 3e3], np.float32)
    np.testing.assert_array_equal(policy.predict(obs, deterministic=True)[0], model.predict(obs, deterministic=True)[0])


def test_parameters_bring_the_statistics_and_copies_have_their_own():
    source, model = agent().learn(40), agent(seed=1).learn(20)
    model.set_parameters(source.get_parameters())
    assert equal(statistics(model), statistics(source))
    before = statistics(source)
    other = copy.deepcopy(model).learn(20, reset_num_timesteps=False)
    assert equal(statistics(model), before)
    assert other.policy.obs_normalizer.count == before["count"] + 20
    with pytest.raises(ValueError, match=r"obs_normalizer\.mean is in only one of the two"):
        SoftAC("MlpPolicy", Scaled(), **SMALL).set_parameters(source.get_parameters())
    model.set_parameters({"policy.obs_normalizer": agent().policy.obs_normalizer.state_dict()}, exact_match=False)
    assert model.policy.obs_normalizer.count == 0


# Refusals and warnings


def vec_normalized(**kwargs: Any) -> VecEnv:
    return VecNormalize(DummyVecEnv([Scaled]), **kwargs)


def test_normalising_twice_warns():
    with pytest.warns(UserWarning, match=r"normalised twice: by .*Pass `VecNormalize\(env, norm_obs=False\)`"):
        model = agent(vec_normalized())
    model.learn(40)
    assert 0.01 < model.policy.obs_normalizer.var.min() < model.policy.obs_normalizer.var.max() < 3.0  # not 1e6
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        agent(vec_normalized(norm_obs=False)).learn(30)


@pytest.mark.parametrize(("name", "value"), [("normalize_obs", 1), ("clip_obs", 0.0), ("clip_obs", "much")])
def test_a_wrong_argument_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"`{name}`"):
        agent(policy_kwargs={name: value})


def test_images_alone_are_refused():
    with pytest.raises(ValueError, match="finds nothing to normalise in Box"):
        SoftAC("CnnPolicy", Target(spaces.Box(0, 255, (1, 36, 36), np.uint8)), policy_kwargs={"normalize_obs": True})


def test_an_engine_that_is_asked_directly_normalises_too():
    model = with_statistics(ready(agent(Target())))
    model.policy.obs_normalizer.mean.fill_(1e6)
    model.policy.obs_normalizer.follow()  # all observations are clipped to -10: one state
    before = copy.deepcopy(model.policy.state_dict())
    update_once(model)
    assert not equal(model.policy.state_dict(), before)
    with th.no_grad():
        values = model.critic.q_taken(model.policy.normalized(th.randn(5, 3)), th.zeros(5, 2))
    assert values.std(dim=1).max() < 1e-5
