"""Demonstrations: a fixed part of each batch, in every engine, and after a checkpoint as before it."""

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from stable_baselines3 import HerReplayBuffer
from stable_baselines3.common.buffers import NStepReplayBuffer
from stable_baselines3.common.envs import BitFlippingEnv

from sb3_softac import SoftAC, offline
from sb3_softac.callbacks import AddDemonstrations
from sb3_softac.settings.engines import ENGINE_KINDS
from tests.helpers import SMALL, SMALL_DICT, Target, dict_space, parameters_of, ready

SHOWN = 0.5  # every reward of the demonstrations, which the environment never gives


def shown(env: gym.Env | None = None, policy: str = "MlpPolicy", n_steps: int = 40) -> dict:
    """Demonstrations whose rewards are all the same."""
    env = env or Target(truncate=True)
    (block,) = offline.collect(SoftAC(policy, env, buffer_size=10, seed=1), env, n_steps, seed=1)
    rewards = np.full(n_steps, SHOWN, np.float32)

    def plain(leaves):
        return leaves.get(None, leaves)

    return block._replace(rewards=rewards)._asdict() | {
        "observations": plain(block.observations),
        "next_observations": plain(block.next_observations),
    }


def make_model(**kwargs) -> SoftAC:
    return SoftAC("MlpPolicy", Target(truncate=True), **SMALL | {"seed": 0} | kwargs)


def batches(model: SoftAC, n_batches: int = 3, batch_size: int = 16) -> list:
    return list(model._batches(n_batches, batch_size, model.current_settings()))


@pytest.mark.parametrize(("ratio", "expected"), [(0.5, 8), (0.25, 4), (0.01, 1), (1.0, 16)])
def test_a_fixed_part_of_each_batch(ratio, expected):
    model = make_model().learn(20)
    assert model.add_demonstrations(shown(), ratio) == 40
    for batch in batches(model):
        assert (batch.rewards == SHOWN).sum() == expected
        assert batch.observations.shape == (16, 3)
        assert batch.discounts is None


def test_all_are_demonstrations_while_the_buffer_is_empty():
    model = make_model()
    model.add_demonstrations(shown())
    assert all((batch.rewards == SHOWN).all() for batch in batches(model))


def test_batches_do_not_depend_on_how_many_are_drawn_at_once():
    model = make_model().learn(20)
    model.add_demonstrations(shown())
    np.random.seed(0)  # noqa: NPY002
    at_once = batches(model, 4)
    np.random.seed(0)  # noqa: NPY002
    one_by_one = [batch for _ in range(4) for batch in batches(model, 1)]
    for first, second in zip(at_once, one_by_one, strict=True):
        th.testing.assert_close(first.observations, second.observations, rtol=0, atol=0)


def test_demonstrations_are_added_and_taken_away():
    model = make_model().learn(20)
    model.add_demonstrations(shown())
    assert model.add_demonstrations(shown(n_steps=10), ratio=0.25) == 50
    assert model.demonstrations.ratio == 0.25
    model.demonstrations = None
    assert all((batch.rewards != SHOWN).all() for batch in batches(model))


@pytest.mark.parametrize("ratio", [0.0, 1.5, "half", float("nan")])
def test_ratios_that_are_none(ratio):
    model = make_model()
    with pytest.raises(ValueError, match="ratio"):
        model.add_demonstrations(shown(), ratio)
    assert model.demonstrations is None


def test_what_does_not_fit_changes_nothing():
    model = make_model()
    model.add_demonstrations(shown())
    with pytest.raises(ValueError, match="rewards"):
        model.add_demonstrations(shown() | {"rewards": np.full(40, np.nan)})
    assert model.demonstrations.buffer.size() == 40


@pytest.mark.parametrize(
    "arguments",
    [
        {"n_steps": 3},
        {"n_steps": 3, "replay_buffer_class": NStepReplayBuffer},
        {"replay_buffer_class": NStepReplayBuffer, "replay_buffer_kwargs": {"n_steps": 3, "gamma": 0.9}},
        {"replay_buffer_kwargs": {"n_steps": 3, "gamma": 0.9}},
        {"replay_buffer_kwargs": {"storage": "device"}},
    ],
    ids=str,
)
def test_their_returns_are_as_those_of_the_buffer(arguments):
    model = make_model(**arguments).learn(20)
    model.add_demonstrations(shown())
    kwargs = arguments.get("replay_buffer_kwargs", {})
    n_steps, gamma = kwargs.get("n_steps", model.n_steps), kwargs.get("gamma", model.gamma)
    for batch in batches(model):
        returns = batch.rewards[8:].flatten()
        expected = [SHOWN * sum(gamma**i for i in range(n)) for n in range(1, n_steps + 1)]
        assert {round(value, 4) for value in returns.tolist()} <= {round(value, 4) for value in expected}
    model.learn(5, reset_num_timesteps=False)
    assert model._n_updates > 0


