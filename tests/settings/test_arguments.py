"""Bad input is refused with the argument's name, what was given and what is allowed; good input is normalised."""

import math

import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import PPO, SAC, HerReplayBuffer

from sb3_softac import SoftAC
from sb3_softac.settings import arguments
from tests.helpers import Target, dict_space

REFUSED = [
    ("buffer_size", 0),
    ("buffer_size", -5),
    ("buffer_size", 10.5),
    ("buffer_size", "many"),
    ("batch_size", 0),
    ("batch_size", True),
    ("learning_starts", -1),
    ("n_steps", 0),
    ("target_update_interval", 0),
    ("n_action_samples", 0),
    ("policy_delay", 0),
    ("policy_delay", 1.5),
    ("n_target_critics", 0),
    ("n_target_critics", 3),
    ("actor_q_reduction", "max"),
    ("gradient_steps", -2),
    ("sde_sample_freq", -3),
    ("tau", -0.1),
    ("tau", 1.1),
    ("tau", "fast"),
    ("gamma", -0.01),
    ("gamma", 1.01),
    ("gamma", math.nan),
    ("gamma", 10**400),
    ("batch_size", -(10**400)),
    ("train_freq", 0),
    ("train_freq", (1, "minutes")),
    ("train_freq", (0, "episode")),
    ("train_freq", 1.5),
    ("train_freq", (1, 2, 3)),
    ("learning_rate", -1e-3),
    ("learning_rate", math.inf),
    ("learning_rate", "fast"),
    ("learning_rate", "lin_fast"),
    ("learning_rate", {"actor": 1e-3}),
    ("actor_learning_rate", -1.0),
    ("critic_learning_rate", "lin_-1"),
    ("ent_coef_learning_rate", [1e-3]),
    ("ent_coef", -0.1),
    ("ent_coef", "automatic"),
    ("ent_coef", "auto_"),
    ("ent_coef", "auto_0"),
    ("ent_coef", "auto_-1"),
    ("ent_coef", "learned"),
    ("ent_coef", None),
    ("target_entropy", "auto_x"),
    ("target_entropy", "low"),
    ("target_entropy", math.inf),
    ("target_entropy", None),
    ("reward_scale", 0.0),
    ("reward_scale", -1.0),
    ("reward_scale", "lin_0"),
    ("reward_scale", "lin_5_0"),
    ("critic_learning_rate", "lin_1_-1"),
    ("target_entropy", "lin_1_"),
    ("target_entropy", "lin_1_2_3"),
    ("max_grad_norm", 0.0),
    ("max_grad_norm", "big"),
    ("variant", "v3"),
    ("engine", "warp"),
]


@pytest.mark.parametrize(("name", "value"), REFUSED, ids=str)
def test_refusals_name_the_argument_and_the_value(name, value):
    with pytest.raises(ValueError, match="must be") as refusal:
        SoftAC("MlpPolicy", Target(), **{"buffer_size": 10, name: value})
    message = str(refusal.value)
    assert f"`{name}` must be" in message
    wrong_part = {(1, "minutes"): "minutes", (0, "episode"): 0, "lin_fast": "fast", "lin_-1": "-1", "lin_0": "0"}
    wrong_part |= {"lin_5_0": "0", "lin_1_-1": "-1", "lin_1_": "", "lin_1_2_3": "2_3"}
    wrong_part |= {"auto_": "", "auto_0": "0", "auto_-1": "-1", "auto_x": "x"}
    shown = value if isinstance(value, (dict, list)) else wrong_part.get(value, value)
    assert f"{shown!r} was given" in message


@pytest.mark.parametrize("n_critics", [0, -1, 1.5, "two"])
def test_number_of_critics(n_critics):
    with pytest.raises(ValueError, match="`n_critics` must be a whole number of at least 1"):
        SoftAC("MlpPolicy", Target(), buffer_size=10, policy_kwargs={"n_critics": n_critics})


@pytest.mark.parametrize("steps", [-1, 10.5, "1e6", None])
def test_total_timesteps(steps):
    model = SoftAC("MlpPolicy", Target(), buffer_size=10)
    with pytest.raises(ValueError, match="`total_timesteps`"):
        model.learn(steps)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (spaces.MultiDiscrete(np.array([[2, 3]])), "in one row"),
        (spaces.Discrete(3, start=1), "start at 0"),
        (spaces.MultiBinary(3), "Box, Discrete or MultiDiscrete.*MultiBinary"),
        (spaces.Box(-np.inf, np.inf, (1,)), "finite bounds"),
        (spaces.Box(-1.0, np.inf, (1,)), "finite bounds"),
        (spaces.Box(-3e38, 3e38, (1,)), "finite bounds"),
        (spaces.Box(1.0, 1.0, (1,)), "`low` below `high`"),
        (spaces.Box(0, 5, (2,), np.int32), "are floats.*float32 and round"),
    ],
    ids=str,
)
def test_action_spaces_that_are_refused(space, message):
    with pytest.raises(ValueError, match=message):
        SoftAC("MlpPolicy", Target(action_space=space), buffer_size=10)


def test_wide_action_bounds_warn_and_work():
    with pytest.warns(UserWarning, match="bounds exceed 10"):
        model = SoftAC("MlpPolicy", Target(action_space=spaces.Box(-30.0, 30.0, (1,))), buffer_size=10)
    assert model.predict(np.zeros(3))[0].shape == (1,)


