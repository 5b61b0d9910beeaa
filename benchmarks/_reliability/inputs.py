"""Bad arguments and damaged files: each is refused by name, in time, and runs no code.

Arguments are drawn one or two at a time from values of every kind. What is taken has to be a value that the argument
allows: the agent learns with it, and shows nothing but finite numbers.
"""

from __future__ import annotations

import base64
import collections
import io
import json
import math
import os
import pickle
import signal
import tempfile
import time
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch as th

from benchmarks._reliability.agents import SMALL, vectors
from sb3_softac import DivergenceError, SoftAC
from sb3_softac.saving.files import SavedFileError
from sb3_softac.settings.model import ARGUMENTS
from sb3_softac.settings.policy import PolicySettings
from sb3_softac.settings.rows import names_of

SECONDS = 20  # after which a call hangs
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 3, 7, 1000, 10**12, 10**30, -(10**30)),
    *(0.0, 0.5, 1.0, -0.5, 1.5, 1e-9, 1e300, math.nan, math.inf, -math.inf),
    *(
        "",
        "auto",
        "auto_0.5",
        "auto_-1",
        "lin_1e-3",
        "lin_x",
        "lin_1_2_3",
        "v1",
        "min",
        "False",
        "1e-3",
        "nonsense",
        "é" * 99,
    ),
    *([], [1], [16.0], [-3], [8, 8], (), (1, "episode"), (3, "minutes"), (0.1, 0.2), (1.0, 0.1)),
    *({}, {"a": 1}, {"pi": [8], "qf": [8]}, {"n_steps": 3, "gamma": 5.0}, {"net_arch": "x"}, {1: 2}),
    *(object(), dict, int, th.nn.ReLU, th.optim.SGD, np.float32(0.5), np.int64(3), np.zeros(3), th.zeros(2), b"x"),
    *(lambda progress: 1e-3, lambda progress: -1.0, lambda progress: math.nan, lambda progress: "x", len, print),
)
#: what may come of arguments
GOOD = ("refused by name", "taken, learns", "taken, diverges and says so")
BUFFER_KEYS = ("handle_timeout_termination", "n_steps", "gamma", "storage", "unknown")


class HangsError(Exception):
    """A call took too long."""


def _ring(number: int, frame: Any) -> None:
    raise HangsError


def arguments(rng: np.random.Generator) -> tuple[dict[str, Any], list[str]]:
    """Arguments of SoftAC with one or two drawn values, and their names."""
    kwargs: dict[str, Any] = dict(SMALL | {"policy_kwargs": {"net_arch": [8]}})
    names = []
    for _ in range(rng.integers(1, 3)):
        value = VALUES[rng.integers(len(VALUES))]
        where = rng.choice(["own", "policy", "buffer"], p=[0.6, 0.3, 0.1])
        if where == "own":
            name = str(rng.choice(ARGUMENTS))
            kwargs[name] = value
        elif where == "policy" and isinstance(kwargs["policy_kwargs"], dict):
            name = str(rng.choice([*names_of(PolicySettings), "unknown"]))
            kwargs["policy_kwargs"] = {**kwargs["policy_kwargs"], name: value}
        else:
            name = str(rng.choice(BUFFER_KEYS))
            kwargs["replay_buffer_kwargs"] = {name: value}
        names += [name, *(str(key) for key in value)] if isinstance(value, dict) else [name]
    return kwargs, names


def try_arguments(count: int, seed: int = 0) -> dict[str, Any]:
    """How many drawn arguments are refused by name, how many are taken and learn, and what is wrong with the others."""
    rng, outcomes, wrong = np.random.default_rng(seed), collections.Counter(), []
    signal.signal(signal.SIGALRM, _ring)
    for _ in range(count):
        kwargs, names = arguments(rng)
        outcome = _outcome(kwargs, names)
        outcomes[outcome.split(":")[0]] += 1
        if outcome.split(":")[0] not in GOOD:
            wrong.append(f"{outcome}  { ({name: kwargs.get(name, '...') for name in names})!r}"[:300])
            print(wrong[-1], flush=True)
    return {"tried": count, **outcomes, "wrong": wrong}


