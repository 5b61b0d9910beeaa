"""Checkpoints from which a run goes on as if it had never stopped.

A folder holds several, one beside the other::

    agent_00010000.zip      a checkpoint, written last: the agent, which ``SoftAC.load()`` reads as well, and its run
    arrays/                 pieces of the replay buffer and of other arrays, shared by all checkpoints
"""

import contextlib
import functools
import json
import os
import pathlib
import random
import re
import time
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch as th
from stable_baselines3.common.type_aliases import GymEnv

from sb3_softac.buffers.make import Demonstrations, attach, check_spaces
from sb3_softac.saving import archive, chunks, environments, files, plain
from sb3_softac.saving.files import SavedFileError
from sb3_softac.version import __version__

FORMAT = 1
ARRAYS = "arrays"
FILE = re.compile(r"agent_(\d+)\.zip")
# Entries of a checkpoint's file, beside those of the agent: what belongs to it, and ends of arrays.
MANIFEST, END = archive.OF_A_RUN + ".json", archive.OF_A_RUN + "_{}" + chunks.SUFFIX


# Random numbers


def random_states(device: th.device) -> dict[str, Any]:
    """States of the generators of Python, numpy and PyTorch.

    :param device: on which an agent computes
    """
    version, numbers, gauss = random.getstate()
    states: dict[str, Any] = {
        "python": [version, np.array(numbers, np.uint64), gauss],
        "numpy": list(np.random.get_state()),  # noqa: NPY002  # which Stable-Baselines3 uses
        "torch": th.random.get_rng_state().numpy(),
    }
    if device.type == "cuda":
        states["cuda"] = th.cuda.get_rng_state(device).cpu().numpy()
    return states


def restore_random_states(states: Mapping[str, Any], device: th.device) -> None:
    """Put back the states of :func:`random_states`.

    :param states: of the generators
    :param device: on which the agent computes
    """
    version, numbers, gauss = states["python"]
    random.setstate((version, tuple(int(number) for number in numbers), gauss))
    np.random.set_state(tuple(states["numpy"]))  # noqa: NPY002
    th.random.set_rng_state(th.from_numpy(np.asarray(states["torch"])))
    if device.type == "cuda" and "cuda" in states:
        th.cuda.set_rng_state(th.from_numpy(np.asarray(states["cuda"])), device)


# Writing


def write(
    folder: pathlib.Path, step: int, agent: archive.Parts, state: Mapping[str, Any], keep: int | None
) -> dict[str, str]:
    """Write a checkpoint; it counts from the moment when its last file is there.

    :param folder: of the checkpoints of one run
    :param step: environment steps of the run so far
    :param agent: its parts
    :param state: of everything else
    :param keep: checkpoints to keep, this one included; None for all
    :return: types of what had to be pickled, by its place
    """
    (folder / ARRAYS).mkdir(parents=True, exist_ok=True)
    others = list(_readable(folder))
    arrays: dict[str, np.ndarray] = {}
    writer = plain.Writer(arrays)
    tree = writer.encode(dict(state))
    pieces = chunks.PieceWriter(folder / ARRAYS, others[0][1]["arrays"] if others else {})
    manifest = {
        "format": FORMAT,
        "sb3_softac": __version__,
        "step": step,
        "time": time.time(),
        "arrays": {where: pieces.add(where, array) for where, array in arrays.items()},
        "state": tree,
    }
    pieces.write()
    run = {END.format(name): chunks.content_of(end) for name, end in pieces.ends.items()}
    path = folder / f"agent_{step:08d}.zip"
    with files.replaced(path) as file:
        pickled = archive.write(file, agent, {MANIFEST: json.dumps(manifest).encode()} | run)
    if keep is not None:
        kept = sorted([(path, manifest), *(each for each in others if each[0] != path)], key=_step_of, reverse=True)
        _delete_others(folder, dict(kept[:keep]))
    return pickled | writer.pickled


def _step_of(checkpoint: tuple[pathlib.Path, Mapping[str, Any]]) -> int:
    return checkpoint[1]["step"]


def _readable(folder: pathlib.Path) -> Iterator[tuple[pathlib.Path, Mapping[str, Any]]]:
    """Checkpoints of a folder that can be opened, the newest first."""
    for path in checkpoints(folder):
        with contextlib.suppress(SavedFileError, OSError), archive.named(path), zipfile.ZipFile(path) as zipped:
            yield path, json.loads(zipped.read(MANIFEST))


