"""The class itself: signature, schedules and counters of training, what it logs, copies of it."""

import copy
import inspect
import pickle

import numpy as np
import pytest
import torch as th
from stable_baselines3 import SAC
from stable_baselines3.common.env_util import make_vec_env

from sb3_softac import SoftAC
from tests.helpers import SMALL, Target, fixed_samples, parameters_of, random_samples, ready

SAC_LOG_KEYS = {"n_updates", "ent_coef", "ent_coef_loss", "actor_loss", "critic_loss", "learning_rate"}


def make_model(**kwargs) -> SoftAC:
    return SoftAC("MlpPolicy", kwargs.pop("env", None) or Target(), **SMALL | {"seed": 0} | kwargs)


def test_arguments_are_those_of_sac_in_order_with_its_defaults_then_keyword_only():
    theirs = list(inspect.signature(SAC.__init__).parameters.values())
    ours = list(inspect.signature(SoftAC.__init__).parameters.values())
    assert [(p.name, p.default) for p in theirs] == [(p.name, p.default) for p in ours[: len(theirs)]]
    assert {p.kind for p in ours[len(theirs) :]} == {inspect.Parameter.KEYWORD_ONLY}
    for method in ("learn", "load", "set_parameters"):
        theirs, ours = (list(inspect.signature(getattr(each, method)).parameters) for each in (SAC, SoftAC))
        added = ["allow_pickle"] if method == "load" else []
        assert [name for name in ours if name not in added] == theirs
        assert set(added) <= set(ours[-2:])  # after theirs, but for further keyword arguments


def test_every_argument_is_documented():
    for name in inspect.signature(SoftAC.__init__).parameters:
        assert name == "self" or f":param {name}:" in SoftAC.__doc__


def test_total_timesteps_may_be_a_float():
    assert make_model().learn(4e1).num_timesteps == 40


def test_log_keys_of_sac_are_kept():
    model = make_model().learn(30)
    model.train(1, batch_size=4)
    logged = {key.removeprefix("train/") for key in model.logger.name_to_value if key.startswith("train/")}
    assert logged >= SAC_LOG_KEYS
    fixed = make_model(ent_coef=0.1).learn(30)
    fixed.train(1, batch_size=4)
    assert "train/ent_coef_loss" not in fixed.logger.name_to_value
    assert fixed.logger.name_to_value["train/ent_coef"] == pytest.approx(0.1)


def test_logged_losses_are_means_over_the_gradient_steps():
    model, reference = ready(make_model()), ready(make_model())
    samples = random_samples(3)
    fixed_samples(model, samples)
    fixed_samples(reference, samples)
    th.manual_seed(0)
    model.train(3, batch_size=32)
    th.manual_seed(0)
    losses = []
    for _ in range(3):
        reference.train(1, batch_size=32)
        losses.append(reference.logger.name_to_value["train/critic_loss"])
    assert model.logger.name_to_value["train/critic_loss"] == pytest.approx(np.mean(losses), rel=1e-5)


@pytest.mark.parametrize(("gradient_steps", "trainings"), [(1, 12), (4, 3), (3, 4)])
def test_target_update_interval_counts_gradient_steps_over_the_run(gradient_steps, trainings):
    """Stable-Baselines3 counts within one training, and so ignores the interval with one gradient step each."""
    model = ready(make_model(tau=1.0, target_update_interval=5))
    fixed_samples(model, random_samples(12))
    initial = model.critic_target.state_dict()["qf0.0.weight"].clone()
    for _ in range(trainings):
        before = model._n_updates
        model.train(gradient_steps, batch_size=32)
        if model._n_updates < 5:
            th.testing.assert_close(model.critic_target.state_dict()["qf0.0.weight"], initial)
        elif before < 5:
            assert not th.equal(model.critic_target.state_dict()["qf0.0.weight"], initial)
    assert model._n_updates == 12


def test_the_interval_survives_a_checkpoint(tmp_path):
    model = make_model(tau=1.0, target_update_interval=8, learning_starts=10).learn(15)
    assert model._n_updates == 5
    model.save(tmp_path / "model")
    loaded = ready(SoftAC.load(tmp_path / "model", env=Target()))
    fixed_samples(loaded, random_samples(3))
    target = loaded.critic_target.state_dict()["qf0.0.weight"].clone()
    loaded.train(2, batch_size=32)
    th.testing.assert_close(loaded.critic_target.state_dict()["qf0.0.weight"], target)
    loaded.train(1, batch_size=32)
    th.testing.assert_close(loaded.critic_target.state_dict()["qf0.0.weight"], loaded.critic.qf0[0].weight)


