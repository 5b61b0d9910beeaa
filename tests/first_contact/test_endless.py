"""An evaluation that does not end, of an agent that stands still, says so."""

import warnings

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.evaluation import evaluate_policy

from sb3_softac import SoftAC, evaluation
from tests.helpers import SMALL, Target


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    monkeypatch.setattr(evaluation, "ENDLESS", 40)


@pytest.fixture(scope="module")
def agent():
    return SoftAC("auto", Target(), **SMALL, device="cpu")


def limited(steps: int) -> gym.Env:
    """An environment that never ends by itself, as CliffWalking-v1 for an agent that stands still."""
    return gym.wrappers.TimeLimit(Target(horizon=10**9), steps)


@pytest.mark.filterwarnings("ignore:Evaluation environment is not wrapped")
def test_an_episode_that_does_not_end_is_warned_of(agent):
    with pytest.warns(UserWarning, match=r"lasted 40 steps.*max_episode_steps"):
        evaluate_policy(agent, limited(100), n_eval_episodes=1)


def test_an_evaluation_while_learning_is_warned_of():
    model = SoftAC("auto", Target(), **SMALL, device="cpu")
    callback = EvalCallback(gym.wrappers.RecordEpisodeStatistics(limited(100)), eval_freq=10, verbose=0, warn=False)
    with pytest.warns(UserWarning, match="limits its time"):
        model.learn(10, callback)


@pytest.mark.filterwarnings("ignore:Evaluation environment is not wrapped")
def test_many_episodes_of_a_limited_length_are_not(agent):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.filterwarnings("ignore", "Evaluation environment is not wrapped")
        rewards, lengths = evaluate_policy(agent, limited(30), n_eval_episodes=4, return_episode_rewards=True)
    assert lengths == [30] * 4
    assert len(rewards) == 4


def test_each_environment_is_counted_by_itself():
    counts = evaluation.EpisodeLengths()
    for step in range(39):
        counts.see(np.array([step % 10 == 0, step == 0]))
    with pytest.warns(UserWarning, match="lasted 40 steps"):
        counts.see(np.array([False, False]))
    counts.see(np.array([True]))  # another number of environments
    counts.see(None)
    assert counts._steps == 1


def test_exploring_and_asking_without_episodes_counts_nothing(agent):
    obs = np.zeros(3, np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(45):
            agent.predict(obs, deterministic=True)
            agent.predict(obs, episode_start=np.array([False]))
        action, _ = agent.predict(obs, deterministic=True)
    assert action.shape == (2,)
