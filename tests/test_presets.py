"""Presets are the numbers of their papers, construct, train, and are what the zoo's files have."""

import inspect
import sys

import numpy as np
import pytest
import yaml
from gymnasium import spaces

from sb3_softac import SoftAC, presets
from tests.helpers import DiscreteTarget, Target

NAMES = ("sac_v1", "discrete_sac", "redq", "droq", "crossq", "tqc", "simba", "xqc", "flashsac", "robust")
#: less to compute, and nothing else
SMALL = {"learning_starts": 16, "batch_size": 8, "buffer_size": 500}


def make(name: str, **changed) -> SoftAC:
    env = DiscreteTarget() if name == "discrete_sac" else Target()
    return SoftAC("auto", env, **getattr(presets, name)(**changed), device="cpu", seed=0)


@pytest.mark.parametrize("name", NAMES)
def test_each_preset_constructs_trains_and_loads(name, tmp_path):
    net_arch = {"pi": [8], "qf": [16]}
    model = make(name, **SMALL, policy_kwargs={"net_arch": net_arch}).learn(40)
    settings = getattr(presets, name)()
    updates = (40 - 16) * settings["gradient_steps"] // settings["train_freq"]
    assert abs(model._n_updates - updates) <= 1
    action, _ = model.predict(model.observation_space.sample(), deterministic=True)
    assert np.isfinite(action).all()
    model.save(tmp_path / "agent")
    loaded = SoftAC.load(tmp_path / "agent", env=model.get_env(), device="cpu").learn(5, reset_num_timesteps=False)
    assert loaded._n_updates > model._n_updates


@pytest.mark.parametrize("name", NAMES)
def test_the_numbers_reach_the_agent(name):
    given = getattr(presets, name)()
    model = make(name, buffer_size=10)
    kwargs = {key: value for key, value in given.items() if key not in ("policy_kwargs", "train_freq", "buffer_size")}
    assert {key: getattr(model, key) for key in kwargs if key not in ("target_entropy", "learning_rate")} == {
        key: value for key, value in kwargs.items() if key not in ("target_entropy", "learning_rate")
    }
    rate = given["learning_rate"]
    start, end = map(float, rate.split("_")[1:]) if isinstance(rate, str) else (rate, rate)
    assert [model.lr_schedule(1.0), model.lr_schedule(0.0)] == pytest.approx([start, end])
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


