"""Reader of TensorBoard's event files, by TensorBoard itself."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

PATTERN = "events.out.tfevents.*"
#: a folder as Stable-Baselines3 names it for TensorBoard
FOLDER = re.compile(r"([A-Za-z][A-Za-z0-9]*)_\d+")


def has_events(folder: Path) -> bool:
    """Whether a folder holds event files."""
    return next(folder.glob(PATTERN), None) is not None


def read_events(folder: Path) -> "pd.DataFrame":
    """Read the scalars of a run.

    :param folder: with the event files
    :return: columns ``steps``, ``seconds`` and the logger's keys; see :class:`Run`
    :raises ImportError: TensorBoard is not installed
    :raises ValueError: TensorBoard cannot read the files
    """
    import pandas as pd

    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    except ImportError as error:
        raise ImportError(f"{folder} has TensorBoard's files, which need it: pip install tensorboard") from error
    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0})  # 0: keeps all
    try:
        accumulator.Reload()
    except Exception as error:  # what it raises is its own affair, and differs between releases
        raise ValueError(f"TensorBoard cannot read the event files of {folder} ({error}).") from error
    columns: dict[str, pd.Series] = {}
    times: dict[int, float] = {}
    for tag in accumulator.Tags()["scalars"]:
        events = {event.step: event for event in accumulator.Scalars(tag)}  # the last one of a step counts
        columns[tag] = pd.Series({step: event.value for step, event in events.items()}, dtype=float)
        times |= {step: event.wall_time for step, event in events.items()}
    if not columns:
        return pd.DataFrame(columns=["steps", "seconds"], dtype=float)
    frame = pd.DataFrame(columns).sort_index()
    seconds = pd.Series(times).sort_index() - min(times.values())
    return frame.assign(seconds=seconds).rename_axis("steps").reset_index()
