"""Reader of Stable-Baselines3's Monitor files: the episodes of training."""

import json
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING

from stable_baselines3.common.monitor import LoadMonitorResultsError, get_monitor_files, load_results

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ["timesteps", "returns", "lengths", "seconds"]


def is_monitored(folder: Path) -> bool:
    """Whether a folder holds a Monitor's file."""
    return bool(get_monitor_files(escape(str(folder))))


def read_episodes(folder: Path, frames_per_step: int = 1, first_step: int = 0) -> "pd.DataFrame":
    """Read the episodes of all environments of a run, in the order in which they ended.

    :param folder: with the ``*monitor.csv`` files
    :param frames_per_step: frames in one step of the agent, for monitors that count frames
    :param first_step: environment steps before the first episode
    :return: columns ``timesteps``, ``returns``, ``lengths``, ``seconds``; see :class:`Run`
    :raises ValueError: a file is not what a Monitor writes
    """
    import pandas as pd  # imported late, since only an extra installs it

    try:
        monitored = load_results(escape(str(folder)))
    except LoadMonitorResultsError:
        return pd.DataFrame(columns=COLUMNS, dtype=float)
    except (AssertionError, IndexError, KeyError, ValueError) as error:
        raise ValueError(
            f"One of {folder}/*.monitor.csv is not what a Monitor writes ({error}): delete it or train again."
        ) from error
    # A line that was cut off may not even hold numbers.
    numbers = monitored[["r", "l", "t"]].apply(pd.to_numeric, errors="coerce")
    numbers = numbers.dropna(subset=["r", "l"])
    # The episodes of all environments are sorted by time, so that the sum of lengths counts the frames of the run.
    lengths = numbers["l"].astype(int)
    timesteps = first_step + lengths.cumsum() // frames_per_step
    columns = {"timesteps": timesteps, "returns": numbers["r"], "lengths": lengths, "seconds": numbers["t"]}
    return pd.DataFrame(columns).reset_index(drop=True)


def read_env_id(folder: Path) -> str | None:
    """Id of the environment, from the header of a Monitor's file; None if it does not say it."""
    for path in map(Path, sorted(get_monitor_files(escape(str(folder))))):
        try:
            with path.open(encoding="utf-8") as file:
                env_id = json.loads(file.readline().removeprefix("#")).get("env_id")
        except (ValueError, AttributeError):  # cut off
            continue
        if env_id not in (None, "None"):
            return str(env_id)
    return None
