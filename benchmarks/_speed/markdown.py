"""The measurements as tables."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from benchmarks._output import grid, ratio_interval

MEASURES = {"updates": "updates/s", "learn": "steps/s of learn()"}
STARTUP = {
    "peak_mib": "peak memory, MiB",
    "peak_after_imports_mib": "of which after imports, MiB",
    "peak_device_mib": "peak on the device, MiB",
    "build_ms": "building, ms",
    "first_update_ms": "first update, ms",
    "later_update_ms": "a later update, ms",
    "slowest_later_ms": "the slowest of them, ms",
}
RATIO_COLUMNS = (
    *("", "threads", "", "contender", "per second", "ms each", "reference", "per second"),
    *("ratio [95%]", "quartiles", "ratio of CPU time", "pairs"),
)


def ratios(content: dict[str, Any], title: str) -> str:
    """Tables of a file of points: ratios, start-up, and where they were measured.

    :param content: of ``speed.json``, ``sweep.json`` or ``cases.json``
    :param title: heading
    """
    points = content["points"]
    plans = {(p["settings"]["plan"]["pairs"], p["settings"]["plan"]["block_seconds"]) for p in points}
    how = "; ".join(f"{pairs} pairs of blocks of about {seconds} s" for pairs, seconds in sorted(plans))
    lines = [
        f"# Speed: {title}\n",
        "Each contender beside its reference, block by block in turn (A B, B A, ...), exactly one at work at a time. A "
        "ratio above 1 means that the contender is faster; medians over pairs of neighbouring blocks, with the 95% "
        f"interval of the median (order statistics) and the quartiles. {how}.",
        "",
        grid(RATIO_COLUMNS, (row for point in points for row in _ratio_rows(point))),
        *_others(points),
        *_startup(points),
        *_left_out(points),
        *_provenance(points),
    ]
    return "\n".join(lines) + "\n"


def _ratio_rows(point: dict[str, Any]) -> Iterable[list[str]]:
    settings = point["settings"]
    for measure, measured in point.get("measures", {}).items():
        for name, found in measured["contenders"].items():
            rate, ratio = found["per_second"]["median"], found["ratio"]
            yield [
                f"{settings['axis']} {settings['value']}",
                str(settings["threads"]),
                MEASURES[measure],
                name,
                f"{rate:.1f}",
                f"{1e3 / rate:.3g}",
                settings["reference"]["name"],
                f"{found['reference_per_second']['median']:.1f}",
                ratio_interval(ratio),
                f"{ratio['q1']:.2f} to {ratio['q3']:.2f}",
                f"{found['cpu_time_ratio']['median']:.2f}",
                str(found["pairs"]),
            ]


def _others(points: list[dict[str, Any]]) -> list[str]:
    """The first contender over the others, by the blocks of the same rounds."""
    rows = []
    for point in points:
        settings = point["settings"]
        for measure, measured in point.get("measures", {}).items():
            first, *_ = measured["contenders"]
            for other, ratio in measured["contenders"][first]["over"].items():
                where = f"{settings['axis']} {settings['value']}", settings["threads"], MEASURES[measure]
                rows.append([*where, f"{first} / {other}", ratio_interval(ratio)])
    if not rows:
        return []
    return ["Between contenders, by their blocks in the same rounds:", "", grid(("", "threads", "", "", "ratio"), rows)]


def _startup(points: list[dict[str, Any]]) -> list[str]:
    found = [
        (point["settings"], point["settings"]["reference"]["name"] if role == "reference" else role, figures)
        for point in points
        for role, figures in point.get("startup", {}).items()
    ]
    columns = {key: title for key, title in STARTUP.items() if any(key in figures for *_, figures in found)}
    rows = [
        [
            f"{settings['axis']} {settings['value']}",
            str(settings["threads"]),
            name,
            *(f"{figures[key]:.1f}" if key in figures else "-" for key in columns),
        ]
        for settings, name, figures in found
    ]
    if not rows:
        return []
    repeats = max(max(1, settings["plan"]["repeats"]) for settings, *_ in found)
    head = f"Building, first updates and peak memory up to them (medians of at most {repeats} start(s)):"
    return [head, "", grid(("", "threads", "", *columns.values()), rows)]


def _left_out(points: list[dict[str, Any]]) -> list[str]:
    found = []
    for point in points:
        what = f"{point['settings']['axis']} {point['settings']['value']}"
        found += [f"- Left out of {what}: {reason}." for reason in point.get("refused", {}).values()]
        found += [f"- {what}: not measured, {point['skipped']}."] if "skipped" in point else []
    return found


def _provenance(points: list[dict[str, Any]]) -> list[str]:
    """Sizes, machines, load and versions; more than one of each where points were measured apart.

    :param points: with ``settings``, and ``machine``, ``versions``, ``load_average`` where measured
    """
    measured = [point for point in points if "machine" in point]
    loads = [load for point in measured for load in point["load_average"].values() if load is not None]
    machines = {
        f"{m['cpu']}, {m['cores']} core(s)" + (f", {m['gpu']}" if "gpu" in m else "")
        for m in (point["machine"] for point in measured)
    }
    versions = {", ".join(f"{name} {v}" for name, v in point["versions"].items()) for point in measured}
    lines = [f"- Machine: {machine}." for machine in sorted(machines)]
    if loads:
        lines.append(f"- Load average while measuring: {min(loads)} to {max(loads)}.")
    return lines + [f"- Versions: {found}." for found in sorted(versions)]
