"""Sweeps on this machine: cells, kills, errors, comparison."""

import csv
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sb3_softac.zoo.sweep import cell as cells
from sb3_softac.zoo.sweep import command, executors
from sb3_softac.zoo.sweep.cell import Cell
from tests.helpers import processes_with

OPTIONS = ["-n", "400", "--eval-freq", "200", "--eval-episodes", "1"]
OPTIONS += ["-params", "policy_kwargs:dict(net_arch=[8])", "learning_starts:50"]


def asked(folder: Path, *others: str) -> list[str]:
    return ["--env", "Pendulum-v1", "--seeds", "0-1", "-f", str(folder), "--workers", "2", *others]


def cells_in(folder: Path) -> list[Cell]:
    return [Cell("softac", "Pendulum-v1", seed, str(folder)) for seed in (0, 1)]


def test_a_sweep_is_run_once_and_compared(tmp_path, capsys):
    command.main(asked(tmp_path, *OPTIONS))
    assert "2 runs, of which 0 are finished." in capsys.readouterr().out
    assert [cell.step for cell in cells_in(tmp_path)] == [400, 400]
    with (tmp_path / "table.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert (row["environment"], row["algorithm"], row["seeds"], row["steps"]) == ("Pendulum-v1", "softac", "2", "400")
    assert float(row["low"]) < float(row["mean return"]) < float(row["high"])
    page = (tmp_path / "report.html").read_text()
    assert "95% interval over 2 runs" in page
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.zip")}

    command.main(asked(tmp_path, *OPTIONS))
    assert "2 runs, of which 2 are finished." in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.zip")} == before
    with pytest.raises(SystemExit, match=r"holds a sweep with the options .*-n 400.* and these are -n 500"):
        command.main(asked(tmp_path, "-n", "500"))


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks at processes in /proc")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_sweep_that_is_stopped_goes_on_from_checkpoints(tmp_path, how):
    options = ["-n", "100000", "--eval-freq", "-1", *OPTIONS[-3:]]
    line = [sys.executable, "-m", "sb3_softac.zoo", "sweep", *asked(tmp_path, *options)]
    sweep = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    logs = [cell.folder / "softac" / "Pendulum-v1_1" / "0.monitor.csv" for cell in cells_in(tmp_path)]
    _until(lambda: all(log.is_file() and log.read_text().count("\n") > 3 for log in logs))
    sweep.send_signal(how)
    told, _ = sweep.communicate(timeout=120)
    _until(lambda: processes_with(str(tmp_path)) == [])  # the trainings end with the sweep
    if how == signal.SIGINT:
        assert b"Stopped; the same command goes on." in told
    steps = [cell.step for cell in cells_in(tmp_path)]
    assert all(step is not None and 0 < step < 100_000 for step in steps)
    assert [cell.is_finished for cell in cells_in(tmp_path)] == [False, False]
    assert [cell.arguments() for cell in cells_in(tmp_path)] == [["resume", str(log.parent)] for log in logs]


def _until(is_so, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_run_that_has_no_checkpoint_begins_anew(tmp_path):
    cell = Cell("softac", "ALE/Pong-v5", 3, str(tmp_path), ("-n", "10", "--num-threads", "2"))
    assert cell.folder == tmp_path / "ALE-Pong-v5" / "softac_seed_3"
    half_done = cell.folder / "softac" / "ALE-Pong-v5_1"
    (half_done / "checkpoints").mkdir(parents=True)
    assert (cell.run, cell.step, cell.is_finished) == (half_done, None, False)
    begin = ["train", "--algo", "softac", "--env", "ALE/Pong-v5", "--seed", "3", "-f", str(cell.folder)]
    assert cell.arguments() == [*begin, "-n", "10", "--num-threads", "2"]
    assert not half_done.exists()


def test_an_algorithm_without_checkpoints_is_finished_once_its_agent_is_saved(tmp_path):
    cell = Cell("ppo", "Pendulum-v1", 0, str(tmp_path))
    run = cell.folder / "ppo" / "Pendulum-v1_1"
    run.mkdir(parents=True)
    assert not cell.is_finished
    (run / "Pendulum-v1.zip").touch()
    assert cell.is_finished


def test_a_cell_that_always_fails_is_named_with_the_end_of_its_output(tmp_path):
    line = ["--env", "Pendulum-v1", "--seeds", "7", "-f", str(tmp_path), "-n", "100", "-params", "no_such:1"]
    with pytest.raises(SystemExit) as stopped:
        command.main(line)
    told = str(stopped.value)
    assert "1 runs failed" in told
    assert "softac on Pendulum-v1, seed 7 failed on" in told
    assert "no_such" in told
    log = tmp_path / "Pendulum-v1" / "softac_seed_7" / "training.log"
    assert str(log) in told
    assert log.read_text().count("sb3_softac ") >= 2  # it was tried again


@pytest.mark.parametrize(
    ("others", "told"),
    [
        (["--seed", "3"], "--seed cannot be given to a sweep"),
        (["-optimize"], "-optimize cannot be given"),
        (["--workers", "0"], "--workers must be at least 1, got 0"),
        (["--retries", "-1"], "--retries must be at least 0, got -1"),
        (["--seeds", "4-1"], "numbers or ranges such as 0-4, got '4-1'"),
        (["--algo", "sacc"], "unknown algorithm sacc; known are .*softac"),
        (["--env", "Pendulum-v99"], "unknown environment Pendulum-v99"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(tmp_path, others, told):
    folder = tmp_path / "sweep"
    with pytest.raises(SystemExit, match=told):
        command.main([*asked(folder), *others])
    assert not folder.exists()


def test_a_machine_that_does_not_see_the_folder_says_so(tmp_path):
    with pytest.raises(cells.CellError, match=r"does not see .*on a file system that they share"):
        cells.run_cell(Cell("softac", "Pendulum-v1", 0, str(tmp_path)))


def test_jobs_that_fail_are_tried_again():
    tries: list[int] = []

    def job(number: int) -> int:
        tries.append(number)
        if number == 0 and tries.count(0) < 3:
            raise OSError("not yet")
        return number * 10

    with ThreadPoolExecutor(1) as executor:
        found = {item: future.result() for item, future in executors.run_all(executor, job, [0, 1], retries=2)}
    assert found == {0: 0, 1: 10}
    assert tries.count(0) == 3
    tries.clear()
    with ThreadPoolExecutor(1) as executor:
        errors = [future.exception() for _, future in executors.run_all(executor, job, [0], retries=1)]
    assert [type(error) for error in errors] == [OSError]


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(executors.EngineError, match=r"pip install 'sb3_softac\[ray\]'"):
        executors.make_executor("auto", 1)


def test_threads_are_the_engine_of_this_machine():
    with executors.make_executor(None, 2) as executor:
        assert executor.submit(os.getpid).result() == os.getpid()