def _outcome(kwargs: dict[str, Any], names: list[str]) -> str:
    signal.alarm(SECONDS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = SoftAC("MlpPolicy", vectors(3), **kwargs).learn(70)
        is_finite = all(bool(each.isfinite().all()) for each in model.policy.parameters())
        return "taken, learns" if is_finite else "taken, not finite"
    except DivergenceError:
        return "taken, diverges and says so"
    except ValueError as error:
        named = any(name in str(error) for name in names) or "policy_kwargs" in str(error)
        return "refused by name" if named else f"refused by no name: {error}"
    except HangsError:
        return "hangs"
    except Exception as error:
        return f"crashes: {type(error).__name__}: {error}"
    finally:
        signal.alarm(0)


# Files


class _Runs:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (self.path,)


def damaged(content: bytes, rng: np.random.Generator, trap: str) -> bytes:
    """A file that is cut, flipped, or rewritten by somebody."""
    kind = rng.integers(6)
    if kind == 0:
        return content[: rng.integers(len(content))]
    if kind == 1:
        flipped = bytearray(content)
        for position in rng.integers(len(content), size=rng.integers(1, 20)):
            flipped[position] ^= 1 << int(rng.integers(8))
        return bytes(flipped)
    if kind == 2:
        start = int(rng.integers(len(content)))
        return content[:start] + rng.bytes(int(rng.integers(1, 2000))) + content[start:]
    return rewritten(content, rng, trap)


def rewritten(content: bytes, rng: np.random.Generator, trap: str) -> bytes:
    """A file with an entry or an attribute that somebody put there, and without the checksums that would tell."""
    code = pickle.dumps(_Runs(trap))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = {name: archive.read(name) for name in archive.namelist() if name != "softac.json"}
    if rng.random() < 0.6:
        data = json.loads(entries["data"])
        hostile: list[Any] = [
            {":serialized:": base64.b64encode(code).decode()},
            {":": "class", "name": "os.system"},
            {":": "ndarray", "dtype": "<f8", "shape": [10**14], "data": ""},
            {":": "Discrete", "n": 10**15, "start": 0},
            *VALUES[:40],
        ]
        name = str(rng.choice(sorted(data)))
        data[name] = hostile[rng.integers(len(hostile))]
        if rng.random() < 0.2:
            del data[name]
        entries["data"] = json.dumps(data).encode()
    else:
        name = str(rng.choice(sorted(entries)))
        choices = [code, b"", bytes(10**6), entries[name][:-10], entries["policy.pth"], b"[" * 10_000]
        entries[name] = choices[rng.integers(len(choices))]
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED if rng.random() < 0.3 else zipfile.ZIP_STORED) as archive:
        for name, each in entries.items():
            archive.writestr(name, each)
    return file.getvalue()


def try_files(count: int, seed: int = 0) -> dict[str, Any]:
    """How many damaged files are refused with their name, how many act all the same, and what is wrong else."""
    rng, outcomes, wrong = np.random.default_rng(seed), collections.Counter(), []
    signal.signal(signal.SIGALRM, _ring)
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = Path(name)
        SoftAC("MlpPolicy", vectors(3), **SMALL).learn(70).save(folder / "whole.zip")
        content = (folder / "whole.zip").read_bytes()
        for number in range(count):
            path = folder / f"file{number}.zip"
            path.write_bytes(damaged(content, rng, str(folder / "ran")))
            outcome = _outcome_of_file(path, folder / "ran")
            outcomes[outcome.split(":")[0]] += 1
            if outcome.split(":")[0] not in ("refused by name", "read, acts"):
                wrong.append(outcome[:300])
                print(number, wrong[-1], flush=True)
            path.unlink()
    return {"tried": count, **outcomes, "wrong": wrong}


def _outcome_of_file(path: Path, trap: Path) -> str:
    signal.alarm(SECONDS)
    begin = time.monotonic()
    try:
        model = SoftAC.load(path)
        model.predict(np.zeros(3, np.float32))
        outcome = "read, acts"
    except SavedFileError as error:
        outcome = "refused by name" if path.name in str(error) else f"refused by no name: {error}"
    except HangsError:
        outcome = "hangs"
    except Exception as error:
        outcome = f"crashes: {type(error).__name__}: {error}"
    finally:
        signal.alarm(0)
    if trap.exists():
        trap.rmdir()
        return "runs code"
    return "hangs" if time.monotonic() - begin > SECONDS else outcome
