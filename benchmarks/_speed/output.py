"""The measurements as a table, and as a plot where matplotlib is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

MEASURES = {"updates": "updates/s", "learn": "steps/s of learn()"}
ALONE = {
    "peak_mib": "peak memory, MiB",
    "peak_after_imports_mib": "of which after imports, MiB",
    "peak_device_mib": "peak memory on the device, MiB",
    "build_ms": "building the agent, ms",
    "first_update_ms": "first update, ms",
    "later_update_ms": "a later update, ms",
}


def markdown(result: dict[str, Any]) -> str:
    """The tables for reading, with what was measured and where."""
    names, settings = result["names"], result["settings"]
    ours, theirs = names["contender"], names["reference"]
    lines = [
        f"# Speed: {ours} against {theirs}",
        "",
        f"In one process, block by block in turn (A B, B A, ...). A ratio above 1 means that "
        f"{ours} is faster; median [quartiles] (extremes) over pairs.",
        "",
        f"| torch threads | | {ours} | {theirs} | ratio | ratio of CPU time | pairs |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for entry in result["rounds"]:
        if "skipped" in entry:
            lines.append(f"| {entry['threads']} | {entry['skipped']} | - | - | - | - | - |")
            continue
        for key, title in MEASURES.items():
            m = entry[key]
            ours_median, theirs_median = (m[f"{role}_per_second"]["median"] for role in ("contender", "reference"))
            lines.append(
                f"| {entry['threads']} | {title} | {ours_median:.1f} | {theirs_median:.1f} | "
                f"{_spread(m['ratio'])} | {_spread(m['cpu_time_ratio'])} | {m['pairs']} |"
            )
    lines += ["", *_alone(result), *_provenance(result, settings)]
    return "\n".join(lines) + "\n"


def _alone(result: dict[str, Any]) -> list[str]:
    ours, theirs = result["names"]["contender"], result["names"]["reference"]
    if not result["alone"]:
        return []
    lines = []
    for entry in result["alone"]:
        contender, reference = entry["contender"], entry["reference"]
        lines += [
            f"Each in a process of its own, {entry['steps']} steps, {entry['threads']} torch thread(s), "
            f"median of {entry['repeats']}:",
            "",
            f"| | {ours} | {theirs} | ratio |",
            "| --- | --- | --- | --- |",
        ]
        for key, title in ALONE.items():
            if key in contender:
                ratio = contender[key] / reference[key] if reference[key] else float("nan")
                lines.append(f"| {title} | {contender[key]:.1f} | {reference[key]:.1f} | {ratio:.2f} |")
        lines.append("")
    return lines


def _provenance(result: dict[str, Any], settings: dict[str, Any]) -> list[str]:
    plan, machine, load = result["plan"], result["machine"], result["load_average"]
    sizes = ", ".join(f"{key} {value}" for key, value in settings.items())
    extra = ", ".join(f"{key}={value}" for key, value in result["contender_arguments"].items()) or "none"
    return [
        f"- {sizes}; blocks of {plan['updates_per_block']} updates and of {plan['steps_per_block']} steps. "
        f"Arguments of {result['names']['contender']} beyond the defaults: {extra}.",
        f"- Machine: {machine['cpu']}, {machine['cores']} core(s)"
        + (f", {machine['gpu']}" if "gpu" in machine else "")
        + f"; load average {load['start']} at the start, {load['end']} at the end.",
        "- Versions: " + ", ".join(f"{name} {version}" for name, version in result["versions"].items()) + ".",
    ]


def _spread(m: dict[str, float]) -> str:
    return f"{m['median']:.2f} [{m['q1']:.2f}, {m['q3']:.2f}] ({m['min']:.2f} to {m['max']:.2f})"


def plot(result: dict[str, Any], path: Path) -> bool:
    """Every pair's ratio as a point over its box; False where matplotlib is not installed."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return False
    rounds = [entry for entry in result["rounds"] if "skipped" not in entry]
    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    labels = []
    for entry in rounds:
        for key, title in MEASURES.items():
            labels.append(f"{title}\n{entry['threads']} thread{'s' if entry['threads'] > 1 else ''}")
            ratios, position = entry[key]["ratios"], len(labels)
            axes.boxplot(ratios, positions=[position], widths=0.4, showfliers=False)
            spread = [position + 0.3 + 0.1 * index / max(1, len(ratios) - 1) for index in range(len(ratios))]
            axes.plot(spread, ratios, ".", color="C0", alpha=0.5, markersize=4)
    axes.axhline(1.0, color="0.3", linestyle=":", linewidth=1)
    axes.set_xticks(range(1, len(labels) + 1), labels)
    axes.set_ylim(bottom=0)
    names = result["names"]
    axes.set_ylabel(f"speed of {names['contender']} over {names['reference']}")
    figure.savefig(path, dpi=120)
    return True
