"""Action masks of MultiDiscrete actions, from `env.action_masks()` to what is played and learned."""

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from sb3_softac import ActionMaskObservation, SoftAC
from sb3_softac.spaces import masks_in, sample_allowed
from tests.helpers import Target

SMALL, LARGE = spaces.MultiDiscrete([2, 3]), spaces.MultiDiscrete([10, 10, 10])


class ChangingMasks(gym.Env):
    """Allows other actions at every step, at least one of each factor; a forbidden one is recorded and well paid."""

    observation_space = spaces.Box(-1.0, 1.0, (3,))

    def __init__(self, action_space: spaces.MultiDiscrete) -> None:
        self.action_space = action_space
        self.forbidden_actions = 0

    def action_masks(self) -> np.ndarray:
        """The factors' masks one after another, as sb3-contrib has them."""
        return np.concatenate(self._masks)

    def _next(self) -> np.ndarray:
        self._masks = [self.np_random.random(n) < 0.4 for n in self.action_space.nvec]
        for mask in self._masks:
            mask[self.np_random.integers(len(mask))] = True
        return self.np_random.uniform(-1, 1, 3).astype(np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._steps = 0
        return self._next(), {}

    def step(self, action):
        forbidden = any(not mask[i] for mask, i in zip(self._masks, action, strict=True))
        self.forbidden_actions += forbidden
        self._steps += 1
        return self._next(), 10.0 * forbidden, False, self._steps == 20, {}


@pytest.fixture(scope="module", params=[(SMALL, {}), (LARGE, {}), (SMALL, {"variant": "v1"})], ids=str)
def trained(request) -> tuple[SoftAC, ChangingMasks]:
    space, kwargs = request.param
    env = ChangingMasks(space)
    model = SoftAC(
        "MultiInputPolicy",
        ActionMaskObservation(env),
        buffer_size=500,
        learning_starts=60,
        batch_size=64,
        n_action_samples=4,
        policy_kwargs={"net_arch": [16]},
        seed=0,
        **kwargs,
    ).learn(100)
    return model, env


def test_no_masked_action_is_taken_neither_at_random_nor_by_the_policy(trained) -> None:
    model, env = trained
    assert env.forbidden_actions == 0
    vec_env = model.get_env()
    obs = vec_env.reset()
    for step in range(100):
        obs, reward, _, _ = vec_env.step(model.predict(obs, deterministic=step % 2 == 0)[0])
        assert reward == 0.0
    assert env.forbidden_actions == 0


def test_masked_actions_have_probability_zero(trained) -> None:
    model, _ = trained
    obs = model.replay_buffer.sample(64).observations
    masks = obs["action_mask"].bool().split(model.actor.nvec, dim=-1)
    for mask, log_prob in zip(masks, model.actor.factor_log_probs(obs), strict=True):
        probability = log_prob.exp()
        assert (probability[~mask] == 0).all()
        th.testing.assert_close(probability.sum(dim=-1), th.ones(64))
    if model.actor.has_exact_support:
        support, ids = model.actor.support(obs), model.actor.joint_actions
        allowed = th.stack([mask[:, ids[:, f]] for f, mask in enumerate(masks)]).all(dim=0)
        assert (support.weight[~allowed] == 0).all()
        assert (support.weight * support.log_pi).isfinite().all()


def test_what_is_learned_under_masks_is_finite(trained) -> None:
    model, _ = trained
    assert all(parameter.isfinite().all() for parameter in model.policy.parameters())
    obs = model.replay_buffer.sample(64).observations
    with th.no_grad():
        assert model.critic.q_values(obs, model.actor.support(obs).actions).isfinite().all()


@pytest.mark.parametrize("space", [spaces.Discrete(4), SMALL, LARGE], ids=str)
def test_random_actions_reach_all_that_is_allowed_and_nothing_else(space) -> None:
    space.seed(0)
    sizes = [4] if isinstance(space, spaces.Discrete) else list(space.nvec)
    masks = np.concatenate([np.arange(n) % 2 == 1 for n in sizes])
    drawn = sample_allowed(space, np.tile(masks, (300, 1))).reshape(300, len(sizes))
    for f, n in enumerate(sizes):
        assert set(drawn[:, f]) == set(range(1, n, 2))


def test_which_observations_have_masks() -> None:
    assert masks_in(np.zeros((2, 3)), SMALL) is None
    assert masks_in({"observation": np.zeros((2, 3))}, SMALL) is None
    assert masks_in({"action_mask": np.ones((2, 5))}, SMALL).shape == (2, 5)
    assert masks_in({"action_mask": np.ones((2, 5))}, spaces.Box(-1.0, 1.0, (2,))) is None


class MaskedBox(ChangingMasks):
    """Masks in a Box, which `VecNormalize` takes for something to normalise."""

    def __init__(self) -> None:
        super().__init__(SMALL)
        mask = spaces.Box(0.0, 1.0, (5,))
        self.observation_space = spaces.Dict({"x": spaces.Box(-1.0, 1.0, (3,)), "action_mask": mask})

    def _next(self):
        x = super()._next()
        return {"x": x, "action_mask": np.concatenate(self._masks).astype(np.float32)}


def test_masks_are_not_normalised():
    kwargs = {"learning_starts": 8, "batch_size": 8, "buffer_size": 50, "policy_kwargs": {"net_arch": [8]}, "seed": 0}
    with pytest.raises(ValueError, match=r"normalises the observation's 'action_mask'.*norm_obs_keys=\['x'\]"):
        SoftAC("MultiInputPolicy", VecNormalize(DummyVecEnv([MaskedBox])), **kwargs)
    vec_env = DummyVecEnv([MaskedBox])
    SoftAC("MultiInputPolicy", VecNormalize(vec_env, norm_obs_keys=["x"]), **kwargs).learn(40)
    assert vec_env.envs[0].unwrapped.forbidden_actions == 0


def test_a_vec_env_of_continuous_actions_is_not_asked_for_masks():
    asked = []

    class Closed(DummyVecEnv):
        """Tells its render mode only."""

        def get_attr(self, attr_name, indices=None):
            asked.append(attr_name)
            if attr_name != "render_mode":
                raise NotImplementedError(attr_name)
            return super().get_attr(attr_name, indices)

    model = SoftAC("MlpPolicy", Closed([lambda: Target()]))
    assert type(model.get_env()) is Closed
    assert set(asked) == {"render_mode"}
