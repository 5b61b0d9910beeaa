"""Rules that say in words what looks wrong: pure functions of a run, each of which gives a finding or None."""

from collections.abc import Callable

from sb3_softac.report.rules import critics, data, policy, returns
from sb3_softac.report.rules.finding import Finding
from sb3_softac.report.run import Run

__all__ = ["RULES", "Finding", "findings"]

RULES: tuple[Callable[[Run], Finding | None], ...] = (
    critics.q_without_bound,
    critics.losses_explode,
    policy.temperature_rose,
    policy.entropy_outweighs_reward,
    returns.relapse,
    returns.evaluation_below_training,
    policy.actions_saturated,
    critics.critics_disagree,
    critics.dead_units,
    policy.entropy_misses_target,
    data.rewards_out_of_scale,
    data.rewards_all_alike,
    data.observations_large,
    returns.few_updates,
    returns.always_time_limit,
    returns.no_learning,
    returns.ended_early,
)


def findings(run: Run) -> list[Finding]:
    """All that looks wrong with a run, problems first.

    :param run: any run; a rule whose metrics were not logged is silent
    """
    found = [finding for rule in RULES if (finding := rule(run)) is not None]
    return sorted(found, key=lambda finding: not finding.is_problem)
