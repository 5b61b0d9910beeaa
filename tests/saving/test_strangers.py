"""Files from strangers run no code, fill no memory, and are refused with their name and the trouble."""

import base64
import io
import json
import os
import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import PPO, HerReplayBuffer
from stable_baselines3.common.envs import BitFlippingEnv
from stable_baselines3.common.noise import NormalActionNoise, OrnsteinUhlenbeckActionNoise
from stable_baselines3.common.utils import set_random_seed
from torch import nn

from sb3_softac import SoftAC
from sb3_softac.saving import archive, plain
from sb3_softac.saving.files import SavedFileError
from tests.helpers import SMALL, DiscreteTarget, Target, dict_space

TINY = {"policy_kwargs": {"net_arch": [4]}, "buffer_size": 20}


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("agent") / "agent.zip"
    SoftAC("MlpPolicy", Target(), **TINY).save(path)
    return path


def rewritten(saved: Path, to: Path, **entries: bytes | None) -> Path:
    """A copy of a file with other entries, and without the checksums that would tell."""
    with zipfile.ZipFile(saved) as old, zipfile.ZipFile(to, "w") as new:
        for name in old.namelist():
            if name not in (archive.MANIFEST, *entries):
                new.writestr(name, old.read(name))
        for name, content in entries.items():
            if content is not None:
                new.writestr(name, content)
    return to


def with_data(saved: Path, to: Path, **changed: Any) -> Path:
    with zipfile.ZipFile(saved) as old:
        data = json.loads(old.read("data"))
    return rewritten(saved, to, data=json.dumps(data | changed).encode())


