"""Runs are read from the folders of rl_zoo3, of scripts with Stable-Baselines3's loggers, and of TensorBoard."""

import json
import shutil
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import yaml

from sb3_softac import SoftAC
from sb3_softac.report import find_runs, load_run, write_learning_curve
from sb3_softac.report.readers.events import read_events
from sb3_softac.report.readers.progress import read_progress

pytest.importorskip("matplotlib", reason="needs the extra `zoo`")


def write_monitor(folder: Path, rows: list[tuple[float, int, float]], index: int = 0) -> None:
    header = json.dumps({"t_start": 100.0, "env_id": "Pendulum-v1"})
    lines = [f"#{header}", "r,l,t", *(f"{reward},{length},{time}" for reward, length, time in rows)]
    (folder / f"{index}.monitor.csv").write_text("\n".join(lines) + "\n")


@pytest.fixture
def run_folder(tmp_path) -> Path:
    """Two environments, 30 episodes each of 200 steps, five evaluations of three episodes."""
    folder = tmp_path / "Pendulum-v1_1"
    (folder / "Pendulum-v1").mkdir(parents=True)
    for index in (0, 1):
        write_monitor(folder, [(-1200.0 + 30 * i, 200, 2.0 * i + index) for i in range(30)], index)
    arguments = OrderedDict(algo="softac", env="Pendulum-v1", seed=7, env_kwargs=None, tuple=(1, 2))
    (folder / "Pendulum-v1" / "args.yml").write_text(yaml.dump(arguments))
    timesteps = np.arange(1, 6) * 2000
    np.savez(
        folder / "evaluations.npz",
        timesteps=timesteps,
        results=-np.outer(6 - np.arange(1, 6), [90, 100, 110]),
    )
    return folder


def test_the_run_is_read(run_folder):
    run = load_run(run_folder)
    assert (run.algo, run.env_id, run.seed) == ("softac", "Pendulum-v1", 7)
    assert len(run.episodes) == 60
    # Steps of both environments together; episodes in the order in which they ended.
    assert run.episodes["timesteps"].tolist() == list(range(200, 12001, 200))
    assert run.episodes["returns"].tolist()[:4] == [-1200, -1200, -1170, -1170]
    assert run.evaluations.returns.shape == (5, 3)


def test_a_picture_is_written(run_folder):
    path = write_learning_curve(run_folder)
    assert path == run_folder / "learning_curve.png"
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("missing", ["evaluations.npz", "Pendulum-v1/args.yml", "*.monitor.csv"])
def test_what_a_run_lacks_is_left_out(run_folder, missing):
    for path in run_folder.glob(missing):
        path.unlink()
    assert write_learning_curve(run_folder).is_file()


def test_a_run_of_one_episode(tmp_path):
    write_monitor(tmp_path, [(-1.0, 200, 1.0)])
    run = load_run(tmp_path)
    assert (run.algo, run.seed, run.env_id) == (None, None, "Pendulum-v1")
    assert write_learning_curve(tmp_path).is_file()


def test_a_missing_folder(tmp_path):
    with pytest.raises(ValueError, match=r"is not a folder: give the folder of one run"):
        load_run(tmp_path / "nowhere")


def test_a_folder_of_runs_names_them(run_folder):
    with pytest.raises(ValueError, match=r"not the folder of a run.*Pendulum-v1_1"):
        load_run(run_folder.parent)


