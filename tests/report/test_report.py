"""`python -m sb3_softac.report`: from a folder as rl_zoo3 writes it to a picture."""

import json
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import yaml

from sb3_softac.report import __main__ as command
from sb3_softac.report import load_run, write_learning_curve

pytest.importorskip("pandas", reason="needs the extra `zoo`")
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
    assert (run.algo, run.seed, run.env_id) == (None, None, tmp_path.name)
    assert write_learning_curve(tmp_path).is_file()


def test_a_missing_folder(tmp_path):
    with pytest.raises(ValueError, match=r"is not a folder: give the folder of one run"):
        load_run(tmp_path / "nowhere")


def test_a_folder_of_runs_names_them(run_folder):
    with pytest.raises(ValueError, match=r"not the folder of a run.*Pendulum-v1_1"):
        load_run(run_folder.parent)


def test_empty_logs(tmp_path):
    write_monitor(tmp_path, [])
    with pytest.raises(ValueError, match="no finished episode and no evaluation"):
        load_run(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not a zip"])
def test_damaged_evaluations(run_folder, content):
    (run_folder / "evaluations.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"evaluations\.npz is not what an EvalCallback writes"):
        load_run(run_folder)


@pytest.mark.parametrize("content", ["", "no header\n", '#{"t_start": 1'])
def test_damaged_monitor_files(run_folder, content):
    (run_folder / "1.monitor.csv").write_text(content)
    with pytest.raises(ValueError, match=r"monitor\.csv is not what a Monitor writes"):
        load_run(run_folder)


def test_evaluations_without_episodes(run_folder):
    np.savez(run_folder / "evaluations.npz", timesteps=np.array([]), results=np.array([]))
    with pytest.raises(ValueError, match=r"evaluations\.npz is not what an EvalCallback writes"):
        load_run(run_folder)


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


def test_the_command_says_where_the_picture_is(run_folder, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["report", str(run_folder)])
    command.main()
    assert capsys.readouterr().out == f"Learning curve: {run_folder / 'learning_curve.png'}\n"


def assert_fails_in_one_line(folder, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["report", str(folder)])
    with pytest.raises(SystemExit) as stopped:
        command.main()
    assert stopped.value.code == 1
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert message.count("\n") == 1


def test_the_command_fails_in_one_line(tmp_path, monkeypatch, capsys):
    assert_fails_in_one_line(tmp_path, monkeypatch, capsys)


def test_the_command_fails_in_one_line_where_it_cannot_write(run_folder, monkeypatch, capsys):
    (run_folder / "learning_curve.png").mkdir()
    assert_fails_in_one_line(run_folder, monkeypatch, capsys)