class Bomb:
    """Runs code when it is unpickled: makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


# What we save opens without running code


HINDSIGHT = {"replay_buffer_class": HerReplayBuffer}
AGENTS: dict[str, tuple] = {
    "v2": ("MlpPolicy", Target, {}),
    "v1, gSDE": ("MlpPolicy", Target, {"variant": "v1", "reward_scale": "lin_2_1", "use_sde": True}),
    "schedules": ("MlpPolicy", DiscreteTarget, {"learning_rate": "lin_1e-3", "target_entropy": "lin_0.5_0.1"}),
    "dict": ("MultiInputPolicy", lambda: Target(dict_space()), {}),
    "noise": ("MlpPolicy", Target, {"action_noise": NormalActionNoise(np.zeros(2), np.ones(2))}),
    "other noise": ("MlpPolicy", Target, {"action_noise": OrnsteinUhlenbeckActionNoise(np.zeros(2), np.ones(2))}),
    "classes": ("MlpPolicy", Target, {"policy_kwargs": {"activation_fn": nn.Tanh, "optimizer_class": th.optim.AdamW}}),
    "hindsight": (
        "MultiInputPolicy",
        lambda: BitFlippingEnv(continuous=True),
        {"replay_buffer_class": HerReplayBuffer},
    ),
}


@pytest.mark.parametrize("name", AGENTS)
def test_an_agent_opens_without_unpickling(name, tmp_path, monkeypatch):
    policy, env, kwargs = AGENTS[name]
    model = SoftAC(policy, env(), **SMALL | {"seed": 0, "learning_starts": 25} | kwargs).learn(40)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.save(tmp_path / "agent")
        model.save_replay_buffer(tmp_path / "buffer")
    monkeypatch.setattr(plain.cloudpickle, "load", lambda file: pytest.fail("unpickled"))
    monkeypatch.setattr(pickle, "load", lambda file: pytest.fail("unpickled"))
    loaded = SoftAC.load(tmp_path / "agent", env=env())
    obs = model.observation_space.sample()
    np.testing.assert_array_equal(loaded.predict(obs, deterministic=True)[0], model.predict(obs, deterministic=True)[0])
    assert loaded.observation_space == model.observation_space
    assert loaded.current_settings().update == model.current_settings().update
    loaded.load_replay_buffer(tmp_path / "buffer")
    assert loaded.replay_buffer.size() == model.replay_buffer.size()
    set_random_seed(1)
    ours = loaded.replay_buffer.sample(8)
    set_random_seed(1)
    th.testing.assert_close(ours, model.replay_buffer.sample(8))
    loaded.learn(20, reset_num_timesteps=False)


def test_objects_of_the_user_are_named_once_when_saved_and_allowed_when_loaded(tmp_path, monkeypatch):
    model = SoftAC("MlpPolicy", Target(), learning_rate=lambda progress: 1e-3 * progress, **TINY)
    with pytest.warns(UserWarning, match=r"agent.zip' holds .* only a pickle can keep: learning_rate") as seen:
        model.save(tmp_path / "agent.zip")
    assert len(seen) == 1
    with pytest.raises(SavedFileError, match=r"agent.zip' .*learning_rate .*allow_pickle=True"):
        SoftAC.load(tmp_path / "agent.zip")
    assert SoftAC.load(tmp_path / "agent.zip", allow_pickle=True).lr_schedule(0.5) == 5e-4
    monkeypatch.setenv(archive.ALLOW_PICKLE, "1")
    assert SoftAC.load(tmp_path / "agent.zip").lr_schedule(0.5) == 5e-4
    with pytest.raises(SavedFileError, match="allow_pickle"):
        SoftAC.load(tmp_path / "agent.zip", allow_pickle=False)


@pytest.mark.parametrize(
    ("name", "nearest"), [("gama", "gamma"), ("n_critics", "n_target_critics"), ("weights_only", "known")]
)
def test_unknown_keywords_are_refused_with_the_nearest(saved, name, nearest):
    with pytest.raises(ValueError, match=rf"`load\(\)` has the unknown key '{name}'; .*{nearest}"):
        SoftAC.load(saved, **{name: 0.9})


# Hostile files


def test_pickled_code_in_the_attributes_is_not_run(saved, tmp_path):
    code = base64.b64encode(pickle.dumps(Bomb(tmp_path / "ran"))).decode()
    for place in ({"seed": {":serialized:": code}}, {"policy_kwargs": {"net_arch": [{":serialized:": code}]}}):
        with pytest.raises(SavedFileError, match="pickled objects"):
            SoftAC.load(with_data(saved, tmp_path / "bad.zip", **place))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("entry", ["policy.pth", "actor.optimizer.pth", "pytorch_variables.pth"])
def test_pickled_code_among_the_tensors_is_not_run(saved, entry, tmp_path):
    buffer = io.BytesIO()
    th.save({"actor.mu.bias": Bomb(tmp_path / "ran")}, buffer)
    for content in (buffer.getvalue(), pickle.dumps(Bomb(tmp_path / "ran"))):
        path = rewritten(saved, tmp_path / "bad.zip", **{entry: content})
        with pytest.raises(SavedFileError, match=rf"bad.zip.*{entry}"):
            SoftAC.load(path)
        with pytest.raises(SavedFileError, match=rf"bad.zip.*{entry}"):
            SoftAC.load(saved).set_parameters(path)
    assert not (tmp_path / "ran").exists()


def test_a_pickled_replay_buffer_is_not_read(saved, tmp_path):
    (tmp_path / "bad.pkl").write_bytes(pickle.dumps(Bomb(tmp_path / "ran")))
    with pytest.raises(SavedFileError, match=r"bad.pkl.*pickled objects"):
        SoftAC.load(saved).load_replay_buffer(tmp_path / "bad.pkl")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "builtins.exec",
        "torch.hub.load",
        "torch.nn.modules.activation.warnings",
        "torch.optim.optimizer.cast",
        "sb3_softac.policies.check_policy",
        "subprocess.Popen",
        "tests.helpers.Target",
    ],
)
def test_only_classes_of_networks_are_looked_up(saved, name, tmp_path):
    path = with_data(saved, tmp_path / "bad.zip", policy_class={":": "class", "name": name})
    with pytest.raises(SavedFileError, match="class"):
        SoftAC.load(path)


@pytest.mark.parametrize(
    "changed",
    [
        {"predict": 1},
        {"__class__": {"a": 1}},
        {"policy_kwargs": 3},
        {"policy_kwargs": {"net_arch": [10**9]}},
        {"policy_kwargs": {"net_arch": [30_000, 30_000]}},
        {"policy_kwargs": {"net_arch": [4], "n_critics": 10**9}},
        {"observation_space": "Box"},
        {"observation_space": {":": "Discrete", "n": 10**12, "start": 0}},
        {"observation_space": {":": "Box", "low": 0, "high": 1, "dtype": "|O"}},
        {"observation_space": {":": "no such type"}},
        {"action_space": {":": "Discrete", "n": -1, "start": 0}},
        {"_last_obs": {":": "ndarray", "dtype": "<f4", "shape": [10**12], "data": ""}},
        {"_last_obs": {":": "ndarray", "dtype": "|O", "shape": [1], "data": "AAAAAAAAAAA="}},
        {"_last_obs": {":": "ndarray", "dtype": "<f4", "shape": [1], "data": "no base64"}},
        {"gamma": 7.0},
        {"n_envs": "many"},
        {"variant": "v1"},
        {"batch_size": None},
        {"train_freq": {":": "TrainFreq", "frequency": 1, "unit": "hours"}},
    ],
    ids=str,
)
def test_hostile_attributes_are_refused(saved, changed, tmp_path):
    path = with_data(saved, tmp_path / "bad.zip", **changed)
    with pytest.raises(SavedFileError, match=r"bad.zip"):
        SoftAC.load(path)


def test_a_zip_bomb_is_not_unpacked(saved, tmp_path):
    bomb = tmp_path / "bad.zip"
    with zipfile.ZipFile(saved) as old, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as new:
        new.writestr("data", old.read("data"))
        new.writestr("policy.pth", bytes(50_000_000))
    with pytest.raises(SavedFileError, match=r"bad.zip.*policy.pth.*would unpack .* bytes to 50,000,000"):
        SoftAC.load(bomb)


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "a\\b", "policy.pth/..", "data "])
def test_paths_in_entries_are_refused(saved, name, tmp_path):
    path = rewritten(saved, tmp_path / "bad.zip", **{name: b"x"})
    with pytest.raises(SavedFileError, match=r"bad.zip.*no name that an agent's file has"):
        SoftAC.load(path)


def test_deep_nesting_is_refused(saved, tmp_path):
    path = rewritten(saved, tmp_path / "bad.zip", data=b"[" * 100_000 + b"]" * 100_000)
    with pytest.raises(SavedFileError, match=r"bad.zip.*RecursionError"):
        SoftAC.load(path)


# Damaged files, and those of others


@pytest.mark.parametrize("content", [b"", b"PK", b"no zip", bytes(1000)])
def test_what_is_no_zip_file_is_refused(content, tmp_path):
    (tmp_path / "bad.zip").write_bytes(content)
    with pytest.raises(SavedFileError, match=r"bad.zip"):
        SoftAC.load(tmp_path / "bad.zip")


def test_a_file_that_ends_early_is_refused_wherever_it_ends(saved, tmp_path):
    content = saved.read_bytes()
    for end in np.linspace(0, len(content) - 1, 40).astype(int):
        (tmp_path / "bad.zip").write_bytes(content[:end])
        with pytest.raises(SavedFileError, match=r"bad.zip"):
            SoftAC.load(tmp_path / "bad.zip")


def test_a_bit_that_is_flipped_is_seen_or_means_nothing(saved, tmp_path):
    """In a tensor, an attribute or the directory: refused; in a date of the zip file, say: the agent is the same."""
    content = bytearray(saved.read_bytes())
    reference = SoftAC.load(saved).policy.state_dict()
    rng = np.random.default_rng(0)
    n_refused = 0
    for position in rng.choice(len(content), 60, replace=False):
        flipped = content.copy()
        flipped[position] ^= 1 << int(rng.integers(8))
        (tmp_path / "bad.zip").write_bytes(flipped)
        try:
            loaded = SoftAC.load(tmp_path / "bad.zip")
        except SavedFileError:
            n_refused += 1
        else:
            th.testing.assert_close(loaded.policy.state_dict(), reference, rtol=0.0, atol=0.0)
    assert n_refused > 40


def test_a_missing_entry_is_named(saved, tmp_path):
    with zipfile.ZipFile(saved) as old, zipfile.ZipFile(tmp_path / "bad.zip", "w") as new:
        for name in old.namelist():
            if name != "policy.pth":
                new.writestr(name, old.read(name))
    with pytest.raises(SavedFileError, match=r"bad.zip.*'policy.pth'.* missing"):
        SoftAC.load(tmp_path / "bad.zip")


def test_a_newer_format_is_named(saved, tmp_path):
    manifest = json.dumps({"format": archive.FORMAT + 1, "sb3_softac": "99.0", "sha256": {}}).encode()
    path = rewritten(saved, tmp_path / "bad.zip")
    with zipfile.ZipFile(path, "a") as appended:
        appended.writestr(archive.MANIFEST, manifest)
    with pytest.raises(SavedFileError, match=r"bad.zip.*written by sb3_softac 99.0.*install the newer version"):
        SoftAC.load(path)


def test_other_shapes_in_an_optimizer_are_refused(saved, tmp_path):
    """PyTorch takes them, and fails at the next step."""
    model = SoftAC("MlpPolicy", Target(), **SMALL).learn(20)
    model.save(tmp_path / "agent.zip")
    state = model.actor.optimizer.state_dict()
    state["state"][0]["exp_avg"] = th.zeros(3)
    buffer = io.BytesIO()
    th.save(state, buffer)
    path = rewritten(tmp_path / "agent.zip", tmp_path / "bad.zip", **{"actor.optimizer.pth": buffer.getvalue()})
    with pytest.raises(SavedFileError, match=r"bad.zip.*`actor.optimizer` has `exp_avg` of shape \(3,\)"):
        SoftAC.load(path)


def test_an_agent_of_another_algorithm_is_refused(tmp_path):
    PPO("MlpPolicy", gym.make("CartPole-v1"), n_steps=8, batch_size=8).save(tmp_path / "ppo.zip")
    with pytest.raises(SavedFileError, match=r"ppo.zip.*another algorithm made it"):
        SoftAC.load(tmp_path / "ppo.zip", allow_pickle=True)


def test_a_damaged_replay_buffer_is_refused_and_the_own_one_stays(tmp_path):
    model = SoftAC("MlpPolicy", Target(), **SMALL).learn(40)
    own = model.replay_buffer
    model.save_replay_buffer(tmp_path / "buffer.pkl")
    content = (tmp_path / "buffer.pkl").read_bytes()
    middle = len(content) // 2
    for damaged in (content[:middle], content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :], b""):
        (tmp_path / "bad.pkl").write_bytes(damaged)
        with pytest.raises(SavedFileError, match=r"bad.pkl"):
            model.load_replay_buffer(tmp_path / "bad.pkl")
    assert model.replay_buffer is own


# One value


@pytest.mark.parametrize(
    "value",
    [
        (1, ("a", None)),
        {1: 2, ":": 3},
        float("inf"),
        np.float32(1.5),
        np.arange(6, dtype=np.uint8).reshape(2, 3),
        spaces.Box(-np.inf, 1.0, (2, 3)),
        spaces.Dict(b=spaces.MultiDiscrete([2, 3]), a=spaces.MultiBinary(4)),
        nn.ReLU,
        th.device("cuda:1"),
    ],
    ids=str,
)
def test_a_value_comes_back(value):
    writer = plain.Writer()
    tree = json.loads(json.dumps(writer.encode(value), allow_nan=False))
    assert writer.pickled == {}
    back = plain.decode(tree)
    assert type(back) is type(value)
    np.testing.assert_equal(back, value)
