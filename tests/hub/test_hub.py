"""Agents go to the Hub and come back: file, card, figures, arguments, video; and what goes wrong is named."""

import json
import sys
import zipfile
from io import BytesIO

import gymnasium as gym
import numpy as np
import pytest
import torch as th
import yaml
from gymnasium import spaces
from huggingface_hub import HfApi, ModelCard, errors
from stable_baselines3 import SAC
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from sb3_softac import SoftAC
from sb3_softac.hub import HubError, client, load_from_hub, push, push_to_hub
from sb3_softac.saving.files import SavedFileError
from tests.helpers import SMALL, Target

REPO = "someone/softac-Target"


class Pictures(Target):
    """An environment that renders."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012, as Gymnasium has it
    render_mode = "rgb_array"

    def render(self) -> np.ndarray:
        return np.full((32, 32, 3), 20 * self._step, np.uint8)


@pytest.fixture(scope="module")
def agent() -> SoftAC:
    return SoftAC("auto", Target(horizon=5), **SMALL, seed=0, device="cpu").learn(20)


def test_an_agent_comes_back_as_it_was(agent, hub):
    url = push_to_hub(agent, REPO, n_eval_episodes=3, commit_message="The first")
    assert url == f"{hub.address}/{REPO}"
    assert hub.messages == ["The first"]
    loaded = load_from_hub(REPO, device="cpu")
    th.testing.assert_close(loaded.policy.state_dict(), agent.policy.state_dict())
    named = load_from_hub(REPO, "softac-Target.zip", env=Target(), device="cpu").learn(20)
    assert named.num_timesteps == 20


def test_what_is_pushed(agent, hub):
    push_to_hub(agent, REPO, n_eval_episodes=3)
    files = hub.repositories[REPO]
    names = {"README.md", "softac-Target.zip", "config.yml", "args.yml", "env_kwargs.yml", "results.json"}
    assert set(files) >= names | {client.METRICS}
    figures = json.loads(files["results.json"])
    assert (figures["n_eval_episodes"], figures["mean_ep_length"], figures["num_timesteps"]) == (3, 5.0, 20)
    assert set(figures["versions"]) == {"sb3_softac", "stable_baselines3", "torch", "gymnasium"}
    arguments = yaml.safe_load(files["config.yml"])
    assert (arguments["policy"], arguments["batch_size"], arguments["normalize"]) == ("SoftACPolicy", 16, False)
    card = ModelCard(files["README.md"].decode())
    (result,) = card.data.eval_results
    score = f"{figures['mean_reward']:.2f} +/- {figures['std_reward']:.2f}"
    assert (result.metric_type, result.metric_value, result.dataset_name) == ("mean_reward", score, "Target")
    assert card.data.to_dict()["model-index"][0]["name"] == "SoftAC"
    assert card.data.library_name == "stable-baselines3"
    assert score in card.text
    assert f"load_from_hub('{REPO}')" in card.text


def test_a_second_push_goes_to_the_same_repository(agent, hub):
    for message in ("one", "two"):
        push_to_hub(agent, REPO, n_eval_episodes=1, commit_message=message)
    assert hub.messages == ["one", "two"]
    assert list(hub.repositories) == [REPO]


def test_a_video_of_what_renders(agent, hub):
    pytest.importorskip("moviepy")
    push_to_hub(agent, REPO, Pictures(horizon=5), n_eval_episodes=1, video_steps=8)
    assert hub.repositories[REPO]["replay.mp4"][4:8] == b"ftyp"
    assert "replay.mp4" in hub.repositories[REPO]["README.md"].decode()
    push_to_hub(agent, "someone/other", Pictures(horizon=5), n_eval_episodes=1, video_steps=0)
    assert "replay.mp4" not in hub.repositories["someone/other"]


def test_statistics_of_observations_go_along_and_stay_as_they_are(hub):
    env = VecNormalize(DummyVecEnv([lambda: Monitor(Target(horizon=5))]))
    model = SoftAC("auto", env, **SMALL, seed=0, device="cpu").learn(20)
    before = env.obs_rms.count
    push_to_hub(model, REPO, n_eval_episodes=2)
    assert "vec_normalize.pkl" in hub.repositories[REPO]
    assert yaml.safe_load(hub.repositories[REPO]["config.yml"])["normalize"] is True
    assert (env.obs_rms.count, env.training, env.norm_reward) == (before, True, True)
    with pytest.raises(ValueError, match="`VecNormalize`, which `env` lacks"):
        push_to_hub(model, REPO, Target())


def test_an_agent_without_an_environment_is_not_pushed(agent, hub, tmp_path):
    agent.save(tmp_path / "agent")
    with pytest.raises(ValueError, match="pass one as `env`"):
        push_to_hub(SoftAC.load(tmp_path / "agent", device="cpu"), REPO)
    assert hub.repositories == {}


def test_the_files_that_the_client_checks_before_it_pushes_are_left_alone(agent, hub, tmp_path):
    (tmp_path / "args").write_text("env_kwargs: {a: 1}")
    push_to_hub(agent, REPO, n_eval_episodes=1, files={"args.yml": tmp_path / "args"})
    assert hub.repositories[REPO]["args.yml"] == b"env_kwargs: {a: 1}"


# What goes wrong


def test_a_token_that_is_refused(agent, hub):
    with pytest.raises(HubError, match=rf"'{REPO}' at {hub.address}: the Hub answered 401: the token") as raised:
        push_to_hub(agent, REPO, n_eval_episodes=1, token="hf_wrong")
    assert isinstance(raised.value.__cause__, errors.HfHubHTTPError)
    assert hub.repositories == {}


def test_no_network(agent, nowhere, monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(HubError, match="no answer from the Hub: no network"):
        push_to_hub(agent, REPO, n_eval_episodes=1, token="hf_any")
    with pytest.raises(HubError, match="no answer from the Hub: no network"):
        load_from_hub(REPO, "softac-Target.zip")


def test_a_repository_that_is_not_there(hub):
    with pytest.raises(HubError, match="no such repository") as raised:
        load_from_hub("someone/nothing")
    assert isinstance(raised.value.__cause__, errors.RepositoryNotFoundError)


def test_a_file_that_is_not_there(agent, hub):
    push_to_hub(agent, REPO, n_eval_episodes=1)
    with pytest.raises(HubError, match="has no such file"):
        load_from_hub(REPO, "other.zip")


@pytest.mark.parametrize("name", ["three/part/name", "a b/c"])
def test_what_is_no_name_of_a_repository(agent, name, hub):
    with pytest.raises(HubError, match="no name of a repository"):
        push_to_hub(agent, name, n_eval_episodes=1)


@pytest.mark.parametrize(
    ("files", "message"), [([], "no zip file"), (["a.zip", "b.zip"], "several agents, a.zip, b.zip")]
)
def test_a_repository_without_the_one_agent(files, message, hub):
    hub.repositories[REPO] = dict.fromkeys([*files, client.METRICS], b"")
    with pytest.raises(ValueError, match=message):
        load_from_hub(REPO)


def test_an_agent_that_has_to_be_unpickled_is_refused(hub, tmp_path):
    SAC("MlpPolicy", Target(), buffer_size=10, device="cpu").save(tmp_path / "sac.zip")
    hub.repositories[REPO] = {"sac.zip": (tmp_path / "sac.zip").read_bytes()}
    with pytest.raises(SavedFileError):
        load_from_hub(REPO)


def test_without_the_extra_it_says_what_to_install(agent, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for call in (lambda: push_to_hub(agent, REPO), lambda: load_from_hub(REPO)):
        with pytest.raises(ImportError, match=r"pip install 'sb3_softac\[hub\]'"):
            call()


def test_arguments_are_plain():
    env = gym.wrappers.TimeLimit(Target(spaces.Box(-1.0, 1.0, (3,))), 5)
    model = SoftAC("MlpPolicy", env, **SMALL, learning_rate="lin_1e-3", device="cpu", tensorboard_log="/home/me")
    arguments = push.arguments_of(model)
    assert "/home/me" not in arguments.values()
    assert arguments["learning_rate"] == "lin_1e-3"
    assert arguments["policy_kwargs"].startswith("{'net_arch': [16, 16]")
    assert arguments["replay_buffer_class"] == "SingleCopyReplayBuffer"
    assert yaml.safe_load(yaml.safe_dump(arguments)) == arguments


# Through the zoo


@pytest.fixture
def zoo(monkeypatch):
    """The command ``python -m sb3_softac.zoo``."""
    pytest.importorskip("rl_zoo3", reason="needs the extra `zoo`")
    from sb3_softac.zoo import __main__ as launcher

    def run(*arguments: str) -> None:
        monkeypatch.setattr(sys, "argv", ["zoo", *arguments])
        launcher.main()

    return run


@pytest.mark.filterwarnings("ignore:.*rl_zoo3.*found in sys.modules:RuntimeWarning")
def test_a_run_of_the_zoo_goes_to_the_hub_and_comes_back(zoo, hub, tmp_path, monkeypatch, capsys):
    pytest.importorskip("moviepy")
    options = ["--algo", "softac", "--env", "Pendulum-v1", "-f", str(tmp_path / "logs")]
    small = ["-params", "policy_kwargs:dict(net_arch=[8])", "learning_starts:50", "normalize:True"]
    zoo("train", *options, "-n", "220", "--eval-freq", "-1", "--num-threads", "1", *small)
    zoo("push_to_hub", *options, "-orga", "someone", "-n", "5", "--n-eval-episodes", "1", "-m", "From the zoo")
    assert f"The agent is at {hub.address}/someone/softac-Pendulum-v1" in capsys.readouterr().out
    assert hub.messages == ["From the zoo"]
    files = hub.repositories["someone/softac-Pendulum-v1"]
    assert {"replay.mp4", "vec_normalize.pkl", "config.yml", "args.yml"} <= files.keys()
    assert zipfile.ZipFile(BytesIO(files[client.METRICS])).namelist() == ["0.monitor.csv", "progress.csv"]
    assert b"normalize" in files["config.yml"]

    monkeypatch.setenv("TRUST_REMOTE_CODE", "True")
    zoo("load_from_hub", *options[:4], "-f", str(tmp_path / "back"), "-orga", "someone")
    run = tmp_path / "back" / "softac" / "Pendulum-v1_1"
    assert (run / "Pendulum-v1" / "vecnormalize.pkl").is_file()
    assert SoftAC.load(run / "Pendulum-v1.zip", device="cpu").num_timesteps == 220
    assert HfApi().list_repo_files("someone/softac-Pendulum-v1")


def test_a_run_that_is_not_there_is_named(zoo, hub, tmp_path):
    options = ["--algo", "softac", "--env", "Pendulum-v1", "-f", str(tmp_path), "-orga", "someone"]
    with pytest.raises(SystemExit, match=r"error: .*folder was not found"):
        zoo("push_to_hub", *options)
    assert hub.repositories == {}