def test_the_numbers_of_newer_recipes():
    """Part by part, as their papers and published code have them."""
    common = {"buffer_size": 1_000_000, "gamma": 0.99, "ent_coef": "auto_0.01"}
    tqc = presets.tqc()
    assert tqc.items() >= {"learning_rate": 3e-4, "batch_size": 256, "tau": 0.005, "actor_q_reduction": "mean"}.items()
    assert tqc["policy_kwargs"] == {
        **{"net_arch": {"pi": [256, 256], "qf": [512, 512, 512]}, "n_critics": 5, "critic_head": "quantile"},
        "critic_head_kwargs": {"n_quantiles": 25, "n_dropped": 2},
    }
    simba = presets.simba()
    numbers = {"learning_rate": 1e-4, "batch_size": 256, "tau": 0.005, "target_entropy": "auto_0.5"}
    assert simba.items() >= (common | numbers | {"learning_starts": 5000, "gradient_steps": 1}).items()
    assert simba["policy_kwargs"] == {
        **{"net_arch": {"pi": [128], "qf": [512, 512]}, "n_critics": 2, "blocks": "simba", "normalize_obs": True},
        "optimizer_kwargs": {"weight_decay": 0.01, "decoupled_weight_decay": True},
    }
    by_batch = {
        **{"n_critics": 2, "batch_norm": True, "batch_norm_momentum": 0.01, "renorm_warmup_steps": None},
        **{"critic_head": "categorical", "critic_head_kwargs": {"n_atoms": 101, "low": -5.0, "high": 5.0}},
        "log_std_bounds": (-10.0, 2.0),
    }
    xqc = presets.xqc()
    numbers |= {"learning_rate": "lin_3e-4_3e-5", "learning_starts": 5000, "gradient_steps": 2, "policy_delay": 3}
    assert xqc.items() >= (common | numbers | {"joint_pass": True, "normalize_rewards": True}).items()
    assert "max_normalized_return" not in xqc
    assert xqc["policy_kwargs"] == by_batch | {
        **{"net_arch": {"pi": [256] * 4, "qf": [512] * 4}, "blocks": "xqc", "unit_norm_weights": "linear"},
    }
    flashsac = presets.flashsac()
    numbers = {"learning_rate": "lin_3e-4_1.5e-4", "batch_size": 512, "tau": 0.01, "target_entropy": "auto_0.478"}
    numbers |= {"learning_starts": 10_000, "gradient_steps": 1, "policy_delay": 2, "joint_pass": True}
    numbers |= {"noise_repeat": 16, "normalize_rewards": True, "max_normalized_return": 5.0}
    assert flashsac.items() >= (common | numbers).items()
    assert flashsac["policy_kwargs"] == by_batch | {
        **{"net_arch": {"pi": [128] * 2, "qf": [256] * 2}, "blocks": "flashsac", "unit_norm_weights": "all"},
        "squash_log_std": True,
    }
    smaller = {"learning_rate": 3e-4, "batch_size": 256, "learning_starts": 5000}
    kwargs = flashsac["policy_kwargs"] | {"net_arch": {"pi": [64], "qf": [128]}}
    assert presets.robust() == flashsac | smaller | {"policy_kwargs": kwargs}
    # sigma = 0.15, for each dimension: log(2 pi e sigma^2) / 2
    assert 0.5 * np.log(2 * np.pi * np.e * 0.15**2) == pytest.approx(-0.478, abs=5e-4)


@pytest.mark.parametrize("name", ["simba", "xqc", "flashsac"])
def test_the_networks_are_as_large_as_those_of_the_papers(name):
    """Weights of a critic for HalfCheetah's 17 observations and 6 actions, counted by hand."""
    expected = {
        "simba": 23 * 512 + 512 + 2 * (2 * 512 + 8 * 512 * 512 + 5 * 512) + 2 * 512 + 512 + 1,
        "xqc": 2 * 23 + 23 * 512 + 3 * 512 * 512 + 4 * 2 * 512 + 512 * 101 + 101,
        "flashsac": 2 * 23 + 23 * 256 + 2 * (8 * 256 * 256 + 2 * 1280) + 256 + 256 * 101 + 101,
    }[name]
    env = Target(spaces.Box(-1.0, 1.0, (17,)), spaces.Box(-1.0, 1.0, (6,)))
    model = SoftAC("auto", env, **getattr(presets, name)(buffer_size=10), device="cpu")
    assert sum(parameter.numel() for parameter in model.critic.qf0.parameters()) == expected


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


@pytest.mark.parametrize(("name", "rates", "updates"), [("crossq", (1e-3, 1e-3), 20), ("xqc", (3e-4, 3e-5), 40)])
def test_the_zoo_trains_by_the_name_of_a_preset(tmp_path, monkeypatch, name, rates, updates):
    pytest.importorskip("rl_zoo3", reason="needs the extra `zoo`")
    from rl_zoo3 import train
    from rl_zoo3.exp_manager import ExperimentManager

    import sb3_softac.zoo

    sb3_softac.zoo.register()
    options = ["--algo", "softac", "--env", "Pendulum-v1", "--conf-file", name, "-n", "30", "--eval-freq", "-1"]
    options += ["-f", str(tmp_path), "--num-threads", "1", "-params", "learning_starts:10", "buffer_size:300"]
    monkeypatch.setattr(sys, "argv", ["train", *options])
    learned = []
    monkeypatch.setattr(ExperimentManager, "save_trained_model", lambda self, model: learned.append(model))
    train.train()
    assert learned[0].policy_delay == getattr(presets, name)()["policy_delay"]
    assert (learned[0].lr_schedule(1.0), learned[0].lr_schedule(0.0)) == pytest.approx(rates)
    assert learned[0]._n_updates == updates
