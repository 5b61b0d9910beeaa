"""The statistics of ``VecNormalize`` that an agent acts with: of its environment, or of a file."""

import os
import pathlib
import pickle
from typing import Any

from stable_baselines3.common.vec_env import VecNormalize

from sb3_softac.saving import archive, files


def find(
    given: VecNormalize | str | os.PathLike[str] | bool, own: VecNormalize | None, allow_pickle: bool | None = None
) -> VecNormalize | None:
    """Find the ``VecNormalize`` to export.

    :param given: itself, the file that its ``save()`` wrote, True for that of the environment, or False for none
    :param own: that of the model's environment, if there is one
    :param allow_pickle: run code of the file, which is a pickle; None: as the environment variable
        ``SB3_SOFTAC_ALLOW_PICKLE`` says
    :raises ValueError: anything else was given, or a file that is not allowed to run code
    """
    if isinstance(given, bool):
        return own if given else None
    if isinstance(given, VecNormalize):
        return given
    if isinstance(given, (str, os.PathLike)):
        return read(given, allow_pickle)
    raise ValueError(
        f"`vec_normalize={given!r}` must be a VecNormalize, the path of its file, True for that of the model's "
        "environment, or False for none"
    )


def read(path: str | os.PathLike[str], allow_pickle: bool | None = None) -> VecNormalize:
    """Read a file of ``VecNormalize.save()``.

    :param path: of the file
    :param allow_pickle: run code of the file; None: as the environment variable ``SB3_SOFTAC_ALLOW_PICKLE`` says
    :raises FileNotFoundError: it is not there
    :raises ValueError: it is not allowed to run code, or holds something else
    """
    with archive.named(path):
        source = pathlib.Path(files.existing(path, ".pkl"))  # type: ignore[arg-type]  # a path stays one
        content = source.read_bytes()
        archive.check_pickled({"the whole file": "VecNormalize"}, allow_pickle)
        normalize: Any = pickle.loads(content)
        if not isinstance(normalize, VecNormalize):
            raise ValueError(f"it holds a {type(normalize).__name__}, and no VecNormalize")
    return normalize
