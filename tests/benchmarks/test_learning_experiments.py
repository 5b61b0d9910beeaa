"""The file of the experiments, and the runs that follow from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import yaml

from benchmarks import learning
from benchmarks._learning import experiments
from benchmarks._learning.plans import PANELS, Experiment, Target, TimeTarget, plan
from benchmarks._learning.store import RESULTS, Store
from sb3_softac import SoftAC

pytest.importorskip("rl_zoo3")


@pytest.fixture
def content() -> dict[str, Any]:
    """A small suite and an ablation, as YAML reads them."""
    pendulum = {"steps": 150, "eval_every": 100, "seeds": "0-1", "random": -1200, "threshold": -200}
    pendulum["time"] = {"against": "sac", "at_most": 0.5, "aim": 0.25}
    pendulum["targets"] = [{"at": 100, "until": 150, "at_least": -150, "every_seed": True}, {"at": 150, "aim": -140}]
    cart = {"steps": 100, "eval_every": 50, "seeds": 0, "random": 20, "threshold": 475, "final_episodes": 3}
    sweep = {
        "question": "How fast?",
        "source": "nowhere",
        **{"axis": "tau", "above": -100, "panels": list(PANELS), "store": ".", "reference": "softac"},
        **{"env": "Pendulum-v1", "steps": 100, "eval_every": 50, "seeds": ["0", 1], "hyperparams": "default"},
        "set": {"gamma": 0.98, "learning_rate": "1e-3"},
        "series": [
            {"x": 0.005},
            {"label": "fast", "name": "in a hurry", "x": 0.1, "set": {"tau": 0.1}},
            {"algo": "sac", "set": {"gamma": 0.9}},
        ],
    }
    return {
        "defaults": {"eval_episodes": 1, "final_episodes": 2, "hyperparams": "zoo", "set": {}, "store": "suite"}
        | {"reference": "softac", "panels": ["curves"]},
        "groups": {
            "classic": {"series": ["softac", "sac"], "experiments": {"Pendulum-v1": pendulum}},
            "discrete": {"series": ["softac", "dqn"], "experiments": {"CartPole-v1": cart}},
            "ablations": {"experiments": {"sweep": sweep}},
        },
    }


def write(content: dict[str, Any], folder: Path) -> Path:
    path = folder / "experiments.yml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def test_a_suite_becomes_runs(content: dict, tmp_path: Path) -> None:
    suite = experiments.suite(write(content, tmp_path))
    assert [(one.group, one.env, one.names) for one in suite] == [
        ("classic", "Pendulum-v1", ("softac", "sac")),
        ("discrete", "CartPole-v1", ("softac", "dqn")),
    ]
    assert suite[0].targets == (Target("at least", -150, 100, 150, True), Target("aim", -140, 150, 150, False))
    assert [one.time for one in suite] == [TimeTarget("sac", 0.5, 0.25), None]
    runs = plan(suite, threads=3)
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


def test_an_ablation_becomes_runs(content: dict, tmp_path: Path) -> None:
    sweep = experiments.ablations(write(content, tmp_path))["sweep"]
    assert sweep.titles == {"softac": "softac", "softac-fast": "in a hurry", "sac": "sac"}
    assert [series.x for series in sweep.series] == [0.005, 0.1, None]
    runs = plan([sweep])
    assert [f"{run.seed} {run.series}" for run in runs[:4]] == ["0 softac", "0 softac-fast", "0 sac", "1 softac"]
    assert runs[1].hyperparams == {"policy": "MlpPolicy", "gamma": 0.98, "learning_rate": 1e-3, "tau": 0.1}
    assert runs[2].hyperparams["gamma"] == 0.9


def test_a_series_and_an_environment_may_change_an_entry(content: dict, tmp_path: Path) -> None:
    discrete = content["groups"]["discrete"]
    discrete["series"].append({"label": "random", "set": {"target_entropy": "auto", "tau": "1e-2"}})
    discrete["experiments"]["CartPole-v1"]["set"] = {"dqn:batch_size": 7}
    runs = plan([experiments.suite(write(content, tmp_path))[1]])
    softac, dqn, changed = (run.hyperparams for run in runs)
    assert [run.series for run in runs] == ["softac", "dqn", "softac-random"]
    assert dqn["batch_size"] == 7
    assert changed == softac | {"target_entropy": "auto", "tau": 0.01}


def test_a_series_may_have_one_entry_for_every_environment(content: dict, tmp_path: Path) -> None:
    content["groups"]["discrete"]["series"] = [{"label": "one", "entry": "default"}]
    (run,) = plan([experiments.suite(write(content, tmp_path))[1]])
    assert (run.env, run.series, run.steps) == ("CartPole-v1", "softac-one", 100)
    assert run.hyperparams_from == "zoo's softac.yml, entry default"


def test_a_part_of_the_suite(content: dict, tmp_path: Path) -> None:
    suite, select = experiments.suite(write(content, tmp_path)), experiments.select
    assert [one.env for one in select(suite, groups=["discrete"])] == ["CartPole-v1"]
    assert [one.names for one in select(suite, series=["dqn", "softac"])] == [("softac",), ("softac", "dqn")]
    assert [one.env for one in select(suite, series=["sac"])] == ["Pendulum-v1"]
    assert [one.seeds for one in select(suite, seeds=(1, 7))] == [(1,)]
    for wrong, said in (
        ({"groups": ["box"]}, "classic, discrete"),
        ({"envs": ["Ant-v5"]}, "CartPole-v1"),
        ({"groups": ["discrete"], "series": ["sac"]}, "ask for less"),
    ):
        with pytest.raises(ValueError, match=said):
            select(suite, **wrong)


CLASSIC, SWEEP = ("groups", "classic"), ("groups", "ablations", "experiments", "sweep")
PENDULUM = (*CLASSIC, "experiments", "Pendulum-v1")


@pytest.mark.parametrize(
    ("path", "values", "said"),
    [
        ((), {"group": {}}, "unknown keys group; known are defaults, groups"),
        (("defaults",), {"stepz": 5}, "unknown keys stepz"),
        (("groups",), {"classic": None}, "group classic must be a mapping"),
        (CLASSIC, {"series": ["sacc"]}, "'sacc'; known are softac"),
        (CLASSIC, {"experiments": []}, "experiments of classic must be a mapping"),
        (PENDULUM, {"stepz": 5}, "unknown keys stepz"),
        (PENDULUM, {"steps": "1e5"}, "steps must be a whole number such as 10000, got '1e5'"),
        (PENDULUM, {"eval_every": True}, "eval_every must be a whole number"),
        (PENDULUM, {"random": "low"}, "random must be a number"),
        (PENDULUM, {"seeds": "4-1"}, "ranges such as 0-4"),
        (PENDULUM, {"threshold": -1200}, "threshold must be above random"),
        (PENDULUM, {"set": {"ppo:gamma": 1}}, "set names algorithms that do not run; there are softac, sac"),
        (PENDULUM, {"targets": [{"at": 120, "aim": 1}]}, "no evaluation at step 120; there is one every 100"),
        (PENDULUM, {"targets": [{"at": 200, "aim": 1}]}, "up to 150"),
        (PENDULUM, {"targets": [{"at": 150, "until": 100, "aim": 1}]}, "no evaluation at step 100"),
        (PENDULUM, {"targets": [{"at": 100, "aim": 1, "at_least": 0}]}, "exactly one of at_least, aim"),
        (PENDULUM, {"targets": [{"at": 100}]}, "exactly one"),
        (PENDULUM, {"targets": [{"aim": 100}]}, "lacks at"),
        (PENDULUM, {"time": {"against": "td3", "at_most": 1, "aim": 1}}, "does not run, only softac"),
        (PENDULUM, {"time": {"against": "sac", "at_most": "half", "aim": 1}}, "at_most must be a number"),
        (PENDULUM, {"time": {"against": "sac"}}, "lacks at_most, aim"),
        (SWEEP, {"sereis": []}, "sweep has unknown keys sereis"),
        (SWEEP, {"hyperparams": "tuned"}, "hyperparams must be one of zoo, default"),
        (SWEEP, {"panels": ["curve"]}, "unknown panels curve; known are curves"),
        (SWEEP, {"reference": "sacc"}, "none of its series, softac, softac-fast, sac"),
        (SWEEP, {"axis": ""}, "the panel sweep needs `axis`"),
        (SWEEP, {"series": [{}, {"set": {"tau": 1}}]}, "two series have one name"),
        (SWEEP, {"series": [{"x": "wide"}]}, "x must be a number"),
        (SWEEP, {"series": [{"lable": "a"}]}, "unknown keys lable"),
        (SWEEP, {"series": None}, "series must be a list"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(content: dict, tmp_path: Path, path: tuple, values: dict, said: str) -> None:
    changed = content
    for key in path:
        changed = changed[key]
    changed.update(values)
    with pytest.raises(ValueError, match=said):
        experiments.read_experiments(write(content, tmp_path))


def test_a_missing_file_or_key_is_named(content: dict, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no file"):
        experiments.read_experiments(tmp_path / "none.yml")
    del content["groups"]["classic"]["experiments"]["Pendulum-v1"]["random"]
    with pytest.raises(ValueError, match="Pendulum-v1 lacks random"):
        experiments.read_experiments(write(content, tmp_path))


@pytest.fixture(scope="module")
def ablations() -> dict[str, Experiment]:
    return experiments.ablations()


def test_the_suite_of_the_repository() -> None:
    suite = experiments.suite()
    names = {one.env: list(one.names) for one in suite}
    continuous = ["softac", "sac", "td3", "ddpg", "ppo", "tqc", "crossq"]
    assert names["Hopper-v5"] == names["Pendulum-v1"] == continuous
    assert names["CartPole-v1"] == ["softac", "softac-factor098", "ppo", "dqn", "qrdqn"]
    assert all(one.targets and len(one.seeds) in (5, 10) for one in suite)
    defaults = {(run.env, run.algo) for run in plan(suite) if run.hyperparams_from.endswith("entry default")}
    assert defaults == set()  # every algorithm is tuned for every environment


def test_stored_runs_are_used_again(ablations: dict[str, Experiment]) -> None:
    """The repository's runs of a series count, to the last setting."""
    for name, series in {
        "evaluation": {"softac-gamma098", "softac-v1", "sac-gamma098"},
        "gradients": set(ablations["gradients"].names),
        "reward-scale": {"softac-v1", "softac-gamma098"},
        "tau": {"softac-gamma098"},
        "temperature": {"softac-gamma098"},
    }.items():
        asked = [run for run in plan([ablations[name]]) if run.series in series]
        assert len(asked) == 5 * len(series)
        assert [run.settings for run in Store(RESULTS / "learning").find(asked)] == asked, name


