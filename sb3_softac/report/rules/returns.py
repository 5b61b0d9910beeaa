"""Rules on the returns: whether, when and where the agent learned."""

import numpy as np

from sb3_softac.report.rules.finding import (
    MIN_EPISODES,
    Finding,
    early,
    has_improved,
    late,
    numeric,
    returns_of,
    say,
    steps,
)
from sb3_softac.report.run import Run


def no_learning(run: Run) -> Finding | None:
    """Return of the last training episodes is no better than that of the first."""
    returns = run.training_returns()
    success = late(run.metric("rollout/success_rate"))
    if has_improved(run) is not False or (not success.empty and success.mean() > 0.9) or relapse(run) is not None:
        return None
    first, last = returns.head(len(returns) // 5), returns.tail(len(returns) // 5)
    return Finding(
        title="No learning: the return did not rise",
        seen=f"The first {len(first)} training episodes returned {say(first.mean())} on average (std "
        f"{say(first.std())}), the last {len(last)} returned {say(last.mean())}, after {steps(run.last_step)} steps.",
        why="What the agent does is still as good as what it did before it had learned anything.",
        advice="First check the other findings. Then see that rewards come at all within an episode, that the agent "
        "was trained long enough, and that hyperparameters which work for a similar environment fail here too. If "
        "the agent was perfect from the start, all is well.",
    )


def relapse(run: Run) -> Finding | None:
    """Return lost more than half of what it had gained, for a while or for good."""
    returns = returns_of(run)
    if len(returns) < 5:
        return None
    best = np.maximum.accumulate(returns.to_numpy())
    gained, lost = best - returns.iloc[0], best - returns.to_numpy()
    # An agent that has hardly gained anything yet has nothing to lose.
    has_learned = gained > max(0.4 * (returns.max() - returns.min()), 2 * _noise(run))
    is_down = has_learned & (lost > 0.5 * gained)
    stretch = _longest(is_down)
    if stretch is None or stretch[1] - stretch[0] < max(2, len(returns) // 20):
        return None
    begin, end = stretch
    best_before = returns.iloc[:begin].idxmax()
    worst = returns.iloc[begin:end]
    recovered = end < len(returns)
    ending = f"It recovered at {steps(returns.index[end])} steps." if recovered else "It did not recover."
    return Finding(
        title=f"The agent relapsed at {steps(returns.index[begin])} steps",
        seen=f"The return was {say(returns[: returns.index[begin - 1]].max())} at {steps(best_before)} steps and fell "
        f"to {say(worst.min())}, from {say(returns.iloc[0])} at the start. {ending}",
        why="An agent that forgets is one of luck: the last one saved may be a bad one.",
        advice="Take best_model.zip of the evaluations. Lower learning_rate or let it fall ('lin_3e-4'), raise "
        "batch_size, try actor_tau (an average of the actor), and look at Q and the temperature at that step.",
        is_problem=not recovered,
    )


def _noise(run: Run) -> float:
    """Std of the returns of one agent: of the episodes of an evaluation, or of the first training episodes."""
    first = run.training_returns()
    stds = [float(early(first, 0.2).std()) if len(first) >= MIN_EPISODES else 0.0]
    if run.evaluations is not None:
        stds.append(float(np.median(run.evaluations.returns.std(axis=1))))
    return max(stds)


def _longest(flags: np.ndarray) -> tuple[int, int] | None:
    """Begin and end of the longest stretch of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(int), [0]])))
    if not len(edges):
        return None
    begins, ends = edges[::2], edges[1::2]
    longest = int(np.argmax(ends - begins))
    return int(begins[longest]), int(ends[longest])


def evaluation_below_training(run: Run) -> Finding | None:
    """Evaluations return far less than training at the same time."""
    evaluated, training = run.evaluation_returns(), run.training_returns()
    if len(evaluated) < 4 or len(training) < MIN_EPISODES:
        return None
    last = late(evaluated, 0.4)
    meanwhile = training[training.index >= last.index[0]]
    if len(meanwhile) < 5:
        return None
    gap = meanwhile.mean() - last.mean()
    if gap <= 2 * meanwhile.std() or gap <= 0.25 * (training.max() - training.min()):
        return None
    return Finding(
        title=f"Evaluation is far below training: {say(last.mean())} against {say(meanwhile.mean())}",
        seen=f"The last {len(last)} evaluations returned {say(last.mean())} on average, the {len(meanwhile)} training "
        f"episodes of the same time {say(meanwhile.mean())} (std {say(meanwhile.std())}).",
        why="What is evaluated is not what is trained: another environment, other observations, or another agent.",
        advice="Compare both environments: their arguments, wrappers and time limits; if VecNormalize is used, its "
        "statistics must be the same in both. Evaluate with deterministic=False once: if that is better, the mean "
        "action alone is bad, and a lower target_entropy helps.",
    )


def always_time_limit(run: Run) -> Finding | None:
    """Every episode runs into the time limit, without success or with next to no return."""
    if len(run.episodes) < MIN_EPISODES // 2:
        return None
    lengths, returns = late(run.episodes["lengths"], 0.5), run.training_returns().abs()
    success = late(run.metric("rollout/success_rate"), 0.5)
    never_succeeds = not success.empty and success.max() == 0
    earns_nothing = late(returns).max() < 0.05 * returns.max()
    if lengths.nunique() != 1 or lengths.iloc[0] < 2 or not (never_succeeds or earns_nothing):
        return None
    lack = "without success" if never_succeeds else "and the return is next to nothing"
    return Finding(
        title=f"Every episode hits the time limit of {steps(lengths.iloc[0])} steps, {lack}",
        seen=f"All of the last {len(lengths)} episodes had {steps(lengths.iloc[0])} steps. In the last quarter they "
        f"returned {say(late(run.training_returns()).mean())} on average"
        + (", and none was a success." if never_succeeds else "."),
        why="The agent has not reached what the environment pays for, and may have learned to save effort instead.",
        advice="Let it explore further: use_sde=True, a larger ent_coef, action noise, a longer learning_starts or "
        "HerReplayBuffer for goals. Or pay for progress on the way. Raise gamma if the goal is far away.",
    )


def ended_early(run: Run) -> Finding | None:
    """A run has fewer steps than were asked for."""
    planned = numeric(run.arguments, "n_timesteps", -1)
    if planned <= 0:
        planned = numeric(run.hyperparams, "n_timesteps", -1)
    lengths = run.episodes["lengths"] if len(run.episodes) else np.array([0])
    if planned <= 0 or run.last_step + 4 * np.max(lengths) >= 0.95 * planned:
        return None
    return Finding(
        title=f"The run stands at {steps(run.last_step)} of {steps(planned)} steps",
        seen=f"The last line of its logs was written at {steps(run.last_step)} steps.",
        why="Either it still goes on, or it was stopped or failed.",
        advice="See its terminal for an error. A run of SoftAC goes on from its checkpoint by "
        "`python -m sb3_softac.zoo resume RUN_FOLDER`.",
        is_problem=False,
    )


def few_updates(run: Run) -> Finding | None:
    """Agent learns from far fewer batches than it makes steps."""
    ratio = run.metric("train/updates_per_step")
    if ratio.empty and run.algo in {"softac", "sac", "td3", "ddpg", "tqc"}:
        ratio = run.metric("train/n_updates")
        ratio = ratio / ratio.index
    if len(ratio) < 3 or late(ratio).mean() >= 0.2:
        return None
    value = late(ratio).mean()
    return Finding(
        title=f"Few updates: {say(value)} gradient steps for each step of the environment",
        seen=f"Updates per step were {say(value)} in the last quarter of the run.",
        why="Off-policy agents learn by updates: with a tenth of them they need up to ten times as many steps. With "
        "several environments, one gradient step is shared by all of their steps.",
        advice="Set gradient_steps=-1: as many updates as there were steps. If the time for updates is what is short, "
        "this is right as it is.",
        is_problem=has_improved(run) is False,
    )
