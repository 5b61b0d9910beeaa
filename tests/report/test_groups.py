"""Runs that differ by their seed alone are one curve with an interval; others are told apart by what differs."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from sb3_softac.report import load_run
from sb3_softac.report.groups import differences, evaluation_curve, grouped, interval, training_curve
from sb3_softac.report.thinning import envelope, picked


@pytest.fixture
def healthy(data):
    return [load_run(data / f"healthy_{seed}") for seed in (1, 2, 3)]


def test_seeds_make_one_group_and_environments_do_not_mix(data, healthy):
    others = [load_run(data / name) for name in ("learning_rate_high", "sac", "never_arrives")]
    groups = grouped([*healthy, *others])
    assert list(groups) == ["Pendulum-v1", "MountainCarContinuous-v0"]
    labels = {group.label: len(group.runs) for group in groups["Pendulum-v1"]}
    assert labels == {"softac, learning_rate lin_2e-3": 3, "softac, learning_rate 0.3": 1, "sac": 1}
    assert [group.label for group in groups["MountainCarContinuous-v0"]] == ["softac"]


def test_of_many_groups_what_most_have_needs_no_word(data):
    names = ("healthy_1", "learning_rate_high", "learns_nothing", "temperature_high")
    groups = grouped([load_run(data / name) for name in names])["Pendulum-v1"]
    labels = [group.label for group in groups]
    assert labels == ["softac", "softac, learning_rate 0.3", "softac, gamma 0.0", "softac, ent_coef 50.0"]


def test_labels_are_short_and_of_one_group_each(healthy):
    runs = [dataclasses.replace(run, hyperparams={"x": "y" * 100 + str(n)}) for n, run in enumerate(healthy)]
    labels = [group.label for group in grouped(runs)["Pendulum-v1"]]
    assert len(set(labels)) == 3
    assert max(map(len, labels)) <= 40


def test_differences():
    table = differences([{"a": 1, "b": 2}, {"a": 1, "b": 3, "c": None}])
    assert table == {"b": [2, 3], "c": ["–", None]}


def test_the_interval_is_students():
    values = np.array([[1.0, 10.0], [2.0, 10.0], [6.0, 10.0]])
    low, high = interval(values)
    expected = stats.ttest_1samp(values[:, 0], 0).confidence_interval(0.95)
    np.testing.assert_allclose([low[0], high[0]], [expected.low, expected.high])
    np.testing.assert_allclose([low[1], high[1]], [10.0, 10.0])


def test_the_curve_of_several_seeds(healthy):
    ((group,),) = grouped(healthy).values()
    curve = evaluation_curve(group)
    assert curve.meaning == "95% interval over 3 runs"
    assert curve.steps.tolist() == list(range(800, 8001, 800))
    np.testing.assert_allclose(curve.mean[3], np.mean([run.evaluations.returns[3].mean() for run in healthy]))
    assert (curve.low <= curve.mean).all()
    assert (curve.mean <= curve.high).all()
    assert len(training_curve(group).steps) == 40


def test_the_curve_of_one_run(healthy):
    ((group,),) = grouped(healthy[:1]).values()
    curve = evaluation_curve(group)
    assert curve.meaning == "± std of 5 evaluation episodes"
    np.testing.assert_allclose(curve.high - curve.mean, healthy[0].evaluations.returns.std(axis=1))


def test_runs_of_other_steps_meet_on_a_grid(healthy):
    evaluated = healthy[1].evaluations
    shorter = dataclasses.replace(
        healthy[1],
        evaluations=evaluated._replace(timesteps=evaluated.timesteps[:4] + 37, returns=evaluated.returns[:4]),
    )
    ((group,),) = grouped([healthy[0], shorter]).values()
    curve = evaluation_curve(group)
    assert (curve.steps[0], curve.steps[-1], len(curve.steps)) == (837, 3237, 200)
    at_end = [np.interp(3237, run.evaluations.timesteps, run.evaluations.returns.mean(1)) for run in group.runs]
    np.testing.assert_allclose(curve.mean[-1], np.mean(at_end))


def test_a_group_without_evaluations_has_no_curve_of_them(healthy):
    ((group,),) = grouped([dataclasses.replace(healthy[0], evaluations=None)]).values()
    assert training_curve(group) is not None
    curve = evaluation_curve(group)  # the logger has their means
    assert curve.meaning == ""
    assert curve.steps.tolist() == list(range(800, 8001, 800))


def test_the_envelope_keeps_every_peak():
    x, y = np.arange(10_007.0), np.zeros(10_007)
    y[5003], y[77] = 9.0, -9.0
    thinned = envelope(x, y, 300)
    assert len(thinned.x) == 300
    assert (thinned.high.max(), thinned.low.min()) == (9.0, -9.0)
    np.testing.assert_allclose(np.average(thinned.mean, weights=np.full(300, 1 / 300)), y.mean(), atol=1e-3)
    assert np.all(np.diff(thinned.x) > 0)
    assert envelope(x[:300], y[:300], 300).mean is not None
    np.testing.assert_array_equal(envelope(x[:300], y[:300], 300).mean, y[:300])


def test_picked_values_have_both_ends():
    assert picked(1000, 5).tolist() == [0, 250, 500, 749, 999]
    assert picked(3, 5).tolist() == [0, 1, 2]
