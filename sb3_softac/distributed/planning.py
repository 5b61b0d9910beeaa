"""Plan of a large run: what limits it, from the times of its parts.

One round is a step of all environments, its storing, and the gradient steps that follow. Simulators run elsewhere, or
on the learner's device; the learner chooses the actions, stores the steps and makes the gradient steps.
"""

import math
from typing import NamedTuple

from sb3_softac.settings.parsing import NOT_NEGATIVE, POSITIVE, POSITIVE_FRACTION, number, whole_number

SIMULATORS, ACTING, UPDATES = "simulators", "acting and storing", "gradient steps"
# Passes through a network in one gradient step of SAC, in units of one pass forward; a pass backward counts as two.
# Critics: the target, forward and backward, and forward and back to the actions in the actor's loss.
CRITIC_PASSES, ACTOR_PASSES = 1 + 3 + 2, 1 + 3


class Costs(NamedTuple):
    """Times of the parts of a run.

    :param simulator_us: microseconds of one transition in one actor
    :param collecting_us: microseconds of the learner for one transition: acting and storing, at this number of
        environments
    :param update_ms: milliseconds of a gradient step
    """

    simulator_us: float
    collecting_us: float
    update_ms: float


class Plan(NamedTuple):
    """Speed of a run, and what limits it."""

    transitions_per_second: float
    updates_per_second: float
    simulators_busy: float  #: part of the time in which the simulators work, at most 1
    learner_busy: float  #: part of the time in which the learner works, at most 1
    bottleneck: str  #: what takes longest in a round
    next_bottleneck: str  #: what takes longest if that took no time
    actors: int  #: actors from which on the simulators wait for the learner
    updates_per_step: int  #: gradient steps that fit into a step of all environments while the simulators work


def plan(costs: Costs, n_envs: int, updates_per_step: float, n_actors: int = 1, overlap: bool = True) -> Plan:
    """Plan a run.

    :param costs: of its parts
    :param n_envs: environments of all actors together
    :param updates_per_step: gradient steps for a step of all environments
    :param n_actors: processes or machines that share the environments evenly, each steps its own one after another
    :param overlap: whether simulators and learner work at the same time; False: one after the other, as on one device
    :raises ValueError: a time, a number of environments or of actors that is out of its range
    """
    costs = Costs(*(number(name, value, NOT_NEGATIVE) for name, value in costs._asdict().items()))
    n_envs, n_actors = whole_number("n_envs", n_envs), whole_number("n_actors", n_actors)
    simulators = costs.simulator_us * 1e-6 * math.ceil(n_envs / n_actors)
    acting = costs.collecting_us * 1e-6 * n_envs
    updates = costs.update_ms * 1e-3 * number("updates_per_step", updates_per_step, NOT_NEGATIVE)
    learner = acting + updates
    seconds = max(simulators, learner) if overlap else simulators + learner
    if seconds == 0.0:
        raise ValueError("A plan needs at least one part that takes time, but all of `costs` are 0")
    parts = {SIMULATORS: simulators, ACTING: acting, UPDATES: updates}
    first, second, _ = sorted(parts, key=lambda name: -parts[name])
    one_actor = costs.simulator_us * 1e-6 * n_envs
    room = simulators - acting
    return Plan(
        transitions_per_second=n_envs / seconds,
        updates_per_second=updates_per_step / seconds,
        simulators_busy=simulators / seconds,
        learner_busy=learner / seconds,
        bottleneck=first,
        next_bottleneck=second,
        actors=max(1, min(n_envs, math.ceil(one_actor / learner))) if learner > 0.0 else n_envs,
        updates_per_step=max(0, math.floor(room / (costs.update_ms * 1e-3))) if costs.update_ms > 0.0 else 0,
    )


def update_flop(critic_parameters: int, actor_parameters: int, batch_size: int) -> float:
    """Floating-point operations of the matrix products of a gradient step of SAC.

    :param critic_parameters: weights of all critics
    :param actor_parameters: weights of the actor
    :param batch_size: transitions in it
    """
    passes = CRITIC_PASSES * critic_parameters + ACTOR_PASSES * actor_parameters
    return 2.0 * passes * whole_number("batch_size", batch_size)


def computed_update_ms(flop: float, tflops: float, part_of_peak: float = 0.3, launch_ms: float = 0.5) -> float:
    """Milliseconds of a gradient step on a device that is not at hand.

    :param flop: of :func:`update_flop`
    :param tflops: peak of the device, in 10^12 operations a second, for the type of the products
    :param part_of_peak: that products of this size reach
    :param launch_ms: milliseconds below which no gradient step gets, as its operations are started one by one
    """
    part = number("part_of_peak", part_of_peak, POSITIVE_FRACTION)
    rate = number("tflops", tflops, POSITIVE) * 1e12 * part
    return max(number("launch_ms", launch_ms, NOT_NEGATIVE), 1e3 * flop / rate)
