"""What rl_zoo3 knows after `extend`; on the real rl_zoo3 where nothing can break, on stand-ins elsewhere."""

import argparse
from types import ModuleType, SimpleNamespace

import pytest
import rl_zoo3.exp_manager
import rl_zoo3.hyperparams_opt
import rl_zoo3.utils

from sb3_softac import SoftAC
from sb3_softac.zoo import ALGO, extend, hyperparams_file, register
from sb3_softac.zoo.sampler import convert_softac_params, sample_softac_params


def manager(tmp_path, algo=ALGO, **kwargs):
    register()
    return rl_zoo3.exp_manager.ExperimentManager(argparse.Namespace(), algo, "Pendulum-v1", str(tmp_path), **kwargs)


def test_register_adds_the_algorithm_everywhere_and_twice_is_once():
    register()
    first = rl_zoo3.exp_manager.ExperimentManager.__init__
    register()
    assert rl_zoo3.utils.ALGOS["softac"] is rl_zoo3.ALGOS["softac"] is SoftAC
    assert rl_zoo3.hyperparams_opt.HYPERPARAMS_SAMPLER["softac"] is sample_softac_params
    assert rl_zoo3.hyperparams_opt.HYPERPARAMS_CONVERTER["softac"] is convert_softac_params
    assert rl_zoo3.exp_manager.ExperimentManager.__init__ is first


def test_our_file_is_the_default_for_our_algorithm(tmp_path):
    assert manager(tmp_path).config == str(hyperparams_file())


def test_a_conf_file_of_the_user_wins(tmp_path):
    assert manager(tmp_path, config="mine.yml").config == "mine.yml"


def test_other_algorithms_keep_their_own_file(tmp_path):
    config = manager(tmp_path, algo="sac").config
    assert config.endswith("sac.yml")
    assert config != str(hyperparams_file())


def test_an_entry_of_rl_zoo3_itself_is_kept():
    utils = ModuleType("rl_zoo3.utils")
    utils.ALGOS = {"softac": "theirs"}
    extend(utils)
    assert utils.ALGOS == {"softac": "theirs"}


def test_an_unknown_experiment_manager_is_refused():
    class ExperimentManager:
        def __init__(self, args, algorithm):
            pass

    module = SimpleNamespace(__name__="rl_zoo3.exp_manager", ExperimentManager=ExperimentManager)
    with pytest.raises(RuntimeError, match="unknown version of rl_zoo3"):
        extend(module)


def test_an_unknown_module_is_refused():
    with pytest.raises(ValueError, match=r"nothing to extend in json, only in rl_zoo3\.utils"):
        extend(ModuleType("json"))


def test_one_training_through_the_experiment_manager(tmp_path):
    experiment = manager(
        tmp_path,
        n_timesteps=220,
        eval_freq=110,
        n_eval_episodes=1,
        log_interval=-1,
        hyperparams={"learning_starts": 200, "actor_learning_rate": "lin_1e-3"},
        device="cpu",
        verbose=0,
    )
    model, _ = experiment.setup_experiment()
    assert isinstance(model, SoftAC)
    experiment.learn(model)
    experiment.save_trained_model(model)
    assert (tmp_path / "softac" / "Pendulum-v1_1" / "Pendulum-v1.zip").is_file()