def test_discounts_where_only_the_replay_buffer_has_them():
    kwargs = {"n_steps": 1, "gamma": 0.9}
    model = make_model(gamma=0.9, replay_buffer_class=NStepReplayBuffer, replay_buffer_kwargs=kwargs).learn(20)
    model.add_demonstrations(shown())
    assert all(batch.discounts.flatten().tolist() == pytest.approx([0.9] * 16) for batch in batches(model))


def test_beside_hindsight():
    env = BitFlippingEnv(n_bits=4, continuous=True, max_steps=10)
    model = SoftAC(
        "MultiInputPolicy", env, replay_buffer_class=HerReplayBuffer, learning_starts=20, buffer_size=100, batch_size=16
    )
    model.add_demonstrations(shown(env, "MultiInputPolicy"))
    model.learn(30)
    assert model._n_updates == 10
    assert all((batch.rewards[8:] == SHOWN).all() for batch in batches(model))


def test_dict_and_image_observations():
    env = Target(dict_space())
    model = SoftAC("MultiInputPolicy", env, **SMALL_DICT).learn(20)
    model.add_demonstrations(shown(env, "MultiInputPolicy"))
    assert all(batch.observations["image"].shape == (16, 1, 36, 36) for batch in batches(model))
    assert model.learn(4, reset_num_timesteps=False)._n_updates > 0


@pytest.mark.parametrize("engine", [name for name in ENGINE_KINDS if name not in ("cuda_graph", "compile")])
def test_every_engine_learns_the_same(engine):
    models = []
    for each in ("eager", engine):
        model = make_model(engine=each)
        model.add_demonstrations(shown())
        models.append(parameters_of(model.learn(30)))
    for name, value in models[0].items():
        th.testing.assert_close(value, models[1][name], rtol=1e-3, atol=1e-4)


def test_a_checkpoint_goes_on_to_the_bit(tmp_path):
    demonstrations = offline.read(shown())

    def run() -> SoftAC:
        model = make_model()
        model.add_demonstrations(demonstrations, 0.25)
        return model.learn(30)

    whole = run().learn(20, reset_num_timesteps=False)
    run().save_checkpoint(tmp_path)
    resumed = SoftAC.load_checkpoint(tmp_path, Target(truncate=True))
    assert resumed.demonstrations.ratio == 0.25
    resumed.learn(20, reset_num_timesteps=False)
    for name, value in parameters_of(whole).items():
        assert th.equal(value, parameters_of(resumed)[name]), name


def test_a_checkpoint_without_demonstrations_has_none(tmp_path):
    make_model().learn(20).save_checkpoint(tmp_path)
    assert SoftAC.load_checkpoint(tmp_path, Target(truncate=True)).demonstrations is None


def test_the_zip_file_leaves_them_out(tmp_path):
    model = make_model()
    model.add_demonstrations(shown())
    model.save(tmp_path / "agent.zip")
    loaded = SoftAC.load(tmp_path / "agent.zip", Target(truncate=True))
    assert loaded.demonstrations is None
    assert loaded.learn(20)._n_updates > 0


def test_the_callback_adds_them_once(tmp_path, capsys):
    offline.to_npz(shown(), tmp_path / "demos.npz")
    callback = AddDemonstrations(str(tmp_path / "demos.npz"), ratio=0.25, verbose=1)
    model = make_model().learn(20, callback)
    assert model.demonstrations.ratio == 0.25
    model.learn(5, callback, reset_num_timesteps=False)
    assert model.demonstrations.buffer.size() == 40
    assert capsys.readouterr().out.count("40 steps of demonstrations") == 1


def test_the_callback_needs_a_softac():
    with pytest.raises(ValueError, match="SoftAC"):
        AddDemonstrations("x.npz").init_callback(
            ready(object.__new__(type("Other", (), {"set_logger": print, "get_env": print, "logger": None})))
        )