def test_attributes_may_change_between_trainings():
    model = ready(make_model(tau=0.0))
    fixed_samples(model, random_samples(2))
    target = model.critic_target.qf0[0].weight.clone()
    model.train(1, batch_size=32)
    th.testing.assert_close(model.critic_target.qf0[0].weight, target)
    model.tau = 1.0
    model.train(1, batch_size=32)
    th.testing.assert_close(model.critic_target.qf0[0].weight, model.critic.qf0[0].weight)


@pytest.mark.parametrize(
    "changes",
    [
        {"tau": 2.0},
        {"policy_delay": 0},
        {"q_reduction": "median"},
        {"actor_gradient": "score_fn"},
        {"actor_gradient": "score_function", "baseline": "leave_one_out"},
        {"n_target_critics": 5},
        {"reward_scale": -1.0},
        {"target_entropy": "automatic"},
    ],
    ids=str,
)
def test_attributes_are_checked_when_they_change(changes):
    model = ready(make_model())
    fixed_samples(model, random_samples(2))
    model.train(1, batch_size=32)
    before = copy.deepcopy(model.policy.state_dict())
    for name, value in changes.items():
        setattr(model, name, value)
    with pytest.raises(ValueError, match=f"`{list(changes)[-1]}"):
        model.train(1, batch_size=32)
    assert all(th.equal(value, before[name]) for name, value in model.policy.state_dict().items())


def test_attributes_may_be_given_as_to_the_constructor_when_they_change():
    model = ready(make_model(reward_scale="lin_2", target_entropy=-3.0, n_action_samples=2))
    same = ready(make_model())
    same.reward_scale, same.target_entropy, same.n_action_samples = "lin_2", -3.0, 2
    for each in (model, same):
        th.manual_seed(3)
        fixed_samples(each, random_samples(4))
        each.train(4, batch_size=32)
    for name, value in model.policy.state_dict().items():
        assert th.equal(same.policy.state_dict()[name], value), name


def test_reward_scale_is_applied_to_batches_and_not_to_the_buffer():
    plain, scaled = make_model(gamma=0.0).learn(30), make_model(gamma=0.0, reward_scale=7.0).learn(30)
    np.testing.assert_allclose(scaled.replay_buffer.rewards[:16], plain.replay_buffer.rewards[:16])
    assert scaled.replay_buffer.rewards.min() >= -1.0
    targets = []
    for model in (plain, scaled):
        for parameter in model.critic.parameters():
            parameter.data.zero_()
        fixed_samples(model, random_samples(1))
        model.train(1, batch_size=32)
        targets.append(model.logger.name_to_value["train/critic_loss"])
    assert targets[1] == pytest.approx(49.0 * targets[0], rel=1e-4)  # with gamma 0, y = scale * r


def test_learning_without_an_environment_says_what_to_do(tmp_path):
    SoftAC("MlpPolicy", Target(), buffer_size=10).save(tmp_path / "agent")
    with pytest.raises(ValueError, match=r"pass `env` to `load\(\)`"):
        SoftAC.load(tmp_path / "agent").learn(10)


