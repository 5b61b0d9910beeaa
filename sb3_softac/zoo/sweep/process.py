"""Process of one cell: ``python -m sb3_softac.zoo.sweep.process``, which ends with the process that started it.

It trains for as long as its standard input is open: when the other process ends, in whichever way, it saves a
checkpoint and ends, too. The next one goes on from there.
"""

import json
import os
import signal
import sys
import threading
import time

from sb3_softac.version import __version__
from sb3_softac.zoo import __main__ as zoo
from sb3_softac.zoo.sweep.cell import Cell

# Seconds in which it saves its last checkpoint; longer, and it is ended at once.
SECONDS_TO_SAVE = 120


def _end_with_parent() -> None:
    while os.read(0, 1):  # until the other process closes it, or ends; `sys.stdin` would have to be unlocked at the end
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(SECONDS_TO_SAVE)
    os._exit(1)


def main() -> None:
    """Train the cell of the command line, unless another process still does or it is finished."""
    # torch needs this package, too.
    from filelock import FileLock, Timeout

    threading.Thread(target=_end_with_parent, daemon=True).start()
    given = json.loads(sys.argv[1])
    cell = Cell(**given | {"options": tuple(given["options"])})
    try:
        with FileLock(cell.folder / ".lock", timeout=SECONDS_TO_SAVE):
            if not cell.is_finished:
                sys.argv[1:] = cell.arguments()
                print(f"sb3_softac {__version__}: {' '.join(sys.argv[1:])}", flush=True)
                zoo.main()
    except Timeout:
        sys.exit(f"error: another process trains {cell}: wait for it, or end it.")


if __name__ == "__main__":
    main()
