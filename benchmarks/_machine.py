"""Versions and machine of a measurement; nothing names a host or a path."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "numpy", "stable-baselines3", "sb3-contrib", "rl_zoo3", "gymnasium", "ray")
PACKAGES += ("mujoco", "box2d", "rliable")


def versions() -> dict[str, str]:
    """Versions of Python, of sb3_softac where it took part, of installed packages of ``PACKAGES``, and our commit."""
    found = {"python": platform.python_version()}
    ours = sys.modules.get("sb3_softac")  # asked of the module: a checkout need not be installed
    if ours is not None:
        found["sb3_softac"] = str(ours.__version__)
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found | ({"commit": commit} if (commit := _commit()) else {})


def machine() -> dict[str, Any]:
    """CPU model, usable cores, memory, operating system, and the GPU if torch sees one."""
    described: dict[str, Any] = {
        "cpu": _cpu_model(),
        "architecture": platform.machine(),
        "cores": usable_cores(),
        "memory_gib": _memory_gib(),
        "system": platform.system(),
    }
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        described["gpu"] = torch.cuda.get_device_name(0)
    return described


def usable_cores() -> int:
    """Cores this process may run on: a container or taskset often allows fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def load_average() -> float | None:
    """Mean number of running processes over the last minute, where the system tells it."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def _commit() -> str:
    """Commit of this checkout, with ``-dirty`` where tracked files differ from it; empty outside a checkout of git.

    Results do not count: earlier measurements have written them.
    """
    try:
        commit = _git("rev-parse", "--short", "HEAD")
        changed = _git("diff", "--name-only", "HEAD", "--", ":/", ":(exclude)results")
    except (OSError, subprocess.CalledProcessError):
        return ""
    return f"{commit}-dirty" if changed else commit


def _git(*arguments: str) -> str:
    here = Path(__file__).parent
    return subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True, check=True).stdout.strip()


def _cpu_model() -> str:
    """The model name, with family and model number: a hypervisor often hides the rest of the name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    fields = {key.strip(): value.strip() for key, value in pairs}
    name = fields.get("model name", platform.processor() or "unknown")
    if "cpu family" in fields and "model" in fields:
        name += f" (family {fields['cpu family']}, model {fields['model']})"
    return name


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):
        return None
