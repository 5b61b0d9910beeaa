"""What the suite's file may say, and what is run for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks import learning
from benchmarks._learning.plans import check_numbers, mapping, plan, seeds_of_file
from benchmarks._learning.suite import Target, TimeTarget, read_suite, select

pytest.importorskip("rl_zoo3")
CONTINUOUS = ["softac", "sac", "td3", "ddpg", "ppo", "tqc", "crossq"]


@pytest.fixture
def content() -> dict[str, Any]:
    """A small suite, as YAML reads it."""
    pendulum = {"steps": 150, "eval_every": 100, "seeds": "0-1", "random": -1200, "threshold": -200}
    pendulum["time"] = {"against": "sac", "at_most": 0.5, "aim": 0.25}
    pendulum["targets"] = [{"at": 100, "until": 150, "at_least": -150, "every_seed": True}, {"at": 150, "aim": -140}]
    cart = {"steps": 100, "eval_every": 50, "seeds": 0, "random": 20, "threshold": 475, "final_episodes": 3}
    return {
        "defaults": {"eval_episodes": 1, "final_episodes": 2},
        "groups": {
            "classic": {"algorithms": ["softac", "sac"], "environments": {"Pendulum-v1": pendulum}},
            "discrete": {"algorithms": ["softac", "dqn"], "environments": {"CartPole-v1": cart}},
        },
    }


def write(content: dict[str, Any], folder: Path) -> Path:
    path = folder / "suite.yml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def test_a_file_becomes_tasks_and_runs(content: dict, tmp_path: Path) -> None:
    tasks = read_suite(write(content, tmp_path))
    assert [(task.group, task.env, task.algorithms) for task in tasks] == [
        ("classic", "Pendulum-v1", ("softac", "sac")),
        ("discrete", "CartPole-v1", ("softac", "dqn")),
    ]
    assert tasks[0].targets == (Target("at least", -150, 100, 150, True), Target("aim", -140, 150, 150, False))
    assert [task.time for task in tasks] == [TimeTarget("sac", 0.5, 0.25), None]
    runs = plan((task.experiment for task in tasks), threads=3)
    assert [f"{run.seed} {run.env} {run.algo}" for run in runs] == [
        *("0 Pendulum-v1 softac", "0 Pendulum-v1 sac", "0 CartPole-v1 softac", "0 CartPole-v1 dqn"),
        *("1 Pendulum-v1 softac", "1 Pendulum-v1 sac"),
    ]
    assert {run.threads for run in runs} == {3}
    assert [(run.steps, run.eval_every, run.eval_episodes, run.final_episodes) for run in runs[1:4:2]] == [
        (150, 100, 1, 2),
        (100, 50, 1, 3),
    ]
    assert runs[3].hyperparams_from == "zoo's dqn.yml, entry CartPole-v1"


def test_a_series_and_an_environment_may_change_an_entry(content: dict, tmp_path: Path) -> None:
    discrete = content["groups"]["discrete"]
    discrete["algorithms"].append({"label": "random", "set": {"target_entropy": "auto", "tau": "1e-2"}})
    discrete["environments"]["CartPole-v1"]["set"] = {"dqn": {"batch_size": 7}}
    runs = plan([read_suite(write(content, tmp_path))[1].experiment])
    softac, dqn, changed = (run.hyperparams for run in runs)
    assert [run.series for run in runs] == ["softac", "dqn", "softac-random"]
    assert dqn["batch_size"] == 7
    assert changed == softac | {"target_entropy": "auto", "tau": 0.01}
    discrete["environments"]["CartPole-v1"]["set"] = {"ppo": {}}
    with pytest.raises(ValueError, match="CartPole-v1: set has unknown keys ppo"):
        read_suite(write(content, tmp_path))


def test_a_part_of_the_suite(content: dict, tmp_path: Path) -> None:
    tasks = read_suite(write(content, tmp_path))
    assert [task.env for task in select(tasks, groups=["discrete"])] == ["CartPole-v1"]
    assert [task.algorithms for task in select(tasks, algos=["dqn", "softac"])] == [("softac",), ("softac", "dqn")]
    assert [task.env for task in select(tasks, algos=["sac"])] == ["Pendulum-v1"]
    assert [task.experiment.seeds for task in select(tasks, seeds=(1, 7))] == [(1,)]
    for wrong, said in (({"groups": ["box"]}, "classic, discrete"), ({"envs": ["Ant-v5"]}, "CartPole-v1")):
        with pytest.raises(ValueError, match=said):
            select(tasks, **wrong)
    with pytest.raises(ValueError, match="ask for less"):
        select(tasks, groups=["discrete"], algos=["sac"])


def change(content: dict, *path: str, **values: object) -> None:
    for key in path:
        content = content[key]
    content.update(values)


PENDULUM = ("groups", "classic", "environments", "Pendulum-v1")


@pytest.mark.parametrize(
    ("path", "values", "said"),
    [
        ((), {"group": {}}, "unknown keys group; known are defaults, groups"),
        (("defaults",), {"steps": 5}, "unknown keys steps"),
        (("groups",), {"classic": None}, "group classic must be a mapping of algorithms, environments"),
        (("groups", "classic"), {"algorithms": ["sacc"]}, "'sacc'; known are softac"),
        (PENDULUM, {"stepz": 5}, "unknown keys stepz"),
        (PENDULUM, {"steps": "1e5"}, "steps must be a whole number such as 10000, got '1e5'"),
        (PENDULUM, {"random": "low"}, "random must be a number"),
        (PENDULUM, {"seeds": "4-1"}, "ranges such as 0-4"),
        (PENDULUM, {"threshold": -1200}, "threshold must be above random"),
        (PENDULUM, {"targets": [{"at": 120, "aim": 1}]}, "no evaluation at step 120; there is one every 100"),
        (PENDULUM, {"targets": [{"at": 200, "aim": 1}]}, "up to 150"),
        (PENDULUM, {"targets": [{"at": 150, "until": 100, "aim": 1}]}, "no evaluation at step 100"),
        (PENDULUM, {"targets": [{"at": 100, "aim": 1, "at_least": 0}]}, "exactly one of at_least, aim"),
        (PENDULUM, {"targets": [{"at": 100}]}, "exactly one"),
        (PENDULUM, {"time": {"against": "td3", "at_most": 1, "aim": 1}}, "nothing named td3 runs there, only softac"),
        (PENDULUM, {"time": {"against": "sac", "at_most": "half", "aim": 1}}, "at_most must be a number"),
        (PENDULUM, {"time": {"against": "sac"}}, "lacks at_most, aim"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(content: dict, tmp_path: Path, path: tuple, values: dict, said: str) -> None:
    change(content, *path, **values)
    with pytest.raises(ValueError, match=said):
        read_suite(write(content, tmp_path))


def test_a_missing_file_or_key_is_named(content: dict, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no file"):
        read_suite(tmp_path / "none.yml")
    del content["groups"]["classic"]["environments"]["Pendulum-v1"]["random"]
    with pytest.raises(ValueError, match="Pendulum-v1 lacks random"):
        read_suite(write(content, tmp_path))


def test_parts_of_files() -> None:
    assert seeds_of_file(3) == (3,)
    assert seeds_of_file(["0-1", 7]) == (0, 1, 7)
    assert mapping({"a": 1, "b": 2}, "it", optional=None) == {"a": 1, "b": 2}
    with pytest.raises(ValueError, match="steps"):
        check_numbers({"steps": True}, "it", ("steps",))


def test_the_file_of_the_repository() -> None:
    tasks = read_suite()
    algorithms = {task.env: list(task.algorithms) for task in tasks}
    assert algorithms["Hopper-v5"] == algorithms["Pendulum-v1"] == CONTINUOUS
    assert algorithms["CartPole-v1"] == ["softac", "softac-factor098", "ppo", "dqn", "qrdqn"]
    assert all(task.targets for task in tasks)
    assert all(len(task.experiment.seeds) in (5, 10) for task in tasks)
    runs = plan(task.experiment for task in tasks)
    defaults = {(run.env, run.algo) for run in runs if run.hyperparams_from.endswith("entry default")}
    assert defaults == set()  # every algorithm is tuned for every environment


def test_an_interrupted_suite_goes_on_and_reports(content: dict, tmp_path: Path, capsys) -> None:
    pytest.importorskip("seaborn")
    content["groups"]["classic"]["environments"]["Pendulum-v1"]["seeds"] = 0
    file = str(write(content, tmp_path))
    command = ["suite", "--file", file, "--results", str(tmp_path), "--group", "classic", "--workers", "1"]
    assert learning.main([*command, "--algos", "sac", "--quiet", "--repetitions", "20"]) == 0
    assert "1 runs made, 0 were there" in capsys.readouterr().out
    assert learning.main([*command, "--list"]) == 0
    assert capsys.readouterr().out.splitlines() == ["Pendulum-v1 softac: 0 of 1", "Pendulum-v1 sac: 1 of 1"]
    assert learning.main([*command, "--quiet", "--repetitions", "20"]) == 0
    assert "1 runs made, 1 were there" in capsys.readouterr().out
    text = (tmp_path / "report" / "report.md").read_text()
    assert "| Pendulum-v1 | at least -150 | 100 to 150 | every seed | 1 |" in text
    assert "| softac against sac |" in text


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # where a warning is an error, the import of Box2D's SWIG module crashes
@pytest.mark.parametrize("task", read_suite(), ids=lambda task: task.env)
def test_random_actions_have_the_return_of_the_file(task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # MuJoCo writes a log of its warnings where it stands
    gymnasium = pytest.importorskip("gymnasium")
    np = pytest.importorskip("numpy")
    try:
        env = gymnasium.make(task.env)
    except gymnasium.error.DependencyNotInstalled:
        pytest.skip(f"{task.env} is not installed")
    env.action_space.seed(1)
    returns = []
    for seed in range(4_000_000, 4_000_100):
        env.reset(seed=seed)
        total, over = 0.0, False
        while not over:
            _, reward, terminated, truncated, _ = env.step(env.action_space.sample())
            total, over = total + float(reward), terminated or truncated
        returns.append(total)
    # The file's mean has an error, too: of about the same size at most.
    assert np.mean(returns) == pytest.approx(task.random, abs=0.05 + 4 * np.std(returns) / 10)
