"""A run that stops and goes on in a new process is, to the bit, the run that did not stop."""

import hashlib
import json
import subprocess
import sys
import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from stable_baselines3 import HerReplayBuffer
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.envs import BitFlippingEnv
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv, VecFrameStack, VecNormalize

from sb3_softac import Resumable, SoftAC
from sb3_softac.saving import checkpoint, chunks
from sb3_softac.saving.files import SavedFileError
from tests.helpers import DiscreteTarget, Target, dict_space, image_space

SMALL: dict[str, Any] = {
    "policy_kwargs": {"net_arch": [16, 16]},
    "learning_starts": 20,
    "batch_size": 16,
    "buffer_size": 150,
    "device": "cpu",
    "seed": 0,
}


def env_of(kind: str) -> Any:
    """An environment, made in the same way each time."""
    made = {
        "target": Target,
        "discrete": DiscreteTarget,
        "dict": lambda: Target(dict_space()),
        "image": lambda: Target(image_space()),
        "goals": lambda: BitFlippingEnv(4, continuous=True),
        "four": lambda: make_vec_env("Pendulum-v1", 4, seed=3),
        "normalized": lambda: VecNormalize(make_vec_env("Pendulum-v1", 2, seed=3)),
        "stacked": lambda: VecFrameStack(DummyVecEnv([lambda: gym.make("Pendulum-v1")]), 3),
        "processes": lambda: SubprocVecEnv([lambda: Resumable(gym.make("Pendulum-v1"))] * 2),
    }
    return made[kind]() if kind in made else gym.make(kind)


CASES: dict[str, dict[str, Any]] = {
    "Pendulum": {"env": "Pendulum-v1"},
    "CartPole": {"env": "CartPole-v1"},
    "v1": {"env": "Pendulum-v1", "variant": "v1", "reward_scale": "lin_2_1"},
    "discrete": {"env": "discrete", "learning_rate": "lin_1e-3"},
    "gSDE": {"env": "Pendulum-v1", "use_sde": True, "sde_sample_freq": 3},
    "noise": {"env": "target", "action_noise": NormalActionNoise(np.zeros(2), np.ones(2))},
    "hindsight": {"env": "goals", "policy": "MultiInputPolicy", "replay_buffer_class": HerReplayBuffer},
    "n-step": {"env": "Pendulum-v1", "n_steps": 3},
    "four environments": {"env": "four", "train_freq": 2, "gradient_steps": -1},
    "normalized": {"env": "normalized"},
    "stacked": {"env": "stacked"},
    "processes": {"env": "processes"},
    "dict": {"env": "dict", "policy": "MultiInputPolicy", "policy_kwargs": {"net_arch": [16]}},
    "image": {"env": "image", "policy": "CnnPolicy", "policy_kwargs": {"net_arch": [16]}, "buffer_size": 50},
    "average": {"env": "Pendulum-v1", "actor_tau": 0.1, "target_networks": False, "policy_delay": 2},
    "batch norm": {"env": "Pendulum-v1", "policy_kwargs": {"net_arch": [16], "batch_norm": True, "dropout": 0.1}},
    "eager": {"env": "Pendulum-v1", "engine": "eager"},
    "overlapped": {"env": "Pendulum-v1", "overlap": True},
    "overlapped rollouts": {"env": "four", "overlap": True, "train_freq": 3, "gradient_steps": 7, "use_sde": True},
    "overlapped processes": {"env": "processes", "overlap": True, "train_freq": 2, "gradient_steps": -1},
    "resets": {"env": "Pendulum-v1", "reset_networks": [30, 50], "actor_tau": 0.1},
    "held noise": {"env": "target", "noise_repeat": 16},
    "overlapped parts": {"env": "four", "overlap": True, "normalize_rewards": True, "noise_repeat": 4, "train_freq": 2},
    "held noise, discrete": {"env": "discrete", "noise_repeat": 16},
    "FlashSAC": {
        **{"env": "Pendulum-v1", "joint_pass": True, "normalize_rewards": True, "noise_repeat": 16},
        "policy_kwargs": {
            **{"net_arch": [8, 8], "blocks": "flashsac", "batch_norm": True, "unit_norm_weights": "all"},
            **{"critic_head": "categorical", "squash_log_std": True},
        },
    },
    "returns": {"env": "four", "normalize_rewards": True, "max_normalized_return": 5.0, "n_steps": 2},
}


