"""``python -m sb3_softac.report RUN_FOLDER``: write the learning curve of a run and say where it is."""

import argparse
from pathlib import Path

from sb3_softac.report.learning_curve import write_learning_curve


def main() -> None:
    """Parse the command line and write the report."""
    parser = argparse.ArgumentParser(prog="python -m sb3_softac.report", description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of one run, such as logs/softac/Pendulum-v1_1")
    folder = parser.parse_args().folder
    try:
        path = write_learning_curve(folder)
    except ImportError as error:  # pandas or matplotlib, which training itself does not need
        parser.exit(1, f"error: {error}. Install the extra: pip install 'sb3_softac[zoo]'\n")
    except (OSError, ValueError) as error:
        parser.exit(1, f"error: {error}\n")
    print(f"Learning curve: {path}")


if __name__ == "__main__":
    main()