def test_no_two_experiments_write_different_runs_to_one_place(ablations: dict[str, Experiment]) -> None:
    """Else each would make the other's runs again."""
    places: dict[tuple, object] = {}
    for one in [*ablations.values(), *experiments.suite()]:
        for run in plan([one]):
            assert places.setdefault((one.store, run.env, run.series, run.seed), run) == run


def test_the_comparison_of_algorithms_is_a_part_of_the_suite(ablations: dict[str, Experiment]) -> None:
    runs, suite = plan([ablations["algorithms"]]), plan(experiments.suite())
    assert ablations["algorithms"].store == "suite"
    assert all((run in suite) != (run.label == "soft-q") for run in runs)
    assert {run.algo for run in runs} == {"softac", "sac", "ddpg", "td3", "ppo"}


def test_softac_takes_what_the_ablations_set(ablations: dict[str, Experiment]) -> None:
    runs = plan(ablations.values())
    given = {run.series: run.hyperparams for run in runs if run.algo == "softac" and "default" in run.hyperparams_from}
    assert len(given) > 15
    for hyperparams in given.values():
        SoftAC(env="Pendulum-v1", device="cpu", **{**hyperparams, "buffer_size": 10})


def test_an_interrupted_suite_goes_on_and_reports(content: dict, tmp_path: Path, capsys, torch_threads: None) -> None:
    pytest.importorskip("seaborn")
    content["groups"]["classic"]["experiments"]["Pendulum-v1"]["seeds"] = 0
    command = ["suite", "--file", str(write(content, tmp_path)), "--results", str(tmp_path), "--group", "classic"]
    quick = ["--quiet", "--repetitions", "20", "--workers", "0"]
    assert learning.main([*command, "--algos", "sac", *quick]) == 0
    assert "1 runs made, 0 were there" in capsys.readouterr().out
    assert learning.main([*command, "--list"]) == 0
    assert capsys.readouterr().out.splitlines() == ["Pendulum-v1 softac: 0 of 1", "Pendulum-v1 sac: 1 of 1"]
    assert learning.main([*command, *quick]) == 0
    assert "1 runs made, 1 were there" in capsys.readouterr().out
    text = (tmp_path / "report" / "report.md").read_text()
    assert "| Pendulum-v1 | at least -150 | 100 to 150 | every seed | 1 |" in text
    assert "| softac against sac |" in text


