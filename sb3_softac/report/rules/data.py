"""Rules on what the environment gives: observations and rewards."""

import numpy as np

from sb3_softac.report.rules.finding import Finding, has_improved, has_points, late, say
from sb3_softac.report.run import Run


def observations_large(run: Run) -> Finding | None:
    """Observations are far from the size that networks learn from."""
    low, high = run.metric("train/obs_min"), run.metric("train/obs_max")
    if not has_points(low, high):
        return None
    smallest, largest = late(low).min(), late(high).max()
    # Images are divided by 255 by the policy.
    if max(-smallest, largest) <= 100 or (smallest >= 0 and largest <= 255):
        return None
    return Finding(
        title=f"Observations are as large as {say(largest if largest >= -smallest else smallest)}",
        seen=f"In the last quarter of the run observations lay between {say(smallest)} and {say(largest)}.",
        why="Networks learn best from numbers around 1. A large one drowns the others.",
        advice="Normalise observations: policy_kwargs=dict(normalize_obs=True), or units of another size.",
        is_problem=has_improved(run) is False,
    )


def rewards_out_of_scale(run: Run) -> Finding | None:
    """Rewards are huge or tiny."""
    sizes = [run.metric("train/reward_min").abs(), run.metric("train/reward_max").abs()]
    if not has_points(*sizes):
        return None
    size = float(np.max([late(each).max() for each in sizes]))
    if 1e-3 <= size <= 1000 or size == 0:
        return None
    kind = "huge" if size > 1 else "tiny"
    return Finding(
        title=f"Rewards are {kind}: up to {say(size)} for a step",
        seen=f"The largest reward of a step in the last quarter of the run was {say(size)} in size.",
        why="The temperature, the learning rate and the clipping of gradients are made for rewards around 1. Huge ones "
        "drown the entropy bonus, so that nothing is explored; tiny ones are drowned by it.",
        advice=f"Scale them: reward_scale={say(1 / size)}, or another unit in the environment.",
        is_problem=has_improved(run) is False,
    )


def rewards_all_alike(run: Run) -> Finding | None:
    """Each step pays the same, whatever the agent does."""
    low, high = run.metric("train/reward_min"), run.metric("train/reward_max")
    if not has_points(low, high) or low.min() != high.max() or run.training_returns().nunique() > 1:
        return None
    return Finding(
        title=f"Every reward is {say(low.min())}",
        seen=f"No step of the run was paid anything else than {say(low.min())}.",
        why="Where all is paid alike, there is nothing to learn.",
        advice="The rewarding event was never seen: explore further (use_sde=True, a larger ent_coef, a longer "
        "learning_starts), pay for progress on the way, or add demonstrations.",
    )
