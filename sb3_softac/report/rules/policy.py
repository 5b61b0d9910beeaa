"""Rules on the policy: its temperature, its entropy and its actions."""

from sb3_softac.report.rules.finding import Finding, early, has_improved, has_points, late, returns_of, say, steps
from sb3_softac.report.run import Run


def temperature_rose(run: Run) -> Finding | None:
    """Temperature rose tenfold while the return did not rise."""
    alpha, returns = run.metric("train/ent_coef"), returns_of(run)
    if not has_points(alpha) or len(returns) < 4:
        return None
    usual = alpha.rolling(3, center=True, min_periods=1).median()  # a single value is no course
    lowest, last = usual.min(), late(alpha, 0.1).median()
    since = usual.idxmin()
    before, after = returns[returns.index <= max(since, returns.index[1])], late(returns)
    if lowest <= 0 or last < 10 * lowest or last < usual.iloc[0] or after.mean() > before.max():
        return None
    course = "fell" if after.mean() < before.mean() else "did not rise"
    return Finding(
        title=f"The temperature rose {say(last / lowest)}-fold while the return {course}",
        seen=f"ent_coef was {say(lowest)} at {steps(since)} steps and {say(last)} at the end. The return was "
        f"{say(before.mean())} until then and {say(after.mean())} in the last quarter.",
        why="The entropy bonus grows with the temperature, until the agent learns to be random and nothing else.",
        advice="Ask for less entropy (target_entropy='auto_0.5'), bound the temperature (ent_coef_bounds=(1e-3, 1.0)) "
        "or fix it (ent_coef=0.1). Lower ent_coef_learning_rate if it swings.",
    )


def entropy_outweighs_reward(run: Run) -> Finding | None:
    """Entropy bonus of a step is larger than its reward."""
    alpha, entropy = run.metric("train/ent_coef"), run.metric("train/entropy")
    reward = _reward_of_a_step(run)
    if not has_points(alpha, entropy) or not reward:
        return None
    bonus = late(alpha).mean() * late(entropy).mean()
    if bonus < 2 * reward or has_improved(run):  # a policy of little entropy pays for it, in place of being paid
        return None
    return Finding(
        title=f"The entropy bonus outweighs the reward {say(bonus / reward)} times",
        seen=f"In the last quarter of the run a step brought a bonus of {say(bonus)} (ent_coef "
        f"{say(late(alpha).mean())} x entropy {say(late(entropy).mean())}) and a reward of {say(reward)} in size.",
        why="The agent is paid to be random, more than to do its task.",
        advice="Take ent_coef='auto', or a smaller number; or scale the rewards up (reward_scale).",
    )


def _reward_of_a_step(run: Run) -> float:
    """Mean size of the reward of a step in the last quarter of a run; 0 if it is not known.

    That of the replay buffer is what the agent learns from; a Monitor may stand below a wrapper that changes it.
    """
    logged = late(run.metric("train/reward_mean"))
    if not logged.empty:
        return float(logged.abs().mean())
    if run.episodes.empty:
        return 0.0
    last = late(run.episodes.set_index("timesteps")[["returns", "lengths"]])
    return float((last["returns"] / last["lengths"]).abs().mean())


def entropy_misses_target(run: Run) -> Finding | None:
    """Entropy stays far from its target, and does not come nearer."""
    entropy, target = run.metric("train/entropy"), run.metric("train/target_entropy")
    if not has_points(entropy, target):
        return None
    target = target.reindex(entropy.index).ffill().bfill()
    gap = entropy - target
    last, before = late(gap).mean(), early(late(gap, 0.5), 0.5).mean()
    allowed = max(0.5, 0.3 * abs(late(target).mean()))
    if abs(last) <= allowed or late(gap, 0.5).abs().min() <= allowed / 2 or abs(last) < 0.75 * abs(before):
        return None
    side = "above" if last > 0 else "below"
    return Finding(
        title=f"The entropy stays {side} its target: {say(late(entropy).mean())} against {say(late(target).mean())}",
        seen=f"In the second half of the run the entropy was never nearer to its target than "
        f"{say(late(gap, 0.5).abs().min())}.",
        why="The temperature is learned so that both agree. Where they do not, it drifts up or down without end.",
        advice="With a fixed ent_coef the target has no effect: take 'auto'. Above: the temperature is at its lower "
        "bound, or still too high; wait, or raise ent_coef_learning_rate. Below: the target asks for more randomness "
        "than the task bears; lower target_entropy.",
        is_problem=has_improved(run) is False,
    )


def actions_saturated(run: Run) -> Finding | None:
    """Most actions are at the ends of their range."""
    share = run.metric("train/saturated_actions")
    if not has_points(share) or late(share).mean() < 0.5:
        return None
    value = late(share).mean()
    begin = share[share >= 0.5].index[0]
    return Finding(
        title=f"Actions are saturated {value:.0%} of the time",
        seen=f"In the last quarter of the run {value:.0%} of the actions were within 1 % of an end of their range; the "
        f"half was passed at {steps(begin)} steps.",
        why="At the ends tanh is flat: gradients vanish, and the agent only knows full left and full right.",
        advice="For a task that wants extremes this is right. Otherwise lower learning_rate, scale the rewards down "
        "(reward_scale), normalise observations, and check that the range of the actions is not too small.",
        is_problem=has_improved(run) is False,
    )
