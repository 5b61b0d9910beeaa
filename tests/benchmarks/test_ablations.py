"""What the ablations' file may say, what is run for it, and what it reports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks import learning
from benchmarks._learning.ablations import Ablation, read_ablations
from benchmarks._learning.plans import plan
from benchmarks._learning.settings import RunFiles, is_finished
from benchmarks._learning.suite import read_suite
from sb3_softac import SoftAC

pytest.importorskip("rl_zoo3")


@pytest.fixture(scope="module")
def ablations() -> dict[str, Ablation]:
    return read_ablations()


@pytest.fixture
def content() -> dict[str, Any]:
    """A small file, as YAML reads it."""
    defaults = {
        "env": "Pendulum-v1", "steps": 100, "eval_every": 50, "eval_episodes": 1, "final_episodes": 2, "seeds": "0-1",
        "hyperparams": "default", "set": {"gamma": 0.98, "learning_rate": "1e-3"}, "runs": "here",
        "reference": "softac", "panels": ["curves", "seeds", "modes", "gap", "finals", "sweep"],
    }  # fmt: skip
    sweep = {
        "question": "How fast?",
        "source": "nowhere",
        "axis": "tau",
        "above": -100,
        "series": [
            {"x": 0.005},
            {"label": "fast", "name": "in a hurry", "x": 0.1, "set": {"tau": 0.1}},
            {"algo": "sac", "set": {"gamma": 0.9}},
        ],
    }
    return {"defaults": defaults, "ablations": {"sweep": sweep}}


def write(content: dict[str, Any], folder: Path) -> Path:
    path = folder / "ablations.yml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def test_a_file_becomes_runs(content: dict, tmp_path: Path) -> None:
    sweep = read_ablations(write(content, tmp_path))["sweep"]
    assert sweep.names == {"softac": "softac", "softac-fast": "in a hurry", "sac": "sac"}
    assert sweep.places == {"softac": 0.005, "softac-fast": 0.1}
    runs = plan([sweep.experiment])
    assert [f"{run.seed} {run.series}" for run in runs[:4]] == ["0 softac", "0 softac-fast", "0 sac", "1 softac"]
    assert runs[1].hyperparams == {"policy": "MlpPolicy", "gamma": 0.98, "learning_rate": 1e-3, "tau": 0.1}
    assert runs[2].hyperparams["gamma"] == 0.9


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"sereis": []}, "sweep has unknown keys sereis"),
        ({"steps": "1e4"}, "steps must be a whole number"),
        ({"hyperparams": "tuned"}, "hyperparams must be one of zoo, default"),
        ({"panels": ["curve"]}, "unknown panels curve; known are curves"),
        ({"reference": "sacc"}, "none of its series, softac, softac-fast, sac"),
        ({"axis": ""}, "the panel sweep needs `axis`"),
        ({"series": [{}, {"set": {"tau": 1}}]}, "two series have one name"),
        ({"series": [{"x": "wide"}]}, "x must be a number"),
        ({"series": [{"lable": "a"}]}, "unknown keys lable"),
        ({"question": None, "source": None, "series": None}, "series must be a list"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(content: dict, tmp_path: Path, values: dict, said: str) -> None:
    content["ablations"]["sweep"].update(values)
    with pytest.raises(ValueError, match=said):
        read_ablations(write(content, tmp_path))


def test_stored_runs_are_used_again(ablations: dict[str, Ablation]) -> None:
    """What the repository holds of a series counts, to the last setting."""
    for name, series in {
        "evaluation": {"softac-gamma098", "softac-v1", "sac-gamma098"},
        "gradients": set(ablations["gradients"].names),
        "reward-scale": {"softac-v1", "softac-gamma098"},
        "tau": {"softac-gamma098"},
        "temperature": {"softac-gamma098"},
    }.items():
        asked = [run for run in plan([ablations[name].experiment]) if run.series in series]
        assert len(asked) == 5 * len(series)
        unknown = [run.series for run in asked if not is_finished(run, learning.RESULTS / "learning")]
        assert unknown == [], name


def test_no_two_experiments_write_different_runs_to_one_place(ablations: dict[str, Ablation]) -> None:
    """Else each would make the other's runs again."""
    asked = [(one.runs, run) for one in ablations.values() for run in plan([one.experiment])]
    asked += [("suite", run) for run in plan(task.experiment for task in read_suite())]
    places: dict[Path, object] = {}
    for folder, run in asked:
        assert places.setdefault(RunFiles.of(run, Path(folder)).meta, run) == run


def test_the_comparison_of_algorithms_is_a_part_of_the_suite(ablations: dict[str, Ablation]) -> None:
    runs = plan([ablations["algorithms"].experiment])
    suite = plan(task.experiment for task in read_suite())
    assert ablations["algorithms"].runs == "suite"
    assert all(run in suite for run in runs)
    assert {run.algo for run in runs} == {"softac", "sac", "ddpg", "td3", "ppo"}


def test_softac_takes_what_the_ablations_set(ablations: dict[str, Ablation]) -> None:
    runs = [run for one in ablations.values() for run in plan([one.experiment])]
    given = {run.series: run.hyperparams for run in runs if run.algo == "softac" and "default" in run.hyperparams_from}
    assert len(given) > 15
    for hyperparams in given.values():
        SoftAC(env="Pendulum-v1", device="cpu", **{**hyperparams, "buffer_size": 10})


def test_the_report_of_a_sweep(content: dict, store_settings, tmp_path: Path, capsys) -> None:
    pd = pytest.importorskip("pandas")
    pytest.importorskip("seaborn")
    content["defaults"]["runs"] = "."
    file = write(content, tmp_path)
    for run in plan([read_ablations(file)["sweep"].experiment]):
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
    content["ablations"]["sweep"]["needs"] = {"no_such_package": "extra"}
    command = ["ablation", "sweep", "--file", str(write(content, tmp_path)), "--results", str(tmp_path)]
    assert learning.main(command) == 2
    assert "needs no_such_package, which is not installed: pip install -e '.[extra]'" in capsys.readouterr().err
    assert not list(tmp_path.rglob("seed_*"))
