"""Checkpoints from which a run goes on as if it had never stopped.

A folder holds several, one beside the other::

    step_00010000.json      what belongs to the checkpoint, written last: without it there is none
    agent_00010000.zip      the agent, which ``SoftAC.load()`` reads as well
    arrays/                 pieces of the replay buffer and of other arrays, shared by all checkpoints
"""

import hashlib
import json
import os
import pathlib
import random
import re
import warnings
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
MANIFEST = re.compile(r"step_(\d+)\.json")


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
    agent_path = folder / f"agent_{step:08d}.zip"
    with files.replaced(agent_path) as file:
        pickled = archive.write(file, agent)
    arrays: dict[str, np.ndarray] = {}
    writer = plain.Writer(arrays)
    tree = writer.encode(dict(state))
    manifest = {
        "format": FORMAT,
        "sb3_softac": __version__,
        "step": step,
        "agent": {"file": agent_path.name, "sha256": _checksum(agent_path)},
        "arrays": {where: chunks.write(folder / ARRAYS, array) for where, array in arrays.items()},
        "state": tree,
    }
    files.sync_folder(folder / ARRAYS)
    with files.replaced(folder / f"step_{step:08d}.json") as file:
        file.write(json.dumps(manifest).encode())
    if keep is not None:
        _delete_others(folder, keep)
    return pickled | writer.pickled