def test_a_run_that_has_just_begun(tmp_path):
    write_monitor(tmp_path, [])
    assert load_run(tmp_path).is_empty
    with pytest.raises(ValueError, match="no finished episode and no evaluation"):
        write_learning_curve(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not a zip"])
def test_damaged_evaluations_are_noted(run_folder, content):
    (run_folder / "evaluations.npz").write_bytes(content)
    run = load_run(run_folder)
    assert run.evaluations is None
    assert len(run.episodes) == 60
    assert ["evaluations.npz is not what an EvalCallback writes" in note for note in run.notes] == [True]


@pytest.mark.parametrize("content", ["", "no header\n", '#{"t_start": 1'])
def test_damaged_monitor_files_are_noted(run_folder, content):
    (run_folder / "1.monitor.csv").write_text(content)
    run = load_run(run_folder)
    assert run.episodes.empty
    assert run.evaluations.returns.shape == (5, 3)
    assert ["monitor.csv is not what a Monitor writes" in note for note in run.notes] == [True]


def test_a_run_of_which_nothing_can_be_read(tmp_path):
    np.savez(tmp_path / "evaluations.npz", timesteps=np.array([]), results=np.array([]))
    with pytest.raises(ValueError, match=r"evaluations\.npz is not what an EvalCallback writes"):
        load_run(tmp_path)


def test_arguments_that_were_cut_off_are_left_out(run_folder):
    path = run_folder / "Pendulum-v1" / "args.yml"
    whole = path.read_bytes()
    for content in (b"[unfinished", b"\xff", *(whole[:n_bytes] for n_bytes in range(0, len(whole), 7))):
        path.write_bytes(content)
        assert load_run(run_folder).algo in (None, "softac")


@pytest.mark.parametrize("rest", ["-", "-12", "-12.5,1", "-12.5,200,"])
def test_a_last_episode_that_was_cut_off_is_left_out(run_folder, rest: str):
    path = run_folder / "0.monitor.csv"
    path.write_text(path.read_text() + rest)
    episodes = load_run(run_folder).episodes
    assert len(episodes) - 60 == (rest.count(",") > 0)
    assert episodes["timesteps"].is_monotonic_increasing


@pytest.mark.parametrize("name", ["brackets[1]", "of_$x_{^$_dollars", "a *"])
def test_a_folder_of_any_name(run_folder, name: str):
    (run_folder / "Pendulum-v1" / "args.yml").unlink()
    folder = run_folder.rename(run_folder.parent / name)
    assert len(load_run(folder).episodes) == 60
    assert write_learning_curve(folder).is_file()


@pytest.mark.parametrize(
    ("wrappers", "n_frames"),
    [
        ([{"rl_zoo3.wrappers.FrameSkip": {"skip": 2}}, "gymnasium.wrappers.GrayscaleObservation"], 2),
        ("stable_baselines3.common.atari_wrappers.AtariWrapper", 4),
        ({"gymnasium.wrappers.MaxAndSkipObservation": {"skip": 5}}, 5),
        (None, 1),
    ],
)
def test_steps_of_an_agent_whose_wrapper_skips_frames(run_folder, wrappers, n_frames):
    (run_folder / "Pendulum-v1" / "config.yml").write_text(yaml.dump(OrderedDict(env_wrapper=wrappers)))
    steps = load_run(run_folder).episodes["timesteps"].tolist()
    assert steps == [200 * (i + 1) // n_frames for i in range(60)]


def test_arguments_build_no_python_objects(run_folder):
    path = run_folder / "Pendulum-v1" / "args.yml"
    path.write_text("env: Pendulum-v1\nseed: !!python/object/apply:os.system ['exit 1']\n")
    assert load_run(run_folder).seed is None


def test_a_script_with_the_loggers_of_stable_baselines3(data):
    run = load_run(data / "ppo_script")
    assert (run.env_id, run.algo, run.notes) == ("CartPole-v1", None, ())
    assert run.last_step >= 6000
    assert {"rollout/ep_rew_mean", "train/value_loss", "eval/mean_reward"} <= set(run.metrics)
    assert run.evaluations.returns.shape[1] == 5
    assert run.metric("train/value_loss").index.is_monotonic_increasing


def test_json_says_the_same_as_csv(data, tmp_path):
    as_csv = read_progress(data / "ppo_script").dropna(subset=["train/value_loss"])
    (tmp_path / "progress.json").write_bytes((data / "ppo_script" / "progress.json").read_bytes())
    as_json = read_progress(tmp_path).dropna(subset=["train/value_loss"])
    assert len(as_json) > 10
    assert set(as_json["train/value_loss"].round(3)) == set(as_csv["train/value_loss"].round(3))


@pytest.mark.parametrize("name", ["progress.csv", "progress.json"])
def test_a_row_that_is_half_written_is_left_out(data, tmp_path, name: str):
    whole = (data / "ppo_script" / name).read_bytes()
    n_rows = []
    for n_bytes in (len(whole), len(whole) - 1, len(whole) - 40, len(whole) // 2, 100, 0):
        (tmp_path / name).write_bytes(whole[:n_bytes])
        n_rows.append(len(read_progress(tmp_path)))
    assert n_rows[0] > n_rows[3] > n_rows[4] == n_rows[5] == 0
    assert n_rows[0] - 1 == n_rows[1] == n_rows[2]


@pytest.mark.parametrize("content", ["a,b\n1,2\n", "\x00\x01\n\x02\n"])
def test_a_table_that_is_no_log_is_noted(run_folder, content: str):
    (run_folder / "progress.csv").write_text(content)
    run = load_run(run_folder)
    assert len(run.episodes) == 60
    assert "progress.csv" in run.notes[0]


def test_metrics_of_a_run_of_the_zoo(data):
    run = load_run(data / "healthy_1")
    assert (run.algo, run.env_id, run.seed, run.last_step) == ("softac", "Pendulum-v1", 1, 8000)
    assert len(run.episodes) == 40
    assert run.evaluations.lengths.tolist() == [[200] * 5] * 10
    assert run.hyperparams["policy_kwargs.net_arch"] == [64, 64]
    assert run.metric("train/ent_coef").index[-1] == 8000
    assert run.metrics["seconds"].notna().all()  # rows of evaluations have no time of their own
    assert 10 < run.seconds < 600


def test_tensorboard_files_by_tensorboard_itself(data):
    pytest.importorskip("tensorboard")
    (run,) = find_runs([data / "tensorboard"])
    assert (run.algo, run.env_id, run.last_step) == ("sac", "Pendulum-v1", 4000)
    assert len(run.metric("train/critic_loss")) > 10
    assert len(run.metric("eval/mean_reward")) == 6
    assert run.metrics["seconds"].is_monotonic_increasing


def test_tensorboard_files_in_the_folder_of_a_run(data, tmp_path):
    pytest.importorskip("tensorboard")
    shutil.copytree(data / "tensorboard" / "Pendulum-v1" / "SAC_1", tmp_path / "SAC_1")
    write_monitor(tmp_path, [(-1.0, 200, 1.0)])
    (run,) = find_runs([tmp_path])
    assert len(run.episodes) == 1
    assert len(run.metric("train/critic_loss")) > 10


def test_tensorboard_files_without_tensorboard(data, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard.backend.event_processing.event_accumulator", None)
    with pytest.raises(ImportError, match="pip install tensorboard"):
        read_events(data / "tensorboard" / "Pendulum-v1" / "SAC_1")


def test_versions_and_arguments_of_a_saved_agent(run_folder):
    model = SoftAC("MlpPolicy", "Pendulum-v1", gamma=0.9, policy_kwargs={"net_arch": [8]}, buffer_size=10)
    model.save(run_folder / "best_model.zip")
    run = load_run(run_folder)
    assert {"Python", "Stable-Baselines3", "PyTorch", "Gymnasium", "sb3_softac"} <= run.versions.keys()
    assert run.hyperparams["gamma"] == 0.9
    (run_folder / "best_model.zip").write_bytes(b"PK half")
    assert "best_model.zip is no whole file of an agent" in load_run(run_folder).notes[0]


def test_runs_are_found_in_folders(data, run_folder):
    found = find_runs([data, data / "healthy_1", run_folder])
    folders = [run.folder.name for run in found]
    assert len(folders) == len(set(folders))
    assert {"healthy_1", "ppo_script", "SAC_1", run_folder.name} <= set(folders)


@pytest.mark.parametrize("make", [True, False])
def test_a_folder_without_runs_is_named(tmp_path, make: bool):
    folder = tmp_path / "nothing"
    if make:
        folder.mkdir()
    with pytest.raises(ValueError, match=r"nothing is (no run and holds none|not a folder).*Pendulum-v1_1"):
        find_runs([folder])


def test_a_run_that_goes_on_from_a_checkpoint_is_one_with_the_first(run_folder):
    """The first was killed at 12,000 steps, and its last checkpoint is of 8,000."""
    second = run_folder.parent / "Pendulum-v1_2"
    shutil.copytree(run_folder, second)
    agent = "logs/softac/Pendulum-v1_1/checkpoints/agent_00008000.zip"
    arguments = {"algo": "softac", "env": "Pendulum-v1", "trained_agent": agent, "n_timesteps": 20000}
    (second / "Pendulum-v1" / "args.yml").write_text(yaml.dump(OrderedDict(arguments)))
    np.savez(second / "evaluations.npz", timesteps=np.array([10000, 12000]), results=np.ones((2, 3)))
    assert load_run(second).episodes["timesteps"].iloc[0] == 8200
    (run,) = find_runs([run_folder.parent])
    assert (run.folder, run.seed, run.last_step) == (second, 7, 20000)
    assert run.episodes["timesteps"].tolist() == list(range(200, 20001, 200))
    assert run.episodes["seconds"].is_monotonic_increasing
    assert run.evaluations.timesteps.tolist() == [2000, 4000, 6000, 8000, 10000, 12000]


def test_a_half_of_a_run_that_went_on_stands_alone(run_folder):
    arguments = {"algo": "softac", "env": "Pendulum-v1", "trained_agent": "x/checkpoints/agent_00008000.zip"}
    (run_folder / "Pendulum-v1" / "args.yml").write_text(yaml.dump(OrderedDict(arguments)))
    (run,) = find_runs([run_folder])
    assert run.episodes["timesteps"].iloc[0] == 8200