#: those that learn for long enough to record their updates, which takes a second or two each
RECORDED = ["Pendulum", "v1", "discrete", "four environments", "overlapped"]


def make(case: str) -> SoftAC:
    arguments = dict(CASES[case])
    return SoftAC(arguments.pop("policy", "MlpPolicy"), env_of(arguments.pop("env")), **SMALL | arguments)


def digest_of(model: SoftAC) -> str:
    """A hash of all that learning has changed."""
    digest = hashlib.sha256()
    states = [model.policy.state_dict(), *(model.get_parameters()[name] for name in sorted(model.get_parameters()))]
    for state in states:
        digest.update(json.dumps(_listed(state), default=str).encode())
    digest.update(model.replay_buffer.rewards.tobytes())
    digest.update(repr((model.num_timesteps, model._n_updates, model._episode_num)).encode())
    return digest.hexdigest()


def _listed(value: Any) -> Any:
    if isinstance(value, th.Tensor):
        return value.detach().double().flatten().tolist()
    if isinstance(value, dict):
        return {str(key): _listed(each) for key, each in value.items()}
    return [_listed(each) for each in value] if isinstance(value, list | tuple) else value


def resumed(case: str, n_after: int, folder: Path) -> str:
    """Hash of a run that goes on from a checkpoint."""
    model = SoftAC.load_checkpoint(folder, env_of(CASES[case]["env"]))
    model.learn(n_after, reset_num_timesteps=False)
    _close(model)
    return digest_of(model)


def stopped(case: str, stop_at: int, total: int, folder: Path) -> str:
    """Hash of a run that leaves a checkpoint on its way, and goes on."""
    model = make(case)
    model._between_rollouts.append(lambda: _save_at(model, stop_at, folder))
    model.learn(total)
    _close(model)
    return digest_of(model)


@pytest.mark.parametrize("case", CASES)
def test_n_steps_a_stop_and_m_steps_are_n_plus_m_steps(case, tmp_path):
    """Stopped in the middle of an episode, while it learns; a resumed run that records its traces does it later."""
    n_at_once = make(case).n_envs * CASES[case].get("train_freq", 1)
    total, stop_at = (90, 57) if case in RECORDED else (65, 41)
    stop_at -= stop_at % n_at_once
    expected = stopped(case, stop_at, total, tmp_path)
    assert resumed(case, total - stop_at, tmp_path) == expected


def test_saving_changes_nothing_and_a_new_process_goes_on(tmp_path):
    """Stopped among the random steps, and between two episodes of other lengths."""
    expected = digest_of(make("CartPole").learn(65))
    for stop_at in (20, 40):
        assert stopped("CartPole", stop_at, 65, tmp_path / str(stop_at)) == expected
    program = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r}); import torch; torch.set_num_threads(1); "
        "from pathlib import Path; from tests.saving import test_resume as t; "
        f"[print(t.resumed('CartPole', 65 - each, Path({str(tmp_path)!r}) / str(each))) for each in (20, 40)]"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr[-3000:]
    assert told.stdout.split()[-2:] == [expected] * 2


def _save_at(model: SoftAC, step: int, folder: Path) -> None:
    if model.num_timesteps == step:
        assert model.save_checkpoint(folder).is_exact


def _close(model: SoftAC) -> None:
    model.get_env().close()


def test_the_engine_does_not_matter_to_the_bit():
    """What is learnt before the update is recorded, and after, is the same."""
    fused, traced = (
        SoftAC("MlpPolicy", "Pendulum-v1", engine=name, **SMALL).learn(140) for name in ("fused", "traced")
    )
    assert traced._current_engine()._steps, "recorded"
    th.testing.assert_close(traced.policy.state_dict(), fused.policy.state_dict(), rtol=0.0, atol=0.0)


