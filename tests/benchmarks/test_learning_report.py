"""Numbers worked by hand, from runs made up for it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from benchmarks import learning

pd = pytest.importorskip("pandas")
pytest.importorskip("seaborn")
tables = pytest.importorskip("benchmarks._learning.tables")
stats = pytest.importorskip("benchmarks._learning.stats")

# Five seeds; the interquartile mean of five leaves out the best and the worst.
FINALS = {"softac": [-100, -120, -130, -140, -1000], "sac": [-150, -160, -170, -180, -190]}


@pytest.fixture
def report(store_run, tmp_path: Path) -> Path:
    """The report of two algorithms with five seeds each."""
    for algo, finals in FINALS.items():
        for seed, final in enumerate(finals):
            reached = 100 if algo == "softac" else 200
            curve = {step: -200.0 if step >= reached + 100 * (seed > 2) else -1000.0 for step in range(0, 401, 100)}
            store_run(algo, seed, curve, final)
    out = tmp_path / "out"
    assert learning.main(["report", "--results", str(tmp_path), "--out", str(out), "--repetitions", "200"]) == 0
    return out


def test_final_returns(report: Path) -> None:
    table = pd.read_csv(report / "final.csv").set_index("series")
    assert list(table.index) == ["softac", "sac"]
    ours = table.loc["softac"]
    assert ours["mean"] == pytest.approx(-298)
    assert ours["iqm"] == pytest.approx(-130)
    assert ours["std_of_seeds"] == pytest.approx(np.std(FINALS["softac"], ddof=1), abs=1e-3)
    assert (ours["worst_seed"], ours["best_seed"]) == (-1000, -100)
    assert ours["iqm_low"] <= ours["iqm"] <= ours["iqm_high"]
    assert ours["iqm_low"] >= -1000
    assert ours["iqm_high"] <= -100


def test_sample_efficiency(report: Path) -> None:
    table = pd.read_csv(report / "final.csv").set_index("series")
    assert table["steps_to_threshold"].to_dict() == {"softac": 100, "sac": 200}
    assert table["seconds_to_threshold"].to_dict() == {"softac": 10, "sac": 20}
    assert table["seeds_that_reached"].to_dict() == {"softac": 5, "sac": 5}
    # Over 400 steps, 3 seeds jump between 0 and 100, 2 between 100 and 200: means -300 and -500.
    assert table.loc["softac", "mean_over_training"] == pytest.approx((3 * -300 + 2 * -500) / 5)
    assert table.loc["softac", "steps_per_second"] == pytest.approx(10)


def test_comparison(report: Path) -> None:
    row = pd.read_csv(report / "improvement.csv").iloc[0]
    assert row["probability"] == pytest.approx(20 / 25)  # four of five seeds beat all five others
    assert row["low"] <= row["probability"] <= row["high"]
    assert row["difference_of_means"] == pytest.approx(-298 + 170)
    assert row["ratio_of_seconds_to_threshold"] == pytest.approx(0.5)


def test_what_is_there_to_be_read(report: Path) -> None:
    text = (report / "report.md").read_text()
    assert "| softac | 5 | 400 | -298.0 |" in text
    assert "-130.0 [" in text
    assert "| softac against sac | 0.80 [" in text
    assert "constructor defaults" in text
    assert (report / "Pendulum-v1.png").read_bytes().startswith(b"\x89PNG")


def test_a_report_of_one_seed_that_never_arrives(store_run, tmp_path: Path) -> None:
    store_run("sac", 0, {0: -1500.0, 100: -1400.0}, -1400)
    assert learning.main(["report", "--results", str(tmp_path), "--repetitions", "50"]) == 0
    row = pd.read_csv(tmp_path / "report" / "final.csv").iloc[0]
    assert math.isinf(row["steps_to_threshold"])
    assert row["seeds_that_reached"] == 0
    assert not (tmp_path / "report" / "improvement.csv").exists()


def test_a_threshold_of_the_command_line(store_run, tmp_path: Path) -> None:
    store_run("sac", 0, {0: -1500.0, 100: -1400.0, 200: -300.0}, -300)
    command = ["report", "--results", str(tmp_path), "--repetitions", "50", "--threshold", "Pendulum-v1=-1400"]
    assert learning.main(command) == 0
    assert pd.read_csv(tmp_path / "report" / "final.csv")["steps_to_threshold"].item() == 100


def test_seconds_by_another_clock(store_run, tmp_path: Path) -> None:
    store_run("sac", 0, {0: -1500.0, 100: -1400.0}, -1400)
    assert learning.main(["report", "--results", str(tmp_path), "--repetitions", "50", "--clock", "CPU"]) == 0
    assert pd.read_csv(tmp_path / "report" / "final.csv")["seconds"].item() == pytest.approx(5)
    assert "Seconds: CPU," in (tmp_path / "report" / "report.md").read_text()


def test_returns_at_milestones(store_run, tmp_path: Path, capsys) -> None:
    for seed, score in enumerate(FINALS["sac"]):
        store_run("sac", seed, {0: -1500.0, 100: float(score), 200: -300.0}, -300)
    command = ["report", "--results", str(tmp_path), "--repetitions", "50", "--milestones", "100", "200"]
    assert learning.main(command) == 0
    table = pd.read_csv(tmp_path / "report" / "milestones.csv").set_index("step")
    assert table.loc[100, "mean"] == pytest.approx(-170)
    assert table.loc[100, "iqm"] == pytest.approx(-170)
    assert table.loc[100, "std_of_seeds"] == pytest.approx(np.std(FINALS["sac"], ddof=1), abs=1e-3)
    assert (table.loc[100, "worst_seed"], table.loc[100, "best_seed"]) == (-190, -150)
    assert (table.loc[200, "mean"], table.loc[200, "std_of_seeds"]) == (-300, 0)
    assert "| sac | 100 | 5 | -170.0 |" in (tmp_path / "report" / "report.md").read_text()
    assert learning.main([*command, "150"]) == 2
    assert "no evaluation at step 150" in capsys.readouterr().err


def test_temperature_and_entropy_are_drawn_where_there_are_any(store_run, tmp_path: Path) -> None:
    store_run("sac", 0, {0: -1500.0, 100: -1400.0}, -1400)
    assert learning.main(["report", "--results", str(tmp_path), "--repetitions", "50"]) == 0
    figure = tmp_path / "report" / "Pendulum-v1_temperature.png"
    assert not figure.exists()
    store_run("softac", 0, {0: -1500.0, 100: -1400.0}, -1400, ent_coef=0.5)
    assert learning.main(["report", "--results", str(tmp_path), "--repetitions", "50"]) == 0
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert figure.name in (tmp_path / "report" / "report.md").read_text()


def test_variances_of_the_estimators_that_the_series_use(store_run, tmp_path: Path) -> None:
    score = {"actor_gradient": "score_function", "baseline": "leave_one_out", "n_action_samples": 4}
    mixture = {"policy_kwargs": {"n_components": 4}}
    for label, hyperparams in {"": {}, "score": score, "mixture": mixture, "v1": {"variant": "v1"}}.items():
        store_run("softac", 0, {0: -1500.0, 100: -1400.0}, -1400, label=label, hyperparams=hyperparams)
    store_run("sac", 0, {0: -1500.0, 100: -1400.0}, -1400)
    figures = {"relative_variance": 0.5, "cosine_of_mean": 1.0, "update_ms": 9.0, "time_ratio": 2.0}
    measured = [
        {"agent": "v2", "name": name, **tables.estimator(how), **figures}
        for name, how in {
            "plain": {},
            "scored": score,
            "mixed": mixture,
            "of no series": {"n_action_samples": 4},
        }.items()
    ]
    path = tmp_path / "gradients.json"
    path.write_text(json.dumps({"rows": measured}))
    command = ["report", "--results", str(tmp_path), "--repetitions", "50", "--gradients", str(path)]
    assert learning.main(command) == 0
    table = pd.read_csv(tmp_path / "report" / "gradients.csv").set_index("series")
    assert table["name"].to_dict() == {"softac": "plain", "softac-mixture": "mixed", "softac-score": "scored"}
    assert "| softac-score | v2: scored | 0.5 | 1.000 | 9.0 | 2.00 |" in (tmp_path / "report" / "report.md").read_text()


def test_seeds_of_different_settings_are_not_pooled(store_run, tmp_path: Path, capsys) -> None:
    store_run("sac", 0, {0: -1500.0, 100: -1400.0}, -1400)
    store_run("sac", 1, {0: -1500.0, 100: -1400.0}, -1400, threads=2)
    assert learning.main(["report", "--results", str(tmp_path)]) == 2
    assert "threads" in capsys.readouterr().err


def test_only_some_seeds_of_a_series(store_run, tmp_path: Path) -> None:
    for algo, seed in (("sac", 0), ("sac", 1), ("sac", 5), ("softac", 5), ("td3", 0)):
        store_run(algo, seed, {0: -1500.0, 100: -1400.0}, -1400)
    command = ["report", "--results", str(tmp_path), "--repetitions", "20", "--algos", "sac:0-1,7", "softac"]
    assert learning.main(command) == 0
    table = pd.read_csv(tmp_path / "report" / "final.csv")
    assert table[["series", "seeds"]].to_numpy().tolist() == [["softac", 1], ["sac", 2]]


def test_an_unfinished_run_is_left_out(store_run, tmp_path: Path, capsys) -> None:
    store_run("sac", 0, {0: -1500.0, 100: -1400.0}, -1400).write_text("{}")
    assert learning.main(["report", "--results", str(tmp_path)]) == 2
    assert "No finished run" in capsys.readouterr().err


def test_statistics() -> None:
    assert stats.iqm(np.array([0, 1, 2, 3, 100.0]), 50).value == pytest.approx(2)
    curve = stats.iqm_curve(np.array([[0, 10.0], [1, 20.0], [2, 30.0], [300, 40.0]]), 50)
    assert curve.value == pytest.approx([1.5, 25])
    assert stats.probability_of_improvement(np.array([1.0, 3.0]), np.array([1.0, 2.0]), 50).value == pytest.approx(
        0.625
    )
    assert stats.first_crossing([0, 10, 20], [-5, 0, -5], 0) == 10
    assert stats.first_crossing([0, 10, 20], [-5, -1, -5], 0) == math.inf
    assert stats.mean_height([0, 10, 30], [0, 2, 2]) == pytest.approx((10 + 40) / 30)


def test_intervals_are_repeatable_and_numpy_keeps_its_state() -> None:
    scores = np.array([1.0, 4, 2, 8, 5])
    state = np.random.get_state()[1].tolist()  # noqa: NPY002
    first, again = stats.iqm(scores, 100), stats.iqm(scores, 100)
    assert (first.low, first.high) == (again.low, again.high)
    assert np.random.get_state()[1].tolist() == state  # noqa: NPY002
