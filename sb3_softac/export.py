"""Export of a saved agent to ONNX: ``python -m sb3_softac.export agent.zip``, or the folder of a run of rl_zoo3."""

import argparse
import pathlib
from collections.abc import Sequence

from sb3_softac.exporting.deployed import DeployedPolicy, ExportError
from sb3_softac.exporting.onnx_file import OPSET, SUFFIX, ExportedPolicy
from sb3_softac.saving import files
from sb3_softac.saving.archive import NeedsPickleError
from sb3_softac.softac import SoftAC

__all__ = ["DeployedPolicy", "ExportError", "ExportedPolicy", "main"]

#: of an `EvalCallback`, in the folder of a run
BEST = "best_model.zip"
VEC_NORMALIZE = "vecnormalize.pkl"
#: beside the hyperparameters of a run of rl_zoo3, in a folder of the environment's name
ZOO_ARGUMENTS = "args.yml"


def find_agent(path: pathlib.Path) -> pathlib.Path:
    """Find the file of an agent.

    :param path: of the file, or of the folder of a run of rl_zoo3: there the best agent, or else the last one
    :return: the file
    :raises ValueError: there is none, or it is not clear which
    """
    if not path.is_dir():
        found = files.existing(path, ".zip")
        if not pathlib.Path(found).is_file():  # type: ignore[arg-type]  # a path stays one
            raise ValueError(f"{path} is neither a file nor a folder; give an agent, such as agent.zip, or its run")
        return pathlib.Path(found)  # type: ignore[arg-type]
    last = [path / f"{arguments.parent.name}.zip" for arguments in path.glob(f"*/{ZOO_ARGUMENTS}")]
    for agent in (path / BEST, *last):
        if agent.is_file():
            return agent
    others = sorted(agent.name for agent in path.glob("*.zip"))
    hint = f"name one of {', '.join(others)}" if others else "it holds no *.zip; is it the folder of one run?"
    raise ValueError(f"{path} has no {BEST} and no agent of rl_zoo3: {hint}")


def find_normalization(agent: pathlib.Path) -> pathlib.Path | None:
    """Find the file of ``VecNormalize`` that belongs to an agent.

    :param agent: its file
    :return: the file beside it, or that of its run of rl_zoo3; None: neither is there
    :raises ValueError: it is not clear which
    """
    beside = agent.parent / VEC_NORMALIZE
    found = [beside] if beside.is_file() else []
    if not found:
        runs = agent.parent.glob(f"*/{ZOO_ARGUMENTS}")
        found = [file for run in runs if (file := run.parent / VEC_NORMALIZE).is_file()]
    if len(found) > 1:
        raise ValueError(f"{agent} may belong to {' or '.join(map(str, found))}; pass --vec-normalize FILE")
    return found[0] if found else None


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, export, and say what was written.

    :param arguments: of the command line; None: those of this process
    """
    parser = _parser()
    given = parser.parse_args(arguments)
    try:
        print(_export(given))
    except NeedsPickleError as error:
        parser.exit(1, f"error: {error}. The option of this command is --allow-pickle\n")
    except (ImportError, OSError, ValueError) as error:
        parser.exit(1, f"error: {error}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sb3_softac.export", description=__doc__)
    parser.add_argument("agent", type=pathlib.Path, help="file of the agent, or folder of a run of rl_zoo3")
    parser.add_argument("-o", "--output", type=pathlib.Path, help="file to write; default: beside the agent")
    parser.add_argument("--stochastic", action="store_true", help="sampled actions, with their noise as an input")
    parser.add_argument("--channels-last", action="store_true", help="images as (height, width, channels)")
    parser.add_argument("--opset", type=int, default=OPSET, help="version of ONNX's operators; default: %(default)s")
    normalize = parser.add_mutually_exclusive_group()
    normalize.add_argument(
        "--vec-normalize", type=pathlib.Path, help=f"statistics of observations; default: {VEC_NORMALIZE} of the agent"
    )
    normalize.add_argument("--no-vec-normalize", action="store_true", help="export without statistics of observations")
    parser.add_argument("--allow-pickle", action="store_true", help="run code of the files, which you trust")
    return parser


def _export(given: argparse.Namespace) -> ExportedPolicy:
    agent = find_agent(given.agent)
    normalize = None if given.no_vec_normalize else given.vec_normalize or find_normalization(agent)
    print(f"Agent: {agent}" + (f", observations normalised by {normalize}" if normalize is not None else ""))
    allow_pickle = True if given.allow_pickle else None
    return SoftAC.load(agent, device="cpu", allow_pickle=allow_pickle).export_onnx(
        given.output or agent.with_suffix(SUFFIX),
        deterministic=not given.stochastic,
        vec_normalize=False if normalize is None else normalize,
        channels_last=given.channels_last,
        opset=given.opset,
        allow_pickle=allow_pickle,
    )


if __name__ == "__main__":
    main()
