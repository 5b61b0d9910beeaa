"""Every argument has a row, and an attribute that is changed later takes effect or is refused by name."""

import inspect
import math
import re
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.buffers import NStepReplayBuffer
from stable_baselines3.common.noise import NormalActionNoise
from torch import nn

from sb3_softac import SoftAC
from sb3_softac.buffers import SingleCopyReplayBuffer
from sb3_softac.policies import SoftACPolicy
from sb3_softac.settings.arguments import EngineSettings, RunSettings, SetUpSettings, UpdateSettings
from sb3_softac.settings.model import ARGUMENTS, ATTRIBUTES
from sb3_softac.settings.policy import PolicySettings
from sb3_softac.settings.rows import names_of
from tests.helpers import SMALL, DiscreteTarget, Target, ready

#: arguments that no attribute of the same name keeps
WITHOUT_A_ROW = ("policy", "env", "_init_setup_model")

#: for each argument, values that are wrong, and one that is right and not the default
WRONG: dict[str, list[Any]] = {
    "tau": [2.0, "fast", None],
    "target_update_interval": [0, 1.5],
    "actor_gradient": ["finite_differences"],
    "baseline": ["zero"],
    "n_action_samples": [0],
    "n_particles": [1, 2.5],
    "q_reduction": ["max", None],
    "actor_q_reduction": ["max"],
    "n_target_critics": [0, 3],
    "policy_delay": [0],
    "actor_tau": [0.0, 2.0],
    "q_target_clip": [0.0],
    "critic_ent_coef": [-1.0],
    "ent_coef_bounds": [(1.0, 0.1), 3.0],
    "max_grad_norm": [0.0, "big"],
    "diagnostics": ["none", True],
    "success_return": ["high", math.inf],
    "overlap": ["False", 1, None],
    "precision": ["float16"],
    "engine": ["warp", None],
    "learning_rate": [-1.0, math.nan, "fast", lambda progress: -1.0],
    "actor_learning_rate": [-1.0, lambda progress: math.nan],
    "critic_learning_rate": ["lin_-1", lambda progress: "x"],
    "ent_coef_learning_rate": [[1e-3], lambda progress: -1e-9],
    "reward_scale": [0.0, lambda progress: -1.0, lambda progress: math.nan],
    "normalize_rewards": [1, "False"],
    "joint_pass": [1, "False"],
    "noise_repeat": [0, 1.5],
    "reset_networks": [0, [], [20, 10], [0], "often"],
    "max_normalized_return": [0.0, -5.0],
    "target_entropy": ["low", 50.0, None, lambda progress: math.inf],
    "ent_coef": ["nonsense", -0.1, None],
    "gamma": [2.0, math.nan],
    "n_steps": [0, 1.5],
    "batch_size": [0, 2.5, "a", True],
    "learning_starts": [-1, "x"],
    "train_freq": [0, "never", (1, "minutes"), 10**12],
    "gradient_steps": [-5, 10**30],
    "action_noise": [0.1],
    "sde_sample_freq": [-3],
    "use_sde_at_warmup": ["False", 1],
    "stats_window_size": [0, 1.5],
    "tensorboard_log": [1],
    "verbose": [None, "loud"],
    "variant": ["v3", 1],
    "target_networks": [1, "False"],
    "use_sde": ["False", None],
    "buffer_size": [0, 10.5],
    "replay_buffer_class": ["HerReplayBuffer", dict],
    "replay_buffer_kwargs": ["a", {"n_steps": 3, "gamma": 5.0}, {"handle_timeout_termination": "False"}, {"size": 3}],
    "optimize_memory_usage": ["False"],
    "policy_kwargs": [3, {"net_arh": [8]}],
    "seed": [1.5, -1],
    "device": ["", True],
}


def make_model(**kwargs: Any) -> SoftAC:
    return SoftAC("MlpPolicy", Target(), **SMALL | {"seed": 0} | kwargs)


# A row for each argument


