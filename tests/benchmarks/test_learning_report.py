"""Numbers worked by hand, from runs made up for it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import learning

pd = pytest.importorskip("pandas")
pytest.importorskip("seaborn")
figures = pytest.importorskip("benchmarks._learning.figures")
report = pytest.importorskip("benchmarks._learning.report")
tables = pytest.importorskip("benchmarks._learning.tables")
stats = pytest.importorskip("benchmarks._learning.stats")

# Five seeds; the interquartile mean of five leaves out the best and the worst.
FINALS = {"softac": [-100, -120, -130, -140, -1000], "sac": [-150, -160, -170, -180, -190]}


@pytest.fixture
def make_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Makes a report without figures, by the command line."""
    monkeypatch.setattr(report, "_figures", lambda *_: [])
    command = ["report", "--results", str(tmp_path), "--repetitions", "50"]

    def make(*arguments: str) -> Path:
        assert learning.main([*command, *arguments]) == 0
        return tmp_path / "report"

    return make


@pytest.fixture
def compared(store_run, make_report) -> Path:
    """The report of two algorithms with five seeds each."""
    for algo, finals in FINALS.items():
        for seed, final in enumerate(finals):
            reached = 100 if algo == "softac" else 200
            curve = {step: -200.0 if step >= reached + 100 * (seed > 2) else -1000.0 for step in range(0, 401, 100)}
            store_run(algo, seed, curve, final)
    return make_report()


def test_final_returns_and_sample_efficiency(compared: Path) -> None:
    table = pd.read_csv(compared / "final.csv").set_index("series")
    assert list(table.index) == ["softac", "sac"]
    ours = table.loc["softac"]
    assert ours["mean"] == pytest.approx(-298)
    assert ours["iqm"] == pytest.approx(-130)
    assert ours["std_of_seeds"] == pytest.approx(np.std(FINALS["softac"], ddof=1), abs=1e-3)
    assert (ours["worst_seed"], ours["best_seed"]) == (-1000, -100)
    assert -1000 <= ours["iqm_low"] <= ours["iqm"] <= ours["iqm_high"] <= -100
    assert table["steps_to_threshold"].to_dict() == {"softac": 100, "sac": 200}
    assert table["seconds_to_threshold"].to_dict() == {"softac": 10, "sac": 20}
    assert table["seeds_that_reached"].to_dict() == {"softac": 5, "sac": 5}
    # Over 400 steps, 3 seeds jump between 0 and 100, 2 between 100 and 200: means -300 and -500.
    assert ours["mean_over_training"] == pytest.approx((3 * -300 + 2 * -500) / 5)
    assert ours["steps_per_second"] == pytest.approx(10)


def test_comparison_and_text(compared: Path) -> None:
    row = pd.read_csv(compared / "improvement.csv").iloc[0]
    assert row["probability"] == pytest.approx(20 / 25)  # four of five seeds beat all five others
    assert row["low"] <= row["probability"] <= row["high"]
    assert row["difference_of_means"] == pytest.approx(-298 + 170)
    assert row["ratio_of_seconds_to_threshold"] == pytest.approx(0.5)
    text = (compared / "report.md").read_text()
    for said in ("| softac | 5 | 400 | -298.0 |", "-130.0 [", "| softac against sac | 0.80 [", "constructor defaults"):
        assert said in text


def test_one_seed_that_never_arrives_unless_the_threshold_is_another(store_run, make_report) -> None:
    store_run("sac", 0, {0: -1500.0, 100: -1400.0, 200: -300.0}, -300)
    out = make_report()
    row = pd.read_csv(out / "final.csv").iloc[0]
    assert math.isinf(row["steps_to_threshold"])
    assert row["seeds_that_reached"] == 0
    assert row["seconds"] == pytest.approx(20)
    assert not (out / "improvement.csv").exists()
    make_report("--threshold", "Pendulum-v1=-1400", "--clock", "CPU")
    row = pd.read_csv(out / "final.csv").iloc[0]
    assert row["steps_to_threshold"] == 100
    assert row["seconds"] == pytest.approx(10)
    assert "Seconds: CPU," in (out / "report.md").read_text()


