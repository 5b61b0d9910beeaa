"""Checkpoints: what they bring back, what is refused, what loading costs."""

import copy
import pathlib
import zipfile

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from stable_baselines3 import DQN, PPO, SAC, TD3, HerReplayBuffer
from stable_baselines3.common.buffers import NStepReplayBuffer, ReplayBuffer
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.envs import BitFlippingEnv
from stable_baselines3.common.save_util import recursive_getattr
from stable_baselines3.common.utils import set_random_seed

from sb3_softac import SoftAC
from sb3_softac.buffers import SingleCopyReplayBuffer
from tests.helpers import SMALL, DiscreteTarget, Target, parameters_of


def make_model(**kwargs) -> SoftAC:
    return SoftAC("MlpPolicy", kwargs.pop("env", None) or Target(), **SMALL | {"seed": 0} | kwargs)


def assert_same_action(first, second) -> None:
    obs = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)
    np.testing.assert_array_equal(first.predict(obs, deterministic=True)[0], second.predict(obs, deterministic=True)[0])


@pytest.mark.parametrize(
    "kwargs",
    [
        {},
        {"ent_coef": 0.2},
        {"ent_coef": "auto_0.5", "target_entropy": "lin_-2", "reward_scale": "lin_5"},
        {"use_sde": True},
        {"n_steps": 3},
        {"actor_learning_rate": "lin_1e-3", "critic_learning_rate": 1e-3, "max_grad_norm": 1.0, "n_action_samples": 2},
    ],
    ids=str,
)
def test_save_and_load(kwargs, tmp_path):
    model = make_model(**kwargs).learn(40)
    model.save(tmp_path / "model")
    loaded = SoftAC.load(tmp_path / "model", env=Target())
    assert_same_action(model, loaded)
    ours, theirs = parameters_of(model), parameters_of(loaded)
    assert all(th.equal(ours[name], theirs[name]) for name in ours)
    for name in ("num_timesteps", "_n_updates", "tau", "n_action_samples", "max_grad_norm", "ent_coef", "n_steps"):
        assert getattr(loaded, name) == getattr(model, name)
    for name in ("target_entropy", "reward_scale", "actor_learning_rate"):
        assert repr(getattr(loaded, name)) == repr(getattr(model, name))
    if model.log_ent_coef is not None:
        assert th.equal(model.log_ent_coef, loaded.log_ent_coef)
        assert loaded.ent_coef_optimizer.state_dict()["state"][0]["step"] == model._n_updates
    assert loaded.learn(10, reset_num_timesteps=False)._n_updates > model._n_updates


def test_an_environment_is_loaded_by_its_id(tmp_path):
    SoftAC("MlpPolicy", "Pendulum-v1", buffer_size=10).save(tmp_path / "agent.zip")
    model = SoftAC.load(tmp_path / "agent.zip", env="Pendulum-v1")
    assert model.get_env().get_attr("spec")[0].id == "Pendulum-v1"
    with pytest.raises(ValueError, match="spaces do not match"):
        SoftAC.load(tmp_path / "agent.zip", env="MountainCarContinuous-v0")


def test_loading_to_act_does_not_allocate_the_replay_buffer(tmp_path):
    make_model().save(tmp_path / "model")
    loaded = SoftAC.load(tmp_path / "model", buffer_size=10**11)
    loaded.predict(np.zeros(3, dtype=np.float32))
    assert "replay_buffer" not in vars(loaded)
    with_environment = SoftAC.load(tmp_path / "model", env=Target(), buffer_size=10**11)
    assert "replay_buffer" not in vars(with_environment)
    ready = SoftAC.load(tmp_path / "model", env=Target(), buffer_size=123)
    assert ready.replay_buffer.buffer_size == 123


def test_a_replay_buffer_that_is_included_comes_back(tmp_path):
    model = make_model().learn(20)
    model.save(tmp_path / "model", include=["replay_buffer"])
    assert SoftAC.load(tmp_path / "model").replay_buffer.pos == 20


def test_replay_buffer_alone_on_disk(tmp_path):
    model = make_model().learn(20)
    model.save(tmp_path / "model")
    model.save_replay_buffer(tmp_path / "buffer")
    loaded = SoftAC.load(tmp_path / "model", env=Target())
    loaded.load_replay_buffer(tmp_path / "buffer")
    np.testing.assert_array_equal(loaded.replay_buffer.rewards, model.replay_buffer.rewards)
    loaded.learn(10, reset_num_timesteps=False)
    assert loaded.replay_buffer.pos == 30