def checkpoints(folder: pathlib.Path) -> list[pathlib.Path]:
    """Files of the checkpoints of a folder, the newest first.

    :param folder: of the checkpoints of one run
    """
    found = [path for path in folder.glob("agent_*.zip") if FILE.fullmatch(path.name)]
    return sorted(found, key=lambda path: int(FILE.fullmatch(path.name)[1]), reverse=True)  # type: ignore[index]


def check_is_newest(folder: str | os.PathLike[str], num_timesteps: int) -> None:
    """Refuse a folder with checkpoints of later steps: they are of another run, and would be taken for the newest.

    :param folder: of the checkpoints of one run
    :param num_timesteps: environment steps of the run that is to be saved there
    :raises ValueError: naming the newest checkpoint
    """
    newest = next(iter(checkpoints(pathlib.Path(folder))), None)
    if newest is not None and int(FILE.fullmatch(newest.name)[1]) > num_timesteps:  # type: ignore[index]
        raise ValueError(
            f"The folder {str(folder)!r} has {newest.name}, a checkpoint of a run that is further than this one, with "
            f"{num_timesteps} steps. Give this run a folder of its own, go on from that checkpoint by "
            "`SoftAC.load_checkpoint(folder, env)`, or delete it"
        )


def _delete_others(folder: pathlib.Path, kept: Mapping[pathlib.Path, Mapping[str, Any]]) -> None:
    """Delete all but some checkpoints: first their files, then what no other one needs."""
    for path in [*checkpoints(folder), *folder.glob(".*.part")]:
        if path not in kept:
            path.unlink(missing_ok=True)
    used = (name for manifest in kept.values() for entry in manifest["arrays"].values() for name in entry["pieces"])
    chunks.sweep(folder / ARRAYS, used)


# Reading


def newest_whole(folder: str | os.PathLike[str]) -> Iterator[tuple[pathlib.Path, Mapping[str, Any]]]:
    """Checkpoints of a folder from the newest on, as long as the one before turned out to be damaged.

    :param folder: of the checkpoints of one run, or the file of one of them
    :raises SavedFileError: none is whole
    """
    path = pathlib.Path(folder)
    candidates = [path] if path.is_file() else checkpoints(path)
    if not candidates:
        raise SavedFileError(f"The folder {str(path)!r} has no checkpoint: it has no file agent_<number>.zip")
    for candidate in candidates:
        try:
            manifest = _read_manifest(candidate)
        except SavedFileError as error:
            warnings.warn(f"{error}; the checkpoint before it is taken", stacklevel=4)
            continue
        yield candidate, manifest
    tried = [candidate.name for candidate in candidates]
    raise SavedFileError(f"The folder {str(path)!r} has no checkpoint that is whole; tried {tried}")


def is_checkpoint(path: pathlib.Path) -> bool:
    """Whether a file is a checkpoint, and not an agent alone.

    :param path: of the file
    """
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as zipped:
        return MANIFEST in zipped.namelist()


def _read_manifest(path: pathlib.Path) -> Mapping[str, Any]:
    with archive.named(path), zipfile.ZipFile(path) as zipped:
        archive.check_entries(zipped)
        damaged = zipped.testzip()
        if damaged is not None:
            raise SavedFileError(f"its entry {damaged!r} is damaged")
        if MANIFEST not in zipped.namelist():
            raise SavedFileError("it is an agent alone, and no checkpoint of its run")
        manifest = json.loads(zipped.read(MANIFEST))
        if manifest["format"] > FORMAT:
            raise SavedFileError(f"sb3_softac {manifest['sb3_softac']} wrote it; install that version")
        _arrays_of(path, zipped, manifest)
        return manifest


def _arrays_of(
    path: pathlib.Path, zipped: zipfile.ZipFile, manifest: Mapping[str, Any]
) -> dict[str, chunks.PiecedArray]:
    """Arrays in pieces, which can be read as long as the file is open."""
    begin, end = END.split("{}")
    ends = {
        name.removeprefix(begin).removesuffix(end): functools.partial(zipped.read, name)
        for name in zipped.namelist()
        if name.startswith(begin)
    }
    arrays = manifest["arrays"].items()
    return {where: chunks.read(path.parent / ARRAYS, ends, entry) for where, entry in arrays}


def read_state(path: pathlib.Path, manifest: Mapping[str, Any], allow_pickle: bool | None) -> dict[str, Any]:
    """The state of everything but the agent.

    :param path: of the checkpoint
    :param manifest: what it says of itself
    :param allow_pickle: as for :func:`sb3_softac.saving.archive.read`
    :raises SavedFileError: an array is damaged, or code has to be run
    """
    with archive.named(path), zipfile.ZipFile(path) as zipped:
        archive.check_pickled(plain.pickled_in(manifest["state"]), allow_pickle)
        return plain.as_whole(plain.decode(manifest["state"], _arrays_of(path, zipped, manifest)))


