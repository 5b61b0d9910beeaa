"""rl_zoo3's own command trains in environments that the file of hyperparameters does not name."""

import sys

import numpy as np
import optuna
import pytest
from gymnasium import register, registry, spaces
from rl_zoo3 import train
from rl_zoo3.exp_manager import ExperimentManager
from stable_baselines3 import HerReplayBuffer
from stable_baselines3.common.envs import BitFlippingEnv

import sb3_softac.zoo
from sb3_softac import SoftAC, evaluation
from sb3_softac.buffers.single_copy import SingleCopyReplayBuffer
from sb3_softac.networks.small_cnn import SmallCNN, SmallImagesExtractor
from tests.helpers import Target

BYTES = spaces.Box(0, 255, (7, 7, 3), np.uint8)
# Stand-ins with the spaces of PandaReach-v3, MinAtar/Breakout-v1 and MiniGrid-Empty-5x5-v0.
STAND_INS = {
    "Goals-v0": lambda **_: BitFlippingEnv(n_bits=4, continuous=True, max_steps=10),
    "Switches-v0": lambda **_: Target(spaces.Box(0.0, 1.0, (10, 10, 4), bool), truncate=True),
    "Bytes-v0": lambda **_: Target(spaces.Dict({"direction": spaces.Discrete(4), "image": BYTES}), truncate=True),
    "Mission-v0": lambda **_: Target(spaces.Dict({"image": BYTES, "mission": spaces.Text(9)}), truncate=True),
    "Endless-v0": lambda **_: Target(horizon=10**9),
}


@pytest.fixture(autouse=True, scope="module")
def _registered():
    sb3_softac.zoo.register()
    for name, make in STAND_INS.items():
        register(name, make)
    yield
    for name in STAND_INS:
        del registry[name]


@pytest.fixture
def run_zoo(tmp_path, monkeypatch):
    """The command ``python -m rl_zoo3.train --algo softac``, and the model that it made."""

    def run(env: str, *arguments: str) -> SoftAC:
        made = []
        original = ExperimentManager.setup_experiment
        monkeypatch.setattr(ExperimentManager, "setup_experiment", lambda self: made.append(original(self)) or made[-1])
        options = ["--algo", "softac", "--env", env, "-n", "120", "--num-threads", "1", "-f", str(tmp_path)]
        monkeypatch.setattr(sys, "argv", ["train", *options, *arguments])
        train.train()
        return made[-1] and made[-1][0]

    return run


@pytest.mark.parametrize(
    ("env", "extractor", "buffer_class"),
    [
        ("Goals-v0", None, HerReplayBuffer),
        ("Switches-v0", SmallCNN, SingleCopyReplayBuffer),
        ("Bytes-v0", SmallImagesExtractor, SingleCopyReplayBuffer),
    ],
)
def test_an_environment_without_an_entry(env, extractor, buffer_class, run_zoo, tmp_path):
    model = run_zoo(env, "--eval-freq", "60", "--eval-episodes", "2")
    assert type(model.replay_buffer) is buffer_class
    assert extractor is None or type(model.actor.features_extractor) is extractor
    assert (tmp_path / "softac" / f"{env}_1" / "evaluations.npz").is_file()
    assert SoftAC.load(tmp_path / "softac" / f"{env}_1" / f"{env}.zip", device="cpu").num_timesteps == 120
    assert "replay_buffer_class\n    - auto" in (tmp_path / "softac" / f"{env}_1" / env / "config.yml").read_text()


def test_an_entry_of_the_users_own_wins(run_zoo):
    model = run_zoo("Goals-v0", "--eval-freq", "-1", "-params", "replay_buffer_class:None", "gamma:0.9")
    assert type(model.replay_buffer) is SingleCopyReplayBuffer
    assert model.gamma == 0.9


def test_a_search_knows_that_there_are_goals(run_zoo, monkeypatch, tmp_path):
    studies = []
    create = optuna.create_study
    monkeypatch.setattr(optuna, "create_study", lambda **kwargs: studies.append(create(**kwargs)) or studies[-1])
    run_zoo("Goals-v0", "-optimize", "--n-trials", "1", "--n-jobs", "1", "--no-optim-plots")
    (trial,) = studies[0].trials
    assert trial.state == optuna.trial.TrialState.COMPLETE
    assert "n_sampled_goal" in trial.params
    assert "n_steps" not in trial.params


def test_observations_that_no_policy_reads_are_named_before_they_are_stacked(run_zoo):
    with pytest.raises(ValueError, match=r"'mission' is Text.*FilterObservation\(env, \['image'\]\)"):
        run_zoo("Mission-v0", "--eval-freq", "60")


def test_the_remedy_for_it_is_an_option(run_zoo):
    keys = "[{'gymnasium.wrappers.FilterObservation': {'filter_keys': ['image']}}]"
    model = run_zoo("Mission-v0", "--eval-freq", "-1", "-params", f"env_wrapper:{keys}")
    assert set(model.observation_space.spaces) == {"image"}


def test_an_evaluation_that_does_not_end_is_warned_of_and_the_remedy_is_an_option(run_zoo, monkeypatch):
    monkeypatch.setattr(evaluation, "ENDLESS", 60)
    options = ["Endless-v0", "--eval-freq", "60", "--eval-episodes", "1", "--eval-env-kwargs"]
    with pytest.warns(UserWarning, match=r"--eval-env-kwargs max_episode_steps:500"):
        run_zoo(*options, "max_episode_steps:80")
    assert run_zoo(*options, "max_episode_steps:20").num_timesteps == 120
