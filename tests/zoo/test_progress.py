"""Runs of the zoo keep their metrics in a file, which a later one does not overwrite."""

import pytest
from stable_baselines3.common.logger import CSVOutputFormat, configure

from sb3_softac import SoftAC
from sb3_softac.zoo.progress import ProgressCallback

pd = pytest.importorskip("pandas")


def learn(callback, steps: int = 450, reset: bool = True, model: SoftAC | None = None, **arguments) -> SoftAC:
    settings = {"policy_kwargs": {"net_arch": [4]}, "buffer_size": 500, "learning_starts": 150, "train_freq": 50}
    model = model or SoftAC("MlpPolicy", "Pendulum-v1", **settings, **arguments)
    return model.learn(steps, callback=callback, log_interval=1, reset_num_timesteps=reset)


def test_the_metrics_are_in_a_file(tmp_path):
    model = learn(ProgressCallback(tmp_path))
    table = pd.read_csv(tmp_path / "progress.csv")
    assert table["time/total_timesteps"].tolist() == [200, 400]
    assert table["train/critic_loss"].notna().tolist() == [False, True]  # nothing is learned before the first
    assert not any(isinstance(output, CSVOutputFormat) for output in model.logger.output_formats)


def test_a_run_that_goes_on_begins_a_second_file(tmp_path):
    model = learn(ProgressCallback(tmp_path))
    first = (tmp_path / "progress.csv").read_bytes()
    learn(ProgressCallback(tmp_path), 200, reset=False, model=model)
    assert (tmp_path / "progress.csv").read_bytes() == first
    assert pd.read_csv(tmp_path / "progress_2.csv")["time/total_timesteps"].tolist() == [600]


def test_a_file_of_the_users_own_is_enough(tmp_path):
    model = SoftAC("MlpPolicy", "Pendulum-v1", policy_kwargs={"net_arch": [4]}, buffer_size=500, learning_starts=900)
    model.set_logger(configure(str(tmp_path / "own"), ["csv"]))
    learn(ProgressCallback(tmp_path / "zoo"), model=model)
    assert not (tmp_path / "zoo").exists()
    assert (tmp_path / "own" / "progress.csv").is_file()
    model.logger.close()


def test_it_says_where_the_file_is(tmp_path, capsys):
    learn(ProgressCallback(tmp_path, verbose=1), 10)
    assert f"Writing metrics to {tmp_path / 'progress.csv'}" in capsys.readouterr().out
