"""Reader of the file of Stable-Baselines3's ``EvalCallback``."""

from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from sb3_softac.report.run import Evaluations

NAME = "evaluations.npz"


def read_evaluations(folder: Path) -> Evaluations | None:
    """Read the evaluations of a run.

    :param folder: of the run
    :return: None if there were none
    :raises ValueError: the file is not what an ``EvalCallback`` writes
    """
    path = folder / NAME
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file, np.load(file) as stored:
            further = {
                name: np.asarray(stored[key], float) if key in stored else None
                for name, key in (("lengths", "ep_lengths"), ("successes", "successes"))
            }
            evaluations = Evaluations(stored["timesteps"], np.asarray(stored["results"], float), **further)
        if evaluations.returns.ndim != 2 or not evaluations.returns.size:
            raise ValueError(f"results of the shape {evaluations.returns.shape}")
        if len(evaluations.timesteps) != len(evaluations.returns):
            raise ValueError(f"{len(evaluations.timesteps)} steps for {len(evaluations.returns)} evaluations")
        return evaluations
    except (BadZipFile, EOFError, KeyError, ValueError, OSError) as error:
        raise ValueError(f"{path} is not what an EvalCallback writes ({error}): delete it or train again.") from error
