"""One cell of a sweep: a training of the zoo in a process of its own, by :mod:`sb3_softac.zoo.sweep.process`."""

import json
import os
import platform
import shutil
import subprocess
import sys
import threading
from dataclasses import asdict, dataclass
from pathlib import Path

from sb3_softac.saving.checkpoint import newest_whole
from sb3_softac.saving.files import SavedFileError

#: file in the folder of a sweep that says what is swept
MANIFEST = "sweep.json"
LOG = "training.log"
PROCESS = "sb3_softac.zoo.sweep.process"
N_LINES = 12
_PROCESSES: set["subprocess.Popen[bytes]"] = set()
_STOPPED = threading.Event()


class CellError(RuntimeError):
    """A training that failed; the message says which, where, and how its output ended."""


@dataclass(frozen=True)
class Cell:
    """One training of a sweep.

    :param algo: name of the algorithm, as for the zoo
    :param env: id of the environment
    :param seed: of the training
    :param sweep: folder of the sweep
    :param options: of the zoo's training command
    """

    algo: str
    env: str
    seed: int
    sweep: str
    options: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.algo} on {self.env}, seed {self.seed}"

    @property
    def folder(self) -> Path:
        """Folder of all that belongs to this cell."""
        return Path(self.sweep) / self.env.replace("/", "-") / f"{self.algo}_seed_{self.seed}"

    @property
    def run(self) -> Path | None:
        """Folder of its run as the zoo has made it; None if it has not begun."""
        return next((path for path in sorted((self.folder / self.algo).glob("*_1")) if path.is_dir()), None)

    @property
    def is_finished(self) -> bool:
        """Whether it has learned for all of its steps."""
        if self.run is None:
            return False
        if (reached := self.step) is not None:
            return reached >= _steps_asked_for(self.run)
        # The other algorithms have no checkpoints; the zoo saves the agent at the end.
        return not (self.run / "checkpoints").is_dir() and (self.run / f"{self.run.name[:-2]}.zip").is_file()

    @property
    def step(self) -> int | None:
        """Step of the newest checkpoint; None without one."""
        if self.run is None:
            return None
        try:
            return int(next(newest_whole(self.run / "checkpoints"))[1]["step"])
        except SavedFileError:
            return None

    def arguments(self) -> list[str]:
        """Command line that begins the run, or goes on with it. A run without a checkpoint begins anew."""
        if self.step is not None:
            return ["resume", str(self.run)]
        shutil.rmtree(self.folder / self.algo, ignore_errors=True)
        which = ["--algo", self.algo, "--env", self.env, "--seed", str(self.seed), "-f", str(self.folder)]
        return ["train", *which, *([] if "--num-threads" in self.options else ["--num-threads", "1"]), *self.options]


def _steps_asked_for(run: Path) -> int:
    from sb3_softac.report.readers.zoo import read_yaml

    given = int(read_yaml(run, "args.yml").get("n_timesteps", -1))
    return given if given > 0 else int(float(read_yaml(run, "config.yml").get("n_timesteps", 0)))


def run_cell(cell: Cell) -> None:
    """Run a cell in a process of its own, or what is left of it.

    :param cell: that is to be run
    :raises CellError: it failed, or this machine does not see the folder of the sweep
    """
    if not (Path(cell.sweep) / MANIFEST).is_file():
        raise CellError(
            f"{cell}: {platform.node()} does not see {cell.sweep}. All machines need the folder of the sweep: give one "
            "on a file system that they share (-f)"
        )
    cell.folder.mkdir(parents=True, exist_ok=True)
    log = cell.folder / LOG
    environment = {"OMP_NUM_THREADS": "1"} | os.environ
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", PROCESS, json.dumps(asdict(cell))],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # Ctrl-C is for the sweep, which then asks each process to end
        )
    _PROCESSES.add(process)
    if _STOPPED.is_set():
        stop_cells()
    try:
        code = process.wait()
    finally:
        _PROCESSES.discard(process)
        if process.stdin is not None:
            process.stdin.close()
    if code != 0 or not cell.is_finished:
        lines = log.read_text(errors="replace").splitlines()[-N_LINES:]
        end = "\n".join(f"    {line}" for line in lines)
        raise CellError(f"{cell} failed on {platform.node()} (exit code {code}). Its output, {log}, ends with:\n{end}")


def stop_cells() -> None:
    """Ask all cells of this process to save a checkpoint and to end; none begins from then on."""
    _STOPPED.set()
    for process in list(_PROCESSES):
        if process.stdin is not None and not process.stdin.closed:
            process.stdin.close()
