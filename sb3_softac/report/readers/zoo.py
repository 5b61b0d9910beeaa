"""Reader of what rl_zoo3 keeps of a run: its command line and hyperparameters."""

import re
from pathlib import Path
from typing import Any

import yaml

# Wrappers that skip frames: name of the argument with the number of frames of a step, and its default.
SKIPPING_WRAPPERS = {
    "FrameSkip": ("skip", 4),
    "MaxAndSkipEnv": ("skip", 4),
    "MaxAndSkipObservation": ("skip", 4),
    "AtariWrapper": ("frame_skip", 4),
    "AtariPreprocessing": ("frame_skip", 4),
}
#: an agent of a checkpoint, whose name says at which step it was saved
CHECKPOINT = re.compile(r"checkpoints[/\\]agent_(\d+)\.zip$")


class _ArgumentsLoader(yaml.SafeLoader):
    """YAML loader of rl_zoo3's args.yml, an ``OrderedDict``, that builds no other Python object."""


_PYTHON = "tag:yaml.org,2002:python/"
_ArgumentsLoader.add_multi_constructor(_PYTHON, lambda loader, suffix, node: None)
_ArgumentsLoader.add_constructor(f"{_PYTHON}tuple", lambda loader, node: loader.construct_sequence(node, deep=True))
_ArgumentsLoader.add_constructor(
    f"{_PYTHON}object/apply:collections.OrderedDict",
    lambda loader, node: dict(loader.construct_sequence(node, deep=True)[0]),
)


def read_yaml(folder: Path, name: str) -> dict[str, Any]:
    """Content of a YAML file of the zoo; empty if missing or broken.

    :param folder: of the run
    :param name: ``args.yml``, the command line, or ``config.yml``, the hyperparameters
    """
    for path in sorted(folder.glob(f"*/{name}")):
        try:
            content = yaml.load(path.read_text(encoding="utf-8"), Loader=_ArgumentsLoader)  # a SafeLoader
        except (yaml.YAMLError, ValueError, TypeError, IndexError):  # cut off anywhere
            continue
        if isinstance(content, dict):
            return {str(key): value for key, value in content.items()}
    return {}


def frames_per_step(config: dict[str, Any]) -> int:
    """Frames in one step of the agent: the zoo's monitors count frames, below the wrappers that skip some.

    :param config: hyperparameters of the zoo
    """
    n_frames = 1
    for wrapper in _as_list(config.get("env_wrapper")):
        name, kwargs = next(iter(wrapper.items())) if isinstance(wrapper, dict) else (wrapper, {})
        argument, default = SKIPPING_WRAPPERS.get(str(name).rpartition(".")[2], ("", 1))
        n_frames *= (kwargs or {}).get(argument, default)
    return n_frames


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def first_step(arguments: dict[str, Any]) -> int:
    """Environment steps before a run that went on from a checkpoint, 0 for any other."""
    found = CHECKPOINT.search(str(arguments.get("trained_agent") or ""))
    return int(found.group(1)) if found else 0


def flat(nested: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A dictionary without dictionaries in it: ``policy_kwargs.net_arch``."""
    found: dict[str, Any] = {}
    for name, value in nested.items():
        if isinstance(value, dict) and value:
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found
