"""The page and its command: what it shows, how large it is, and what it says of bad input."""

import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sb3_softac.report import __main__ as command
from sb3_softac.report import write_report
from sb3_softac.report.page import make_page


def text_of(html: str) -> str:
    """What a reader sees: without scripts, styles and tags."""
    body = re.sub(r"<(script|style)\b.*?</\1>", " ", html, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body))


def metrics_of(html: str) -> list[dict]:
    return json.loads(re.search(r"^const METRICS = (.*);$", html, re.MULTILINE).group(1))


def run(monkeypatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["report", *map(str, arguments)])
    command.main()


def test_the_page_of_one_run_lies_in_its_folder(data, tmp_path, monkeypatch, capsys):
    folder = shutil.copytree(data / "healthy_1", tmp_path / "run")
    run(monkeypatch, folder)
    assert capsys.readouterr().out == f"Report: {folder / 'report.html'}\n"
    html = (folder / "report.html").read_text()
    text = text_of(html)
    for part in ("softac on Pendulum-v1", "Nothing that the rules know", "Evaluation returns", "lin_2e-3", "8,000"):
        assert part in text
    (metrics,) = metrics_of(html)
    assert {"episode return", "train/ent_coef", "eval/mean_reward", "time/fps"} <= metrics["metrics"].keys()
    assert sorted(path.name for path in folder.iterdir() if path.name.startswith((".", "report"))) == ["report.html"]


