"""What every row of the registry of variants has to keep, be it one of today's or a new one."""

import copy
from collections.abc import Iterator

import pytest
import torch as th
from torch.utils._python_dispatch import TorchDispatchMode

from sb3_softac import SoftAC
from sb3_softac.engines.traced import TraceCapture
from sb3_softac.policies import SoftACPolicy
from sb3_softac.settings.variants import VARIANT_NETWORKS, VARIANTS
from sb3_softac.updates.batch import Batch
from sb3_softac.updates.variants import UPDATES, make_update
from tests.engines.replays import assert_same_training, make, n_graphs
from tests.helpers import (
    DiscreteTarget,
    Target,
    fixed_samples,
    moved_since,
    parameters_of,
    random_samples,
    ready,
    update_once,
    zeroed,
)

ENVS = {"Box": Target, "Discrete": DiscreteTarget}
#: a value, which some variant takes, for each argument that another one refuses
REFUSED = {
    "critic_ent_coef": 0.1,
    "q_target_clip": 0.5,
    "actor_gradient": "score_function",
    "n_action_samples": 2,
    "use_sde": True,
}
#: what a step logs only if the actor is due
OF_THE_ACTOR = {"actor_loss", "entropy", "ent_coef_loss"}

every_variant = pytest.mark.parametrize("variant", VARIANTS)
every_space = pytest.mark.parametrize("space", ENVS)
every_variant_and_gradient = pytest.mark.parametrize(
    ("variant", "gradient"),
    [
        (variant, gradient)
        for variant, row in VARIANTS.items()
        for gradient in ("reparameterized", "score_function")
        if gradient == "reparameterized" or "actor_gradient" not in row.refuses
    ],
)


def make_model(variant: str, space: str = "Box", **kwargs) -> SoftAC:
    kwargs = {"policy_kwargs": {"net_arch": [8]}, "buffer_size": 10, "seed": 0, "device": "cpu"} | kwargs
    return ready(SoftAC("MlpPolicy", ENVS[space](), variant=variant, **kwargs))


def batches(space: str, n_batches: int = 1) -> Iterator[Batch]:
    for samples in random_samples(n_batches):
        batch = Batch.from_samples(samples, 0.9, 1.0)
        yield batch if space == "Box" else batch._replace(action=(batch.action[:, :1].abs() * 3).long())


def trained_networks(variant: str) -> set[str]:
    return {"actor", "critic", *VARIANTS[variant].optimizers}


def targets(variant: str) -> set[str]:
    return set(VARIANTS[variant].networks) - trained_networks(variant)


def online_of(policy: SoftACPolicy, target: str) -> str:
    """The trained network that a target has the structure of."""
    names = getattr(policy, target).state_dict().keys()
    (online,) = (
        name for name in trained_networks(policy.variant) if getattr(policy, name).state_dict().keys() == names
    )
    return online


def state(policy: SoftACPolicy, network: str) -> dict[str, th.Tensor]:
    return copy.deepcopy(getattr(policy, network).state_dict())


def equal(one: dict[str, th.Tensor], other: dict[str, th.Tensor]) -> bool:
    return one.keys() == other.keys() and all(th.equal(value, other[name]) for name, value in one.items())


# Its row


def test_every_variant_has_an_update_and_every_network_a_variant():
    assert UPDATES.keys() == VARIANTS.keys()
    assert {name for row in VARIANTS.values() for name in row.networks} == set(VARIANT_NETWORKS)
    assert {name for row in VARIANTS.values() for name in row.refuses} == REFUSED.keys()


@every_variant
def test_its_networks_exist_and_those_of_others_are_none(variant: str):
    model = make_model(variant)
    for name in VARIANT_NETWORKS:
        assert (getattr(model.policy, name) is not None) is (name in VARIANTS[variant].networks)
        assert getattr(model, name) is getattr(model.policy, name) is getattr(model.policy.networks(), name)
    without = make_model(variant, target_networks=False)
    assert {name for name in VARIANT_NETWORKS if getattr(without.policy, name) is None} == {
        name for name in VARIANT_NETWORKS if getattr(model.policy, name) is None
    } | targets(variant)


@every_variant
def test_each_optimizer_holds_its_own_network(variant: str):
    model = make_model(variant, ent_coef="auto_0.5")
    for name in trained_networks(variant):
        network = getattr(model.policy, name)
        held = [parameter for group in network.optimizer.param_groups for parameter in group["params"]]
        assert {id(parameter) for parameter in held} == {id(parameter) for parameter in network.parameters()}
    known = [optimizer for group in model.optimizers().values() for optimizer in group]
    networks = [getattr(model.policy, name).optimizer for name in trained_networks(variant)]
    assert {id(each) for each in known} == {id(each) for each in (*networks, model.ent_coef_optimizer)}


