"""hyperparams/softac.yml: every environment of rl_zoo3's SAC and DQN, and only keys that somebody reads."""

import inspect
from argparse import Namespace
from pathlib import Path

import pytest
import rl_zoo3
import yaml
from rl_zoo3.exp_manager import ExperimentManager

from sb3_softac import SoftAC
from sb3_softac.zoo import hyperparams_file, register

# Keys that rl_zoo3 reads itself; the others reach the constructor.
ZOO_KEYS = {
    "n_timesteps",
    "n_envs",
    "normalize",
    "env_wrapper",
    "vec_env_wrapper",
    "frame_stack",
    "callback",
    "env_kwargs",
    "monitor_kwargs",
    "noise_type",
    "noise_std",
}


def load(path: Path) -> dict:
    return yaml.safe_load(path.read_text())


OURS = load(hyperparams_file())
DISCRETE = {"CartPole-v1", "MountainCar-v0", "LunarLander-v3", "Acrobot-v1", "atari"}


@pytest.mark.parametrize("algo", ["sac", "dqn"])
def test_every_environment_of_the_zoo_is_there(algo):
    theirs = load(Path(rl_zoo3.__file__).parent / "hyperparams" / f"{algo}.yml")
    assert set(theirs) - set(OURS) == set()


def test_newer_mujoco_versions_are_there():
    assert {name.replace("-v4", "-v5") for name in OURS if name.endswith("-v4")} <= set(OURS)


@pytest.mark.parametrize("name", OURS)
def test_every_key_is_read_by_somebody(name):
    entry = OURS[name]
    assert {"policy", "n_timesteps"} <= set(entry)
    assert set(entry) <= ZOO_KEYS | set(inspect.signature(SoftAC).parameters) - {"env"}


@pytest.mark.parametrize("name", sorted(DISCRETE))
def test_discrete_entries_say_the_target_entropy(name):
    # 0.98 log|A| would be nearly uniform for the few actions of these environments.
    assert float(OURS[name]["target_entropy"].removeprefix("auto_")) < 0.98


@pytest.mark.parametrize("name", sorted(set(OURS) - {"atari", "CarRacing-v3", "FetchReach-v1"}))
def test_every_entry_builds_a_model(name):
    register()
    env = "CartPole-v1" if name in DISCRETE else "Pendulum-v1"
    manager = ExperimentManager(Namespace(), "softac", env, log_folder="", seed=0, verbose=0)
    given = {key: value for key, value in OURS[name].items() if key not in ZOO_KEYS}
    entry, *_ = manager._preprocess_hyperparams(given | {"buffer_size": 1000, "n_timesteps": 100})
    model = SoftAC(env=env, device="cpu", **entry)
    policy = "MlpPolicy" if entry["policy"] == "auto" else entry["policy"]
    assert type(model.policy) is SoftAC.policy_aliases[policy]
    numbers = {key: value for key, value in entry.items() if isinstance(value, (int, float)) and key != "train_freq"}
    assert {key: getattr(model, key) for key in numbers} == numbers


def test_the_car_racing_entry_preprocesses_pixels():
    gym = pytest.importorskip("gymnasium")
    pytest.importorskip("Box2D", reason="needs the extra `box2d`")
    from rl_zoo3.utils import get_wrapper_class

    wrap = get_wrapper_class({"env_wrapper": OURS["CarRacing-v3"]["env_wrapper"]})
    with wrap(gym.make("CarRacing-v3")) as env:
        assert env.observation_space.shape == (96, 96, 1)
