"""The search space: SoftAC accepts what is drawn, and a stored trial gives the same arguments again."""

import inspect
from typing import Any

import optuna
import pytest
from optuna.samplers import RandomSampler

from sb3_softac import SoftAC
from sb3_softac.zoo.sampler import SEARCH_SPACE, convert_softac_params, sample_softac_params

PLAIN = {"using_her_replay_buffer": False, "her_kwargs": {}}
HER = {"using_her_replay_buffer": True, "her_kwargs": {"copy_info_dict": True}}


def draw(n_trials=20, n_actions=3, additional_args=PLAIN, storage=None, **fixed) -> tuple[optuna.Study, list]:
    """A study of random trials, and what the sampler returned for each."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=RandomSampler(seed=0), study_name="study", storage=storage)
    for name, value in fixed.items():
        study.set_user_attr(name, value)
    drawn: list[dict[str, Any]] = []

    def objective(trial: optuna.Trial) -> float:
        drawn.append(sample_softac_params(trial, n_actions, 1, dict(additional_args)))
        return 0.0

    study.optimize(objective, n_trials=n_trials)
    return study, drawn


@pytest.mark.parametrize("n_actions", [0, 1, 17])
def test_a_stored_trial_gives_the_same_arguments(n_actions, tmp_path):
    storage = f"sqlite:///{tmp_path}/study.db"
    _, drawn = draw(n_trials=5, n_actions=n_actions, storage=storage)
    read_back = optuna.load_study(study_name="study", storage=storage)
    assert [convert_softac_params(trial.params) for trial in read_back.trials] == drawn
    read_back._storage.remove_session()
    read_back._storage._backend.engine.dispose()


def test_a_stored_trial_with_her(tmp_path):
    study, drawn = draw(n_trials=5, additional_args=HER)
    for trial, hyperparams in zip(study.trials, drawn, strict=True):
        read_back = convert_softac_params(trial.params)
        assert read_back == hyperparams
        # What the hyperparameter file fixes too: the zoo puts the trial's in the place of the file's.
        assert read_back["replay_buffer_kwargs"]["copy_info_dict"] is True
        assert set(read_back["replay_buffer_kwargs"]) == {"n_sampled_goal", "goal_selection_strategy", "copy_info_dict"}


@pytest.mark.parametrize("additional_args", [PLAIN, HER])
def test_every_drawn_argument_is_one_of_the_constructor(additional_args):
    _, drawn = draw(additional_args=additional_args)
    allowed = set(inspect.signature(SoftAC).parameters)
    assert all(set(hyperparams) <= allowed for hyperparams in drawn)


def test_drawn_arguments_build_a_model():
    _, drawn = draw(n_trials=10, n_actions=1)
    for hyperparams in drawn:
        model = SoftAC("MlpPolicy", "Pendulum-v1", buffer_size=1000, device="cpu", **hyperparams)
        assert model.actor_learning_rate is not None


def test_what_is_drawn_becomes_the_argument():
    trial = {
        "one_minus_gamma": 0.01,
        "batch_size_pow": 8,
        "learning_rate": 1e-3,
        "train_freq": 4,
        "tau": 0.01,
        "net_arch": "small",
        "ent_coef_init": 0.1,
        "target_entropy_factor": 0.7,
        "actor_lr_ratio": 0.5,
        "critic_lr_ratio": 2.0,
        "update_ratio": 0.5,
        "policy_delay": 2,
        "n_critics": 3,
        "layer_norm": True,
        "max_grad_norm": None,
        "n_steps": 3,
    }
    assert convert_softac_params(trial) == {
        "gamma": 0.99,
        "batch_size": 256,
        "learning_rate": 1e-3,
        "train_freq": 4,
        "tau": 0.01,
        "ent_coef": "auto_0.1",
        "target_entropy": "auto_0.7",
        "actor_learning_rate": 5e-4,
        "critic_learning_rate": 2e-3,
        "gradient_steps": 2,
        "policy_delay": 2,
        "max_grad_norm": None,
        "n_steps": 3,
        "target_networks": True,
        "policy_kwargs": {"net_arch": [64, 64], "n_critics": 3, "layer_norm": True},
    }


def test_at_least_one_gradient_step():
    study, _ = draw(n_trials=1)
    assert (
        convert_softac_params(study.trials[0].params | {"train_freq": 1, "update_ratio": 0.25})["gradient_steps"] == 1
    )


def test_discrete_actions_keep_the_target_entropy_below_the_uniform_policys():
    study, _ = draw(n_actions=0)
    assert all(trial.params["target_entropy_factor"] <= 0.98 for trial in study.trials)


@pytest.mark.parametrize(
    ("additional_args", "fixed", "has_n_steps"),
    [
        (PLAIN, {"policy": "MlpPolicy"}, True),
        (PLAIN, {}, True),
        (PLAIN, {"policy": "MultiInputPolicy"}, True),
        (PLAIN, {"policy": "MlpPolicy", "replay_buffer_class": "<class 'mine.Buffer'>"}, False),
        (PLAIN, {"optimize_memory_usage": "True"}, False),
        (PLAIN, {"optimize_memory_usage": "False"}, True),
        (HER, {"policy": "MultiInputPolicy"}, False),
    ],
)
def test_n_steps_only_where_the_replay_buffer_can(additional_args, fixed, has_n_steps):
    _, drawn = draw(n_trials=1, additional_args=additional_args, **fixed)
    assert ("n_steps" in drawn[0]) is has_n_steps


def test_there_are_no_fewer_critics_than_the_file_asks_for():
    _, drawn = draw(n_target_critics="3")
    assert {hyperparams["policy_kwargs"]["n_critics"] for hyperparams in drawn} == {3, 4}
    _, drawn = draw(n_trials=2, n_target_critics="5")
    assert {hyperparams["policy_kwargs"]["n_critics"] for hyperparams in drawn} == {5}


def test_networks_that_are_drawn_have_targets_whatever_the_file_says():
    """CrossQ's entries have none, but batch normalisation, which no drawn network has."""
    _, drawn = draw(n_trials=1, target_networks="False")
    assert drawn[0]["target_networks"] is True
    assert "batch_norm" not in drawn[0]["policy_kwargs"]


def test_the_space_is_flat():
    """Each trial draws the same names, which the zoo's multivariate TPE needs to model them together."""
    study, _ = draw()
    assert len({frozenset(trial.params) for trial in study.trials}) == 1
    assert set(SEARCH_SPACE) <= set(study.trials[0].params)