def test_every_argument_has_a_row_and_an_attribute():
    """Who adds an argument and forgets one of its four places sees it here."""
    signature = [name for name in inspect.signature(SoftAC).parameters if name not in WITHOUT_A_ROW]
    assert sorted(ARGUMENTS) == sorted(signature)
    model = make_model()
    assert [name for name in ARGUMENTS if not hasattr(model, ATTRIBUTES.get(name, name))] == []


def test_every_argument_is_described():
    described = re.findall(r":param (\w+):", SoftAC.__doc__)
    assert described == list(inspect.signature(SoftAC).parameters)


def test_every_argument_of_the_policy_has_a_row_and_is_described():
    own = ("observation_space", "action_space", "lr_schedule")
    signature = [name for name in inspect.signature(SoftACPolicy).parameters if name not in own]
    assert sorted(names_of(PolicySettings)) == sorted(signature)
    assert re.findall(r":param (\w+):", SoftACPolicy.__doc__) == [*own, *signature]


def test_the_values_below_are_of_all_arguments():
    assert sorted(WRONG) == sorted(ARGUMENTS)
    assert sorted(TAKES_EFFECT) == sorted(set(ARGUMENTS) - set(names_of(SetUpSettings)) - {"actor_tau"})


# Refusals


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_wrong_argument_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"`{name}`"):
        make_model(**{name: value}).learn(20)  # what a schedule returns is known only then


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_wrong_attribute_is_refused_by_name(name, value):
    model = make_model().learn(20)
    setattr(model, ATTRIBUTES.get(name, name), value)
    with pytest.raises(ValueError, match=f"`{name}`"):
        model.learn(20, reset_num_timesteps=False)
    with pytest.raises(ValueError, match=f"`{name}`"):  # not only the first time
        model.learn(20, reset_num_timesteps=False)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("activation_fn", "relu"),
        ("activation_fn", nn.Linear),
        ("optimizer_class", "adam"),
        ("optimizer_kwargs", 3),
        ("optimizer_kwargs", {"momentum": 0.5}),
        ("optimizer_kwargs", {"betas": (2.0, 0.9)}),
        ("features_extractor_class", "x"),
        ("features_extractor_class", dict),
        ("features_extractor_kwargs", 3),
        ("features_extractor_kwargs", {"depth": 3}),
        ("net_arch", [-3]),
        ("net_arch", [16.0]),
        ("net_arch", "256"),
        ("net_arch", {"pi": 16, "qf": 16}),
        ("net_arch", {"pi": [16]}),
        ("use_sde", True),
        ("log_std_init", float("-inf")),
        ("use_expln", "False"),
        ("clip_mean", "much"),
        ("normalize_images", 1),
        ("share_features_extractor", "no"),
        ("layer_norm", 1),
        ("n_components", 0),
        ("renorm_warmup_steps", -1),
    ],
    ids=str,
)
def test_a_wrong_argument_of_the_policy_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=name):
        make_model(policy_kwargs={"net_arch": [8], name: value})


def test_an_unknown_argument_of_the_policy_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match=r"`policy_kwargs` has the unknown key 'n_critic'; did you mean 'n_critics'\?"):
        make_model(policy_kwargs={"n_critic": 3})
    with pytest.raises(ValueError, match=r"`replay_buffer_kwargs` has the unknown key 'storag'.*'storage'"):
        make_model(replay_buffer_kwargs={"storag": "device"})


def test_a_change_that_is_refused_changes_nothing():
    model = make_model().learn(20)
    before = model._attributes.settings
    model.tau, model.batch_size = 0.5, -1
    with pytest.raises(ValueError, match="`batch_size`"):
        model.learn(20, reset_num_timesteps=False)
    assert model._attributes.settings is before
    model.batch_size = 8
    model.learn(20, reset_num_timesteps=False)
    assert model.current_settings().update.tau == 0.5


# What networks and buffer are made of


