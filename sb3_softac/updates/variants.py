"""Factories of the update: one function for each variant, from networks, temperature and settings."""

from collections.abc import Callable
from typing import Any

from stable_baselines3.common.preprocessing import get_action_dim
from torch import nn

from sb3_softac.networks.actors import SoftActor
from sb3_softac.networks.batch_renorm import BatchStatistics
from sb3_softac.networks.boltzmann_actor import BoltzmannActor
from sb3_softac.networks.critics import FeaturesNetwork
from sb3_softac.networks.networks import Networks
from sb3_softac.networks.unit_norm import unit_norm_of
from sb3_softac.settings.arguments import UpdateSettings
from sb3_softac.updates import losses
from sb3_softac.updates.actor_gradient import (
    ActorGradient,
    Baseline,
    Reparameterized,
    ScoreFunction,
    estimated_state_value,
    leave_one_out,
    no_baseline,
    state_value,
)
from sb3_softac.updates.gradient import GradientStep, Stepper, plain_step
from sb3_softac.updates.measures import Measured
from sb3_softac.updates.parts import ActorPart, CriticPart
from sb3_softac.updates.soft_q import (
    AllActions,
    BoltzmannPolicy,
    SamplingPolicy,
    SoftQCritics,
    SoftQPolicy,
    UniformActions,
    UpdateSoftQ,
)
from sb3_softac.updates.targets import NoTarget, TargetNetwork, WeightAverage
from sb3_softac.updates.td import TDS, QReduction
from sb3_softac.updates.temperature import Temperature
from sb3_softac.updates.update import Update
from sb3_softac.updates.v1 import UpdateV1, ValuePart
from sb3_softac.updates.v2 import UpdateV2

Q_REDUCTIONS: dict[str, QReduction] = {"min": losses.min_q, "mean": losses.mean_q}


def make_update(
    variant: str,
    networks: Networks,
    temperature: Temperature,
    settings: UpdateSettings,
    step: Stepper = plain_step,
) -> Update:
    """Make the update of a variant.

    :param variant: a key of :data:`UPDATES`
    :param networks: the networks, with their optimizers
    :param temperature: fixed or learned
    :param settings: settings of the update
    :param step: function that makes an optimizer step
    :raises ValueError: settings that need a network which the policy lacks, or the reverse
    """
    return UPDATES[variant](networks, temperature, settings, step)


def actor_q_reduction(settings: UpdateSettings) -> QReduction:
    """Reduction of the critics' values, (N, B, K) to (B, K), in the actor's loss.

    :param settings: settings of the update
    """
    return Q_REDUCTIONS[settings.actor_q_reduction or settings.q_reduction]


def takes_mean(settings: UpdateSettings) -> bool:
    """Whether :func:`actor_q_reduction` is the mean.

    :param settings: settings of the update
    """
    return actor_q_reduction(settings) is losses.mean_q


def _target_q_reduction(settings: UpdateSettings, n_critics: int) -> QReduction:
    """Reduction of the critics' values, (N, B, K) to (B, K), in the TD target: over a random subset, or over all."""
    reduce_q, n_drawn = Q_REDUCTIONS[settings.q_reduction], settings.n_target_critics
    if n_drawn is None or n_drawn == n_critics:
        return reduce_q
    return lambda q_NBK: reduce_q(losses.random_subset(q_NBK, n_drawn))


def _make_actor_part(
    networks: Networks, temperature: Temperature, settings: UpdateSettings, step: Stepper
) -> ActorPart:
    return ActorPart(
        **_policy_arguments(networks, temperature, settings, step),
        gradient=_make_actor_gradient(networks, settings),
        n_samples=settings.n_action_samples,
    )


def _policy_arguments(
    networks: Networks, temperature: Temperature, settings: UpdateSettings, step: Stepper
) -> dict[str, Any]:
    """Arguments that the parts with an actor have in common."""
    actor = networks.actor
    return {
        "actor": actor,
        "step": _make_step(actor, settings, step),
        "temperature": temperature,
        "statistics": BatchStatistics(actor),
        "average": _make_actor_average(networks, settings.actor_tau),
        "delay": settings.policy_delay,
    }


def _make_step(network: SoftActor | FeaturesNetwork, settings: UpdateSettings, step: Stepper) -> GradientStep:
    return GradientStep(network.optimizer, settings.max_grad_norm, step, unit_norm_of(network, network.hidden))


def _make_actor_average(networks: Networks, tau: float | None) -> WeightAverage | None:
    average = networks.actor_average
    if (average is None) != (tau is None):
        raise ValueError(
            f"`actor_tau={tau}` was set on a model that was made {'without' if average is None else 'with'} an average "
            "of its actor; pass it to the constructor, or to `load()`"
        )
    return None if average is None or tau is None else WeightAverage(networks.actor, average, tau)