def test_nothing_that_set_up_makes_is_pickled(tmp_path):
    make_model().learn(20).save(tmp_path / "model")
    with zipfile.ZipFile(tmp_path / "model.zip") as archive:
        data = archive.read("data").decode()
    for name in ("replay_buffer", "temperature", "_engine", "explorer", "_attributes", "actor", "critic"):
        assert f'"{name}":' not in data


def test_n_steps_may_change_at_loading(tmp_path):
    make_model(n_steps=3).save(tmp_path / "model")
    loaded = SoftAC.load(tmp_path / "model", env=Target(), n_steps=5)
    assert isinstance(loaded.replay_buffer, SingleCopyReplayBuffer)
    assert loaded.replay_buffer.n_steps == 5


def test_n_steps_may_change_at_loading_for_the_buffer_of_stable_baselines3(tmp_path):
    make_model(n_steps=3, replay_buffer_class=NStepReplayBuffer).save(tmp_path / "model")
    loaded = SoftAC.load(tmp_path / "model", env=Target(), n_steps=5)
    assert type(loaded.replay_buffer) is NStepReplayBuffer
    assert loaded.replay_buffer.n_steps == 5


@pytest.mark.parametrize("name", ["policy", "actor.optimizer", "critic.optimizer", "ent_coef_optimizer"])
def test_parameters_by_name(name):
    assert name in make_model().get_parameters()


def test_set_parameters_copies_everything():
    model, other = make_model().learn(30), make_model(seed=5)
    other.set_parameters(model.get_parameters())
    assert_same_action(model, other)
    assert other.actor.optimizer.state_dict()["state"][0]["step"] == model._n_updates


@pytest.mark.parametrize("name", ["actor", "policy.actor", "critic_target", "actor.optimizer"])
def test_set_parameters_of_one_part(name: str):
    model, other = make_model(seed=1).learn(40), make_model().learn(30)
    state = recursive_getattr(model, name).state_dict()
    other.set_parameters({name: state}, exact_match=False)
    th.testing.assert_close(recursive_getattr(other, name).state_dict(), state, rtol=0, atol=0)
    with pytest.raises(ValueError, match="differ"):
        other.set_parameters({name: state})


def test_set_parameters_from_a_file(tmp_path):
    model, other = make_model().learn(30), make_model(seed=5)
    model.save(tmp_path / "model")
    other.set_parameters(str(tmp_path / "model"))
    assert_same_action(model, other)


@pytest.mark.parametrize("exact_match", [False, True])
def test_parameters_for_other_spaces_change_nothing(exact_match):
    model = make_model()
    before = parameters_of(model)
    other = make_model(env=Target(observation_space=gym.spaces.Box(-1.0, 1.0, (5,))))
    with pytest.raises(ValueError, match=r"`policy` are for another network or for other spaces.*latent_pi"):
        model.set_parameters(other.get_parameters(), exact_match)
    assert all(th.equal(value, before[name]) for name, value in parameters_of(model).items())


def test_missing_and_unknown_parameters():
    model = make_model()
    parameters = model.get_parameters()
    with pytest.raises(ValueError, match="invalid object name"):
        model.set_parameters(parameters | {"reward_model": {}}, exact_match=False)
    with pytest.raises(ValueError, match="this model has"):
        model.set_parameters({"policy": parameters["policy"]})
    fewer = dict(parameters["policy"])
    fewer.popitem()
    with pytest.raises(ValueError, match="is in only one of the two"):
        model.set_parameters(parameters | {"policy": fewer})
    model.set_parameters({"policy": fewer}, exact_match=False)


def test_spaces_must_match_at_loading(tmp_path):
    make_model().save(tmp_path / "model")
    with pytest.raises(ValueError, match="Observation spaces do not match"):
        SoftAC.load(tmp_path / "model", env=Target(gym.spaces.Box(-1.0, 1.0, (5,))))
    with pytest.raises(ValueError, match="Action spaces do not match"):
        SoftAC.load(tmp_path / "model", env=Target(action_space=gym.spaces.Box(-1.0, 1.0, (5,))))


@pytest.mark.parametrize("algorithm", [PPO, TD3, SAC])
def test_checkpoints_of_other_algorithms_are_refused(algorithm, tmp_path):
    algorithm("MlpPolicy", Target()).save(tmp_path / "model")
    with pytest.raises(ValueError, match=r"pickled objects.*policy_class.*allow_pickle=True.*from_sac"):
        SoftAC.load(tmp_path / "model")
    with pytest.raises(ValueError, match=r"another algorithm made it.*from_sac"):
        SoftAC.load(tmp_path / "model", allow_pickle=True)
    if algorithm is not SAC:
        with pytest.raises(ValueError, match="imports Stable-Baselines3's SAC"):
            SoftAC.from_sac(tmp_path / "model", allow_pickle=True)