def test_the_report_of_a_sweep(content: dict, store_settings, tmp_path: Path, capsys) -> None:
    pd = pytest.importorskip("pandas")
    figures = pytest.importorskip("benchmarks._learning.figures")
    assert tuple(figures.PANELS) == PANELS
    file = write(content, tmp_path)
    for run in plan([experiments.ablations(file)["sweep"]]):
        final = -97 if run.series == "softac" else -150
        store_settings(run, {0: -1000, 50: -500, 100: -100}, final)
    command = ["ablation", "sweep", "--file", str(file), "--results", str(tmp_path), "--repetitions", "20", "--quiet"]
    assert learning.main([*command, "--list"]) == 0
    assert "Pendulum-v1 softac-fast: 2 of 2" in capsys.readouterr().out
    assert learning.main(command) == 0
    assert "0 runs made, 6 were there already" in capsys.readouterr().out
    out = tmp_path / "ablations" / "sweep"
    text = (out / "report.md").read_text()
    assert text.startswith("# Ablation: sweep\n\nHow fast?\n")
    assert "- in a hurry: softac-fast" in text
    assert (out / "Pendulum-v1.png").read_bytes().startswith(b"\x89PNG")
    # Episodes of -92 and -102 for softac; of -145 and -155 for the others.
    above = pd.read_csv(out / "above.csv").set_index(["series", "seed"])["above"]
    assert above.loc["softac"].tolist() == [1, 1]
    assert above.loc["sac"].tolist() == [0, 0]
    assert pd.read_csv(out / "gaps.csv")["gap"].tolist() == [0, 0, 0]


