"""Metrics of a run of the zoo in a file: rl_zoo3 itself only prints them, but for ``--tensorboard-log``."""

import os
import pathlib
from itertools import count

from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import CSVOutputFormat


class ProgressCallback(BaseCallback):
    """Callback that writes what the logger is given into ``progress.csv``, a row for each time that it is printed.

    A file that is there already stays as it is; the next one is then ``progress_2.csv``.

    :param folder: of the run
    :param verbose: 1 prints where the file is
    """

    def __init__(self, folder: str | os.PathLike[str], verbose: int = 0) -> None:
        super().__init__(verbose)
        self.folder = pathlib.Path(folder)
        self._output: CSVOutputFormat | None = None

    def _on_training_start(self) -> None:
        # The user's own callback may write one already.
        if any(isinstance(output, CSVOutputFormat) for output in self.logger.output_formats):
            return
        path = self._free_path()
        self._output = CSVOutputFormat(str(path))
        self.logger.output_formats.append(self._output)
        if self.verbose >= 1:
            print(f"Writing metrics to {path}")

    def _free_path(self) -> pathlib.Path:
        """Path that no file has: Stable-Baselines3's writer begins with an empty file."""
        self.folder.mkdir(parents=True, exist_ok=True)
        names = (f"progress_{number}.csv" if number > 1 else "progress.csv" for number in count(1))
        return next(self.folder / name for name in names if not (self.folder / name).exists())

    def _on_step(self) -> bool:
        return True

    def _on_training_end(self) -> None:
        if self._output is not None:
            self.logger.output_formats.remove(self._output)
            self._output.close()
            self._output = None