def _make_actor_gradient(networks: Networks, settings: UpdateSettings) -> ActorGradient:
    actor = networks.actor
    # Sampled ids have no gradient. With too many MultiDiscrete actions to list, only the score function is left.
    can_reparameterize = actor.differentiable_actions or actor.has_exact_support
    if settings.actor_gradient == "reparameterized" and can_reparameterize:
        return Reparameterized(actor.differentiable_actions)
    return ScoreFunction(_make_baseline(networks, settings))


def _make_baseline(networks: Networks, settings: UpdateSettings) -> Baseline:
    if settings.baseline == "none":
        return no_baseline
    if settings.baseline == "leave_one_out":
        return leave_one_out
    if networks.value_net is not None:
        return state_value(networks.value_net)
    reduce_q = actor_q_reduction(settings)
    return estimated_state_value(networks.actor, networks.critic, reduce_q, settings.n_action_samples)


def _make_critic_part(networks: Networks, settings: UpdateSettings, step: Stepper, through_actions: bool) -> CriticPart:
    return CriticPart(**_critic_arguments(networks, settings, step), through_actions=through_actions)


def _critic_arguments(networks: Networks, settings: UpdateSettings, step: Stepper) -> dict[str, Any]:
    """Arguments that the parts with critics have in common."""
    critic = networks.critic
    reduce_q = _target_q_reduction(settings, critic.n_critics)
    td = TDS[type(critic.head)](critic.head, reduce_q, settings.critic_ent_coef, settings.q_target_clip)
    return {
        "critic": critic,
        "step": _make_step(critic, settings, step),
        **_batch_statistics(critic, networks.critic_target, settings),
        "td": td,
        "reduce_q": actor_q_reduction(settings),
        "target": networks.critic_target,
        "follower": _make_follower(critic, networks.critic_target, settings),
    }


def _batch_statistics(online: nn.Module, target: nn.Module | None, settings: UpdateSettings) -> dict[str, Any]:
    """Arguments of a part that say over what batch its statistics are."""
    return {
        "statistics": BatchStatistics(online),
        "target_statistics": BatchStatistics(target),
        "is_joint": settings.joint_pass or target is None,
    }


def _make_follower(online: nn.Module, target: nn.Module | None, settings: UpdateSettings) -> TargetNetwork | NoTarget:
    if target is None:
        return NoTarget()
    return TargetNetwork(online, target, settings.tau, settings.target_update_interval)


def _make_v2(networks: Networks, temperature: Temperature, settings: UpdateSettings, step: Stepper) -> UpdateV2:
    actor = _make_actor_part(networks, temperature, settings, step)
    critics = _make_critic_part(networks, settings, step, actor.gradient.through_actions)
    return UpdateV2(actor, critics, _is_measured(settings))


def _is_measured(settings: UpdateSettings) -> Measured:
    return Measured(settings.diagnostics != "off", settings.policy_delay)


def _make_v1(networks: Networks, temperature: Temperature, settings: UpdateSettings, step: Stepper) -> UpdateV1:
    actor = _make_actor_part(networks, temperature, settings, step)
    value_net = networks.value_net
    assert value_net is not None, "a network of v1"
    draws_subset = settings.n_target_critics not in (None, networks.critic.n_critics)
    is_reduced_alike = settings.actor_q_reduction in (None, settings.q_reduction)
    values = ValuePart(
        value_net=value_net,
        step=_make_step(value_net, settings, step),
        **_batch_statistics(value_net, networks.value_target, settings),
        reduce_q=None
        if is_reduced_alike and not draws_subset
        else _target_q_reduction(settings, networks.critic.n_critics),
        target=networks.value_target,
        follower=_make_follower(value_net, networks.value_target, settings),
    )
    critics = _make_critic_part(networks, settings, step, actor.gradient.through_actions)
    return UpdateV1(actor, critics, values, _is_measured(settings))


def _make_soft_q(networks: Networks, temperature: Temperature, settings: UpdateSettings, step: Stepper) -> UpdateSoftQ:
    actor, n_particles = networks.actor, settings.n_particles
    of_policy = _policy_arguments(networks, temperature, settings, step)
    of_critics = _critic_arguments(networks, settings, step)
    policy: SoftQPolicy
    if isinstance(actor, BoltzmannActor):
        policy = BoltzmannPolicy(**of_policy, takes_mean=takes_mean(settings))
        critics = SoftQCritics(**of_critics, through_actions=False, candidates=AllActions(actor))
    else:
        policy = SamplingPolicy(**of_policy, n_particles=n_particles)
        candidates = UniformActions(get_action_dim(actor.action_space), n_particles)
        critics = SoftQCritics(**of_critics, through_actions=True, candidates=candidates)
    return UpdateSoftQ(policy, critics, _is_measured(settings))


#: factory of the update for each key of :data:`~sb3_softac.settings.variants.VARIANTS`
UPDATES: dict[str, Callable[[Networks, Temperature, UpdateSettings, Stepper], Update]] = {
    "v1": _make_v1,
    "v2": _make_v2,
    "soft_q": _make_soft_q,
}
