"""Draw what it learns and how fast it is, beside Stable-Baselines3's SAC: `docs/images/overview.png`.

    python docs/figures/overview.py

All numbers are those of `benchmarks/results`.
"""

import json
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

ROOT = Path(__file__).parents[2]
OUTPUT = ROOT / "docs" / "images" / "overview.png"
CURVES = {"HalfCheetah-v5": "return of an episode", "LunarLanderContinuous-v3": None}
SERIES = {"softac": ("SoftAC", "#c8102e"), "sac": ("SB3's SAC", "#6d7f91")}
BARS = {"softac": "SoftAC", "softac-bfloat16": "bfloat16", "sbx": "SBX (JAX)"}


def draw_curves(axes: Axes, env: str, label: str | None) -> None:
    """Draw the mean over seeds, and from the worst to the best of them.

    :param axes: to draw on
    :param env: id of the environment
    :param label: of the vertical axis
    """
    curves = pd.read_csv(ROOT / "benchmarks" / "results" / "suite" / "curves.csv")
    for series, (name, color) in SERIES.items():
        by_step = curves[(curves["env"] == env) & (curves["series"] == series)].groupby("step")["eval_mean"]
        n_seeds = int(by_step.count().max())
        axes.fill_between(by_step.min().index, by_step.min(), by_step.max(), color=color, alpha=0.15, linewidth=0)
        axes.plot(by_step.mean(), color=color, label=f"{name}, {n_seeds} seeds")
    axes.set(title=env, xlabel="environment steps", ylabel=label or "")
    axes.xaxis.set_major_formatter(lambda steps, _: f"{steps / 1000:.0f}k")
    axes.legend(frameon=False, fontsize=8)


def draw_speed(axes: Axes) -> None:
    """Draw the speed of ``learn()`` over SAC's, with 95 % intervals.

    :param axes: to draw on
    """
    points = json.loads((ROOT / "benchmarks" / "results" / "speed" / "speed.json").read_text())["points"]
    one_thread = next(point for point in points if point["settings"]["threads"] == 1)
    ratios = {name: each["ratio"] for name, each in one_thread["measures"]["learn"]["contenders"].items()}
    medians = [1.0, *(ratios[name]["median"] for name in BARS)]
    errors = [[0.0, *(ratios[name]["median"] - ratios[name]["low"] for name in BARS)]]
    errors += [[0.0, *(ratios[name]["high"] - ratios[name]["median"] for name in BARS)]]
    colors = ["#6d7f91", "#c8102e", "#e07a88", "#b8c4d0"]
    axes.barh(["SB3's SAC", *BARS.values()], medians, xerr=errors, color=colors, ecolor="#333333")
    axes.invert_yaxis()
    axes.set(title="Speed of learn(), one thread", xlabel="over SB3's SAC")


def main() -> None:
    """Draw two learning curves and the speed side by side."""
    figure, panels = plt.subplots(1, 3, figsize=(12, 3.2), dpi=120, layout="constrained")
    for axes, (env, label) in zip(panels, CURVES.items(), strict=False):
        draw_curves(axes, env, label)
    draw_speed(panels[-1])
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
    figure.savefig(OUTPUT)
    plt.close(figure)


if __name__ == "__main__":
    main()