@pytest.mark.parametrize(
    ("saved", "given"), [("auto", 0.3), (0.3, "auto"), ("auto", "auto_0.1"), (0.3, 0.4), (0.3, 0.0)]
)
def test_temperature_may_change_its_kind_at_loading(saved, given, tmp_path):
    model = make_model(ent_coef=saved).learn(40)
    model.save(tmp_path / "model")
    loaded = SoftAC.load(tmp_path / "model", env=Target(), ent_coef=given)
    assert loaded.ent_coef == given
    loaded.learn(10, reset_num_timesteps=False)
    alpha = loaded.temperature.alpha().item()
    if isinstance(given, float):
        assert alpha == pytest.approx(given)
        assert loaded.log_ent_coef is None
    elif isinstance(saved, str):  # learned before and after: what was learned stays
        assert alpha == pytest.approx(model.log_ent_coef.exp().item(), abs=0.02)
    else:
        assert alpha == pytest.approx(1.0, abs=0.05)
    loaded.save(tmp_path / "again")
    assert SoftAC.load(tmp_path / "again").temperature.alpha().item() == pytest.approx(alpha)


@pytest.mark.parametrize(("saved", "given", "expected"), [("auto", "auto_0.1", 0.1), ("auto_0.1", "auto", 1.0)])
def test_what_v1_fixes_and_learns_may_change_at_loading(saved, given, expected, tmp_path):
    make_model(variant="v1", ent_coef=saved).learn(40).save(tmp_path / "model")
    loaded = SoftAC.load(tmp_path / "model", ent_coef=given)
    assert loaded.temperature.alpha().item() == pytest.approx(expected)
    assert (loaded.log_ent_coef is None) is (given == "auto")
    loaded.save(tmp_path / "again")
    assert SoftAC.load(tmp_path / "again").temperature.alpha().item() == pytest.approx(expected)


@pytest.mark.parametrize("kwargs", [{"variant": "v1"}, {"custom_objects": {"ent_coef": 0.5}}])
def test_arguments_that_the_parameters_do_not_fit_are_refused_at_loading(kwargs, tmp_path):
    make_model().save(tmp_path / "model")
    with pytest.raises(ValueError, match="The parameters are for"):
        SoftAC.load(tmp_path / "model", **kwargs)


def test_an_engine_for_another_device_gives_way_at_loading(tmp_path):
    model = make_model()
    model.engine = "cuda_graph"
    model.save(tmp_path / "model")
    with pytest.warns(UserWarning, match=r"needs the device 'cuda'.*'auto' takes its place"):
        loaded = SoftAC.load(tmp_path / "model", env=Target(), device="cpu")
    loaded.learn(40)
    assert loaded.engine == "cuda_graph"  # as it was asked for: on a GPU again, it is
    with pytest.raises(ValueError, match="needs the device 'cuda'"):
        make_model(engine="cuda_graph", device="cpu")


def test_malformed_temperature_at_loading(tmp_path):
    make_model().save(tmp_path / "model")
    with pytest.raises(ValueError, match="`ent_coef`"):
        SoftAC.load(tmp_path / "model", ent_coef="auto_-3")


def test_custom_objects_and_arguments_at_loading(tmp_path):
    with pytest.warns(UserWarning, match=r"only a pickle can keep: learning_rate \(builtins.function\)"):
        make_model(learning_rate=lambda progress: 1e-3 * progress).save(tmp_path / "model")
    custom = {"learning_rate": 0.0, "lr_schedule": lambda _: 0.0}
    loaded = SoftAC.load(tmp_path / "model", custom_objects=custom, tau=0.5, train_freq=(2, "step"))
    assert (loaded.lr_schedule(1.0), loaded.tau, loaded.train_freq.frequency) == (0.0, 0.5, 2)
    with pytest.raises(ValueError, match="`tau`"):
        SoftAC.load(tmp_path / "model", custom_objects=custom, tau=2.0)