CHANGED = {
    "variant": "v1",
    "target_networks": False,
    "use_sde": True,
    "buffer_size": 100,
    "replay_buffer_class": NStepReplayBuffer,
    "replay_buffer_kwargs": {"storage": "host"},
    "optimize_memory_usage": True,
    "policy_kwargs": {"net_arch": [8]},
    "seed": 5,
    "device": "meta",
}


@pytest.mark.parametrize("name", names_of(SetUpSettings))
def test_what_networks_are_made_of_cannot_be_changed_later(name):
    model = make_model().learn(20)
    setattr(model, name, CHANGED[name])
    # gSDE is refused for the actor that is there without it.
    with pytest.raises(ValueError, match=f"`{name}=?.*(cannot be changed|is made with)"):
        model.learn(20, reset_num_timesteps=False)


def test_a_dict_of_arguments_that_is_changed_in_place_is_seen():
    model = make_model()
    model.policy_kwargs["net_arch"] = [4]
    with pytest.raises(ValueError, match=r"`policy_kwargs` was .* cannot be changed"):
        model.learn(20)


def test_the_same_value_again_is_no_change():
    model = make_model()
    model.variant, model.buffer_size, model.policy_kwargs = "v2", 500.0, dict(model.policy_kwargs)
    model.learn(20)
    assert model.buffer_size == 500


# What takes effect


TAKES_EFFECT: dict[str, Any] = {
    "tau": 0.5,
    "target_update_interval": 2,
    "actor_gradient": "score_function",
    "baseline": "none",
    "n_action_samples": 3,
    "n_particles": 8,
    "q_reduction": "mean",
    "actor_q_reduction": "mean",
    "n_target_critics": 1,
    "policy_delay": 2,
    "q_target_clip": 0.5,
    "critic_ent_coef": 0.1,
    "ent_coef_bounds": (0.1, 0.2),
    "max_grad_norm": 1.0,
    "diagnostics": "off",
    "success_return": 10.0,
    "overlap": True,
    "precision": "bfloat16",
    "engine": "fused",
    "learning_rate": 1e-5,
    "actor_learning_rate": 1e-5,
    "critic_learning_rate": "lin_1e-2",
    "ent_coef_learning_rate": 0.5,
    "reward_scale": "lin_2_4",
    "normalize_rewards": True,
    "noise_repeat": 16,
    "reset_networks": [15, 30],
    "joint_pass": True,
    "max_normalized_return": None,
    "target_entropy": -1.0,
    "ent_coef": 0.01,
    "gamma": 0.5,
    "n_steps": 3,
    "batch_size": 8,
    "learning_starts": 5,
    "train_freq": (1, "episode"),
    "gradient_steps": 3,
    "action_noise": NormalActionNoise(np.zeros(2), np.ones(2)),
    "sde_sample_freq": 4,
    "use_sde_at_warmup": True,
    "stats_window_size": 5,
    "tensorboard_log": None,
    "verbose": False,
}


@pytest.mark.filterwarnings("ignore:`precision='bfloat16'` works on this CPU")
@pytest.mark.parametrize("name", TAKES_EFFECT)
def test_an_attribute_takes_effect_at_the_next_training(name):
    """The settings, engine and temperature that the next training uses are those of a model made with the new value."""
    model = make_model(batch_size=16).learn(20)
    setattr(model, ATTRIBUTES.get(name, name), TAKES_EFFECT[name])
    model.learn(20, reset_num_timesteps=False)
    settings, expected = model.current_settings(), make_model(**{name: TAKES_EFFECT[name]}).current_settings()
    for table in (UpdateSettings, EngineSettings):
        part = "update" if table is UpdateSettings else "engine"
        assert getattr(settings, part) == getattr(expected, part)
    for field in fields(RunSettings):
        ours, theirs = getattr(settings.run, field.name), getattr(expected.run, field.name)
        is_schedule = callable(ours) and field.name != "action_noise"
        assert (ours(0.3) == theirs(0.3)) if is_schedule else (ours == theirs), field.name


