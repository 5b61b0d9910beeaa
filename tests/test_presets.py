"""Presets are the numbers of their papers, construct, train, and are what the zoo's files have."""

import inspect
import sys

import numpy as np
import pytest
import yaml

from sb3_softac import SoftAC, presets
from tests.helpers import DiscreteTarget, Target

NAMES = ("sac_v1", "discrete_sac", "redq", "droq", "crossq")
#: less to compute, and nothing else
SMALL = {"learning_starts": 16, "batch_size": 8, "buffer_size": 500}


def make(name: str, **changed) -> SoftAC:
    env = DiscreteTarget() if name == "discrete_sac" else Target()
    return SoftAC("auto", env, **getattr(presets, name)(**changed), device="cpu", seed=0)


@pytest.mark.parametrize("name", NAMES)
def test_each_preset_constructs_and_trains(name):
    net_arch = {"pi": [8], "qf": [16]}
    model = make(name, **SMALL, policy_kwargs={"net_arch": net_arch}).learn(130)
    settings = getattr(presets, name)()
    updates = (130 - 16) * settings["gradient_steps"] // settings["train_freq"]
    assert abs(model._n_updates - updates) <= 1
    action, _ = model.predict(model.observation_space.sample(), deterministic=True)
    assert np.isfinite(action).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_numbers_reach_the_agent(name):
    given = getattr(presets, name)()
    model = make(name, buffer_size=10)
    kwargs = {key: value for key, value in given.items() if key not in ("policy_kwargs", "train_freq", "buffer_size")}
    assert {key: getattr(model, key) for key in kwargs if key not in ("target_entropy", "learning_rate")} == {
        key: value for key, value in kwargs.items() if key not in ("target_entropy", "learning_rate")
    }
    assert model.lr_schedule(1.0) == given["learning_rate"]
    assert model.train_freq.frequency == given["train_freq"]
    assert model.critic.n_critics == given["policy_kwargs"].get("n_critics", 2)
    assert (model.policy.critic_target is None) == (name in ("sac_v1", "crossq"))


def test_the_papers_numbers():
    common = {"learning_rate": 3e-4, "buffer_size": 1_000_000, "batch_size": 256, "gamma": 0.99, "tau": 0.005}
    sac_v1 = presets.sac_v1()
    assert sac_v1.items() >= (common | {"variant": "v1", "reward_scale": 5.0, "gradient_steps": 1}).items()
    many = common | {"gradient_steps": 20, "policy_delay": 20, "learning_starts": 5000, "actor_q_reduction": "mean"}
    redq, droq, crossq = presets.redq(), presets.droq(), presets.crossq()
    assert redq.items() >= (many | {"n_target_critics": 2}).items()
    assert redq["policy_kwargs"] == {"net_arch": [256, 256], "n_critics": 10}
    assert droq.items() >= many.items()
    assert droq["policy_kwargs"] == {"net_arch": [256, 256], "n_critics": 2, "dropout": 0.01, "layer_norm": True}
    del common["tau"]
    crossq_numbers = {"learning_rate": 1e-3, "policy_delay": 3, "target_networks": False, "gradient_steps": 1}
    assert crossq.items() >= (common | crossq_numbers | {"learning_starts": 5000}).items()
    assert crossq["policy_kwargs"] == {
        "net_arch": {"pi": [256, 256], "qf": [2048, 2048]},
        "n_critics": 2,
        "optimizer_kwargs": {"betas": (0.5, 0.999)},
        "batch_norm": True,
        "batch_norm_momentum": 0.01,
        "renorm_warmup_steps": 100_000,
    }
    discrete = presets.discrete_sac()
    target = {"tau": 1.0, "target_update_interval": 2000, "train_freq": 4, "gradient_steps": 1}  # 8000 steps
    assert discrete.items() >= ({"batch_size": 64, "learning_starts": 20_000, "gamma": 0.99} | target).items()
    assert discrete["target_entropy"] == "auto_0.98"


def test_arguments_take_the_place_of_the_papers_and_those_of_the_policy_are_merged():
    before = presets.crossq()
    changed = presets.crossq(batch_size=512, seed=1, policy_kwargs={"n_critics": 4, "net_arch": [64]})
    kwargs = before["policy_kwargs"] | {"n_critics": 4, "net_arch": [64]}
    assert changed == before | {"batch_size": 512, "seed": 1, "policy_kwargs": kwargs}
    assert presets.crossq(policy_kwargs=None) == before


def test_what_a_user_writes_into_a_preset_is_not_kept():
    presets.redq()["policy_kwargs"]["net_arch"].append(1)
    presets.droq()["policy_kwargs"]["n_critics"] = 7
    presets.crossq()["policy_kwargs"]["optimizer_kwargs"]["betas"] = None
    assert presets.redq()["policy_kwargs"]["net_arch"] == [256, 256]
    assert presets.droq()["policy_kwargs"]["n_critics"] == 2
    assert presets.crossq()["policy_kwargs"]["optimizer_kwargs"] == {"betas": (0.5, 0.999)}


def test_an_unknown_argument_is_refused():
    with pytest.raises(TypeError, match="batchsize"):
        make("crossq", batchsize=3)


def test_every_preset_is_in_the_zoo():
    zoo = pytest.importorskip("sb3_softac.zoo")
    functions = inspect.getmembers(presets, inspect.isfunction)
    public = {name for name, value in functions if value.__module__ == presets.__name__ and not name.startswith("_")}
    assert public == set(NAMES) == set(zoo.PRESETS)


@pytest.mark.parametrize("name", NAMES)
def test_the_zoos_files_have_the_same_numbers(name):
    zoo = pytest.importorskip("sb3_softac.zoo")
    (entry,) = yaml.safe_load(zoo.hyperparams_file(f"presets/{name}").read_text()).values()
    entry["policy_kwargs"] = eval(entry["policy_kwargs"])
    assert {entry.pop(key) for key in ("policy", "replay_buffer_class")} == {"auto"}
    assert entry.pop("n_timesteps") == 1e6
    assert entry == getattr(presets, name)()


def test_the_zoo_trains_by_the_name_of_a_preset(tmp_path, monkeypatch):
    pytest.importorskip("rl_zoo3", reason="needs the extra `zoo`")
    from rl_zoo3 import train
    from rl_zoo3.exp_manager import ExperimentManager

    import sb3_softac.zoo

    sb3_softac.zoo.register()
    options = ["--algo", "softac", "--env", "Pendulum-v1", "--conf-file", "crossq", "-n", "30", "--eval-freq", "-1"]
    options += ["-f", str(tmp_path), "--num-threads", "1", "-params", "learning_starts:10", "buffer_size:300"]
    monkeypatch.setattr(sys, "argv", ["train", *options])
    learned = []
    monkeypatch.setattr(ExperimentManager, "save_trained_model", lambda self, model: learned.append(model))
    train.train()
    assert learned[0].target_networks is False
    assert learned[0].policy_delay == 3
    assert learned[0].lr_schedule(1.0) == 1e-3
    assert learned[0]._n_updates == 20