@pytest.mark.parametrize("from_file", [False, True])
@pytest.mark.parametrize(
    "kwargs", [{}, {"ent_coef": 0.2}, {"use_sde": True}, {"n_steps": 2}, {"policy_kwargs": {"n_critics": 3}}], ids=str
)
def test_import_of_sac(kwargs, from_file, tmp_path):
    sac = SAC("MlpPolicy", Target(), **copy.deepcopy(SMALL) | {"seed": 0} | kwargs).learn(40)
    source = sac
    if from_file:
        source = tmp_path / "sac.zip"
        sac.save(source)
    model = SoftAC.from_sac(source, allow_pickle=from_file)
    assert isinstance(model, SoftAC)
    assert_same_action(sac, model)
    assert (model.num_timesteps, model._n_updates, model.tau) == (40, sac._n_updates, sac.tau)
    assert model.critic.optimizer.state_dict()["state"][0]["step"] == sac._n_updates
    assert not hasattr(model, "batch_norm_stats")
    if not from_file:
        assert model.replay_buffer is sac.replay_buffer
    else:
        model.set_env(Target())
        assert type(model.replay_buffer) is SingleCopyReplayBuffer
        assert model.replay_buffer.n_steps == model.n_steps
    model.learn(20, reset_num_timesteps=False)
    model.save(tmp_path / "softac")
    assert_same_action(model, SoftAC.load(tmp_path / "softac"))


def test_import_goes_on_as_sac_would():
    """After the import, one training with the same batch and noise gives the same parameters."""
    sac = SAC("MlpPolicy", Target(), **copy.deepcopy(SMALL) | {"seed": 0}).learn(40)
    model = SoftAC.from_sac(sac)
    model.set_logger(sac.logger)
    for each in (sac, model):
        set_random_seed(3)  # the replay buffer's too
        each.train(5, batch_size=16)
    theirs = sac.policy.state_dict()
    for name, ours in model.policy.state_dict().items():
        th.testing.assert_close(ours, theirs[name], rtol=0, atol=1e-4)


@pytest.mark.filterwarnings("ignore:The last trajectory in the replay buffer")  # where its episode was not over
def test_hindsight_replay_goes_on_after_loading(tmp_path):
    def env() -> gym.Env:
        return BitFlippingEnv(n_bits=4, continuous=True)

    kwargs = SMALL | {"replay_buffer_class": HerReplayBuffer, "learning_starts": 20}
    model = SoftAC("MultiInputPolicy", env(), **kwargs).learn(40)
    model.save(tmp_path / "model")
    model.save_replay_buffer(tmp_path / "buffer")
    obs = model.observation_space.sample()
    acting = SoftAC.load(tmp_path / "model")
    np.testing.assert_array_equal(acting.predict(obs, deterministic=True)[0], model.predict(obs, deterministic=True)[0])
    loaded = SoftAC.load(tmp_path / "model", env=env())
    loaded.load_replay_buffer(tmp_path / "buffer")
    assert type(loaded.replay_buffer) is HerReplayBuffer
    np.testing.assert_array_equal(loaded.replay_buffer.actions, model.replay_buffer.actions)
    loaded.learn(20, reset_num_timesteps=False)
    assert loaded.replay_buffer.size() == loaded.num_timesteps == 60
    assert loaded._n_updates == 40


def test_returns_follow_the_arguments_and_not_the_buffer_of_a_file(tmp_path):
    model = SoftAC("MlpPolicy", Target(), n_steps=3, gamma=0.9, seed=0, **SMALL).learn(20)
    model.save(tmp_path / "model.zip")
    model.save_replay_buffer(tmp_path / "buffer.pkl")
    model.gamma = 0.5
    model.train(1, batch_size=8)
    assert model.replay_buffer.sample(100).discounts.min().item() == pytest.approx(0.5**3)
    loaded = SoftAC.load(tmp_path / "model.zip", env=Target(), n_steps=1)
    loaded.load_replay_buffer(tmp_path / "buffer.pkl")
    loaded.learn(1, reset_num_timesteps=False)
    assert loaded.replay_buffer.n_steps == 1


def test_a_buffer_with_steps_of_its_own_discounts_as_the_model_does():
    model = SoftAC("MlpPolicy", Target(), gamma=0.5, replay_buffer_kwargs={"n_steps": 3}, seed=0, **SMALL).learn(30)
    assert model.replay_buffer.n_steps == 3
    assert model.replay_buffer.sample(100).discounts.min().item() == pytest.approx(0.5**3)


def test_n_steps_may_change_when_a_sac_is_imported(tmp_path):
    SAC("MlpPolicy", Target(), n_steps=3, **copy.deepcopy(SMALL)).save(tmp_path / "sac.zip")
    assert SoftAC.from_sac(tmp_path / "sac.zip", allow_pickle=True, env=Target()).replay_buffer.n_steps == 3
    assert SoftAC.from_sac(tmp_path / "sac.zip", allow_pickle=True, env=Target(), n_steps=1).replay_buffer.n_steps == 1