@pytest.mark.parametrize("use_sde", [False, True])
@pytest.mark.parametrize("clone", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_act_and_learn_as_the_original(clone, use_sde):
    model = make_model(use_sde=use_sde).learn(30)
    other = clone(model)
    samples = random_samples(2)
    for each in (model, other):
        ready(each)
        fixed_samples(each, samples)
        th.manual_seed(0)
        each.train(2, batch_size=32)
    theirs = parameters_of(other)
    assert all(th.equal(value, theirs[name]) for name, value in parameters_of(model).items())
    assert th.equal(model.log_ent_coef, other.log_ent_coef)
    assert model.actor is not other.actor


def test_a_seed_repeats_a_run():
    first, second = (parameters_of(make_model().learn(40)) for _ in range(2))
    assert all(th.equal(first[name], second[name]) for name in first)


def test_gradient_steps_minus_one_is_one_for_each_transition():
    model = make_model(env=make_vec_env(Target, 3), gradient_steps=-1, train_freq=2, learning_starts=0).learn(30)
    assert model._n_updates == 30


def test_gradient_steps_zero_never_learns():
    assert make_model(gradient_steps=0).learn(30)._n_updates == 0


def test_timeouts_bootstrap_and_terminations_do_not():
    for truncate in (False, True):
        model = make_model(env=Target(horizon=2, truncate=truncate), learning_starts=8).learn(40)
        done = model.replay_buffer.sample(200).dones
        assert bool(done.any()) is not truncate


@pytest.mark.parametrize("deterministic", [False, True])
def test_an_observation_that_is_not_a_number_has_no_action(deterministic: bool):
    model = make_model()
    obs = np.full((1, *model.observation_space.shape), np.nan, dtype=np.float32)
    with np.errstate(invalid="ignore"), pytest.raises(ValueError, match="an observation is not a number"):
        model.predict(obs, deterministic=deterministic)


def test_a_predict_of_ones_own_explores_too():
    calls = []

    class Shielded(SoftAC):
        """Counts."""

        def predict(self, *args, **kwargs):
            calls.append(self.num_timesteps)
            return super().predict(*args, **kwargs)

    Shielded("MlpPolicy", Target(), seed=0, **SMALL).learn(40)
    assert len(calls) == 40 - 16


@pytest.mark.parametrize("part", ["model", "policy"])
def test_a_predict_that_was_set_on_model_or_policy_explores_too(part: str):
    calls = []
    model = make_model()
    owner = model if part == "model" else model.policy
    original = owner.predict

    def shielded(*args, **kwargs):
        calls.append(model.num_timesteps)
        return original(*args, **kwargs)

    owner.predict = shielded
    model.learn(40)
    assert len(calls) == 40 - 16


def test_a_compiled_policy_explores():
    model = make_model()
    model.policy = th.compile(model.policy, backend="eager")
    assert model.learn(40)._n_updates == 24


def test_exploring_evaluates_after_a_callback_has_trained():
    modes = []
    model = make_model(train_freq=10)
    model.actor.register_forward_hook(lambda actor, _inputs, _output: modes.append(actor.training))

    def train(local_variables: dict, _globals: dict) -> bool:
        if model.num_timesteps > 20:
            model.train(1, 16)
            modes.clear()
        return True

    model.learn(40, callback=train)
    model._sample_action(0, None, 1)
    assert modes == [False]


@pytest.mark.parametrize("use_sde", [True, False])
def test_no_hidden_layers(use_sde: bool):
    model = make_model(use_sde=use_sde, policy_kwargs={"net_arch": {"pi": [], "qf": [8]}}).learn(30)
    observations = np.zeros((64, 3), np.float32)
    np.testing.assert_allclose(
        model.predict(observations, deterministic=True)[0],
        np.tile(model.predict(observations[0], deterministic=True)[0], (64, 1)),
        atol=1e-6,
    )


@pytest.mark.filterwarnings("ignore:.*jit:DeprecationWarning")
@pytest.mark.parametrize("engine", ["eager", "traced"])
def test_the_actor_is_exported_as_the_manual_of_stable_baselines3_does(engine: str):
    model = make_model(engine=engine).learn(30)

    class Exported(th.nn.Module):
        """The manual's."""

        def __init__(self) -> None:
            super().__init__()
            self.actor = model.policy.actor

        def forward(self, observation: th.Tensor) -> th.Tensor:
            return self.actor(observation, deterministic=True)

    observations = th.randn(3, 3)
    exported = th.jit.trace(Exported().eval(), observations)
    expected, _ = model.policy.predict(observations.numpy(), deterministic=True)
    np.testing.assert_allclose(exported(observations).detach().numpy(), expected, atol=1e-6)


def test_the_actor_is_exported_by_torch_export():
    actor = make_model(policy_kwargs={"net_arch": [64, 64]}).learn(30).actor.eval()
    exported = th.export.export(actor, (th.randn(64, 3), True))
    names = {str(node.target) for node in exported.graph.nodes}
    assert not [name for name in names if "mkldnn" in name or "sb3_softac" in name]
    observations = th.randn(64, 3)
    th.testing.assert_close(exported.module()(observations, True), actor(observations, True))


def test_noise_of_gsde_comes_to_the_device_of_the_networks():
    model = make_model(use_sde=True)
    actor = model.actor.to("meta")
    assert actor(th.zeros(4, 3, device="meta")).device.type == "meta"


def test_schedules_reach_the_updates():
    model = ready(make_model(gamma=0.0, target_entropy="lin_-4", reward_scale="lin_2_6"))
    for parameter in model.critic.parameters():
        parameter.data.zero_()
    samples = random_samples(1)
    fixed_samples(model, samples)
    model._current_progress_remaining = 0.5
    model.train(1, batch_size=32)
    assert model.temperature._target_entropy.item() == pytest.approx(-2.0)
    expected = 4.0**2 * samples[0].rewards.square().mean().item()  # two critics of zero, each half of (4 r)^2
    assert model.logger.name_to_value["train/critic_loss"] == pytest.approx(expected, rel=1e-5)


def test_the_temperature_has_a_learning_rate_of_its_own():
    model = ready(make_model(ent_coef_learning_rate=0.25))
    model._update_learning_rates(model.current_settings())
    assert model.ent_coef_optimizer.param_groups[0]["lr"] == 0.25
    assert model.actor.optimizer.param_groups[0]["lr"] == 3e-4