def test_combinations_that_make_no_sense():
    with pytest.raises(ValueError, match=r"`n_action_samples=2`.*gSDE"):
        SoftAC("MlpPolicy", Target(), buffer_size=10, use_sde=True, n_action_samples=2)
    with pytest.raises(ValueError, match=r"`optimize_memory_usage=True`.*Dict"):
        SoftAC("MultiInputPolicy", Target(dict_space()), buffer_size=10, optimize_memory_usage=True)
    with pytest.raises(ValueError, match="MultiInputPolicy"):
        SoftAC("MlpPolicy", Target(dict_space()), buffer_size=10)


def test_episodes_need_one_environment():
    from stable_baselines3.common.env_util import make_vec_env

    with pytest.raises(ValueError, match="`train_freq` in episodes needs one environment, but there are 2"):
        SoftAC("MlpPolicy", make_vec_env(Target, 2), buffer_size=10, train_freq=(1, "episode"))


@pytest.mark.parametrize("policy", [SAC.policy_aliases["MlpPolicy"], PPO.policy_aliases["MlpPolicy"], 7])
def test_policy_classes_of_other_algorithms(policy):
    with pytest.raises(ValueError, match=r"`policy` must be 'auto', 'MlpPolicy'.*from_sac"):
        SoftAC(policy, Target(), buffer_size=10)


def test_unknown_policy_name():
    with pytest.raises(ValueError, match="FancyPolicy"):
        SoftAC("FancyPolicy", Target(), buffer_size=10)


def test_environment_is_needed():
    with pytest.raises(ValueError, match="`env`"):
        SoftAC("MlpPolicy", None)


def test_hindsight_needs_the_environment():
    model = SoftAC("MlpPolicy", Target(), buffer_size=10)
    model.replay_buffer_class, model.env = HerReplayBuffer, None
    with pytest.raises(ValueError, match="set_env"):
        model._make_replay_buffer()


@pytest.mark.parametrize(
    ("value", "expected"),
    [("auto", -6.0), ("auto_0.5", -3.0), (-1, -1.0), ("-2.5", -2.5), (np.float32(0.5), 0.5)],
)
def test_target_entropy_of_a_box(value, expected):
    space = spaces.Box(-1.0, 1.0, (2, 3))
    assert arguments.read_target_entropy("target_entropy", value, space).at(1.0) == (expected, 0.0)


def test_target_entropy_of_a_discrete_space():
    space = spaces.Discrete(4)
    assert arguments.read_target_entropy("target_entropy", "auto", space).offset == pytest.approx(0.98 * math.log(4))
    assert arguments.read_target_entropy("target_entropy", "auto_0.5", space).offset == pytest.approx(0.5 * math.log(4))


@pytest.mark.parametrize(
    ("value", "expected"), [(4, (4, "step")), ((2, "episode"), (2, "episode")), ([3, "step"], (3, "step"))]
)
def test_train_freq(value, expected):
    frequency = arguments.read_train_freq("train_freq", value)
    assert (frequency.frequency, frequency.unit.value) == expected
    assert arguments.read_train_freq("train_freq", frequency) == frequency


def test_a_batch_that_the_buffer_cannot_hold_warns():
    model = SoftAC("MlpPolicy", Target(), buffer_size=10, batch_size=11, learning_starts=5)
    with pytest.warns(UserWarning, match=r"`batch_size=11` is more than the replay buffer holds \(`buffer_size=10`\)"):
        model.learn(8)


@pytest.mark.parametrize("dropout", [-0.1, 1.0, "much"])
def test_dropout_is_a_probability(dropout):
    with pytest.raises(ValueError, match=r"`dropout` must be a number from 0 to below 1"):
        SoftAC("MlpPolicy", Target(), buffer_size=10, policy_kwargs={"dropout": dropout})


def test_a_score_function_that_no_argument_names_needs_samples_to_leave_out():
    space = spaces.MultiDiscrete([7] * 4)  # too many joint actions to list
    with pytest.raises(ValueError, match="needs at least two samples in a state"):
        SoftAC("MlpPolicy", Target(action_space=space), baseline="leave_one_out")
    kwargs = {"learning_starts": 8, "batch_size": 8, "buffer_size": 50, "policy_kwargs": {"net_arch": [8]}}
    SoftAC("MlpPolicy", Target(action_space=space), baseline="leave_one_out", n_action_samples=2, **kwargs).learn(20)


@pytest.mark.parametrize(
    ("name", "value", "argument"),
    [("target_networks", False, "target_networks"), ("variant", "v1", "variant"), ("actor_average", True, "actor_tau")],
)
def test_arguments_of_the_policy_that_others_decide(name, value, argument):
    with pytest.raises(ValueError, match=rf"which the argument `{argument}` of SoftAC decides"):
        SoftAC("MlpPolicy", Target(), policy_kwargs={name: value})
    other = SoftAC("MlpPolicy", Target(), buffer_size=10)
    SoftAC("MlpPolicy", Target(), buffer_size=10, policy_kwargs=other.policy_kwargs)  # of a model: agree


@pytest.mark.parametrize("env", [5, Target, [Target()]])
def test_what_is_no_environment(env):
    with pytest.raises(ValueError, match="not a Gymnasium environment"):
        SoftAC("MlpPolicy", env)