# The run


class Saved(NamedTuple):
    """A checkpoint that was saved.

    :param path: of its file
    :param is_exact: whether the run goes on to the bit as if it had not stopped; else it begins a new episode
    :param reasons: what of the environment could not be read, where it is not
    """

    path: pathlib.Path
    is_exact: bool
    reasons: list[str]


def save(
    folder: pathlib.Path, model: Any, parts: archive.Parts, callbacks: Mapping[str, Any], keep: int | None
) -> Saved:
    """Save a run.

    :param folder: of its checkpoints
    :param model: with its environment
    :param parts: of the model's own file
    :param callbacks: their states
    :param keep: checkpoints to keep; None for all
    :raises ValueError: the folder has checkpoints of a run that is further
    """
    check_is_newest(folder, model.num_timesteps)
    env = None if model.env is None else environments.read(model.env)
    reasons = ["nothing, as there is none"] if env is None else list(env.missing)
    if model._last_obs is None:
        reasons.append("the episode, in which learning was broken off")
    state = {
        "random": random_states(model.device),
        "action_space": environments.read_generators(model.action_space),
        "noise": _noise_of(model),
        "noise_repeat": model.explorer.repeat and model.explorer.repeat.state(),
        "environment": None if env is None or reasons else env.links,
        "callbacks": callbacks,
        "due": list(model._overlap.due),
        "replay_buffer": model.replay_buffer,
        "demonstrations": model.demonstrations and list(model.demonstrations),
    }
    pickled = write(folder, model.num_timesteps, parts, state, keep)
    archive.warn_of_pickled(folder, pickled)
    return Saved(folder / f"agent_{model.num_timesteps:08d}.zip", not reasons, reasons)


def _noise_of(model: Any) -> list[np.ndarray] | None:
    """Draws behind the weights of gSDE."""
    return [draw.cpu().numpy() for draw in model.actor.sde_noise.draws()] if model.use_sde else None


def load(
    cls: Any,
    folder: str | os.PathLike[str],
    env: GymEnv,
    device: th.device | str,
    allow_pickle: bool | None,
    changed: Mapping[str, Any],
) -> tuple[Any, dict[str, Any]]:
    """A model as its newest whole checkpoint has it.

    :param cls: of the model
    :param folder: of the checkpoints, or the file of one of them
    :param env: made in the same way as the one of the run
    :param device: to put the model on
    :param allow_pickle: run code of the file
    :param changed: arguments of the constructor
    :return: the model, and states of callbacks
    :raises SavedFileError: no checkpoint is whole
    """
    for path, manifest in newest_whole(folder):
        try:
            state = read_state(path, manifest, allow_pickle)
            break
        except archive.NeedsPickleError:
            raise
        except SavedFileError as error:
            warnings.warn(f"{error}; the checkpoint before it is taken", stacklevel=3)
    model = cls.load(path, env, device, force_reset=False, allow_pickle=allow_pickle, **changed)
    _restore(model, state)
    return model, state.get("callbacks", {})


def _restore(model: Any, state: Mapping[str, Any]) -> None:
    buffer = state["replay_buffer"]
    check_spaces(buffer, model)
    attach(buffer, model.env, model.device, truncate_last_traj=False)
    model.replay_buffer = buffer
    if state.get("demonstrations") is not None:  # earlier checkpoints do not have the key
        model.demonstrations = Demonstrations(*state["demonstrations"])
        attach(model.demonstrations.buffer, model.env, model.device)
    model._overlap.due = tuple(state.get("due", (0, 0)))  # earlier checkpoints do not have the key
    if state["noise"] is not None:
        model.actor.sde_noise.set_draws(*(th.as_tensor(draw, device=model.device) for draw in state["noise"]))
    if state.get("noise_repeat") is not None and model.explorer.repeat is not None:
        model.explorer.repeat.restore(state["noise_repeat"])
    if state["environment"] is not None:
        environments.restore(model.env, state["environment"])
    else:
        model._last_obs = None  # a new episode, and not the first one of the run once more
        if model.seed is not None:
            model.env.seed(model.seed + model.num_timesteps)
    environments.restore_generators(model.action_space, state["action_space"])
    restore_random_states(state["random"], model.device)
