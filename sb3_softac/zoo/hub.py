"""``python -m sb3_softac.zoo push_to_hub``: a run of the zoo to the Hugging Face Hub.

rl_zoo3 2.9.2 has a script of this name, with these options, that cannot be imported.
"""

import argparse
import pathlib
import tempfile
import zipfile
from typing import Any

import torch as th
from stable_baselines3.common.utils import set_random_seed

from sb3_softac.hub.client import METRICS
from sb3_softac.hub.push import push_to_hub
from sb3_softac.softac import SoftAC


def main(arguments: list[str], algo: str) -> None:
    """Push a run.

    :param arguments: of the command line
    :param algo: name of the algorithm
    """
    args = _parser(algo).parse_args(arguments)
    if args.num_threads > 0:
        th.set_num_threads(args.num_threads)
    set_random_seed(args.seed)
    try:
        url = _push(args)
    except (OSError, ValueError, AssertionError) as error:  # no run, no network, a token that is refused, ...
        raise SystemExit(f"error: {error}") from error
    print(f"The agent is at {url}")


def _parser(algo: str) -> argparse.ArgumentParser:
    from rl_zoo3.utils import StoreDict

    parser = argparse.ArgumentParser("python -m sb3_softac.zoo push_to_hub")
    add = parser.add_argument
    add("--env", help="environment ID", required=True)
    add("-f", "--folder", help="log folder", required=True)
    add("--algo", help="RL algorithm", required=True, choices=[algo])
    add("-orga", "--organization", help="user or organization on the Hub", required=True)
    add("-name", "--repo-name", help="name of the repository, by default 'algo-env'")
    add("-m", "--commit-message", help="commit message", default="Agent of SoftAC")
    add("-n", "--n-timesteps", help="steps of the video", default=1000, type=int)
    add("--n-eval-episodes", help="episodes of the figures", default=10, type=int)
    add("--num-threads", help="threads of PyTorch (-1: its default)", default=-1, type=int)
    add("--n-envs", help="number of environments", default=1, type=int)
    add("--exp-id", help="experiment ID (0: latest, -1: no folder of an experiment)", default=0, type=int)
    add("--verbose", help="0: no output, 1: information", default=1, type=int)
    add("--no-render", action="store_true", help="no video")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--deterministic", action="store_true", help="most likely actions, also in Atari and MiniGrid")
    how.add_argument("--stochastic", action="store_true", help="sampled actions")
    add("--device", help="device of PyTorch", default="auto")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--load-best", action="store_true", help="the best agent in place of the last")
    which.add_argument("--load-checkpoint", type=int, help="the agent at this number of steps")
    which.add_argument("--load-last-checkpoint", action="store_true", help="the last checkpoint")
    add("--seed", help="of the random numbers", type=int, default=0)
    add("--env-kwargs", nargs="+", action=StoreDict, help="arguments of the environment")
    return parser


def _push(args: argparse.Namespace) -> str:
    from huggingface_sb3 import EnvironmentName
    from rl_zoo3.exp_manager import ExperimentManager
    from rl_zoo3.utils import create_test_env, get_model_path, get_saved_hyperparams

    name = EnvironmentName(args.env)
    _, agent, run = get_model_path(
        args.exp_id, args.folder, args.algo, name, args.load_best, args.load_checkpoint, args.load_last_checkpoint
    )
    settings = pathlib.Path(run) / name
    hyperparams, statistics = get_saved_hyperparams(str(settings), test_mode=True)
    env_kwargs = _env_kwargs(settings / "args.yml") | (args.env_kwargs or {})
    env = create_test_env(
        name.gym_id,
        n_envs=args.n_envs,
        stats_path=statistics,
        seed=args.seed,
        log_dir=None,
        should_render=not args.no_render,
        hyperparams=hyperparams,
        env_kwargs=env_kwargs if args.no_render else env_kwargs | {"render_mode": "rgb_array"},
    )
    samples = ExperimentManager.is_atari(name.gym_id) or ExperimentManager.is_minigrid(name.gym_id)
    model = SoftAC.load(agent, env, args.device)
    with tempfile.TemporaryDirectory() as folder:
        try:
            return push_to_hub(
                model,
                f"{args.organization}/{args.repo_name or f'{args.algo}-{name}'}",
                n_eval_episodes=args.n_eval_episodes,
                deterministic=not args.stochastic and (args.deterministic or not samples),
                video_steps=0 if args.no_render else args.n_timesteps,
                files=_files(pathlib.Path(folder), pathlib.Path(run), settings, env_kwargs),
                commit_message=args.commit_message,
            )
        finally:
            env.close()


def _env_kwargs(file: pathlib.Path) -> dict[str, Any]:
    """Arguments of the environment in the run."""
    import yaml

    if not file.is_file():
        return {}
    with file.open() as stream:
        return yaml.load(stream, Loader=yaml.UnsafeLoader)["env_kwargs"] or {}  # as rl_zoo3 reads its own file


def _files(
    folder: pathlib.Path, run: pathlib.Path, settings: pathlib.Path, env_kwargs: dict[str, Any]
) -> dict[str, pathlib.Path]:
    """Files of the run that ``load_from_hub`` puts back, by their names in the repository."""
    import yaml

    (folder / "env_kwargs.yml").write_text(yaml.safe_dump(env_kwargs))
    with zipfile.ZipFile(folder / METRICS, "w") as archive:
        for path in sorted([*run.glob("evaluations.npz"), *run.glob("*.csv")]):
            archive.write(path, path.name)
    found = {path.name: path for path in (settings / "config.yml", settings / "args.yml") if path.is_file()}
    return found | {path.name: path for path in folder.iterdir()}
