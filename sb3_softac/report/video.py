"""Short film of a saved agent, made by a process of its own: what fails or hangs there is a note on the page.

``python -m sb3_softac.report.video`` is that process; it reads its request as JSON from the standard input.
"""

import base64
import functools
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sb3_softac.report.readers.agent import saved_agents
from sb3_softac.report.run import Run

if TYPE_CHECKING:
    import numpy as np

MAX_VIDEOS = 4  # of a page
MAX_SECONDS = 12.0  # of a film
MAX_WIDTH = 400  # pixels
MAX_BYTES = 600_000  # of a film, so that four of them leave room on the page
TIMEOUT_S = 90.0
# The zoo's hyperparameters that change what an agent sees, by code that they name or by a pickle.
CHANGES_ENVIRONMENT = ("env_wrapper", "vec_env_wrapper", "normalize", "frame_stack")


class Video(NamedTuple):
    """Film of an agent, or why there is none.

    :param source: film as a ``data:`` address; None if there is none
    :param note: what it shows, or why it is missing
    """

    source: str | None
    note: str


def record_videos(runs: Sequence[Run], wanted: bool | None) -> dict[Path, Video]:
    """Film the agents of some runs.

    :param runs: the first four of them that saved an agent are filmed
    :param wanted: True: all; False: none; None: those for which no code has to be run that their files name or hold
    :return: film or note, by the folder of the run
    """
    films: dict[Path, Video] = {}
    for run in runs if wanted is not False else ():
        agents = saved_agents(run.folder)
        if not agents or len(films) == MAX_VIDEOS:
            continue
        reason = None if wanted else _needs_trust(run)
        if reason is not None:
            films[run.folder] = Video(None, f"Not shown, since {reason}. --video shows it, if you trust the folder.")
        else:
            films[run.folder] = _recorded(_request(run, agents[0]), agents[0].stat().st_mtime_ns)
    return films


def _needs_trust(run: Run) -> str | None:
    """Why showing an agent would run code that comes with it; None if it would not."""
    if run.algo != "softac":
        return "agents of other algorithms than softac are loaded by pickle, which runs code of the file"
    changes = [name for name in CHANGES_ENVIRONMENT if run.hyperparams.get(name)]
    changes += [name for name in run.hyperparams if name.split(".")[0] in CHANGES_ENVIRONMENT and name not in changes]
    if changes or run.arguments.get("gym_packages") or ":" in run.env_id:
        return f"its environment is made by code that the run names ({', '.join(changes) or 'a package'})"
    return None


def _request(run: Run, agent: Path) -> str:
    request = {
        "agent": str(agent.resolve()),
        "folder": str(run.folder.resolve()),
        "algo": run.algo,
        "env_id": run.env_id,
        "env_kwargs": run.arguments.get("env_kwargs") or {},
        "gym_packages": run.arguments.get("gym_packages") or [],
        "is_trusted": _needs_trust(run) is not None,
    }
    return json.dumps(request, default=str)


@functools.lru_cache(maxsize=32)  # while the page is watched
def _recorded(request: str, modified: int) -> Video:
    """Film by another process.

    :param request: see :func:`_request`
    :param modified: when the agent was written, so that a newer one is filmed again
    """
    name = Path(json.loads(request)["agent"]).name
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        command = [sys.executable, "-m", __spec__.name, str(path)]
        try:
            done = subprocess.run(
                command, input=request, text=True, capture_output=True, timeout=TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired:
            return Video(None, f"{name} could not be shown within {TIMEOUT_S:.0f} seconds.")
        if done.returncode or not path.is_file():
            lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
            return Video(None, f"{name} could not be shown: {lines[-1][:300]}")
        if path.stat().st_size > MAX_BYTES:
            return Video(None, f"The film of {name} has {path.stat().st_size:,} bytes, too many for the page.")
        encoded = base64.b64encode(path.read_bytes()).decode()
        return Video(f"data:video/mp4;base64,{encoded}", done.stdout.strip().splitlines()[-1])


# In the other process


def _film(request: dict[str, Any], path: Path) -> str:
    """Let an agent act for one episode and film it; returns what the film shows."""
    env = _environment(request)
    model = _algorithm(request["algo"]).load(request["agent"], device="cpu")
    fps = int(env.metadata.get("render_fps") or 30)
    max_frames = int(MAX_SECONDS * fps)
    obs, state, start, total, done = env.reset(), None, None, 0.0, False
    frames: list[Any] = []
    while not done and len(frames) < max_frames:
        frames.append(env.render())
        action, state = model.predict(obs, state=state, episode_start=start, deterministic=True)
        obs, rewards, dones, _ = env.step(action)
        total, done, start = total + float(rewards[0]), bool(dones[0]), dones
    if frames[0] is None or len(frames) < 2:
        raise ValueError(f"{request['env_id']} renders no pictures")
    _write(frames, fps, path)
    what = "one episode" if done else f"the first {len(frames):,} steps of an episode"
    return f"{Path(request['agent']).name}, deterministic actions: {what}, return {total:.4g} in {len(frames):,} steps."


def _environment(request: dict[str, Any]) -> Any:
    import gymnasium as gym
    from stable_baselines3.common.env_util import make_vec_env

    env_id, kwargs = request["env_id"], {**request["env_kwargs"], "render_mode": "rgb_array"}
    stored = next(Path(request["folder"]).glob("*/config.yml"), None)
    if not request["is_trusted"] or stored is None:
        # The spec of what is registered: gymnasium would import a module that the id names.
        return make_vec_env(gym.registry[env_id].make, env_kwargs=kwargs, seed=0)
    import importlib

    from rl_zoo3.utils import create_test_env, get_saved_hyperparams

    for package in request["gym_packages"]:
        importlib.import_module(package)
    hyperparams, stats_path = get_saved_hyperparams(str(stored.parent), norm_reward=False, test_mode=True)
    return create_test_env(
        env_id, stats_path=stats_path, hyperparams=hyperparams, env_kwargs=kwargs, should_render=False
    )


def _algorithm(name: str | None) -> Any:
    if name == "softac":
        from sb3_softac.softac import SoftAC

        return SoftAC
    if name is None:
        raise ValueError("the run does not say which algorithm it trained")
    import importlib

    for module in ("stable_baselines3", "sb3_contrib"):
        with_name = getattr(importlib.import_module(module), name.upper(), None)
        if with_name is not None:
            return with_name
    raise ValueError(f"neither stable_baselines3 nor sb3_contrib has an algorithm {name!r}")


def _write(frames: "Iterable[np.ndarray]", fps: int, path: Path) -> None:
    import imageio_ffmpeg

    frames = list(frames)
    height, width = frames[0].shape[:2]
    smaller = ["-vf", f"scale='min({MAX_WIDTH},iw)':-2", "-crf", "30", "-movflags", "+faststart"]
    writer = imageio_ffmpeg.write_frames(
        str(path), (width, height), fps=fps, codec="libx264", quality=None, macro_block_size=1, output_params=smaller
    )
    writer.send(None)
    for frame in frames:
        writer.send(frame.astype("uint8").tobytes())
    writer.close()


def main() -> None:
    """Film the agent of the request, and print what the film shows."""
    try:
        print(_film(json.load(sys.stdin), Path(sys.argv[1])))
    except Exception as error:  # whatever an environment raises: the last line is read by the other process
        message = re.sub(r"\s+", " ", f"{type(error).__name__}: {error}")
        sys.exit(message)


if __name__ == "__main__":
    main()
