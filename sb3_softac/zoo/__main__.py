"""Command line ``python -m sb3_softac.zoo SCRIPT [OPTIONS]``: runs scripts of rl_zoo3 with SoftAC, without the hook."""

import importlib.util
import runpy
import sys

from sb3_softac.zoo import ALGO, register

# The scripts record_training and benchmark are left out: they start other Python processes, which would need the hook.
SCRIPTS = {
    "train": "rl_zoo3.train",
    "enjoy": "rl_zoo3.enjoy",
    "record_video": "rl_zoo3.record_video",
    "load_from_hub": "rl_zoo3.load_from_hub",
    "plot_train": "rl_zoo3.plots.plot_train",
    "plot_from_file": "rl_zoo3.plots.plot_from_file",
    "all_plots": "rl_zoo3.plots.all_plots",
}
USAGE = f"""usage: python -m sb3_softac.zoo {{{",".join(SCRIPTS)}}} [options]
       python -m sb3_softac.zoo resume RUN_FOLDER [-n STEPS]
       python -m sb3_softac.zoo sweep --env ID [ID ...] --seeds 0-9 [--ray [ADDRESS]] [options of train]
       python -m sb3_softac.zoo push_to_hub [options]

Runs the script of rl_zoo3, which knows `--algo {ALGO}` then; `python -m sb3_softac.zoo train --help` lists
its options. `resume` goes on with a run of `train` that was stopped, from its newest checkpoint, in its folder.
`sweep` trains on each environment with each seed, on this machine or a cluster, and compares the runs.
`push_to_hub` puts a run on the Hugging Face Hub, from where `load_from_hub` gets it."""
OURS = ("resume", "sweep", "push_to_hub")


def main() -> None:
    """Run the script that the first argument names, with the other arguments."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in {"-h", "--help"}:
        print(USAGE)
        sys.exit(0 if arguments else 2)
    if arguments[0] not in (*SCRIPTS, *OURS):
        sys.exit(f"{USAGE}\n\nerror: unknown script {arguments[0]!r}, choose one of {', '.join((*SCRIPTS, *OURS))}.")
    if importlib.util.find_spec("rl_zoo3") is None:
        sys.exit("error: rl_zoo3 is not installed, run: pip install 'sb3_softac[zoo]'")

    register()
    if arguments[0] == "push_to_hub":
        from sb3_softac.zoo import hub

        hub.main(arguments[1:], ALGO)
        return
    if arguments[0] == "sweep":
        from sb3_softac.zoo.sweep import command

        command.main(arguments[1:])
        return
    if arguments[0] == "resume":
        arguments = ["train", *_arguments_to_resume(arguments[1:])]
    sys.argv[1:] = arguments[1:]
    runpy.run_module(SCRIPTS[arguments[0]], run_name="__main__", alter_sys=True)


def _arguments_to_resume(given: list[str]) -> list[str]:
    from sb3_softac.zoo.runs import arguments_to_resume

    try:
        return arguments_to_resume(given)
    except ValueError as error:
        sys.exit(f"error: {error}.")


if __name__ == "__main__":
    main()
