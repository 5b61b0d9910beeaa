"""Who takes part, by name."""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass, field
from typing import Any

from benchmarks._algorithms import ALGORITHMS, load_algorithm

#: algorithms that only this benchmark knows
OTHERS = {"sbx": "sbx:SAC", "plain-sac": "benchmarks._speed.plain_sac:PlainSAC"}
#: engines and precisions of SoftAC, as `softac-<name>`
FORMS: dict[str, dict[str, Any]] = {
    "eager": {"engine": "eager"},
    "fused": {"engine": "fused"},
    "cuda_graph": {"engine": "cuda_graph"},
    "compile": {"engine": "compile"},
    "bfloat16": {"precision": "bfloat16"},
}
#: on-policy, or without a `train()` on a batch of a given size
NOT_COMPARABLE = ("ppo",)


class RefusedError(Exception):
    """A contender cannot take part here: not installed, or its constructor refuses the arguments."""


@dataclass(frozen=True)
class Contender:
    """An algorithm with arguments of its own.

    :param name: in the tables
    :param algo: of ``ALGORITHMS`` or ``OTHERS``
    :param arguments: of the constructor, beyond the case's
    """

    name: str
    algo: str
    arguments: dict[str, Any] = field(default_factory=dict)
    checkout: str | None = None  #: another one, whose package takes part; None: this one

    def load(self) -> Any:
        """The class.

        :raises RefusedError: its package is not installed
        """
        if self.checkout is not None:
            sys.path.insert(0, self.checkout)
        try:
            if self.algo in OTHERS:
                module, attribute = OTHERS[self.algo].split(":")
                return getattr(importlib.import_module(module), attribute)
            return load_algorithm(self.algo)
        except ImportError as error:
            raise RefusedError(f"{self.name}: not installed ({error})") from None


def named(name: str, extra: dict[str, Any] | None = None) -> Contender:
    """The contender of a name: an algorithm, ``softac-<engine or precision>``, or ``softac@<another checkout>``."""
    if name.startswith("softac@"):
        return Contender(name, "softac", extra or {}, checkout=name.removeprefix("softac@"))
    known = [*(a for a in ALGORITHMS if a not in NOT_COMPARABLE), *OTHERS, *(f"softac-{f}" for f in FORMS)]
    if name not in known:
        raise ValueError(f"Unknown contender {name!r}; known are {', '.join(known)}.")
    algo, _, form = (name, "", "") if name in OTHERS else name.partition("-")
    arguments = {**(extra or {} if algo == "softac" else {}), **FORMS.get(form, {})}
    return Contender(name, algo, arguments)


def default_names(device: str) -> list[str]:
    """The contenders of the comparison with SB3's SAC."""
    names = ["softac", "softac-eager", "softac-bfloat16", "sbx"]
    return [*names, "plain-sac"] if device.startswith("cuda") else names