def test_returns_at_milestones(store_run, make_report, tmp_path: Path, capsys) -> None:
    for seed, score in enumerate(FINALS["sac"]):
        store_run("sac", seed, {0: -1500.0, 100: float(score), 200: -300.0}, -300)
    out = make_report("--milestones", "100", "200")
    table = pd.read_csv(out / "milestones.csv").set_index("step")
    assert table.loc[100, "mean"] == pytest.approx(-170)
    assert table.loc[100, "iqm"] == pytest.approx(-170)
    assert table.loc[100, "std_of_seeds"] == pytest.approx(np.std(FINALS["sac"], ddof=1), abs=1e-3)
    assert (table.loc[100, "worst_seed"], table.loc[100, "best_seed"]) == (-190, -150)
    assert (table.loc[200, "mean"], table.loc[200, "std_of_seeds"]) == (-300, 0)
    assert "| sac | 100 | 5 | -170.0 |" in (out / "report.md").read_text()
    assert learning.main(["report", "--results", str(tmp_path), "--milestones", "150"]) == 2
    assert "no evaluation at step 150" in capsys.readouterr().err


def test_figures_with_temperature_and_entropy_where_there_are_any(store_run, tmp_path: Path) -> None:
    command = ["report", "--results", str(tmp_path), "--repetitions", "20"]
    store_run("sac", 0, {0: -1500.0, 100: -1400.0}, -1400)
    assert learning.main(command) == 0
    returns, temperature = (tmp_path / "report" / f"Pendulum-v1{end}.png" for end in ("", "_temperature"))
    assert returns.read_bytes()[25] == 3  # a palette
    assert not temperature.exists()
    store_run("softac", 0, {0: -1500.0, 100: -1400.0}, -1400, ent_coef=0.5)
    assert learning.main(command) == 0
    assert temperature.read_bytes().startswith(b"\x89PNG")
    assert temperature.name in (tmp_path / "report" / "report.md").read_text()


def test_a_figure_keeps_the_colours_of_its_series(tmp_path: Path) -> None:
    palette = figures.colours([str(k) for k in range(7)])
    with figures.canvas(tmp_path / "lines.png", (6, 4)) as figure:
        axes = figure.subplots()
        for height, colour in enumerate(palette.values()):
            axes.axhline(height, color=colour)
            axes.axhspan(height, height + 0.8, color=colour, alpha=0.2)
    with Image.open(tmp_path / "lines.png") as picture:
        drawn = np.array([colour for _, colour in picture.convert("RGB").getcolors()])
    assert len(drawn) <= figures.COLOURS
    for colour in palette.values():
        assert np.abs(drawn - 255 * np.array(colour)).max(axis=1).min() < 1


def test_variances_of_the_estimators_that_the_series_use(store_run, make_report, tmp_path: Path) -> None:
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
    out = make_report("--gradients", str(path))
    table = pd.read_csv(out / "gradients.csv").set_index("series")
    assert table["name"].to_dict() == {"softac": "plain", "softac-mixture": "mixed", "softac-score": "scored"}
    assert "| softac-score | v2: scored | 0.5 | 1.000 | 9.0 | 2.00 |" in (out / "report.md").read_text()


def test_only_some_seeds_of_a_series(store_run, make_report) -> None:
    for algo, seed in (("sac", 0), ("sac", 1), ("sac", 5), ("softac", 5), ("td3", 0)):
        store_run(algo, seed, {0: -1500.0, 100: -1400.0}, -1400)
    table = pd.read_csv(make_report("--algos", "sac:0-1,7", "softac") / "final.csv")
    assert table[["series", "seeds"]].to_numpy().tolist() == [["softac", 1], ["sac", 2]]


def test_runs_that_cannot_be_told(store_run, tmp_path: Path, capsys) -> None:
    command = ["report", "--results", str(tmp_path)]
    store_run("sac", 0, {0: -1500.0, 100: -1400.0}, -1400).write_text("{}")
    assert learning.main(command) == 2
    assert "No finished run" in capsys.readouterr().err
    for threads in (1, 2):
        store_run("sac", threads, {0: -1500.0, 100: -1400.0}, -1400, threads=threads)
    assert learning.main(command) == 2
    assert "seed 2 differs from seed 1 in threads" in capsys.readouterr().err


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
