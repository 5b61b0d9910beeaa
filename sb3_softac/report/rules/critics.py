"""Rules on the critics: whether Q can be true."""

import numpy as np

from sb3_softac.report.groups import setting_of
from sb3_softac.report.rules.finding import Finding, early, has_points, late, numeric, say, steps
from sb3_softac.report.run import Run

# Q may go beyond its bound for a while; twice as far is no noise.
BEYOND = 2.0


def q_without_bound(run: Run) -> Finding | None:
    """Q is larger than any sum of rewards can be."""
    q, bound = run.metric("train/q_value"), _largest_value(run)
    if not has_points(q) or bound is None:
        return None
    peak, last = float(q[q.abs().idxmax()]), float(q.iloc[-1])
    if abs(peak) <= BEYOND * bound:
        return None
    beyond = q[q.abs() > BEYOND * bound].index[0]
    gamma = numeric(setting_of(run), "gamma", 0.99)
    return Finding(
        title=f"Q grows without bound: {say(peak)}, where rewards allow {say(bound)}",
        seen=f"The mean of Q was {say(q.iloc[0])} at {steps(q.index[0])} steps, went to {say(peak)}, and is "
        f"{say(last)} at the end. The rewards and the entropy bonus that were seen, with gamma {gamma:g}, add up to "
        f"{say(bound)} at most; Q went beyond twice that at {steps(beyond)} steps.",
        why="The critics believe their own errors: each target is made of the last one. The actor then follows noise.",
        advice="Lower learning_rate and tau, keep target networks, use policy_kwargs=dict(layer_norm=True) or "
        "max_grad_norm, and check that the end of an episode by time is a truncation and not a termination.",
    )


def _largest_value(run: Run) -> float | None:
    """Largest |Q| that the rewards and the entropy bonus which were seen can add up to; None if they are not known."""
    setting = setting_of(run)
    rewards = [run.metric("train/reward_min").abs().max(), run.metric("train/reward_max").abs().max()]
    largest = np.nanmax([*rewards, -1.0])
    if largest < 0:
        return None
    reward = float(largest)  # as the critics see it, with the reward scale
    bonus = (run.metric("train/ent_coef") * run.metric("train/entropy")).abs().max()
    gamma = min(numeric(setting, "gamma", 0.99), 0.9999)
    return (reward + (0.0 if np.isnan(bonus) else float(bonus))) / (1 - gamma)


def losses_explode(run: Run) -> Finding | None:
    """Losses or gradients of the critics have grown a thousandfold."""
    for key, name in (
        ("train/critic_grad_norm", "norm of the critics' gradients"),
        ("train/critic_loss", "critic loss"),
    ):
        series = run.metric(key)
        if not has_points(series):
            continue
        first, last = early(series, 0.5).median(), late(series, 0.1).median()
        if first > 0 and last > 1000 * first:
            return Finding(
                title=f"The {name} grew {say(last / first)}-fold",
                seen=f"It was {say(first)} in the first half of the run and {say(last)} at the end.",
                why="Steps of that size undo what was learned.",
                advice="Lower learning_rate, set max_grad_norm=1.0, and see whether rewards are of a sane size.",
            )
    return None


def critics_disagree(run: Run) -> Finding | None:
    """Critics differ as much among each other as Q differs between states."""
    disagreement, spread = run.metric("train/critic_disagreement"), run.metric("train/q_std")
    if not has_points(disagreement, spread):
        return None
    last, of_q = late(disagreement).mean(), late(spread).mean()
    if of_q <= 0 or last < 0.3 * of_q:
        return None
    return Finding(
        title=f"The critics disagree: by {last / of_q:.0%} of the spread of Q",
        seen=f"In the last quarter of the run the critics were {say(last)} apart (std over critics), while Q varied by "
        f"{say(of_q)} between states.",
        why="The minimum over critics is then mostly their noise, and so is what the actor learns from it.",
        advice="Lower learning_rate, raise batch_size, use policy_kwargs=dict(layer_norm=True), and check that rewards "
        "are neither huge nor all alike.",
    )


def dead_units(run: Run) -> Finding | None:
    """Most units of a network are zero for every observation."""
    for network in ("critic", "actor"):
        share = run.metric(f"diagnostics/dead_units_{network}")
        if not share.empty and 0.5 < late(share).mean() <= 1:
            value = late(share).mean()
            return Finding(
                title=f"{value:.0%} of the {network}'s units are dead",
                seen=f"In the last quarter of the run {value:.0%} of the units were zero for every observation.",
                why="Dead units learn nothing more; the network is smaller than it seems.",
                advice="Lower learning_rate, use layer_norm=True for the critics or another activation "
                "(policy_kwargs=dict(activation_fn=torch.nn.ELU)).",
            )
    return None
