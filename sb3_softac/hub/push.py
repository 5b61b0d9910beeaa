"""Agents to the Hub: their zip file, with all that shows what they do and how they were made."""

import json
import pathlib
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import gymnasium as gym
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize, unwrap_vec_normalize

from sb3_softac.hub.card import Results, card
from sb3_softac.hub.client import METRICS, optional, talking_about
from sb3_softac.settings.model import given_in
from sb3_softac.softac import SoftAC

# Frames of a second, of an environment that does not say.
FPS = 30
#: arguments that say nothing of the agent, and may name a user's folders
OF_THE_MACHINE = ("tensorboard_log", "verbose", "device")


def push_to_hub(
    model: SoftAC,
    repo_id: str,
    env: gym.Env | VecEnv | None = None,
    *,
    n_eval_episodes: int = 10,
    deterministic: bool = True,
    video_steps: int = 500,
    files: Mapping[str, pathlib.Path] | None = None,
    commit_message: str = "Agent of SoftAC",
    private: bool = False,
    token: str | None = None,
) -> str:
    """Evaluate an agent, and push it to the Hub with a card, its figures, its arguments and a video, in one commit.

    The names of the files are those of RL Zoo, whose ``load_from_hub`` reads them.

    :param model: the agent
    :param repo_id: ``"<user or organization>/<name>"``; a repository that is not there is created
    :param env: to evaluate in, with its ``VecNormalize`` if the agent learned with one; None: the model's own. A video
        is made of one with ``render_mode="rgb_array"``
    :param n_eval_episodes: episodes of the figures
    :param deterministic: whether the agent takes its most likely actions
    :param video_steps: steps of the video; 0 for none
    :param files: further files, or others in the place of those made here, by their name in the repository
    :param commit_message: of the commit
    :param private: whether a new repository is private
    :param token: of the Hub; None: the one of ``hf auth login`` or HF_TOKEN
    :return: address of the repository
    :raises HubError: no network, a token that the Hub refuses, or no name of a repository; nothing was pushed
    :raises ValueError: no environment, or one without the agent's ``VecNormalize``
    """
    optional("huggingface_hub")
    vec_env = _environment(model, env)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        with _frozen(unwrap_vec_normalize(vec_env)) as normalize:
            results = _evaluate(model, vec_env, n_eval_episodes, deterministic)
            has_video = video_steps > 0 and vec_env.render_mode == "rgb_array"
            if has_video:
                _record(model, vec_env, video_steps, deterministic, folder / "replay.mp4")
            _write(folder, model, results, normalize)
        for target, source in (files or {}).items():
            (folder / target).write_bytes(source.read_bytes())
        (folder / "README.md").write_text(card(repo_id, arguments_of(model), results, has_video), encoding="utf-8")
        with talking_about(repo_id) as client:
            api = client.HfApi(token=token)
            url = api.create_repo(repo_id, private=private, exist_ok=True)
            api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message=commit_message)
    return str(url)


def arguments_of(model: SoftAC) -> dict[str, Any]:
    """Arguments of an agent: plain numbers and words, and others as Python writes them.

    :param model: the agent
    """
    given = {"policy": model.policy_class.__name__, **given_in(model)}
    given = {name: value for name, value in given.items() if name not in OF_THE_MACHINE}
    plain = (bool, int, float, str, type(None))
    return {name: value if isinstance(value, plain) else _as_word(value) for name, value in given.items()}


def _as_word(value: Any) -> str:
    return value.__name__ if isinstance(value, type) else str(value)


def _environment(model: SoftAC, env: gym.Env | VecEnv | None) -> VecEnv:
    env = model.get_env() if env is None else env
    if env is None:
        raise ValueError("The agent has no environment to be evaluated in; pass one as `env`")
    vec_env = env if isinstance(env, VecEnv) else DummyVecEnv([lambda: Monitor(env)])
    if model.get_vec_normalize_env() is not None and unwrap_vec_normalize(vec_env) is None:
        raise ValueError(
            "The agent learned from the observations of a `VecNormalize`, which `env` lacks; wrap it in one with the "
            "same statistics (`VecNormalize.load()`), or pass none, for the model's own"
        )
    return vec_env


@contextmanager
def _frozen(normalize: VecNormalize | None) -> Iterator[VecNormalize | None]:
    """Statistics that stay as they are, and rewards of the environment, while an agent is evaluated."""
    if normalize is None:
        yield None
        return
    before = normalize.training, normalize.norm_reward
    normalize.training, normalize.norm_reward = False, False
    try:
        yield normalize
    finally:
        normalize.training, normalize.norm_reward = before


def _evaluate(model: SoftAC, env: VecEnv, n_episodes: int, deterministic: bool) -> Results:
    returns, lengths = evaluate_policy(
        model, env, n_episodes, deterministic=deterministic, return_episode_rewards=True, warn=False
    )
    spec = env.get_attr("spec")[0]
    name = env.get_attr("unwrapped")[0].__class__.__name__ if spec is None else spec.id
    return Results(name, list(map(float, returns)), list(map(int, lengths)), deterministic, model.num_timesteps)  # type: ignore[arg-type]


def _record(model: SoftAC, env: VecEnv, n_steps: int, deterministic: bool, path: pathlib.Path) -> None:
    editor = optional("moviepy.video.io.ImageSequenceClip")
    obs, frames = env.reset(), []
    for _ in range(n_steps):
        frames.append(env.render())
        obs, *_ = env.step(model.predict(obs, deterministic=deterministic)[0])  # type: ignore[arg-type]
    fps = env.metadata.get("render_fps", FPS)
    editor.ImageSequenceClip(frames, fps=fps).write_videofile(str(path), logger=None)


def _write(folder: pathlib.Path, model: SoftAC, results: Results, normalize: VecNormalize | None) -> None:
    """Write the agent, its statistics, its figures, and the files that RL Zoo expects beside them."""
    yaml = optional("yaml")
    model.save(folder / f"softac-{results.env_id.replace('/', '-')}.zip")
    if normalize is not None:
        normalize.save(str(folder / "vec_normalize.pkl"))
    arguments = arguments_of(model) | {"normalize": normalize is not None}
    for name, content in (("config", arguments), ("args", {"env_kwargs": None}), ("env_kwargs", {})):
        (folder / f"{name}.yml").write_text(yaml.safe_dump(content), encoding="utf-8")
    (folder / "results.json").write_text(json.dumps(results.summary(), indent=2), encoding="utf-8")
    with zipfile.ZipFile(folder / METRICS, "w"):
        pass  # of a run of the zoo; without one there is nothing in it