def _checksum(path: pathlib.Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def manifests(folder: pathlib.Path) -> list[pathlib.Path]:
    """Manifests of a folder, the newest first.

    :param folder: of the checkpoints of one run
    """
    found = [path for path in folder.glob("step_*.json") if MANIFEST.fullmatch(path.name)]
    return sorted(found, key=lambda path: int(MANIFEST.fullmatch(path.name)[1]), reverse=True)  # type: ignore[index]


def _delete_others(folder: pathlib.Path, keep: int) -> None:
    """Delete all but the newest checkpoints: first what makes each of them count, then what no other one needs."""
    newest, others = manifests(folder)[:keep], manifests(folder)[keep:]
    for path in others:
        path.unlink(missing_ok=True)
    kept = [json.loads(path.read_bytes()) for path in newest]
    agents = {manifest["agent"]["file"] for manifest in kept}
    for path in [*folder.glob("agent_*.zip"), *folder.glob(".*.part")]:
        if path.name not in agents:
            path.unlink(missing_ok=True)
    used = (name for each in kept for entry in each["arrays"].values() for name in entry["pieces"])
    chunks.sweep(folder / ARRAYS, used)


# Reading


def newest_whole(folder: str | os.PathLike[str]) -> Iterator[tuple[pathlib.Path, Mapping[str, Any]]]:
    """Checkpoints of a folder from the newest on, as long as the one before turned out to be damaged.

    :param folder: of the checkpoints of one run, or the manifest of one of them
    :raises SavedFileError: none is whole
    """
    path = pathlib.Path(folder)
    candidates = [path] if path.is_file() else manifests(path)
    if not candidates:
        raise SavedFileError(f"The folder {str(path)!r} has no checkpoint: it has no file step_<number>.json")
    for candidate in candidates:
        try:
            manifest = _read_manifest(candidate)
        except SavedFileError as error:
            warnings.warn(f"{error}; the checkpoint before it is taken", stacklevel=4)
            continue
        yield candidate, manifest
    tried = [candidate.name for candidate in candidates]
    raise SavedFileError(f"The folder {str(path)!r} has no checkpoint that is whole; tried {tried}")


def _read_manifest(path: pathlib.Path) -> Mapping[str, Any]:
    with archive.named(path):
        manifest = json.loads(path.read_bytes())
        if manifest["format"] > FORMAT:
            raise SavedFileError(f"sb3_softac {manifest['sb3_softac']} wrote it; install that version")
        agent = path.parent / pathlib.Path(manifest["agent"]["file"]).name
        if not agent.is_file() or _checksum(agent) != manifest["agent"]["sha256"]:
            raise SavedFileError(f"its agent {agent.name!r} is missing or damaged")
        for entry in manifest["arrays"].values():
            chunks.read(path.parent / ARRAYS, entry)
        return manifest


def read_state(path: pathlib.Path, manifest: Mapping[str, Any], allow_pickle: bool | None) -> dict[str, Any]:
    """The state of everything but the agent.

    :param path: of the manifest
    :param manifest: its content
    :param allow_pickle: as for :func:`sb3_softac.saving.archive.read`
    :raises SavedFileError: an array is damaged, or code has to be run
    """
    with archive.named(path):
        archive.check_pickled(plain.pickled_in(manifest["state"]), allow_pickle)
        arrays = {where: chunks.read(path.parent / ARRAYS, entry) for where, entry in manifest["arrays"].items()}
        return plain.as_whole(plain.decode(manifest["state"], arrays))


# The run


class Saved(NamedTuple):
    """A checkpoint that was saved.

    :param path: of its manifest
    :param is_exact: whether the run goes on to the bit as if it had not stopped; else it begins a new episode
    :param reasons: what of the environment could not be read, where it is not
    """

    path: pathlib.Path
    is_exact: bool
    reasons: list[str]


def save(folder: pathlib.Path, model: Any, parts: archive.Parts, keep: int | None) -> Saved:
    """Save a run.

    :param folder: of its checkpoints
    :param model: with its environment
    :param parts: of the model's own file
    :param keep: checkpoints to keep; None for all
    """
    env = None if model.env is None else environments.read(model.env)
    reasons = ["nothing, as there is none"] if env is None else list(env.missing)
    if model._last_obs is None:
        reasons.append("the episode, in which learning was broken off")
    state = {
        "random": random_states(model.device),
        "action_space": environments.read_generators(model.action_space),
        "noise": _noise_of(model),
        "environment": None if env is None or reasons else env.links,
        "replay_buffer": model.replay_buffer,
        "demonstrations": model.demonstrations and list(model.demonstrations),
    }
    pickled = write(folder, model.num_timesteps, parts, state, keep)
    archive.warn_of_pickled(folder, pickled)
    return Saved(folder / f"step_{model.num_timesteps:08d}.json", not reasons, reasons)


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
) -> Any:
    """A run as its newest whole checkpoint has it.

    :param cls: of the model
    :param folder: of the checkpoints, or the manifest of one of them
    :param env: made in the same way as the one of the run
    :param device: to put the model on
    :param allow_pickle: run code of the file
    :param changed: arguments of the constructor
    :raises SavedFileError: no checkpoint is whole
    """
    for path, manifest in newest_whole(folder):
        try:
            state = read_state(path, manifest, allow_pickle)
            agent = path.parent / pathlib.Path(manifest["agent"]["file"]).name
            break
        except archive.NeedsPickleError:
            raise
        except SavedFileError as error:
            warnings.warn(f"{error}; the checkpoint before it is taken", stacklevel=3)
    model = cls.load(agent, env, device, force_reset=False, allow_pickle=allow_pickle, **changed)
    _restore(model, state)
    return model


def _restore(model: Any, state: Mapping[str, Any]) -> None:
    buffer = state["replay_buffer"]
    check_spaces(buffer, model)
    attach(buffer, model.env, model.device, truncate_last_traj=False)
    model.replay_buffer = buffer
    if state.get("demonstrations") is not None:  # earlier checkpoints do not have the key
        model.demonstrations = Demonstrations(*state["demonstrations"])
        attach(model.demonstrations.buffer, model.env, model.device)
    if state["noise"] is not None:
        model.actor.sde_noise.set_draws(*(th.as_tensor(draw, device=model.device) for draw in state["noise"]))
    if state["environment"] is not None:
        environments.restore(model.env, state["environment"])
    else:
        model._last_obs = None  # a new episode, and not the first one of the run once more
        if model.seed is not None:
            model.env.seed(model.seed + model.num_timesteps)
    environments.restore_generators(model.action_space, state["action_space"])
    restore_random_states(state["random"], model.device)
