"""Put one gradient step together from a model's networks and arguments."""

from typing import TYPE_CHECKING

from torch import nn

from sb3_softac.networks.batch_renorm import BatchStatistics
from sb3_softac.updates import losses
from sb3_softac.updates.actor_gradient import (
    ActorGradient,
    Baseline,
    QReduction,
    Reparameterized,
    ScoreFunction,
    estimated_state_value,
    leave_one_out,
    no_baseline,
    state_value,
)
from sb3_softac.updates.engine import Update
from sb3_softac.updates.gradient import GradientStep
from sb3_softac.updates.learner import Learner
from sb3_softac.updates.targets import NoTarget, TargetNetwork, WeightAverage
from sb3_softac.updates.temperature import FixedTemperature, LearnedTemperature, Temperature
from sb3_softac.updates.v1 import UpdateV1
from sb3_softac.updates.v2 import UpdateV2

if TYPE_CHECKING:
    from sb3_softac.softac import SoftAC

Q_REDUCTIONS = {"min": losses.min_q, "mean": losses.mean_q}


def make_update(model: "SoftAC") -> Update:
    """One gradient step of a model's variant.

    :param model: set up
    """
    return UPDATES[model.variant](model)


def make_temperature(model: "SoftAC") -> Temperature:
    """The temperature that a model's attributes hold.

    :param model: with those of Stable-Baselines3's SAC
    """
    if model.log_ent_coef is None or model.ent_coef_optimizer is None:
        return FixedTemperature(model.ent_coef_tensor)
    return LearnedTemperature(model.log_ent_coef, model.ent_coef_optimizer, model.ent_coef_bounds)


def actor_q_reduction(model: "SoftAC") -> QReduction:
    """The critics' values to one, as in the actor's loss.

    :param model: set up
    """
    return Q_REDUCTIONS[model.actor_q_reduction or model.q_reduction]


def _target_q_reduction(model: "SoftAC") -> QReduction:
    """The same, as in the value that the critics learn from: over a random subset, if there is to be one."""
    reduce_q, n_critics = Q_REDUCTIONS[model.q_reduction], model.n_target_critics
    if n_critics is None or n_critics == model.critic.n_critics:
        return reduce_q
    return lambda q_NBK: reduce_q(losses.random_subset(q_NBK, n_critics))


def _make_learner(model: "SoftAC", targets: TargetNetwork | NoTarget) -> Learner:
    return Learner(
        actor=model.actor,
        actor_gradient=_make_actor_gradient(model),
        actor_step=GradientStep(model.actor.optimizer, model.max_grad_norm),
        critic=model.critic,
        critic_parameters=list(model.critic.parameters()),
        critic_step=GradientStep(model.critic.optimizer, model.max_grad_norm),
        reduce_q=actor_q_reduction(model),
        reduce_target_q=_target_q_reduction(model),
        temperature=model.temperature,
        targets=targets,
        actor_statistics=BatchStatistics(model.actor),
        critic_statistics=BatchStatistics(model.critic),
        actor_average=_make_actor_average(model),
        policy_delay=model.policy_delay,
    )


def _make_actor_average(model: "SoftAC") -> WeightAverage | None:
    average, tau = model.policy.actor_average, model.actor_tau
    if (average is None) != (tau is None):
        raise ValueError(
            f"`actor_tau={tau}` was set on a model that was made {'without' if average is None else 'with'} an average "
            "of its actor; pass it to the constructor, or to `load()`"
        )
    return None if average is None or tau is None else WeightAverage(model.actor, average, tau)


def _make_actor_gradient(model: "SoftAC") -> ActorGradient:
    actor = model.actor
    # Sampled ids carry no gradient: MultiDiscrete actions that are too many to enumerate need the score function.
    can_reparameterize = actor.differentiable_actions or actor.has_exact_support
    if model.actor_gradient == "reparameterized" and can_reparameterize:
        return Reparameterized(actor)
    return ScoreFunction(actor, _make_baseline(model))


def _make_baseline(model: "SoftAC") -> Baseline:
    if model.baseline == "none":
        return no_baseline
    if model.baseline == "leave_one_out":
        return leave_one_out
    if model.variant == "v1":
        return state_value(model.value_net)
    return estimated_state_value(model.actor, model.critic, actor_q_reduction(model))


def _make_targets(model: "SoftAC", online: nn.Module, target: nn.Module | None) -> TargetNetwork | NoTarget:
    if target is None:
        return NoTarget()
    return TargetNetwork(online, target, model.tau, model.target_update_interval)


def _make_v2(model: "SoftAC") -> Update:
    target = model.critic_target if model.target_networks else None
    learner = _make_learner(model, _make_targets(model, model.critic, target))
    return UpdateV2(learner, target, model.critic_ent_coef, model.q_target_clip)


def _make_v1(model: "SoftAC") -> Update:
    target = model.value_target if model.target_networks else None
    learner = _make_learner(model, _make_targets(model, model.value_net, target))
    return UpdateV1(learner, model.value_net, GradientStep(model.value_net.optimizer, model.max_grad_norm), target)


UPDATES = {"v1": _make_v1, "v2": _make_v2}
