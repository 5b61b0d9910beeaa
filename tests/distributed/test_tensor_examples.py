"""Pendulum and CartPole in torch: step by step those of Gymnasium."""

import gymnasium as gym
import numpy as np
import pytest
import torch as th

from sb3_softac.distributed.tensor_examples import TensorCartPole, TensorPendulum

N_ENVS, N_STEPS = 3, 250  # CartPole falls, and Pendulum reaches its time limit
PAIRS = {"Pendulum-v1": TensorPendulum, "CartPole-v1": TensorCartPole}


@pytest.mark.parametrize("env_id", PAIRS)
def test_every_step_is_that_of_gymnasium(env_id):
    """Each starts from the same state; all that follows from it is compared."""
    ours = PAIRS[env_id](N_ENVS)
    theirs = [gym.make(env_id) for _ in range(N_ENVS)]
    ours.action_space.seed(0)
    ours.seed(0)
    ours.reset()
    for env, state in zip(theirs, ours.state, strict=True):
        env.reset()
        env.unwrapped.state = state.numpy().astype(np.float64)
    n_ends = 0
    for _ in range(N_STEPS):
        actions = np.stack([ours.action_space.sample() for _ in range(N_ENVS)])
        step = ours.step_tensors(th.as_tensor(actions))
        for index, env in enumerate(theirs):
            obs, reward, terminated, truncated, _ = env.step(actions[index])
            np.testing.assert_allclose(step.final_obs[index], obs, atol=2e-3)
            assert float(step.rewards[index]) == pytest.approx(reward, abs=2e-2)
            assert (bool(step.terminated[index]), bool(step.truncated[index])) == (terminated, truncated)
            if terminated or truncated:
                n_ends += 1
                env.reset()
            # Single precision drifts from double: the next step begins at one state again.
            env.unwrapped.state = ours.state[index].numpy().astype(np.float64)
    assert n_ends >= N_ENVS


@pytest.mark.parametrize("env_id", PAIRS)
def test_spaces_are_those_of_gymnasium(env_id):
    ours, theirs = PAIRS[env_id](2), gym.make(env_id)
    assert ours.action_space == theirs.action_space
    assert ours.observation_space == theirs.observation_space


@pytest.mark.parametrize("env_id", PAIRS)
def test_initial_states_are_spread_as_those_of_gymnasium(env_id):
    ours, theirs = PAIRS[env_id](2000), gym.make(env_id)
    ours.seed(0)
    ours.reset_tensors()
    drawn = []
    for seed in range(400):
        theirs.reset(seed=seed)
        drawn.append(theirs.unwrapped.state)
    np.testing.assert_allclose(ours.state.std(0), np.std(drawn, axis=0), rtol=0.1)
    np.testing.assert_allclose(ours.state.abs().amax(0), np.abs(drawn).max(0), rtol=0.05)


def test_environments_that_ended_begin_anew_and_others_go_on():
    env = TensorPendulum(2, max_episode_steps=3)
    env.reset()
    env.steps[:] = th.tensor([0, 1])
    first = env.step_tensors(th.zeros(2, 1))
    second = env.step_tensors(th.zeros(2, 1))
    assert first.truncated.tolist() == [False, False]
    assert second.truncated.tolist() == [False, True]
    assert th.equal(second.obs[0], second.final_obs[0])
    assert not th.equal(second.obs[1], second.final_obs[1])
    assert env.steps.tolist() == [2, 0]


def test_a_seed_gives_the_same_states():
    first, second, other = (TensorPendulum(4) for _ in range(3))
    for env, seed in ((first, 1), (second, 1), (other, 2)):
        env.seed(seed)
    assert np.array_equal(first.reset(), second.reset())
    assert not np.array_equal(first.reset(), other.reset())


def test_a_time_limit_below_one_is_refused():
    with pytest.raises(ValueError, match="max_episode_steps"):
        TensorPendulum(2, max_episode_steps=0)
