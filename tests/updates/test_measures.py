"""Measures of a gradient step: their numbers by hand, when they are taken, and that they change nothing."""

import pytest
import torch as th

from sb3_softac import SoftAC
from sb3_softac.engines.traced import TraceCapture
from sb3_softac.networks.distributions import PolicySupport
from sb3_softac.updates import measures
from sb3_softac.updates.batch import Batch
from sb3_softac.updates.measures import INTERVAL, Measured
from tests.helpers import DiscreteTarget, Target, dict_space, fixed_samples, parameters_of, random_samples, ready

OF_CRITICS = {"q_std", "td_error", "critic_disagreement", "critic_grad_norm"}
OF_BATCH = {f"{part}_{measure}" for part in ("obs", "reward") for measure in ("min", "max", "mean")}
OF_ACTOR = {"actor_grad_norm", "saturated_actions", "target_entropy"}


def make(env=None, **kwargs) -> SoftAC:
    kwargs = {"policy_kwargs": {"net_arch": [8]}, "buffer_size": 50, "seed": 0, "device": "cpu"} | kwargs
    return ready(SoftAC(kwargs.pop("policy", "MlpPolicy"), env or Target(), **kwargs))


# By hand


def test_measures_of_two_critics_by_hand():
    q = th.tensor([[1.0, 3.0], [3.0, 5.0]])  # means 2 and 4 of the two transitions, each critic 1 away from them
    target = th.tensor([1.0, 2.0])
    found = measures.of_critics(q, q - target, [th.tensor([3.0]), None, th.tensor([[4.0]])])
    assert {name: value.item() for name, value in found.items()} == {
        "q_std": 1.0,
        "td_error": (0 + 1 + 2 + 3) / 4,
        "critic_disagreement": 1.0,
        "critic_grad_norm": 5.0,
    }


def test_measures_of_the_actor_by_hand():
    actions = th.tensor([[[0.0, 1.0]], [[-0.995, 0.98]]])
    support = PolicySupport(actions, th.zeros(2, 1), th.ones(2, 1))
    found = measures.of_actor(support, True, [])
    assert {name: value.item() for name, value in found.items()} == {"actor_grad_norm": 0.0, "saturated_actions": 0.5}
    assert measures.of_actor(support, False, []).keys() == {"actor_grad_norm"}


def test_ranges_of_a_batch_by_hand():
    obs = {"image": th.tensor([[0], [254]], dtype=th.uint8), "speed": th.tensor([[-1.0, 4.0], [0.0, 1.0]])}
    batch = Batch(obs, th.zeros(2, 1), th.tensor([-2.0, 1.0]), obs, th.zeros(2), 0.9)
    assert {name: value.item() for name, value in measures.of_batch(batch).items()} == {
        "obs_min_image": 0.0,
        "obs_max_image": 254.0,
        "obs_mean_image": 127.0,
        "obs_min_speed": -1.0,
        "obs_max_speed": 4.0,
        "obs_mean_speed": 1.0,
        "reward_min": -2.0,
        "reward_max": 1.0,
        "reward_mean": -0.5,
    }


def test_an_empty_part_of_an_observation_has_no_range():
    obs = {"empty": th.zeros(2, 0), "speed": th.ones(2, 1)}
    names = measures.of_batch(Batch(obs, th.zeros(2, 1), th.zeros(2), obs, th.zeros(2), 0.9)).keys()
    assert names == {
        f"{part}_{measure}{key}"
        for part, key in (("obs", "_speed"), ("reward", ""))
        for measure in ("min", "max", "mean")
    }


# When


@pytest.mark.parametrize(
    ("delay", "expected"),
    [(1, [1, 1 + INTERVAL, 1 + 2 * INTERVAL]), (3, [3, 102, 201]), (500, [500, 1000])],
)
def test_the_first_step_of_the_actor_and_every_hundredth_are_measured(delay: int, expected: list[int]):
    is_measured = Measured(policy_delay=delay)
    steps = [n for n in range(1, 1100) if is_measured(n)]
    assert steps[: len(expected)] == expected
    assert not any(map(Measured(is_on=False), range(1, 1100)))


@pytest.mark.parametrize("engine", ["eager", "fused", "traced"])
@pytest.mark.parametrize("variant", ["v1", "v2"])
def test_a_measured_run_learns_to_the_bit_what_another_learns(engine: str, variant: str, monkeypatch):
    monkeypatch.setattr(measures, "INTERVAL", 3)
    monkeypatch.setattr(TraceCapture, "warm_ups", 3)
    learned = []
    for diagnostics in ("off", "basic", "full"):
        model = make(engine=engine, variant=variant, diagnostics=diagnostics, learning_starts=5, batch_size=8)
        learned.append(parameters_of(model.learn(30, log_interval=1)))
    for other in learned[1:]:
        assert all(th.equal(value, other[name]) for name, value in learned[0].items())


@pytest.mark.parametrize("engine", ["fused", "traced"])
def test_every_engine_measures_what_the_plain_one_measures(engine: str, monkeypatch):
    monkeypatch.setattr(measures, "INTERVAL", 2)
    samples, found = random_samples(6), []
    for each in ("eager", engine):
        model = make(engine=each, ent_coef="auto_0.5")
        fixed_samples(model, samples)
        model.train(6, batch_size=32)
        found.append({name.removeprefix("train/"): value for name, value in model.logger.name_to_value.items()})
    assert OF_CRITICS | OF_BATCH | OF_ACTOR <= found[0].keys() == found[1].keys()
    assert found[1] == pytest.approx(found[0], rel=1e-4)


def test_the_norm_of_the_gradient_is_that_before_clipping():
    norms = []
    for max_grad_norm in (None, 1e-3):
        model = make(max_grad_norm=max_grad_norm)
        fixed_samples(model, random_samples(1))
        model.train(1, batch_size=32)
        norms.append([model.logger.name_to_value[f"train/{name}_grad_norm"] for name in ("actor", "critic")])
    assert norms[1][1] == norms[0][1] > 1e-3
    # The critics that the clipped step left behind are others, and with them the actor's gradient.
    assert norms[1][0] == pytest.approx(norms[0][0], rel=0.1)


# What


def test_discrete_actions_do_not_saturate_and_dict_observations_have_a_range_for_each_key():
    model = make(DiscreteTarget())
    fixed = [batch._replace(actions=(batch.actions[:, :1].abs() * 3).long()) for batch in random_samples(1)]
    fixed_samples(model, fixed)
    model.train(1, batch_size=32)
    names = {name.removeprefix("train/") for name in model.logger.name_to_value}
    assert names >= OF_CRITICS | OF_BATCH | OF_ACTOR - {"saturated_actions"}
    assert "saturated_actions" not in names

    model = make(Target(dict_space()), policy="MultiInputPolicy", learning_starts=2, batch_size=4).learn(4)
    names = {name.removeprefix("train/") for name in model.logger.name_to_value}
    assert {f"obs_{measure}_{key}" for measure in ("min", "max", "mean") for key in dict_space()} <= names


def test_a_fixed_temperature_has_no_target_entropy():
    model = make(ent_coef=0.1)
    fixed_samples(model, random_samples(1))
    model.train(1, batch_size=32)
    assert "train/target_entropy" not in model.logger.name_to_value
    assert "train/entropy" in model.logger.name_to_value