@every_variant
def test_its_row_says_whether_the_temperature_is_learned(variant: str):
    assert (make_model(variant).ent_coef_optimizer is not None) is VARIANTS[variant].learns_temperature
    assert make_model(variant, ent_coef="auto_0.5").ent_coef_optimizer is not None
    assert make_model(variant, ent_coef=0.5).ent_coef_optimizer is None


@every_variant
@pytest.mark.parametrize("name", REFUSED)
def test_it_refuses_what_its_row_refuses_and_nothing_else(variant: str, name: str):
    reason = VARIANTS[variant].refuses.get(name)
    if reason is None:
        assert getattr(make_model(variant, **{name: REFUSED[name]}), name) == REFUSED[name]
        return
    with pytest.raises(ValueError, match=f"`{name}` ") as refusal:
        make_model(variant, **{name: REFUSED[name]})
    assert reason in str(refusal.value)


# One step


@every_variant_and_gradient
@every_space
def test_every_network_moves(variant: str, space: str, gradient: str):
    model = make_model(variant, space, tau=0.5, actor_gradient=gradient)
    before = parameters_of(model)
    update_once(model, *batches(space))
    assert moved_since(before, model) == trained_networks(variant) | targets(variant)
    for name in targets(variant):
        assert all(parameter.grad is None for parameter in getattr(model.policy, name).parameters())


@every_variant_and_gradient
@pytest.mark.parametrize("name", ["actor", "critic", *VARIANT_NETWORKS])
def test_a_network_moves_by_its_own_loss_alone(variant: str, name: str, gradient: str):
    if name not in trained_networks(variant):
        assert name not in VARIANTS[variant].optimizers
        return
    model = make_model(variant, tau=0.5, actor_gradient=gradient)
    for group in getattr(model.policy, name).optimizer.param_groups:
        group["lr"] = 0.0
    before = parameters_of(model)
    update_once(model)
    stays = {name} | {target for target in targets(variant) if online_of(model.policy, target) == name}
    assert moved_since(before, model) == (trained_networks(variant) | targets(variant)) - stays


@every_variant
def test_the_actor_step_leaves_no_gradient_in_other_networks(variant: str):
    """Their gradients are those of their own loss alone, not sums with the actor's."""
    model, reference = make_model(variant), make_model(variant)
    reference.actor.requires_grad_(False)  # its loss is not differentiated
    for each in (model, reference):
        th.manual_seed(1)
        update_once(each)
    for name in trained_networks(variant) - {"actor"}:
        ours, theirs = getattr(model.policy, name).parameters(), getattr(reference.policy, name).parameters()
        for one, other in zip(ours, theirs, strict=True):
            th.testing.assert_close(one.grad, other.grad, rtol=0, atol=0)


@every_variant
def test_targets_start_as_copies_and_follow_at_their_interval(variant: str):
    model = make_model(variant, tau=1.0, target_update_interval=1000)
    before = {name: state(model.policy, name) for name in targets(variant)}
    for name in targets(variant):
        assert equal(before[name], state(model.policy, online_of(model.policy, name)))
    update_once(model, n_updates=999)
    for name in targets(variant):
        assert equal(before[name], state(model.policy, name))
        assert not equal(before[name], state(model.policy, online_of(model.policy, name)))
    update_once(model, n_updates=1000)
    for name in targets(variant):
        assert equal(state(model.policy, name), state(model.policy, online_of(model.policy, name)))


@every_variant_and_gradient
@pytest.mark.parametrize("engine", ["eager", "fused"])
def test_actor_and_temperature_wait_for_their_turn_and_nothing_else_does(variant: str, gradient: str, engine: str):
    model = make_model(
        variant, policy_delay=3, tau=0.5, actor_gradient=gradient, engine=engine, ent_coef="auto_0.5", diagnostics="off"
    )
    names = []
    for n_updates in range(1, 7):
        before, log_alpha = parameters_of(model), model.log_ent_coef.clone()
        metrics = update_once(model, n_updates=n_updates)
        is_due = n_updates % 3 == 0
        of_actor = {"actor"} if is_due else set()
        assert moved_since(before, model) == (trained_networks(variant) | targets(variant)) - {"actor"} | of_actor
        assert th.equal(model.log_ent_coef, log_alpha) is not is_due
        assert metrics.keys() & OF_THE_ACTOR == (OF_THE_ACTOR if is_due else set())
        names.append(metrics.keys() - OF_THE_ACTOR)
    assert names == [names[0]] * 6
    assert names[0] >= {"critic_loss", "q_value", "ent_coef"}


@every_variant
def test_the_delay_counts_the_whole_run(variant: str):
    model = make_model(variant, policy_delay=4, learning_starts=5, batch_size=8, buffer_size=100)
    before = parameters_of(model)
    model.learn(8)
    assert model._n_updates == 3
    assert "actor" not in moved_since(before, model)
    model.learn(1, reset_num_timesteps=False)
    assert "actor" in moved_since(before, model)