def test_ablations_are_listed_and_unknown_ones_refused(capsys) -> None:
    assert learning.main(["ablation"]) == 0
    assert "tau: How fast may the targets follow" in capsys.readouterr().out
    assert learning.main(["ablation", "tua"]) == 2
    assert "Unknown ablation 'tua'; known are evaluation" in capsys.readouterr().err


def test_a_missing_package_is_named_with_its_extra(content: dict, tmp_path: Path, capsys) -> None:
    content["groups"]["ablations"]["experiments"]["sweep"]["needs"] = {"no_such_package": "extra"}
    command = ["ablation", "sweep", "--file", str(write(content, tmp_path)), "--results", str(tmp_path)]
    assert learning.main(command) == 2
    assert "needs no_such_package, which is not installed: pip install -e '.[extra]'" in capsys.readouterr().err
    assert not list(tmp_path.rglob("seed_*"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # where a warning is an error, the import of Box2D's SWIG module crashes
@pytest.mark.parametrize("one", experiments.suite(), ids=lambda one: one.env)
def test_random_actions_have_the_return_of_the_file(one, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # MuJoCo writes a log of its warnings where it stands
    try:
        env = gymnasium.make(one.env)
    except gymnasium.error.DependencyNotInstalled:
        pytest.skip(f"{one.env} is not installed")
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
    assert np.mean(returns) == pytest.approx(one.random, abs=0.05 + 4 * np.std(returns) / 10)
