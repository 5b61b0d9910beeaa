"""Reader of what a saved agent says in plain text: its arguments, and the versions that wrote it. Runs no code."""

import json
import re
import zipfile
from pathlib import Path
from typing import Any

from sb3_softac.saving.archive import MANIFEST

# Arguments that Stable-Baselines3's algorithms keep as plain numbers or words.
ARGUMENTS = frozenset(
    {
        "learning_rate",
        "buffer_size",
        "learning_starts",
        "batch_size",
        "tau",
        "gamma",
        "gradient_steps",
        "n_steps",
        "ent_coef",
        "target_entropy",
        "target_update_interval",
        "policy_delay",
        "target_policy_noise",
        "target_noise_clip",
        "n_epochs",
        "gae_lambda",
        "vf_coef",
        "max_grad_norm",
        "clip_range",
        "use_sde",
        "n_envs",
        "exploration_fraction",
        "exploration_final_eps",
    }
)
SYSTEM_LINE = re.compile(r"^- ([\w .-]+?): (.+)$", re.MULTILINE)


def saved_agents(folder: Path) -> list[Path]:
    """Agents that a run has saved: the best one of the evaluations, then the last ones."""
    found = [path for path in folder.glob("*.zip") if not path.name.startswith(".")]
    return sorted(found, key=lambda path: (path.name != "best_model.zip", path.name.startswith("rl_model"), path.name))


def read_agent(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Read an agent's arguments and versions, as far as they are plain text.

    :param path: of the zip file
    :return: arguments by name, and versions by library
    :raises ValueError: it is no zip file of an agent
    """
    try:
        with zipfile.ZipFile(path) as archive:
            data = json.loads(archive.read("data"))
            names = archive.namelist()
            system = archive.read("system_info.txt").decode() if "system_info.txt" in names else ""
            manifest = json.loads(archive.read(MANIFEST)) if MANIFEST in names else {}
    except (zipfile.BadZipFile, KeyError, ValueError, OSError, EOFError) as error:
        raise ValueError(f"{path} is no whole file of an agent ({error}).") from error
    plain = {
        name: value
        for name, value in data.items()
        if name in ARGUMENTS and isinstance(value, int | float | str) and not isinstance(value, bool)
    }
    own = {"sb3_softac": str(manifest["sb3_softac"])} if "sb3_softac" in manifest else {}
    return plain, own | dict(SYSTEM_LINE.findall(system))
