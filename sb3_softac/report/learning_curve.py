"""Plot of the learning curve of a run."""

from pathlib import Path
from typing import TYPE_CHECKING

from sb3_softac.report.load import load_run
from sb3_softac.report.run import Run
from sb3_softac.saving.files import replaced

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TRAINING_COLOR = "#8da0b3"
EVALUATION_COLOR = "#c8102e"
INK = "#333333"


def write_learning_curve(folder: str | Path) -> Path:
    """Plot the training and evaluation returns of a run into ``learning_curve.png`` in its folder.

    :param folder: folder of one run of rl_zoo3
    :return: path of the picture
    :raises ValueError: no episode has ended and nothing was evaluated; or see :func:`sb3_softac.report.load_run`
    """
    # Without pyplot, no display is opened, and the caller's open figures stay as they are.
    from matplotlib.figure import Figure

    run = load_run(folder)
    if run.episodes.empty and run.evaluations is None:
        raise ValueError(
            f"{folder} holds no finished episode and no evaluation: train for longer than one episode, "
            "or evaluate with --eval-freq."
        )
    figure = Figure(figsize=(8, 4.8), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    _plot_training(axes, run)
    _plot_evaluations(axes, run)
    _decorate(axes, run)

    path = run.folder / "learning_curve.png"
    with replaced(path) as file:
        figure.savefig(file, format="png")
    return path


def _plot_training(axes: "Axes", run: Run) -> None:
    if run.episodes.empty:
        return
    timesteps, returns = run.episodes["timesteps"], run.episodes["returns"]
    axes.plot(timesteps, returns, ".", color=TRAINING_COLOR, alpha=0.6, markersize=4, markeredgewidth=0)
    window = max(1, min(100, len(returns) // 10))
    label = f"training episodes, mean of {window}" if window > 1 else "training episodes"
    axes.plot(timesteps, returns.rolling(window).mean(), color=TRAINING_COLOR, linewidth=1.8, label=label)


def _plot_evaluations(axes: "Axes", run: Run) -> None:
    if run.evaluations is None:
        return
    timesteps, returns = run.evaluations[:2]
    mean, std = returns.mean(axis=1), returns.std(axis=1)
    label = f"evaluation, mean ± std of {returns.shape[1]} episodes"
    axes.fill_between(timesteps, mean - std, mean + std, color=EVALUATION_COLOR, alpha=0.15, linewidth=0)
    axes.plot(timesteps, mean, "o-", color=EVALUATION_COLOR, linewidth=1.8, markersize=4, label=label)


def _decorate(axes: "Axes", run: Run) -> None:
    title = f"{run.algo} on {run.env_id}" if run.algo else run.env_id
    axes.set_title(title, loc="left", fontsize=13, fontweight="bold", color=INK, pad=22, parse_math=False)
    axes.text(0, 1.025, _summary(run), transform=axes.transAxes, fontsize=9.5, color=INK)
    axes.set_xlabel("environment steps", color=INK)
    axes.set_ylabel("return of an episode", color=INK)
    axes.xaxis.set_major_formatter(lambda steps, _: f"{steps:,.0f}")
    axes.set_xlim(left=0)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9, loc="lower right")


def _summary(run: Run) -> str:
    """One-line summary of a run: its seed, and its last returns."""
    parts = [] if run.seed is None else [f"seed {run.seed}"]
    if run.evaluations is not None:
        timesteps, returns = run.evaluations[:2]
        mean, std = returns[-1].mean(), returns[-1].std()
        parts.append(f"last evaluation, at {timesteps[-1]:,} steps: {mean:.1f} ± {std:.1f}")
    else:
        last = run.episodes.tail(10)
        parts.append(f"last {len(last)} training episodes: {last['returns'].mean():.1f}")
    return "  ·  ".join(parts)
