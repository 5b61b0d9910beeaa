"""Tables of the page, as lists of texts."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sb3_softac.report.groups import ABSENT, Group, differences, run_label, setting_of
from sb3_softac.report.rules.finding import say
from sb3_softac.report.run import Run

MAX_VALUE = 120  # characters
#: options of the zoo's command that say how a run was made
OPTIONS: tuple[str, ...] = ("n_timesteps", "env_kwargs", "eval_env_kwargs", "eval_freq", "eval_episodes")
OPTIONS += ("n_eval_envs", "gym_packages", "device", "num_threads", "vec_env", "trained_agent")
NOT_GIVEN: tuple[Any, ...] = (None, "", [], {}, -1)


class Table(NamedTuple):
    """Table of the page.

    :param caption: what it shows
    :param head: names of the columns
    :param rows: the first text of each is its name
    """

    caption: str
    head: list[str]
    rows: list[list[str]]


def runs_table(groups: Sequence[Group]) -> Table:
    """One row for each run: how long it was and how well it did."""
    head = ["run", "folder", "seed", "steps", "time", "best evaluation", "last evaluation", "last training episodes"]
    rows = [
        [
            run_label(group, run),
            run.folder.resolve().name,
            ABSENT if run.seed is None else str(run.seed),
            f"{run.last_step:,}",
            duration(run.seconds),
            _best(run),
            _last(run),
            _training(run),
        ]
        for group in groups
        for run in group.runs
    ]
    return Table("How long each run was, and how well it did (mean ± std of the episodes' returns)", head, rows)


def duration(seconds: float) -> str:
    """A time in words: 42 s, 12 min, 3.4 h."""
    if seconds <= 0:
        return ABSENT
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _best(run: Run) -> str:
    evaluated = run.evaluation_returns()
    return ABSENT if evaluated.empty else f"{say(evaluated.max())} at {int(evaluated.idxmax()):,} steps"


def _last(run: Run) -> str:
    if run.evaluations is None:
        evaluated = run.evaluation_returns()
        return ABSENT if evaluated.empty else say(evaluated.iloc[-1])
    returns = run.evaluations.returns[-1]
    return f"{say(returns.mean())} ± {say(returns.std())}"


def _training(run: Run) -> str:
    last = run.training_returns().tail(10)
    return ABSENT if last.empty else f"{say(last.mean())} ({len(last)} episodes)"


def episodes_table(groups: Sequence[Group]) -> Table | None:
    """Episodes of each run's last evaluation; None if there are none."""
    rows = []
    for group in groups:
        for run in group.runs:
            if (evaluated := run.evaluations) is None:
                continue
            returns, lengths, successes = evaluated.returns[-1], evaluated.lengths, evaluated.successes
            rows.append(
                [
                    run_label(group, run),
                    f"{int(evaluated.timesteps[-1]):,}",
                    "  ".join(say(value) for value in returns[:20]) + (" …" if len(returns) > 20 else ""),
                    ABSENT if lengths is None else f"{lengths[-1].min():,.0f} to {lengths[-1].max():,.0f}",
                    ABSENT if successes is None else f"{successes[-1].mean():.0%}",
                ]
            )
    head = ["run", "after steps", "return of each episode", "lengths", "success"]
    return Table("Episodes of the last evaluation", head, rows) if rows else None


def differences_table(groups: Sequence[Group]) -> Table | None:
    """Settings that are not the same in all groups, and versions; None if there is one group or no difference."""
    settings = [{**setting_of(group.runs[0]), **_versions(group)} for group in groups]
    table = differences(settings) if len(groups) > 1 else {}
    rows = [[name, *map(_text, values)] for name, values in table.items()]
    return (
        Table("What differs between the runs", ["setting", *(group.label for group in groups)], rows) if rows else None
    )


def _versions(group: Group) -> dict[str, str]:
    return {f"version of {name}": version for name, version in group.runs[0].versions.items() if name != "OS"}


def settings_table(groups: Sequence[Group]) -> Table | None:
    """All hyperparameters, and the zoo's options that matter; None if no file says them."""
    settings = []
    for group in groups:
        run = group.runs[0]
        options = {f"--{name.replace('_', '-')}": run.arguments.get(name) for name in OPTIONS}
        settings.append(run.hyperparams | {name: value for name, value in options.items() if value not in NOT_GIVEN})
    return _table("Hyperparameters, and options of the zoo's command", "setting", groups, settings)


def versions_table(groups: Sequence[Group]) -> Table | None:
    """Versions that wrote the agents; None if no saved agent says them."""
    return _table("Versions", "library", groups, [group.runs[0].versions for group in groups])


def _table(caption: str, first: str, groups: Sequence[Group], settings: Sequence[dict[str, Any]]) -> Table | None:
    names = dict.fromkeys(name for setting in settings for name in setting)
    rows = [[name, *(_text(setting.get(name, ABSENT)) for setting in settings)] for name in names]
    return Table(caption, [first, *(group.label for group in groups)], rows) if rows else None


def _text(value: Any) -> str:
    text = str(value)
    return text if len(text) <= MAX_VALUE else f"{text[: MAX_VALUE - 1]}…"
