"""``python -m sb3_softac.report RUN [RUN ...]``: write a page on training runs, or serve it while they go on."""

import argparse

from sb3_softac.report.page import write_report
from sb3_softac.report.watch import watch

PORT = 8600


def main() -> None:
    """Parse the command line, and write or serve the report."""
    parser = argparse.ArgumentParser(prog="python -m sb3_softac.report", description=__doc__.replace("`", ""))
    parser.add_argument(
        "folders",
        nargs="+",
        metavar="RUN",
        help="folder of a run, such as logs/softac/Pendulum-v1_1, or of runs, such as logs",
    )
    parser.add_argument(
        "--output", "-o", metavar="FILE", help="page to write (default: report.html in the run's folder)"
    )
    parser.add_argument(
        "--video",
        action=argparse.BooleanOptionalAction,
        help="film the saved agents; runs the code that their files hold or name (default: those that need none)",
    )
    parser.add_argument("--watch", action="store_true", help="serve the page on this machine, and follow the run")
    parser.add_argument("--port", type=_port, default=PORT, help=f"of --watch; 0: any (default: {PORT})")
    arguments = parser.parse_args()
    try:
        if arguments.watch:
            watch(arguments.folders, arguments.port, bool(arguments.video))
        else:
            print(f"Report: {write_report(arguments.folders, arguments.output, arguments.video)}")
    except (ImportError, OSError, ValueError) as error:
        parser.exit(1, f"error: {' '.join(str(error).split())}\n")


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: give a number from 0 to 65535")
    return int(text)


if __name__ == "__main__":
    main()
