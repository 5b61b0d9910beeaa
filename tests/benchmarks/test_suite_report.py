"""Targets and aggregates, with numbers worked by hand from runs made up for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import learning
from benchmarks._learning.plans import Experiment, Series, Target, TimeTarget, plan
from benchmarks._learning.store import Store

pd = pytest.importorskip("pandas")
pytest.importorskip("seaborn")
pytest.importorskip("rl_zoo3")
aggregates = pytest.importorskip("benchmarks._learning.aggregates")
data = pytest.importorskip("benchmarks._learning.data")
report = pytest.importorskip("benchmarks._learning.report")
stats = pytest.importorskip("benchmarks._learning.stats")
tables = pytest.importorskip("benchmarks._learning.tables")


def asked(env: str, random: float, threshold: float, seeds: int = 2, *targets: Target, algos=("softac", "sac")):
    """An experiment of the suite."""
    series = tuple(Series(algo) for algo in algos)
    group = "classic" if env.startswith("Pend") else "box2d"
    planned = Experiment(env, series, tuple(range(seeds)), 100, "default", 50, 10, 2, group=group)
    return replace(planned, random=random, threshold=threshold, targets=targets)


SUITE = [asked("Pendulum-v1", 0, 10), asked("Hopper-v5", -100, 0)]


@pytest.fixture(autouse=True)
def no_figures_of_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "_figures", lambda *_: [])


def written(suite: list[Experiment], stored: data.Runs, store: Store) -> str:
    """The text of the report."""
    files = report.write_suite_report(suite, stored, report.ReportOptions(store.folder / "out", repetitions=20))
    assert all(path.is_file() for path in files)
    return (store.folder / "out" / "report.md").read_text()


def without(runs: data.Runs, env: str, series: str) -> data.Runs:
    return runs._replace(table=runs.table.query("not (env == @env and series == @series)"))


# Normalised: softac 1, 1 and 0.5, 1; sac 0, 0.5 and 0, 0.5.
FINALS = {
    ("Pendulum-v1", "softac"): (10, 10),
    ("Hopper-v5", "softac"): (-50, 0),
    ("Pendulum-v1", "sac"): (0, 5),
    ("Hopper-v5", "sac"): (-100, -50),
}


@pytest.fixture
def runs(store_settings, store: Store):
    """Both algorithms on both environments, two seeds; all scores of the way are 1 when normalised."""
    for run in plan(SUITE):
        level = {"Pendulum-v1": 10, "Hopper-v5": 0}[run.env]
        store_settings(run, {0: level, 50: level, 100: 12345}, FINALS[run.env, run.algo][run.seed])
    return data.load_planned(plan(SUITE), store)


def test_aggregates(runs) -> None:
    (found,) = aggregates.scores(runs, SUITE, "softac")
    assert found.envs == ("Pendulum-v1", "Hopper-v5")
    assert [runs.tolist() for runs in found.finals["softac"]] == [[1, 1], [0.5, 1]]
    assert [runs.tolist() for runs in found.finals["sac"]] == [[0, 0.5], [0, 0.5]]
    table = aggregates.aggregate_table(found, "softac", 50).set_index("series")
    assert table[["iqm", "mean", "gap"]].loc["softac"].tolist() == pytest.approx([1, 0.875, 0.125])
    assert table[["iqm", "mean", "gap"]].loc["sac"].tolist() == pytest.approx([0.25, 0.25, 0.75])
    # On Pendulum-v1 softac always wins, on Hopper-v5 in three of four pairs, the fourth is a tie.
    assert table.loc["sac", "probability"] == pytest.approx((1 + 3.5 / 4) / 2)
    assert np.isnan(table.loc["softac", "probability"])
    assert (table["mean_low"] <= table["mean"]).all()
    assert (table["mean"] <= table["mean_high"]).all()


def test_curves_lie_over_the_budget_and_end_with_the_finished_agent(runs) -> None:
    (found,) = aggregates.scores(runs, SUITE, "softac")
    curves = found.curves["sac"]
    assert [curve.shape for curve in curves] == [(2, len(aggregates.BUDGET))] * 2
    assert curves[1][0, : len(aggregates.BUDGET) // 2 + 1] == pytest.approx(1)  # up to half of the budget
    assert aggregates.BUDGET[15] == pytest.approx(0.75)
    assert curves[1][0, 15] == pytest.approx(0.5)  # between 1 at a half and 0 at the end
    assert stats.aggregate_curve(curves, 20).value[-1] == pytest.approx(0.25)


def test_environments_weigh_alike_however_many_runs_they_have() -> None:
    scores = [np.array([0.0, 0.4, 0.5, 0.5, 0.6, 1.0]), np.array([1.0, 2.0])]
    # Six runs, and each of two three times: 0, 0.4, 0.5, 0.5, 0.6, 1, 1, 1, 1, 2, 2, 2, and of these the middle six.
    iqm, mean, gap = stats.aggregates(scores, 50).value
    assert (iqm, mean, gap) == pytest.approx((5.1 / 6, 1.0, 0.25))
    assert stats.aggregate_curve([runs[:, None] for runs in scores], 50).value == pytest.approx([5.1 / 6])
    better = stats.mean_probability_of_improvement(scores, [np.array([0.5]), np.array([0.0, 1.5, 3.0])], 50)
    # 2 of 6 are above 0.5 and 2 equal it; of 1 and 2 against 0, 1.5 and 3, 3 of 6 win.
    assert better.value == pytest.approx((3 / 6 + 3 / 6) / 2)
    assert better.low <= better.value <= better.high


def test_only_environments_that_all_series_have_and_all_of_their_runs(store_settings, store: Store) -> None:
    suite = [asked("Pendulum-v1", 0, 10, 3), asked("Hopper-v5", -100, 0, 3), asked("Walker2d-v5", 0, 1, 3)]
    for run in plan(suite):
        if (run.env, run.algo) != ("Walker2d-v5", "sac") and (run.env, run.algo, run.seed) != ("Hopper-v5", "sac", 0):
            store_settings(run, {0: 0, 50: 0, 100: 0}, 0)
    stored = data.load_planned(plan(suite), store)
    (found,) = aggregates.scores(stored, suite, "softac")
    assert found.envs == ("Pendulum-v1", "Hopper-v5")
    assert found.left_out == ("Walker2d-v5",)
    assert {name: [len(runs) for runs in by_env] for name, by_env in found.finals.items()} == {
        "softac": [3, 3],
        "sac": [3, 2],
    }


def test_environments_of_other_algorithms_are_aggregated_apart(store_settings, store: Store) -> None:
    discrete = [asked(env, 0, 1, algos=("softac", "dqn")) for env in ("CartPole-v1", "Acrobot-v1")]
    for run in plan([*SUITE, *discrete]):
        store_settings(run, {0: 0, 50: 0, 100: 0}, 0)
    stored = data.load_planned(plan([*SUITE, *discrete]), store)
    found = aggregates.scores(stored, [*SUITE, *discrete], "softac")
    assert [(set(one.finals), len(one.envs)) for one in found] == [({"softac", "sac"}, 2), ({"softac", "dqn"}, 2)]


def test_a_series_with_little_does_not_narrow_the_others(store_settings, store: Store) -> None:
    suite = [
        asked(env, 0, 1, 3, algos=("softac", "sac", "td3", "ppo")) for env in ("Pendulum-v1", "Hopper-v5", "Ant-v5")
    ]
    envs = {"softac": 3, "sac": 3, "td3": 2, "ppo": 1}
    for run in plan(suite):
        if [one.env for one in suite].index(run.env) < envs[run.algo] and (run.algo, run.seed) != ("sac", 2):
            store_settings(run, {0: 0, 50: 0, 100: 0}, 0)
    stored = data.load_planned(plan(suite), store)
    found = aggregates.scores(stored, suite, "softac")
    assert [(one.series[1], len(one.envs), bool(one.finals)) for one in found] == [
        ("sac", 3, True),
        ("td3", 2, True),
        ("ppo", 1, False),
    ]
    assert len({one.stem for one in found}) == 3


def test_the_report_of_a_suite(runs, store: Store) -> None:
    text = written(SUITE, runs, store)
    assert "## Across environments: softac, sac\n" in text
    assert "| sac | 2 2 | 0.25 [" in text
    assert "## Targets" not in text  # none are declared
    assert (store.folder / "out" / "aggregate_classic_box2d_sac.png").read_bytes().startswith(b"\x89PNG")
    assert pd.read_csv(store.folder / "out" / "final.csv")["threshold"].tolist() == [0, 0, 10, 10]


def test_aggregates_of_an_earlier_report_go(runs, store: Store) -> None:
    assert "## Across" in written(SUITE, runs, store)
    (store.folder / "out" / "aggregate.txt").touch()  # of someone else
    written(SUITE, without(runs, "Hopper-v5", "sac"), store)
    assert [path.name for path in (store.folder / "out").glob("aggregate*")] == ["aggregate.txt"]
    assert (store.folder / "out" / "final.csv").is_file()


def test_one_seed_has_no_spread(store_settings, store: Store) -> None:
    suite = [asked("Pendulum-v1", 0, 10, 1), asked("Hopper-v5", -100, 0, 1)]
    for run in plan(suite):
        store_settings(run, {0: 0, 50: 0, 100: 0}, 0)
    (found,) = aggregates.scores(data.load_planned(plan(suite), store), suite, "softac")
    assert found.envs == ("Pendulum-v1", "Hopper-v5")
    assert found.finals == {}


def test_too_little_to_aggregate_is_said(runs, store: Store) -> None:
    less = without(runs, "Hopper-v5", "sac")
    assert "Nothing yet: an aggregate takes two environments" in written(SUITE, less, store)
    assert not (store.folder / "out" / "aggregates.csv").exists()


ASKED = (
    Target("at least", 10, 50, 50, False),
    Target("at least", 10, 50, 50, True),
    Target("aim", 10, 50, 100, False),
    Target("aim", 7, 100, 100, True),
)


def test_targets(store_settings, store: Store) -> None:
    suite = [asked("Pendulum-v1", 0, 10, 3, *ASKED, algos=("softac",))]
    for run, score, final in zip(plan(suite), (9, 10, 12.5), (7, 8, 9), strict=True):
        store_settings(run, {0: 0, 50: score, 100: 12345}, final)
    stored = data.load_planned(plan(suite), store)
    table = tables.target_table(stored, suite, "softac", 20)
    # The mean of 9, 10, 12.5; the worst of them; the lower of the means at 50 and at the end; the worst at the end.
    assert table["measured"].tolist() == pytest.approx([10.5, 9, 8, 7])
    assert table["margin"].tolist() == pytest.approx([0.5, -1, -2, 0])
    assert table["met"].tolist() == [True, False, False, True]
    assert table["mean"].tolist() == pytest.approx([10.5, 10.5, 10.5, 8])
    assert table["worst_seed"].tolist() == [9, 9, 9, 7]
    text = written(suite, stored, store)
    assert "| Pendulum-v1 | at least 10 | 50 | mean over seeds | 3 | 10.5 | +0.5 | met |" in text
    assert "| Pendulum-v1 | aim 10 | 50 to 100 | mean over seeds | 3 | 8.0 | -2.0 | missed |" in text


@pytest.mark.parametrize(
    ("theirs", "ratio", "is_bound", "said"),
    [
        # Ten steps a second: ours get there after 5, 5 and 10 seconds; a run takes 10.
        ((0, 50, 50), 1.0, False, "| 5.0 | 3 of 3 | sac | 5.0 | 2 of 3 | 1.00 | 0.8, missed | 0.5, missed |"),
        ((0, 0, 50), 0.5, True, "| 5.0 | 3 of 3 | sac | > 10.0 | 1 of 3 | <= 0.50 | 0.8, met | 0.5, met |"),
    ],
)
def test_time_to_the_threshold(store_settings, store: Store, theirs, ratio, is_bound, said) -> None:
    suite = [replace(asked("Pendulum-v1", 0, 10, 3), time=TimeTarget("sac", 0.8, 0.5))]
    for run in plan(suite):
        reached = ((50, 50, 100) if run.algo == "softac" else theirs)[run.seed]
        store_settings(run, {step: 10 if reached and step >= reached else 0 for step in (0, 50, 100)}, 0)
    stored = data.load_planned(plan(suite), store)
    (row,) = tables.time_table(stored, suite, "softac").to_dict("records")
    assert (row["ratio"], row["is_bound"]) == (ratio, is_bound)
    assert said in written(suite, stored, store)
    assert pd.read_csv(store.folder / "out" / "improvement.csv")["ratio_is_bound"].tolist() == [is_bound]


def test_seconds_of_another_machine_do_not_count(store_settings, store: Store) -> None:
    algos = ("softac", "sac", "td3")
    suite = [replace(asked("Pendulum-v1", 0, 10, 3, algos=algos), time=TimeTarget("sac", 0.8, 0.5))]
    for run in plan(suite):
        other = run.algo == "td3" or (run.algo, run.seed) == ("sac", 2)
        reached = 100 if other else 50
        cpu = "another cpu" if other else "a cpu"
        store_settings(run, {step: 10 if step >= reached else 0 for step in (0, 50, 100)}, 0, cpu=cpu)
    stored = data.load_planned(plan(suite), store)
    assert stored.machines == {"Pendulum-v1": "a cpu, 2 core(s)"}
    sac, td3 = (tables.times(stored, "Pendulum-v1", series, 10) for series in ("sac", "td3"))
    assert (sac.reached, sac.steps, sac.seconds, sac.whole_run) == (3, 50, 5, 10)
    assert (td3.reached, td3.steps) == (3, 100)
    assert np.isnan([td3.seconds, td3.seconds_at_least, td3.whole_run]).all()
    assert tables.ratio(sac, td3).is_bound is False
    text = written(suite, stored, store)
    assert "| Pendulum-v1 | 10 | 5.0 | 3 of 3 | sac | 5.0 | 3 of 3 | 1.00 |" in text
    assert "- Machine: a cpu, 2 core(s); 5 run(s).\n" in text
    assert "- Machine: another cpu, 2 core(s); 4 run(s), whose seconds are left out.\n" in text


def test_no_ratio_where_the_reference_never_arrives(store_settings, store: Store) -> None:
    suite = [replace(asked("Pendulum-v1", 0, 10), time=TimeTarget("sac", 0.8, 0.5))]
    for run in plan(suite):
        store_settings(run, dict.fromkeys((0, 50, 100), 10 if run.algo == "sac" else 0), 0)
    stored = data.load_planned(plan(suite), store)
    text = written(suite, stored, store)
    assert "| - | 0 of 2 | sac |" in text
    assert "| - | 0.8, missed | 0.5, missed |" in text


def test_the_report_counts_only_runs_that_are_asked_for(runs, store: Store) -> None:
    fewer = [asked("Pendulum-v1", 0, 10, 1)]
    stored = data.load_planned(plan(fewer), store)
    assert stored.pairs("softac") == [("Pendulum-v1", "softac"), ("Pendulum-v1", "sac")]
    assert stored.scores("Pendulum-v1", "softac").index.tolist() == [0]
    other = asked("Pendulum-v1", 0, 10, algos=("td3",))
    with pytest.raises(ValueError, match="No finished run"):
        data.load_planned(plan([other]), store)


def test_thresholds_of_the_suite_serve_every_report(store_run, tmp_path: Path) -> None:
    store_run("sac", 0, {0: -1500.0, 100: -199.0}, -199)
    assert learning.main(["report", "--results", str(tmp_path), "--repetitions", "20"]) == 0
    assert pd.read_csv(tmp_path / "report" / "final.csv")["threshold"].tolist() == [-200]