@every_variant
def test_gradient_clipping_bounds_every_step(variant: str):
    model = make_model(variant, max_grad_norm=1e-3)
    update_once(model)
    for name in trained_networks(variant):
        gradients = [parameter.grad for parameter in getattr(model.policy, name).parameters()]
        assert th.stack([gradient.norm() for gradient in gradients if gradient is not None]).norm().item() <= 1.001e-3


@every_variant
def test_losses_are_by_the_temperature_before_its_step(variant: str):
    def losses_of(**kwargs) -> dict[str, float]:
        model = zeroed(make_model(variant, **kwargs))
        model._update_learning_rates(model.current_settings())
        th.manual_seed(5)
        return update_once(model)

    learned = losses_of(ent_coef="auto_0.5", ent_coef_learning_rate=1.0)
    fixed = losses_of(ent_coef=0.5)
    assert {name: learned[name] for name in fixed} == pytest.approx(fixed)


@every_variant
def test_learning_rates_reach_every_optimizer(variant: str):
    rates = {"actor_learning_rate": 0.25, "critic_learning_rate": 0.5, "ent_coef_learning_rate": 0.125}
    model = make_model(variant, ent_coef="auto_0.5", **rates)
    model._update_learning_rates(model.current_settings())
    optimizers = {name: getattr(model.policy, name).optimizer for name in trained_networks(variant)}
    optimizers["ent_coef"] = model.ent_coef_optimizer
    found = {name: optimizer.param_groups[0]["lr"] for name, optimizer in optimizers.items()}
    assert found == dict.fromkeys(found, 0.5) | {"actor": 0.25, "ent_coef": 0.125}


class Operations(TorchDispatchMode):
    """Notes the operations that are called inside."""

    def __init__(self) -> None:
        super().__init__()
        self.called: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.called.append(str(func))
        return func(*args, **(kwargs or {}))


@every_variant
@every_space
def test_steps_of_one_phase_are_the_same_operations(variant: str, space: str):
    """Which is why one captured update can stand for all steps of its phase."""
    model = make_model(variant, space, policy_delay=2, target_update_interval=3, ent_coef="auto_0.5")
    settings = model.current_settings().update
    update = make_update(variant, model.policy.networks(), model.temperature, settings)
    seen: dict[object, list[tuple[str, ...]]] = {}
    for n_updates, batch in enumerate(batches(space, 18), start=1):
        with Operations() as operations:
            update(batch, n_updates)
        if n_updates > 6:  # before, optimizers begin
            seen.setdefault(update.phase(n_updates), []).append(tuple(operations.called))
    assert sorted(map(len, seen.values())) == [2, 2, 4, 4]  # both; the actor, or the targets; neither
    assert all(len(set(each)) == 1 for each in seen.values())
    assert len({each[0] for each in seen.values()}) == 4


# Whole models


@every_variant
@every_space
@pytest.mark.parametrize("engine", ["fused", "traced"])
def test_every_engine_makes_the_updates_of_the_plain_one(variant: str, space: str, engine: str, monkeypatch):
    monkeypatch.setattr(TraceCapture, "warm_ups", 3)
    models = [make(each, ENVS[space](), variant=variant, tau=0.5) for each in ("eager", engine)]
    samples = random_samples(8, batch_size=40, dtype=th.float64)
    if space == "Discrete":
        samples = [batch._replace(actions=(batch.actions[:, :1].abs() * 3).long()) for batch in samples]
    assert_same_training(*models, samples, tolerance=1e-9)
    assert engine == "fused" or n_graphs(models[1]) == 1


@every_variant
def test_a_loaded_model_is_the_one_that_was_saved_and_learns_as_it_would(variant: str, tmp_path):
    model = make_model(variant, ent_coef="auto_0.5", policy_delay=2, tau=0.5)
    fixed_samples(model, random_samples(5))
    model.train(5, batch_size=32)
    model.save(tmp_path / "agent")
    loaded = ready(SoftAC.load(tmp_path / "agent", env=ENVS["Box"](), device="cpu"))
    assert loaded.variant == variant
    for _ in range(2):
        assert equal(parameters_of(loaded), parameters_of(model))
        assert th.equal(loaded.log_ent_coef, model.log_ent_coef)
        for name in trained_networks(variant):
            ours, theirs = (getattr(each.policy, name).optimizer.state_dict() for each in (loaded, model))
            th.testing.assert_close(ours["state"], theirs["state"], rtol=0, atol=0)
        for each in (model, loaded):
            fixed_samples(each, random_samples(3))
            th.manual_seed(3)
            each.train(3, batch_size=32)
