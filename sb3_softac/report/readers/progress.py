"""Reader of the files of Stable-Baselines3's logger: ``progress*.csv`` and ``progress.json``."""

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

STEPS = "time/total_timesteps"
SECONDS = "time/time_elapsed"


def logs_of(folder: Path) -> list[Path]:
    """Files of the logger in a folder."""
    return [*sorted(folder.glob("progress*.csv")), *sorted(folder.glob("progress.json"))]


def read_progress(folder: Path) -> "pd.DataFrame":
    """Read the metrics of a run.

    :param folder: with ``progress.csv``, further ones of a run that went on, or ``progress.json``
    :return: columns ``steps``, ``seconds`` and the logger's keys; see :class:`Run`
    :raises ValueError: a file is no table, or its rows do not say at which step they were written
    """
    import pandas as pd

    frames = [frame for path in logs_of(folder) if not (frame := _read_log(path)).empty]
    if not frames:
        return pd.DataFrame(columns=["steps", "seconds"], dtype=float)
    return pd.concat(frames, ignore_index=True).sort_values("steps", kind="stable", ignore_index=True)


def _read_log(path: Path) -> "pd.DataFrame":
    import pandas as pd

    # The last line may be half written, and a half of a number is a number.
    text = path.read_text(encoding="utf-8", errors="replace")
    text = text[: text.rfind("\n") + 1]
    try:
        frame = _read_csv(text) if path.suffix == ".csv" else _read_json(text)
    except (ValueError, pd.errors.ParserError) as error:
        raise ValueError(f"{path} is not what Stable-Baselines3's logger writes ({error}).") from error
    if frame.empty:
        return frame
    if STEPS not in frame:
        raise ValueError(f"{path} has no column {STEPS!r}, which says at which step a row was written.")
    frame = frame.apply(pd.to_numeric, errors="coerce").dropna(subset=[STEPS])
    seconds = frame[SECONDS] if SECONDS in frame else float("nan")
    return frame.assign(steps=frame[STEPS], seconds=seconds)


def _read_csv(text: str) -> "pd.DataFrame":
    import pandas as pd

    if not text.strip():
        return pd.DataFrame()
    return pd.read_csv(io.StringIO(text), on_bad_lines="skip", low_memory=False)


def _read_json(text: str) -> "pd.DataFrame":
    import pandas as pd

    rows, error = [], None
    for line in text.splitlines():
        try:
            rows.append(dict(json.loads(line)))
        except (ValueError, TypeError) as found:  # a line that was overwritten, say
            error = found
    if error is not None and not rows:
        raise ValueError(str(error))
    return pd.DataFrame(rows)
