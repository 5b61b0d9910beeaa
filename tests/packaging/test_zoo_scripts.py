"""rl_zoo3's scripts and options with the installed wheel."""

from pathlib import Path

import pytest

pytestmark = pytest.mark.packaging
full = pytest.mark.packaging_full
HYPERPARAMS = "rl_zoo3/hyperparams/sac.yml"


def latest_run(installation) -> Path:
    runs = (installation.work / "logs" / "softac").glob("Pendulum-v1_*")
    return max(runs, key=lambda run: int(run.name.split("_")[-1]))


def test_enjoy(wheel):
    output = wheel.run(
        "-m", "rl_zoo3.enjoy", "--algo", "softac", "--env", "Pendulum-v1", "-f", "logs",
        "--no-render", "-n", "210", "--device", "cpu",
    )  # fmt: skip
    assert "Episode Length 200" in output


def test_report(wheel):
    output = wheel.run("-m", "sb3_softac.report", latest_run(wheel))
    assert "report.html" in output


def test_opt_out(wheel):
    output = wheel.run("-m", "rl_zoo3.train", "--algo", "softac", fails=True, SB3_SOFTAC_ZOO_HOOK="0")
    assert "invalid choice: 'softac'" in output


def test_launcher_without_the_hook(wheel):
    output = wheel.run(
        "-m", "sb3_softac.zoo", "train", "--algo", "softac", "--env", "Pendulum-v1", "-n", "520",
        "-f", "logs", "--vec-env", "subproc", "-params", "n_envs:2",
        SB3_SOFTAC_ZOO_HOOK="0",
    )  # fmt: skip
    assert f"{wheel.site}/sb3_softac/hyperparams/softac.yml" in output


def test_other_algorithms_are_as_before(wheel):
    output = wheel.train(algo="sac", steps=120)
    assert f"Loading hyperparameters from: {wheel.site}/{HYPERPARAMS}" in output


@full
def test_conf_file_of_the_user(wheel):
    path = wheel.site / HYPERPARAMS
    assert f"Loading hyperparameters from: {path}" in wheel.train("--conf-file", path)


@full
def test_hyperparameters_of_the_command_line(wheel):
    options = [
        "actor_learning_rate:'lin_1e-3'",
        "target_entropy:'auto_0.5'",
        "max_grad_norm:1.0",
        "n_steps:3",
    ]
    output = wheel.train("-params", *options)
    assert "('target_entropy', 'auto_0.5')" in output


@full
def test_resume_with_the_replay_buffer(wheel):
    wheel.train("--save-replay-buffer")
    run = latest_run(wheel)
    assert (run / "replay_buffer.pkl").is_file()
    output = wheel.train("-i", run / "Pendulum-v1.zip")
    assert "Loading pretrained agent" in output
    assert "Loading replay buffer" in output


@full
def test_progress_evaluations_checkpoints_and_tensorboard(wheel):
    wheel.train(
        "--progress",
        "--eval-freq",
        "100",
        "--eval-episodes",
        "1",
        "--save-freq",
        "100",
        "-tb",
        "tb",
        steps=600,
    )
    run = latest_run(wheel)
    assert {"evaluations.npz", "best_model.zip", "rl_model_500_steps.zip"} <= {path.name for path in run.iterdir()}
    assert list((wheel.work / "tb").rglob("events.out.tfevents.*"))
    enjoy = [
        "-m",
        "rl_zoo3.enjoy",
        "--algo",
        "softac",
        "--env",
        "Pendulum-v1",
        "-f",
        "logs",
        "--no-render",
        "-n",
        "10",
    ]
    wheel.run(*enjoy, "--load-best")
    wheel.run(*enjoy, "--load-last-checkpoint")


@full
def test_optimize_and_train_with_a_stored_trial(wheel):
    study = ["--storage", "sqlite:///study.db", "--study-name", "softac"]
    output = wheel.train(
        "-optimize", "--n-trials", "2", "--n-startup-trials", "1", "--n-evaluations", "1",
        "--eval-episodes", "1", "--no-optim-plots", *study,
        "-params", "callback:[{'sb3_softac.callbacks.StopTrainingOnMaxTime': {'max_seconds': 60}}]",
    )  # fmt: skip
    assert "Number of finished trials:  2" in output
    assert "actor_lr_ratio" in output
    output = wheel.train(*study, "--trial-id", "1")
    assert "Loading from Optuna study" in output
    assert "actor_learning_rate" in output


@full
def test_record_video(wheel):
    wheel.run(
        "-m", "rl_zoo3.record_video", "--algo", "softac", "--env", "Pendulum-v1", "-f", "logs", "-n", "5",
        "-o", "videos",
    )  # fmt: skip
    assert list((wheel.work / "videos").rglob("*.mp4"))


@full
def test_load_from_hub_knows_the_algorithm(wheel):
    assert "softac" in wheel.run("-m", "rl_zoo3.load_from_hub", "--help")


@full
@pytest.mark.parametrize(
    ("command", "says"),
    [(["train", "-n", "150"], "Saving to logs/softac"), (["enjoy", "--no-render", "-n", "10"], "Loading logs/softac")],
)
def test_console_script(wheel, command, says):
    options = ("--algo", "softac", "--env", "Pendulum-v1", "-f", "logs", "--device", "cpu")
    assert says in wheel.script("rl_zoo3", *command, *options)