def test_an_engine_is_made_anew_for_every_setting_of_the_update():
    model = ready(make_model())
    for name in set(names_of(UpdateSettings)) - {"actor_tau"}:  # an average cannot be had later
        engine = model._current_engine()
        assert model._current_engine() is engine
        setattr(model, name, TAKES_EFFECT[name])
        assert model._current_engine() is not engine, name


def test_the_learning_rate_and_the_temperature_that_are_set_later_are_used():
    model = make_model().learn(20)
    model.learning_rate, model.ent_coef = 1e-5, 0.01
    model.learn(20, reset_num_timesteps=False)
    assert float(model.actor.optimizer.param_groups[0]["lr"]) == pytest.approx(1e-5)
    assert model.temperature.alpha().item() == pytest.approx(0.01)
    model.ent_coef = "auto_0.5"
    model.train(1, batch_size=16)
    assert model.log_ent_coef.exp().item() == pytest.approx(0.5, rel=1e-3)


def test_a_schedule_that_a_callback_sets_is_used():
    model = make_model().learn(20)
    model.lr_schedule = lambda progress: 1e-6
    model.learn(20, reset_num_timesteps=False)
    assert float(model.actor.optimizer.param_groups[0]["lr"]) == pytest.approx(1e-6)


@pytest.mark.parametrize("engine", ["fused", "eager"])
def test_another_engine_runs_the_next_training(engine):
    model = make_model().learn(20)
    model.engine = engine
    model.learn(20, reset_num_timesteps=False)
    assert model._engine.name == engine
    assert model.critic.qf0.is_fused is (engine == "fused")


def test_a_buffer_that_keeps_its_returns_refuses_others():
    model = make_model(replay_buffer_class=NStepReplayBuffer, n_steps=3, replay_buffer_kwargs={})
    model.learn(20)
    model.n_steps = 2
    for _ in range(2):  # not only the first time
        with pytest.raises(ValueError, match=r"`n_steps=2`.*returns of 3 step"):
            model.learn(20, reset_num_timesteps=False)


def test_our_buffer_follows():
    model = make_model().learn(20)
    model.n_steps, model.gamma = 3, 0.5
    model.learn(20, reset_num_timesteps=False)
    assert isinstance(model.replay_buffer, SingleCopyReplayBuffer)
    assert (model.replay_buffer.n_steps, model.replay_buffer.gamma) == (3, 0.5)


# The user's own words


def test_schedules_stay_the_words_that_the_user_gave():
    model = make_model(learning_rate="lin_2", reward_scale="lin_3_1", target_entropy="lin_-1_-2").learn(20)
    assert (model.learning_rate, model.reward_scale, model.target_entropy) == ("lin_2", "lin_3_1", "lin_-1_-2")


def test_numbers_are_plain_numbers():
    model = make_model(gamma=np.float32(0.5), batch_size=np.int64(16), tau="1e-2", learning_starts=1e1)
    assert [type(value) for value in (model.gamma, model.batch_size, model.tau, model.learning_starts)] == [
        float,
        int,
        float,
        int,
    ]
    assert model.target_entropy == -2.0


def test_discrete_target_entropy_is_a_number():
    model = SoftAC("MlpPolicy", DiscreteTarget(), **SMALL)
    assert model.target_entropy == pytest.approx(0.98 * math.log(3))


def test_a_loaded_model_has_the_settings_that_were_saved(tmp_path):
    model = make_model(reward_scale="lin_3_1", n_steps=2, max_grad_norm=5, train_freq=(2, "step")).learn(20)
    model.save(tmp_path / "model.zip")
    loaded = SoftAC.load(tmp_path / "model.zip")
    assert loaded.current_settings().update == model.current_settings().update
    assert loaded.reward_scale == "lin_3_1"
    assert loaded.train_freq == model.train_freq
    th.testing.assert_close(loaded.policy.state_dict(), model.policy.state_dict())
