"""Reader of the folder of one training run of rl_zoo3."""

from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
import yaml
from stable_baselines3.common.monitor import LoadMonitorResultsError, get_monitor_files, load_results

if TYPE_CHECKING:
    import pandas as pd

# Wrappers that skip frames: name of the argument with the number of frames of a step, and its default.
SKIPPING_WRAPPERS = {
    "FrameSkip": ("skip", 4),
    "MaxAndSkipEnv": ("skip", 4),
    "MaxAndSkipObservation": ("skip", 4),
    "AtariWrapper": ("frame_skip", 4),
    "AtariPreprocessing": ("frame_skip", 4),
}


class Evaluations(NamedTuple):
    """Evaluations during a run, from the file of an ``EvalCallback``.

    :param timesteps: (E,), environment steps before each of E evaluations
    :param returns: (E, n_eval_episodes), return of each episode
    """

    timesteps: np.ndarray
    returns: np.ndarray


@dataclass(frozen=True)
class Run:
    """Training run of rl_zoo3.

    :param folder: folder of the run
    :param env_id: id of the environment; the name of the folder if the files do not say it
    :param algo: name of the algorithm in rl_zoo3; None if the files do not say it
    :param seed: seed; None if the files do not say it
    :param episodes: one row per training episode, in order: columns ``timesteps`` (steps of all environments
        until its end) and ``returns``
    :param evaluations: evaluations during the run; None if there were none
    """

    folder: Path
    env_id: str
    algo: str | None
    seed: int | None
    episodes: "pd.DataFrame"
    evaluations: Evaluations | None


def load_run(folder: str | Path) -> Run:
    """Read a training run.

    :param folder: folder with the ``*.monitor.csv`` files, such as ``logs/softac/Pendulum-v1_1``
    :return: the run
    :raises ValueError: there is no such folder, or it holds no episode and no evaluation, or a file is broken
    """
    folder = Path(folder)
    _check_is_run(folder)
    arguments = _read_yaml(folder, "args.yml")
    episodes = _read_episodes(folder)
    evaluations = _read_evaluations(folder)
    if episodes.empty and evaluations is None:
        raise ValueError(
            f"{folder} holds no finished episode and no evaluation: train for longer than one episode, "
            "or evaluate with --eval-freq."
        )
    return Run(
        folder=folder,
        env_id=arguments.get("env") or folder.resolve().name,
        algo=arguments.get("algo"),
        seed=arguments.get("seed"),
        episodes=episodes,
        evaluations=evaluations,
    )


def _check_is_run(folder: Path) -> None:
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder: give the folder of one run, such as logs/softac/Pendulum-v1_1.")
    if get_monitor_files(escape(str(folder))) or (folder / "evaluations.npz").is_file():
        return
    below = sorted({str(path.parent) for path in folder.rglob("*monitor.csv")})
    hint = f"; runs below it: {', '.join(below[:5])}{', ...' if len(below) > 5 else ''}" if below else ""
    raise ValueError(f"{folder} is not the folder of a run, it has neither *.monitor.csv nor evaluations.npz{hint}.")


def _read_episodes(folder: Path) -> "pd.DataFrame":
    import pandas as pd  # imported late, since only an extra installs it

    try:
        monitored = load_results(escape(str(folder)))
    except LoadMonitorResultsError:  # evaluated, but not monitored
        return pd.DataFrame(columns=["timesteps", "returns"])
    except (AssertionError, IndexError, KeyError, ValueError) as error:
        raise ValueError(
            f"One of {folder}/*.monitor.csv is not what a Monitor writes ({error}): delete it or train again."
        ) from error
    # A line that was cut off may not even hold numbers.
    numbers = monitored[["r", "l"]].apply(pd.to_numeric, errors="coerce").dropna()
    # The episodes of all environments are sorted by time, so that the sum of lengths counts the frames of the run.
    timesteps = numbers["l"].astype(int).cumsum() // _frames_per_step(folder)
    return numbers.assign(timesteps=timesteps).rename(columns={"r": "returns"})


def _frames_per_step(folder: Path) -> int:
    """Frames in one step of the agent: the zoo's monitors count frames, below the wrappers that skip some."""
    n_frames = 1
    for wrapper in _as_list(_read_yaml(folder, "config.yml").get("env_wrapper")):
        name, kwargs = next(iter(wrapper.items())) if isinstance(wrapper, dict) else (wrapper, {})
        argument, default = SKIPPING_WRAPPERS.get(str(name).rpartition(".")[2], ("", 1))
        n_frames *= (kwargs or {}).get(argument, default)
    return n_frames


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _read_evaluations(folder: Path) -> Evaluations | None:
    path = folder / "evaluations.npz"
    if not path.is_file():
        return None
    try:
        with np.load(path) as stored:
            evaluations = Evaluations(stored["timesteps"], stored["results"])
        if evaluations.returns.ndim != 2 or not evaluations.returns.size:
            raise ValueError(f"results of the shape {evaluations.returns.shape}")
        return evaluations
    except (BadZipFile, EOFError, KeyError, ValueError) as error:
        raise ValueError(f"{path} is not what an EvalCallback writes ({error}): delete it or train again.") from error


class _ArgumentsLoader(yaml.SafeLoader):
    """YAML loader of rl_zoo3's args.yml, an ``OrderedDict``, that builds no other Python object."""


_PYTHON = "tag:yaml.org,2002:python/"
_ArgumentsLoader.add_multi_constructor(_PYTHON, lambda loader, suffix, node: None)
_ArgumentsLoader.add_constructor(
    f"{_PYTHON}object/apply:collections.OrderedDict",
    lambda loader, node: dict(loader.construct_sequence(node, deep=True)[0]),
)


def _read_yaml(folder: Path, name: str) -> dict[str, Any]:
    """Content of a YAML file of the zoo, with its command line or hyperparameters; empty if missing or broken."""
    for path in sorted(folder.glob(f"*/{name}")):
        try:
            content = yaml.load(path.read_text(), Loader=_ArgumentsLoader)  # a SafeLoader
        except (yaml.YAMLError, ValueError, TypeError, IndexError):  # cut off anywhere
            continue
        if isinstance(content, dict):
            return content
    return {}