class Stateful(Target):
    """Holds something that only a pickle could keep."""

    def __init__(self) -> None:
        super().__init__()
        self.world = object()


def test_an_environment_that_cannot_be_read_begins_a_new_episode_and_says_so(tmp_path):
    model = SoftAC("MlpPolicy", Stateful(), **SMALL).learn(45)
    saved = model.save_checkpoint(tmp_path)
    assert not saved.is_exact
    assert saved.reasons == ["Stateful.world (object)"]
    resumed = SoftAC.load_checkpoint(tmp_path, Stateful())
    assert resumed._last_obs is None
    assert resumed.replay_buffer.size() == 45
    resumed.learn(20, reset_num_timesteps=False)
    assert (resumed.num_timesteps, resumed.replay_buffer.size()) == (65, 65)


class Random(Stateful):
    """Draws numbers while it steps, and holds what no file can keep."""

    def step(self, action):
        _, reward, terminated, truncated, info = super().step(action)
        self._x = 0.5 * self._x + self.np_random.normal(size=3).astype(np.float32)
        return np.tanh(self._x), reward, terminated, truncated, info

    def reset(self, **kwargs):
        super().reset(**kwargs)
        self._x = self.np_random.normal(size=3).astype(np.float32)
        return np.tanh(self._x), {}


def test_what_no_file_can_keep_comes_back_by_its_actions(monkeypatch, tmp_path):
    monkeypatch.setitem(CASES, "replayed", {"env": "replayed"})
    monkeypatch.setattr(sys.modules[__name__], "env_of", lambda _: Resumable(Random()))
    expected = stopped("replayed", 57, 120, tmp_path)
    assert resumed("replayed", 63, tmp_path) == expected


class Hooked(Stateful):
    """Says itself what its state is."""

    def get_state(self) -> dict[str, Any]:
        return {"step": self._step}

    def set_state(self, state: dict[str, Any]) -> None:
        self._step = state["step"]


def test_an_environment_may_say_itself_what_its_state_is(tmp_path):
    model = SoftAC("MlpPolicy", Hooked(), **SMALL).learn(45)
    assert model.save_checkpoint(tmp_path).is_exact
    env: VecEnv = SoftAC.load_checkpoint(tmp_path, Hooked()).get_env()
    assert env.envs[0].unwrapped._step == 5


def test_another_environment_is_refused(tmp_path):
    make("Pendulum").learn(20).save_checkpoint(tmp_path)
    with pytest.raises(SavedFileError, match="VecFrameStack"):
        SoftAC.load_checkpoint(tmp_path, VecFrameStack(DummyVecEnv([lambda: gym.make("Pendulum-v1")]), 1))


# The folder


def test_a_second_checkpoint_writes_what_is_new(tmp_path, monkeypatch):
    monkeypatch.setattr(chunks, "PIECE_BYTES", 1 << 17)
    model = SoftAC("MlpPolicy", Target(), **SMALL | {"buffer_size": 200_000})
    rng = np.random.default_rng(0)
    buffer = model.replay_buffer
    for _ in range(60_000):
        obs = rng.random((1, 3), np.float32)
        buffer.add(obs, obs, np.zeros((1, 2)), np.zeros(1), np.zeros(1), [{}])
    model.num_timesteps = 60_000
    model.save_checkpoint(tmp_path)
    first = {path.name for path in (tmp_path / "arrays").iterdir()}
    for _ in range(1000):
        obs = rng.random((1, 3), np.float32)
        buffer.add(obs, obs, np.zeros((1, 2)), np.zeros(1), np.zeros(1), [{}])
    model.num_timesteps = 61_000
    model.save_checkpoint(tmp_path, keep=1)
    new = [path for path in (tmp_path / "arrays").iterdir() if path.name not in first]
    assert len(first) > 3
    assert len(new) < len(first)
    assert [path.name for path in checkpoint.checkpoints(tmp_path)] == ["agent_00061000.zip"]
    loaded = SoftAC.load_checkpoint(tmp_path, Target())
    np.testing.assert_array_equal(loaded.replay_buffer.observations[:61_000], buffer.observations[:61_000])
    damaged = max((tmp_path / "arrays").iterdir())
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(content)
    with (
        pytest.raises(SavedFileError, match="no checkpoint that is whole"),
        pytest.warns(UserWarning, match="of an array is damaged"),
    ):
        SoftAC.load_checkpoint(tmp_path, Target())
    model.save_checkpoint(tmp_path)  # writes it once more
    assert SoftAC.load_checkpoint(tmp_path, Target()).replay_buffer.size() == 61_000


