"""What the rules say of recorded runs: each speaks where its trouble was made on purpose, and none of healthy runs."""

import dataclasses
from pathlib import Path

import pandas as pd
import pytest

from sb3_softac.report import Finding, Run, findings, load_run
from sb3_softac.report.rules import RULES, critics, data, policy, returns


def run_of(folder: Path, name: str) -> Run:
    return load_run(folder / name)


def with_metric(run: Run, **values: object) -> Run:
    """A run with further metrics; the names have `__` for `/`."""
    return dataclasses.replace(run, metrics=run.metrics.assign(**{k.replace("__", "/"): v for k, v in values.items()}))


SAYS = {
    critics.q_without_bound: ("no_target_network", r"Q grows without bound: -\d+,000"),
    critics.losses_explode: ("target_entropy_high", "The critic loss grew"),
    critics.critics_disagree: ("reward_noise", r"The critics disagree: by \d+%"),
    policy.temperature_rose: (
        "target_entropy_high",
        r"The temperature rose .*-fold while the return (fell|did not rise)",
    ),
    policy.entropy_outweighs_reward: ("temperature_high", r"The entropy bonus outweighs the reward \d\.\d+ times"),
    policy.actions_saturated: ("saturated", r"Actions are saturated \d\d% of the time"),
    policy.entropy_misses_target: ("temperature_slow", "The entropy stays above its target: "),
    returns.relapse: ("relapse", "The agent relapsed at 6,400 steps"),
    returns.no_learning: ("learns_nothing", "No learning"),
    returns.evaluation_below_training: (
        "other_evaluation",
        r"Evaluation is far below training: -1,\d\d0 against -1\d\d",
    ),
    returns.few_updates: ("few_updates", r"Few updates: 0\.01\d* gradient steps"),
    returns.always_time_limit: (
        "never_arrives",
        "Every episode hits the time limit of 999 steps, without success",
    ),
    data.rewards_out_of_scale: ("reward_huge", r"Rewards are huge: up to 16\d,000"),
    data.rewards_all_alike: ("rewards_alike", "Every reward is -1"),
    data.observations_large: ("observations_large", r"Observations are as large as -?[78],\d\d0"),
}
#: rules whose trouble no recorded run has; they are tested below
OTHERS = {critics.dead_units, returns.ended_early}


def test_every_rule_has_a_recorded_run():
    assert SAYS.keys() | OTHERS == set(RULES)


@pytest.mark.parametrize("rule", SAYS, ids=lambda rule: rule.__name__)
def test_a_rule_speaks_of_its_trouble(data, rule):
    name, title = SAYS[rule]
    finding = rule(run_of(data, name))
    assert isinstance(finding, Finding)
    assert pd.Series(finding.title).str.fullmatch(f"{title}.*").all(), finding.title
    for text in (finding.seen, finding.why, finding.advice):
        assert text.endswith((".", ")"))
        assert "nan" not in text


@pytest.mark.parametrize("name", ["healthy_1", "healthy_2", "healthy_3"])
def test_healthy_runs_are_left_alone(data, name: str):
    assert findings(run_of(data, name)) == []


@pytest.mark.parametrize("name", ["sac", "ppo_script", "tensorboard/Pendulum-v1/SAC_1"])
def test_what_other_algorithms_do_not_log_is_no_trouble(data, name: str):
    titles = [finding.title for finding in findings(run_of(data, name)) if finding.is_problem]
    assert titles == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("name", ["healthy_1", "sac", "ppo_script"])
def test_a_run_that_has_just_begun_is_not_judged(data, rule, name):
    """The rules see a run at any time, and the reader of a page that is watched sees their every mistake."""
    run = run_of(data, name)
    for n_rows in (0, 1, 2, 5):
        begun = dataclasses.replace(
            run,
            episodes=run.episodes.head(n_rows),
            metrics=run.metrics.head(n_rows),
            evaluations=None,
            arguments={},
            hyperparams={},
        )
        assert rule(begun) is None


def test_problems_come_first(data):
    found = findings(run_of(data, "few_updates"))
    assert len(found) >= 2
    assert [finding.is_problem for finding in found] == sorted((finding.is_problem for finding in found), reverse=True)


def test_the_two_bounds_of_q(data):
    """gamma 0.9 and rewards of at most 1.5 allow a Q of 15; an entropy bonus allows more."""
    run = run_of(data, "healthy_1")
    bounded = dataclasses.replace(run, hyperparams={"gamma": 0.9})
    limit = {"train__reward_min": -1.5, "train__reward_max": 1.0, "train__ent_coef": 0.0}
    assert critics.q_without_bound(with_metric(bounded, **limit, train__q_value=29.0)) is None
    found = critics.q_without_bound(with_metric(bounded, **limit, train__q_value=-31.0))
    assert "Q grows without bound: -31, where rewards allow 15" in found.title
    limit |= {"train__ent_coef": 1.0, "train__entropy": 0.5}
    assert critics.q_without_bound(with_metric(bounded, **limit, train__q_value=-31.0)) is None
    unknown = {"train__reward_min": float("nan"), "train__reward_max": float("nan")}
    assert critics.q_without_bound(with_metric(bounded, **unknown, train__q_value=1e9)) is None


def test_saturation_that_pays_is_worth_a_look_alone(data):
    run = with_metric(run_of(data, "healthy_1"), train__saturated_actions=0.93)
    found = policy.actions_saturated(run)
    assert "saturated 93% of the time" in found.title
    assert not found.is_problem


def test_a_relapse_that_was_overcome_is_worth_a_look_alone(data):
    run = run_of(data, "relapse")
    timesteps, scores, *rest = run.evaluations
    recovered = scores.copy()
    recovered[-1] = -120.0
    later = dataclasses.replace(run, evaluations=run.evaluations._replace(returns=recovered))
    found = returns.relapse(later)
    assert "It recovered at 8,000 steps" in found.seen
    assert not found.is_problem
    assert rest
    assert timesteps[-1] == 8000


@pytest.mark.parametrize(("share", "speaks"), [(0.6, True), (0.4, False)])
def test_dead_units(data, share: float, speaks: bool):
    run = with_metric(run_of(data, "healthy_1"), diagnostics__dead_units_critic=share)
    found = critics.dead_units(run)
    assert (found is not None) == speaks
    assert not speaks or found.title == "60% of the critic's units are dead"


def test_a_run_that_was_stopped(data):
    run = run_of(data, "healthy_1")
    assert returns.ended_early(run) is None
    found = returns.ended_early(dataclasses.replace(run, arguments={"n_timesteps": 20000}))
    assert found.title == "The run stands at 8,000 of 20,000 steps"