def test_the_page_of_more_runs_lies_where_one_is_or_wants_it(data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folders = [data / "healthy_1", data / "learning_rate_high"]
    run(monkeypatch, *folders)
    assert capsys.readouterr().out == "Report: report.html\n"
    run(monkeypatch, *folders, "--output", "pages/both.html", "--no-video")
    text = text_of((tmp_path / "pages" / "both.html").read_text())
    assert "What differs between the runs setting softac, learning_rate lin_2e-3 softac, learning_rate 0.3" in text
    assert "No learning: the return did not rise" in text


def test_runs_of_two_environments_have_a_section_each(data):
    html = make_page([data / "healthy_1", data / "never_arrives", data / "ppo_script"])
    assert re.findall(r'<h2 id="title-\d">(\S+)', html) == ["Pendulum-v1", "MountainCarContinuous-v0", "CartPole-v1"]
    assert len(metrics_of(html)) == 3


def test_sac_and_softac_stand_side_by_side(data):
    html = make_page([data / "healthy_1", data / "sac"])
    assert metrics_of(html)[0]["labels"] == ["softac", "sac"]
    assert "sac and softac" not in html
    assert "softac and sac on Pendulum-v1" in html


def test_what_files_say_is_escaped(data, tmp_path):
    evil = "$$x$$</script><script>alert(1)</script><img src=x onerror=alert(2)>"
    folder = shutil.copytree(data / "healthy_1", tmp_path / "a<b>&$$c$$")
    (folder / "Pendulum-v1" / "args.yml").write_text(json.dumps({"algo": evil, "env": evil, "seed": evil}))
    (folder / "Pendulum-v1" / "config.yml").write_text(json.dumps({evil: evil}))
    log = (folder / "progress.csv").read_text()
    (folder / "progress.csv").write_text(log.replace("train/entropy", evil.replace(",", ""), 1))
    html = make_page([folder])
    assert "<script>alert" not in html
    assert "<img" not in html
    assert html.count("</script>") == 4
    assert evil in metrics_of(html)[0]["metrics"]


def test_the_page_reaches_for_nothing(data):
    html = make_page([data / "healthy_1"])
    assert "default-src 'none'" in html
    assert "connect-src 'none'" in html
    assert not re.search(
        r"""(src|href)=["']?(https?:)?//""", re.sub(r"<script\b.*?</script>", "", html, flags=re.DOTALL)
    )


def test_a_run_of_a_million_steps_fits_in_five_megabytes(data, tmp_path):
    """Five seeds of a million steps each, with as many rows as the logger writes then."""
    table = pd.read_csv(data / "healthy_1" / "progress.csv")
    rows = 6000
    steps = np.linspace(200, 1e6, rows).astype(int)
    long = {key: np.interp(steps, np.linspace(0, 1e6, len(table)), table[key].ffill().bfill()) for key in table}
    long |= {f"diagnostics/{n}": np.random.default_rng(n).normal(size=rows) for n in range(12)}
    frame = pd.DataFrame(long | {"time/total_timesteps": steps, "time/time_elapsed": np.arange(rows)})
    for seed in range(5):
        folder = shutil.copytree(data / "healthy_1", tmp_path / "runs" / str(seed))
        frame.to_csv(folder / "progress.csv", index=False)
        header, names, *episodes = (folder / "0.monitor.csv").read_text().splitlines()
        (folder / "0.monitor.csv").write_text("\n".join([header, names, *episodes * 125]) + "\n")
        returns = np.random.default_rng(seed).normal(size=(100, 10))
        np.savez(folder / "evaluations.npz", timesteps=np.arange(1, 101) * 10_000, results=returns, ep_lengths=returns)
    path = write_report(tmp_path / "runs", tmp_path / "page.html")
    assert 2e6 < path.stat().st_size < 5e6
    metrics = metrics_of(path.read_text())[0]["metrics"]
    loss = metrics["train/critic_loss"][0]
    assert len(loss["mean"]) == len(loss["steps"]) == len(loss["time"]) >= 100
    np.testing.assert_allclose(max(loss["high"]), frame["train/critic_loss"].max(), rtol=1e-4)
    np.testing.assert_allclose(min(loss["low"]), frame["train/critic_loss"].min(), rtol=1e-4)


def test_a_run_without_data_yet(tmp_path):
    (tmp_path / "0.monitor.csv").write_text('#{"t_start": 1.0, "env_id": "Pendulum-v1"}\nr,l,t\n')
    text = text_of(make_page([tmp_path]))
    assert "No episode has ended yet and nothing was logged: come back later." in text


def test_half_written_logs_are_shown_as_far_as_they_go(data, tmp_path):
    for name in ("progress.csv", "evaluations.npz", "0.monitor.csv", "Pendulum-v1/args.yml", "Pendulum-v1/config.yml"):
        folder = shutil.copytree(data / "healthy_1", tmp_path / name.replace("/", "_"))
        path = folder / name
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        assert "Pendulum-v1" in text_of(make_page([folder])), name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "error: nowhere is not a folder"),
        (["."], "error: . is no run and holds none"),
        (["run", "--output", "file/page.html"], "error: "),
    ],
)
def test_bad_input_is_one_sentence(data, tmp_path, monkeypatch, capsys, arguments, message: str):
    monkeypatch.chdir(tmp_path)
    if "run" in arguments:
        shutil.copytree(data / "healthy_1", tmp_path / "run")
        (tmp_path / "file").write_text("a file where a folder should be")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SystemExit) as stopped:
        run(monkeypatch, *arguments)
    assert stopped.value.code == 1
    told = capsys.readouterr().err
    assert told.startswith(message)
    assert told.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("library", ["bokeh", "jinja2", "pandas", "scipy"])
def test_a_missing_extra_is_named(data, monkeypatch, capsys, library: str):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(SystemExit):
        run(monkeypatch, data / "healthy_1")
    assert f"needs {library}. Install the extra: pip install 'sb3_softac[report]'" in capsys.readouterr().err


@pytest.mark.parametrize("port", ["-1", "65536", "web"])
def test_a_port_that_is_none(monkeypatch, capsys, port: str):
    with pytest.raises(SystemExit):
        run(monkeypatch, "run", "--watch", "--port", port)
    assert "is no port: give a number from 0 to 65535" in capsys.readouterr().err


def test_a_page_that_could_not_be_written_leaves_the_old_one(data, tmp_path, monkeypatch):
    path = Path(tmp_path / "page.html")
    path.write_text("old")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("no")))
    with pytest.raises(OSError, match="no"):
        write_report(data / "healthy_1", path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