def test_the_newest_whole_checkpoint_is_found(tmp_path):
    model = make("Pendulum").learn(20)
    model.save_checkpoint(tmp_path)
    model.learn(20, reset_num_timesteps=False).save_checkpoint(tmp_path)
    (tmp_path / "agent_00000060.zip").write_text("no zip")
    with pytest.warns(UserWarning, match=r"agent_00000060.zip' cannot be read.*the checkpoint before it is taken"):
        assert SoftAC.load_checkpoint(tmp_path, env_of("Pendulum-v1")).num_timesteps == 40
    (tmp_path / "agent_00000060.zip").unlink()
    agent = tmp_path / "agent_00000040.zip"
    content = bytearray(agent.read_bytes())
    content[len(content) // 2] ^= 1
    agent.write_bytes(content)
    with pytest.warns(UserWarning, match=r"agent_00000040.zip' cannot be read: its entry '.*' is damaged"):
        assert SoftAC.load_checkpoint(tmp_path, env_of("Pendulum-v1")).num_timesteps == 20
    model.save(agent)
    with pytest.warns(UserWarning, match=r"it is an agent alone, and no checkpoint"):
        assert SoftAC.load_checkpoint(tmp_path, env_of("Pendulum-v1")).num_timesteps == 20
    (tmp_path / "agent_00000020.zip").unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(SavedFileError, match="no checkpoint that is whole"):
            SoftAC.load_checkpoint(tmp_path, env_of("Pendulum-v1"))


@pytest.mark.parametrize("cls", [ReplayBuffer, HerReplayBuffer])
def test_a_buffer_is_in_memory_once_while_it_is_loaded(cls, tmp_path):
    env = BitFlippingEnv(4, continuous=True) if cls is HerReplayBuffer else Target()
    policy = "MultiInputPolicy" if cls is HerReplayBuffer else "MlpPolicy"
    model = SoftAC(policy, env, **SMALL | {"replay_buffer_class": cls, "buffer_size": 100_000}).learn(30)
    model.save_checkpoint(tmp_path)
    tracemalloc.start()
    buffer = SoftAC.load_checkpoint(tmp_path, env).replay_buffer
    now, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert now > 4e6
    assert most < now + 3 * chunks.PIECE_BYTES
    if cls is HerReplayBuffer:
        assert buffer.infos.shape == (100_000, 1)
        assert buffer.infos[0, 0] == {}
        assert buffer.infos[0, 0] is not buffer.infos[1, 0]


def test_a_folder_without_a_checkpoint(tmp_path):
    with pytest.raises(SavedFileError, match="has no checkpoint"):
        SoftAC.load_checkpoint(tmp_path, env_of("Pendulum-v1"))


def test_the_agent_of_a_checkpoint_is_a_file_like_any_other(tmp_path):
    model = make("Pendulum").learn(40)
    model.save_checkpoint(tmp_path)
    agent = SoftAC.load(tmp_path / "agent_00000040.zip")
    obs = np.ones(3, np.float32)
    np.testing.assert_array_equal(agent.predict(obs, deterministic=True)[0], model.predict(obs, deterministic=True)[0])
