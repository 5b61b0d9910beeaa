"""Runs on disk: each is written alone; ``pack`` puts them into the three files of a store, which git keeps.

``settings.json``  the settings of each configuration, and each machine with its versions, by a hash of their content
``runs.jsonl``     a line for each run: seed, settings, machine, and the returns of the final episodes in order
``curves.csv``     a row for each evaluation on the way

Everything is sorted: packing the same runs on another machine makes the same bytes.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks._learning.settings import CURVE_COLUMNS, RunSettings
from benchmarks._output import write_atomically

RESULTS = Path(__file__).resolve().parents[1] / "results"
MODES = ("deterministic", "stochastic")
Key = tuple[str, str, int]  #: environment, series, seed
_KEY = ("env", "series", "seed")


@dataclass(frozen=True)
class Run:
    """One run as it is stored.

    :param settings: what was run
    :param meta: ``machine``, ``versions``, ``device``, ``torch_threads``, and what else was noted
    :param final: for each of ``MODES`` the ``return`` and the ``length`` of the final episodes; episode k has the seed
        ``evaluation.FINAL_SEED + k``
    :param curve: a row for each evaluation, with ``CURVE_COLUMNS``
    """

    settings: RunSettings
    meta: dict[str, Any]
    final: dict[str, dict[str, list[float]]]
    curve: list[dict[str, Any]]

    @property
    def key(self) -> Key:
        """The place in a store: a later run with the same key takes its place."""
        return self.settings.env, self.settings.series, self.settings.seed

    @property
    def is_complete(self) -> bool:
        """Whether the last evaluation and all final episodes are there."""
        episodes = [len(self.final.get(mode, {}).get("return", ())) for mode in MODES]
        at_the_end = bool(self.curve) and self.curve[-1]["step"] == self.settings.steps
        return at_the_end and episodes == [self.settings.final_episodes] * len(MODES)


class Store:
    """The runs of one purpose.

    :param folder: of the packed runs; the runs that lie alone are in its folder ``runs``, which git ignores
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, run: Run) -> Path:
        """Store one run, alone, whole or not at all."""
        env, series, seed = run.key
        path = self.folder / "runs" / env.replace("/", "_") / series / f"seed_{seed}.json"
        content = {"settings": run.settings.to_json(), **run.meta, "final": run.final, "curve": run.curve}
        write_atomically(path, json.dumps(content) + "\n")
        return path

    def read(self) -> dict[Key, Run]:
        """Every complete run, in the order of the keys; one that lies alone is newer than a packed one."""
        runs = {run.key: run for run in [*self._packed(), *(run for _, run in self._alone())]}
        return {key: runs[key] for key in sorted(runs)}

    def find(self, wanted: Iterable[RunSettings]) -> list[Run]:
        """The stored runs that were made with these very settings, in their order."""
        stored = {_text(run.settings.to_json()): run for run in self.read().values()}
        return [stored[text] for text in (_text(one.to_json()) for one in wanted) if text in stored]

    def pack(self) -> int:
        """Move the runs that lie alone into the three files; how many there were.

        The settings that the older files refer to stay until all are written, and the runs that lie alone go last: a
        kill in between leaves a store that reads as before.
        """
        before, alone = self._packed(), dict(self._alone())
        runs = list(self.read().values())
        self._write_settings([*before, *runs])
        write_atomically(self.folder / "curves.csv", _curves(runs))
        write_atomically(self.folder / "runs.jsonl", "".join(_line(run) for run in runs))
        self._write_settings(runs)
        for path in alone:
            path.unlink()
        return len(alone)

    def _write_settings(self, runs: list[Run]) -> None:
        content = {
            "settings": dict(sorted((_hash(of), of) for of in map(_shared, runs))),
            "made_on": dict(sorted((_hash(of), of) for of in map(_made_on, runs))),
        }
        write_atomically(self.folder / "settings.json", json.dumps(content, indent=1) + "\n")

    def _packed(self) -> list[Run]:
        if not (self.folder / "runs.jsonl").exists():
            return []
        known = json.loads((self.folder / "settings.json").read_text(encoding="utf-8"))
        curves: dict[Key, list[dict[str, Any]]] = defaultdict(list)
        with (self.folder / "curves.csv").open(newline="", encoding="utf-8") as stream:
            for row in csv.DictReader(stream):
                key = row.pop("env"), row.pop("series"), int(row.pop("seed"))
                curves[key].append({name: _number(name, text) for name, text in row.items()})
        lines = (self.folder / "runs.jsonl").read_text(encoding="utf-8").splitlines()
        return [_from_line(json.loads(line), known, curves) for line in lines]

    def _alone(self) -> Iterator[tuple[Path, Run]]:
        """Complete runs with their files."""
        for path in sorted((self.folder / "runs").glob("*/*/seed_*.json")):
            try:
                content = json.loads(path.read_text(encoding="utf-8"))
                settings, final, curve = (content.pop(name) for name in ("settings", "final", "curve"))
                run = Run(RunSettings(**settings), content, final, curve)
            except (ValueError, KeyError, TypeError) as error:
                print(f"{path} is left out: {error}", file=sys.stderr)
                continue
            if run.is_complete:
                yield path, run


def _shared(run: Run) -> dict[str, Any]:
    """Settings but for the seed: seeds of one series have them in common."""
    return {name: value for name, value in run.settings.to_json().items() if name != "seed"}


def _made_on(run: Run) -> dict[str, Any]:
    return {name: run.meta[name] for name in ("machine", "versions")}


def _line(run: Run) -> str:
    others = {name: value for name, value in run.meta.items() if name not in ("machine", "versions")}
    final = {mode: {name: _short(values) for name, values in run.final[mode].items()} for mode in MODES}
    hashes = {"settings": _hash(_shared(run)), "made_on": _hash(_made_on(run))}
    line = dict(zip(_KEY, run.key, strict=True)) | hashes | others | {"final": final}
    return json.dumps(line, separators=(",", ":")) + "\n"


def _from_line(line: dict[str, Any], known: dict[str, Any], curves: dict[Key, list[dict[str, Any]]]) -> Run:
    env, series, seed = (line.pop(name) for name in _KEY)
    settings = RunSettings(**known["settings"][line.pop("settings")], seed=seed)
    final = line.pop("final")
    for of_mode in final.values():
        for name, values in of_mode.items():
            of_mode[name] = values if isinstance(values, list) else [values] * settings.final_episodes
    return Run(settings, known["made_on"][line.pop("made_on")] | line, final, curves[env, series, seed])


def _number(column: str, text: str) -> float | None:
    if not text:
        return None
    return int(text) if column in ("step", "timesteps") else float(text)


def _short(values: list[float]) -> Any:
    """One number where all are the same, as the lengths of many environments' episodes are."""
    return values[0] if len(set(values)) == 1 else values


def _curves(runs: list[Run]) -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, (*_KEY, *CURVE_COLUMNS), lineterminator="\n", restval="")
    writer.writeheader()
    for run in runs:
        key = dict(zip(_KEY, run.key, strict=True))
        writer.writerows(key | row for row in run.curve)
    return stream.getvalue()


def _hash(content: Any) -> str:
    return hashlib.sha1(_text(content).encode(), usedforsecurity=False).hexdigest()[:8]


def _text(content: Any) -> str:
    return json.dumps(content, sort_keys=True)
