"""A run that diverges ends with what was found, where, and files to look at."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch as th

from sb3_softac import SoftAC
from sb3_softac.engines import divergence
from sb3_softac.engines.divergence import DivergenceError
from tests.helpers import SMALL, DiscreteTarget, Target, dict_space, parameters_of, random_samples, ready

ENGINES = ["eager", "fused", "traced"]


def trained(engine: str = "auto", steps: int = 30, **kwargs) -> SoftAC:
    return SoftAC("MlpPolicy", Target(), seed=0, device="cpu", engine=engine, **(SMALL | kwargs)).learn(steps)


def diverged(model: SoftAC, gradient_steps: int = 1) -> DivergenceError:
    with pytest.raises(DivergenceError) as caught:
        model.train(gradient_steps, 16)
    return caught.value


def report_of(error: DivergenceError) -> dict:
    assert error.folder is not None
    assert str(error.folder) in str(error)
    return json.loads((error.folder / divergence.REPORT_FILE).read_text())


@pytest.mark.parametrize("engine", ENGINES)
def test_a_reward_that_is_not_finite_is_named_with_its_gradient_step(engine):
    model = trained(engine, steps=80)  # long enough for a trace
    model.replay_buffer.rewards[:] = math.nan
    before = model._n_updates
    error = diverged(model, gradient_steps=3)
    assert f"The first that is not finite is the batch's reward, in gradient step {before + 1}." in str(error)
    assert "a replay buffer that was loaded" in str(error)
    report = report_of(error)
    assert report["not_finite"][0] == "the batch's reward"
    assert report["ranges"]["reward"]["not_finite"] == 16
    batch = th.load(error.folder / divergence.BATCH_FILE, weights_only=True)
    assert batch["reward"].isnan().all()
    assert batch["obs"].shape == (16, 3)


def test_the_batch_is_found_among_those_of_the_training():
    model = ready(trained())
    samples = random_samples(5)
    samples[2].observations[7, 1] = math.inf
    model.replay_buffer.sample_batches = lambda *args, **kwargs: iter(samples)
    error = diverged(model, gradient_steps=5)
    assert f"the batch's obs, in gradient step {model._n_updates - 2}." in str(error)
    batch = th.load(error.folder / divergence.BATCH_FILE, weights_only=True)
    th.testing.assert_close(batch["obs"], samples[2].observations)


def test_keys_of_a_dict_are_named():
    model = SoftAC("MultiInputPolicy", Target(dict_space()), seed=0, **SMALL).learn(20)
    model.replay_buffer._stores["vector"].rows.data[:] = math.nan
    error = diverged(model)
    assert "the batch's obs['vector'], in gradient step" in str(error)
    assert "obs['image'] from" in str(error)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_loss_that_overflows_is_named_with_the_rewards_that_did_it(engine):
    model = trained(engine)
    model.replay_buffer.rewards[:] = 1e30
    error = diverged(model)
    assert f"is the metric `critic_loss`, in gradient step {model._n_updates}. The rewards are large" in str(error)
    assert "reward_scale" in str(error)
    assert "max_grad_norm" in str(error)
    assert "reward from 1e+30 to 1e+30" in str(error)
    assert report_of(error)["metrics"]["critic_loss"] == "inf"


def test_large_observations_are_named_as_a_cause():
    model = trained()
    model.replay_buffer._stores[None].rows.data[:] = 1e37
    assert "The observations are large: normalise them" in str(diverged(model))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_parameter_that_is_not_finite_shows_first_in_what_is_computed_from_it(engine):
    model = trained(engine)
    with th.no_grad():
        next(model.critic.parameters()).fill_(math.nan)
    found = report_of(diverged(model))["not_finite"]
    assert found[0] == "the metric `critic_loss`"
    assert any(name.startswith("the parameter `critic.") for name in found)


def test_parameters_that_spoil_no_loss_are_found_before_a_later_training():
    model = trained()
    model._watch._good_at -= divergence.UPDATES_BETWEEN_COPIES
    name, parameter = next(iter(model.critic_target.named_parameters()))
    with th.no_grad():
        parameter.fill_(math.nan)
    error = diverged(model)
    assert f"is the parameter `critic_target.{name}`" in str(error)
    assert (error.folder / divergence.BATCH_FILE).exists()  # of the training before


def test_an_actor_that_is_spoilt_between_trainings_is_reported_too():
    model = trained()
    with th.no_grad():
        next(model.actor.parameters()).fill_(math.nan)
    with pytest.raises(DivergenceError, match=r"is the parameter `actor\.") as caught:
        model.learn(10, reset_num_timesteps=False)
    assert "The action is" in str(caught.value.__cause__)


def test_the_last_good_parameters_go_into_a_new_model():
    model = trained()
    good = parameters_of(model)
    model._watch._good_at -= divergence.UPDATES_BETWEEN_COPIES
    model.replay_buffer.rewards[:] = math.nan
    error = diverged(model, gradient_steps=3)
    assert report_of(error)["last_good_parameters_after"] == model._n_updates - 3
    new = SoftAC("MlpPolicy", Target(), seed=1, device="cpu", **SMALL)
    path = error.folder / divergence.PARAMETERS_FILE
    assert f"torch.load({str(path)!r})" in str(error)
    new.set_parameters(th.load(path, weights_only=True), exact_match=False)
    for name, value in parameters_of(new).items():
        th.testing.assert_close(value, good[name], rtol=0, atol=0)
    new.learn(30)  # its optimizers have not seen what was not finite


def test_parameters_are_copied_seldom_and_in_place(monkeypatch):
    monkeypatch.setattr(divergence, "UPDATES_BETWEEN_COPIES", 30)
    model = trained()
    watch = model._watch
    places = [tensor.data_ptr() for tensor in watch._good.values()]
    assert watch._good_at == 0
    model.train(divergence.UPDATES_BETWEEN_COPIES, 16)
    assert watch._good_at == 0  # only between trainings
    model.train(1, 16)
    assert watch._good_at == model._n_updates - 1
    assert [tensor.data_ptr() for tensor in watch._good.values()] == places


def test_other_modules_are_copied_too(monkeypatch):
    monkeypatch.setattr(divergence, "UPDATES_BETWEEN_COPIES", 30)
    model = trained()
    model.actor.mu = th.nn.Linear(16, 2, bias=False)
    model.actor.optimizer = th.optim.Adam(model.actor.parameters(), lr=1e-3)
    model.train(divergence.UPDATES_BETWEEN_COPIES, 16)
    model.train(1, 16)
    assert model._watch._good.keys() == model.policy.state_dict().keys()


def test_batches_are_kept_up_to_a_number_of_bytes(monkeypatch):
    monkeypatch.setattr(divergence, "KEPT_BYTES", 5000)
    model = trained()
    model.train(20, 16)
    steps = [step for step, _ in model._watch._batches]
    assert 1 < len(steps) < 10
    assert steps[-1] == model._n_updates
    monkeypatch.setattr(divergence, "KEPT_BYTES", 0)
    model._watch._n_kept = 0
    model.train(20, 16)
    assert len(model._watch._batches) == 1  # there is always the last


def test_files_go_into_the_folder_of_the_logs(tmp_path):
    model = trained(tensorboard_log=str(tmp_path))
    model.replay_buffer.rewards[:] = math.nan
    assert diverged(model).folder.parent == tmp_path / "SoftAC_1"


def test_without_a_folder_they_go_where_temporary_files_do(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    model = ready(trained())
    model.replay_buffer.rewards[:] = math.nan
    assert diverged(model).folder.parent == tmp_path
    model.logger.dir = str(tmp_path / "removed")
    assert diverged(model).folder.parent == tmp_path


def test_a_full_disk_does_not_hide_what_happened(monkeypatch):
    def full(*args, **kwargs):
        raise RuntimeError("PytorchStreamWriter failed writing file")

    monkeypatch.setattr(th, "save", full)
    model = trained()
    model.replay_buffer.rewards[:] = math.nan
    error = diverged(model)
    assert error.folder is None
    assert "the batch's reward" in str(error)
    assert "could not be written" in str(error)


def test_infinite_buffers_of_a_users_module_are_no_divergence():
    model = trained()
    model.policy.register_buffer("mask", th.tensor([-math.inf, 0.0]))
    model._watch._good_at -= divergence.UPDATES_BETWEEN_COPIES
    model.train(1, 16)


def test_discrete_actions_too():
    model = SoftAC("MlpPolicy", DiscreteTarget(), seed=0, **SMALL).learn(20)
    model.replay_buffer.rewards[3:5] = np.nan
    with pytest.raises(DivergenceError, match="the batch's reward"):
        model.train(30, 16)


def test_the_error_is_a_value_error_with_a_folder(tmp_path):
    error = DivergenceError("gone", Path(tmp_path))
    assert isinstance(error, ValueError)
    assert error.folder == tmp_path
