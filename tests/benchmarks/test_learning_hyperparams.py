"""Sources of hyperparameters, and what the command line makes of them."""

from __future__ import annotations

import pytest

from benchmarks import learning
from benchmarks._learning.hyperparams import parse_overrides, resolve
from benchmarks._learning.plans import parse_seeds


def test_defaults_leave_everything_but_the_policy_to_the_constructor() -> None:
    assert resolve("default", "sac", "Pendulum-v1", {}) == ({"policy": "MlpPolicy"}, "constructor defaults")


def test_overrides_reach_all_algorithms_or_the_one_named() -> None:
    items = ["learning_rate=1e-3", "td3:tau=0.5", "sac:learning_rate=lin_7e-4"]
    assert parse_overrides(items, "td3") == {"learning_rate": 1e-3, "tau": 0.5}
    assert parse_overrides(items, "sac") == {"learning_rate": "lin_7e-4"}


def test_overrides_go_before_the_source_and_are_told() -> None:
    entry, origin = resolve("default", "sac", "Pendulum-v1", {"policy": "CnnPolicy", "tau": 0.5})
    assert entry == {"policy": "CnnPolicy", "tau": 0.5}
    assert origin == "constructor defaults, then policy=CnnPolicy, tau=0.5"


def test_the_zoo_entry_is_raw_and_named() -> None:
    pytest.importorskip("rl_zoo3")
    entry, origin = resolve("zoo", "sac", "Pendulum-v1", {})
    assert entry["learning_rate"] == 1e-3
    assert origin == "zoo's sac.yml, entry Pendulum-v1"


def test_an_entry_of_another_version_goes_before_the_default() -> None:
    pytest.importorskip("rl_zoo3")
    assert resolve("zoo", "td3", "HalfCheetah-v5", {})[1].endswith("entry HalfCheetah-v4")
    assert resolve("zoo", "td3", "Unheard-v0", {})[1].endswith("entry default")


@pytest.mark.parametrize("item", ["learning_rate", "=3", "td3:=3", "two words=3"])
def test_a_malformed_override_is_shown(item: str) -> None:
    with pytest.raises(ValueError, match="key=value"):
        parse_overrides([item], "sac")


def test_seeds_and_budgets_of_the_command_line() -> None:
    assert parse_seeds(["0-2", "7", "2"]) == (0, 1, 2, 7)
    assert learning.parse_steps(["5e3", "Hopper-v5=100"], "Hopper-v5") == 100
    assert learning.parse_steps(["5e3", "Hopper-v5=100"], "Ant-v5") == 5000
    for bad in ("4-1", "-1", "x"):
        with pytest.raises(ValueError, match="0-4"):
            parse_seeds([bad])


def test_bad_input_is_one_line_and_exit_code_2(capsys: pytest.CaptureFixture) -> None:
    assert learning.main(["run", "--envs", "Pendulum-v1", "--algos", "sacc", "--steps", "10"]) == 2
    error = capsys.readouterr().err
    assert "'sacc'" in error
    assert "softac" in error
    assert learning.main(["run", "--envs", "Pendulum-v1", "--algos", "sac", "--hyperparams", "default"]) == 2
    assert "--steps" in capsys.readouterr().err


def test_the_plan_has_every_combination_and_the_seeds_outermost() -> None:
    command = "run --envs A-v0 B-v0 --algos sac td3 --seeds 0-1 --steps 40 --hyperparams default"
    runs = learning.planned(learning.parser().parse_args(command.split()))
    named = [f"{run.seed} {run.env} {run.algo}" for run in runs[:5]]
    assert named == ["0 A-v0 sac", "0 A-v0 td3", "0 B-v0 sac", "0 B-v0 td3", "1 A-v0 sac"]
    assert {run.eval_every for run in runs} == {2}