def test_a_replay_buffer_that_does_not_fit_is_refused_and_the_own_one_stays(tmp_path):
    model = make_model().learn(20)
    model.save(tmp_path / "model")
    model.save_replay_buffer(tmp_path / "buffer.pkl")
    two = SoftAC.load(tmp_path / "model", env=make_vec_env(Target, n_envs=2))
    for _ in range(2):
        with pytest.raises(ValueError, match=r"is for `n_envs=1`, but the model has 2"):
            two.load_replay_buffer(tmp_path / "buffer.pkl")
        assert two.replay_buffer.n_envs == 2
    discrete = SoftAC("MlpPolicy", DiscreteTarget(), **SMALL)
    own = discrete.replay_buffer
    with pytest.raises(ValueError, match="_space="):
        discrete.load_replay_buffer(tmp_path / "buffer.pkl")
    assert discrete.replay_buffer is own


@pytest.mark.parametrize("use_sde", [False, True])
def test_sde_cannot_be_switched_at_loading(use_sde: bool, tmp_path):
    make_model(use_sde=use_sde).save(tmp_path / "model")
    with pytest.raises(ValueError, match=f"`use_sde={not use_sde}` was given to SoftAC"):
        SoftAC.load(tmp_path / "model", use_sde=not use_sde)


@pytest.mark.parametrize("n_steps", [1, 3])
def test_returns_that_the_buffer_of_an_imported_model_does_not_give(n_steps: int, tmp_path):
    sac = SAC("MlpPolicy", Target(), n_steps=n_steps, gamma=0.9, **copy.deepcopy(SMALL))
    with pytest.raises(ValueError, match=rf"returns of {n_steps} step\(s\).*Load the model's zip file"):
        SoftAC.from_sac(sac, n_steps=4 - n_steps)
    sac.save(tmp_path / "sac.zip")
    model = SoftAC.from_sac(tmp_path / "sac.zip", Target(), allow_pickle=True, n_steps=4 - n_steps)
    assert model.replay_buffer.n_steps == 4 - n_steps
    if n_steps == 1:
        assert SoftAC.from_sac(sac, gamma=0.5).replay_buffer is sac.replay_buffer
    else:
        with pytest.raises(ValueError, match=r"discounted by 0\.9"):
            SoftAC.from_sac(sac, gamma=0.5)


def test_the_buffer_of_an_imported_sac_that_saves_memory(tmp_path):
    kwargs = copy.deepcopy(SMALL) | {"replay_buffer_kwargs": {"handle_timeout_termination": False}}
    SAC("MlpPolicy", Target(), optimize_memory_usage=True, **kwargs).save(tmp_path / "sac.zip")
    assert type(SoftAC.from_sac(tmp_path / "sac.zip", allow_pickle=True, env=Target()).replay_buffer) is ReplayBuffer


def test_only_a_sac_is_imported():
    with pytest.raises(ValueError, match="imports Stable-Baselines3's SAC, but a DQN was given"):
        SoftAC.from_sac(DQN("MlpPolicy", DiscreteTarget(), buffer_size=10))


def test_the_optimizer_of_the_state_value_is_saved():
    model, other = (SoftAC("MlpPolicy", Target(), variant="v1", **SMALL) for _ in range(2))
    model.learn(30)
    other.set_parameters(model.get_parameters())
    assert other.value_net.optimizer.state_dict()["state"][0]["step"] == model._n_updates > 0


@pytest.mark.skipif(np.lib.NumpyVersion(np.__version__) < "2.0.0", reason="numpy 2 has pickled the files")
def test_files_from_before_the_rooms_are_read():
    """Written by the commit before modules moved: a zip with schedules, and the pickle of its replay buffer."""
    folder = pathlib.Path(__file__).parent / "data"
    model = SoftAC.load(folder / "before_rooms.zip", env=gym.make("Pendulum-v1"), allow_pickle=True)
    action, _ = model.predict(np.ones(3, np.float32), deterministic=True)
    np.testing.assert_allclose(action, [0.20352674], rtol=1e-5)
    assert (model.learning_rate, model.n_steps) == ("lin_1e-3", 3)
    assert model.current_settings().run.target_entropy.at(0.5) == (-1.5, 0.0)
    model.load_replay_buffer(folder / "before_rooms.pkl", allow_pickle=True)
    assert model.replay_buffer.size() == 60
    model.learn(20, reset_num_timesteps=False)
