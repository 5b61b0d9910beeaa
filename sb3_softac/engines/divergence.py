"""Ends a training that has diverged, and keeps what is needed to find out why."""

import json
import math
import tempfile
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch as th

from sb3_softac.updates.batch import Batch, named_tensors

# To look at all parameters and to copy them costs up to an update, where networks are small. Older ones are no worse:
# those just before a loss overflows are finite, and spoilt.
UPDATES_BETWEEN_COPIES = 1000
# Batches of one training that are kept until the next: references, which keep the memory of what is large.
KEPT_BYTES = 16_000_000
# From here on observations or rewards are named as a probable cause.
LARGE = 1e3
BATCH_FILE, PARAMETERS_FILE, REPORT_FILE = "batch.pt", "last_good_parameters.pt", "report.json"


class DivergenceError(ValueError):
    """Learning has diverged: a loss or a parameter is not finite.

    :param message: for the user
    :param folder: where batch, last good parameters and report are; None: they could not be written
    """

    def __init__(self, message: str, folder: Path | None = None) -> None:
        super().__init__(message)
        self.folder = folder


@dataclass
class DivergenceWatch:
    """Keeps the last batches and, from time to time, a copy of the parameters; says what is known when asked."""

    _batches: deque[tuple[int, Batch]] = field(default_factory=deque)
    _n_kept: int = 0  #: batches of one training; 0: to be found out
    _good: dict[str, th.Tensor] = field(default_factory=dict)  #: by name; empty: none yet
    _good_at: int = 0  #: gradient steps that these parameters have had

    def begin(self, policy: th.nn.Module, n_updates: int) -> bool:
        """Look at the parameters before a training, seldom enough to cost nothing.

        :param policy: all networks
        :param n_updates: gradient steps done in the whole run
        :return: whether they are finite, as far as is known
        """
        if not self._good or not 0 <= n_updates - self._good_at < UPDATES_BETWEEN_COPIES:
            if not all_finite(policy.parameters()):
                return False
            self._keep(policy.state_dict())
            self._good_at, self._n_kept = n_updates, 0
        self._batches.clear()
        return True

    def see(self, batch: Batch, n_updates: int) -> None:
        """Remember a batch.

        :param batch: of the next gradient step
        :param n_updates: gradient steps done in the whole run, that one included
        """
        if self._n_kept == 0:
            self._n_kept = max(1, KEPT_BYTES // max(1, sum(tensor.nbytes for tensor in batch.tensors())))
        elif len(self._batches) >= self._n_kept:
            self._batches.popleft()
        self._batches.append((n_updates, batch))

    def last_batch(self) -> Batch | None:
        """The batch of the last gradient step; None before the first, and in a model that was loaded."""
        return self._batches[-1][1] if self._batches else None

    def _keep(self, tensors: dict[str, th.Tensor]) -> None:
        layout = [(name, tensor.shape, tensor.dtype, tensor.device) for name, tensor in tensors.items()]
        if layout != [(name, own.shape, own.dtype, own.device) for name, own in self._good.items()]:
            self._good = {name: th.empty_like(tensor) for name, tensor in tensors.items()}
        with th.no_grad():
            th._foreach_copy_(list(self._good.values()), list(tensors.values()))

    def error(
        self,
        metrics: dict[str, float],
        policy: th.nn.Module,
        temperature_has_run_away: bool,
        folder: str | None,
        n_updates: int,
    ) -> DivergenceError:
        """Error that tells all that is known of a training that has diverged, and writes it to files.

        :param metrics: of the training, in the order in which an update computes them
        :param policy: all networks
        :param temperature_has_run_away: whether the learned temperature has
        :param folder: of the run's logs, in which a new one is made; None: in the system's folder for temporary files
        :param n_updates: gradient steps done in the whole run
        """
        step, batch, in_batch = self._worst_batch(n_updates)
        in_metrics = [name for name, value in metrics.items() if not math.isfinite(value)]
        in_parameters = [name for name, tensor in policy.named_parameters() if not all_finite([tensor])]
        # A batch comes before the losses, and they before the parameters that learn from them.
        found = [*(f"the batch's {name}" for name in in_batch), *(f"the metric `{name}`" for name in in_metrics)]
        found += [f"the parameter `{name}`" for name in in_parameters]
        first_seen = self._batches[0][0] if self._batches else n_updates
        steps = f"{step}" if in_batch or first_seen == n_updates else f"{first_seen} to {n_updates}"  # means of several
        ranges = {} if batch is None else {name: _range(tensor) for name, tensor in named_tensors(batch)}
        report = {
            "not_finite": found,
            "gradient_steps": steps,
            "metrics": {name: _jsonable(value) for name, value in metrics.items()},
            "ranges": ranges,
            "last_good_parameters_after": self._good_at if self._good else None,
        }
        written = self._write(folder, batch, report)
        message = (
            f"After {n_updates} gradient steps learning has diverged. The first that is not finite is "
            f"{found[0] if found else 'not known'}, in gradient step {steps}. "
            f"{remedy(in_batch, temperature_has_run_away, ranges)} Load the last checkpoint. "
            f"In that batch: {_described(ranges)}. {self._described_files(written)}"
        )
        return DivergenceError(message, written)

    def _worst_batch(self, n_updates: int) -> tuple[int, Batch | None, list[str]]:
        """The first batch with numbers that are not finite, else the last; with its step, and what is not finite."""
        for step, batch in self._batches:
            names = [name for name, tensor in named_tensors(batch) if not all_finite([tensor])]
            if names:
                return step, batch, names
        return (*self._batches[-1], []) if self._batches else (n_updates, None, [])

    def _write(self, parent: str | None, batch: Batch | None, report: dict[str, Any]) -> Path | None:
        try:
            folder = _new_folder(parent)
            if batch is not None:
                th.save(
                    {name: tensor.detach().cpu().clone() for name, tensor in named_tensors(batch)}, folder / BATCH_FILE
                )
            if self._good:
                th.save({"policy": {name: own.cpu() for name, own in self._good.items()}}, folder / PARAMETERS_FILE)
            (folder / REPORT_FILE).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        except (OSError, RuntimeError):  # a full disk must not hide why the run has ended
            return None
        return folder

    def _described_files(self, folder: Path | None) -> str:
        if folder is None:
            return "Batch and parameters could not be written to a file"
        files = f"The batch ({BATCH_FILE}) and what is known ({REPORT_FILE}) are in {folder}"
        if not self._good:
            return files
        return (
            f"{files}, with the parameters after {self._good_at} gradient steps, which were finite: "
            f"`SoftAC(...).set_parameters(torch.load({str(folder / PARAMETERS_FILE)!r}), exact_match=False)`"
        )


def remedy(in_batch: list[str], temperature_has_run_away: bool, ranges: dict[str, dict[str, Any]]) -> str:
    """Advice, by what was found.

    :param in_batch: parts of the batch that are not finite
    :param temperature_has_run_away: whether the learned temperature has
    :param ranges: of the parts of the batch
    """
    if in_batch:
        return (
            "Steps are looked at before they are stored, so this came another way: in a replay buffer that was loaded "
            "or that has a class of its own, or by the statistics of a `VecNormalize`. Begin with others."
        )
    if temperature_has_run_away:
        return (
            "The learned temperature, `ent_coef`, grew beyond all bounds: the policy cannot be as random as "
            "`target_entropy` asks for. Ask for less, bound it (`ent_coef_bounds`), or fix it."
        )
    advice = ["Lower `learning_rate`, or clip gradients (`max_grad_norm=1.0`)."]
    sizes = {name: max(abs(float(part["min"])), abs(float(part["max"]))) for name, part in ranges.items()}
    if sizes.get("reward", 0.0) > LARGE:
        advice.insert(0, "The rewards are large: scale them (`reward_scale`, or `VecNormalize(env)`).")
    if any(size > LARGE for name, size in sizes.items() if name.startswith("obs")):
        advice.insert(0, "The observations are large: normalise them (`policy_kwargs=dict(normalize_obs=True)`).")
    return " ".join(advice)


def all_finite(tensors: Iterable[th.Tensor]) -> bool:
    """Whether all numbers are finite, in one transfer from the device.

    :param tensors: of one device; those of integers count as finite
    """
    numbers = [tensor for tensor in tensors if tensor.is_floating_point() and tensor.numel() > 0]
    if not numbers:
        return True
    with th.no_grad():
        return bool(th.stack(th._foreach_norm(numbers, ord=math.inf)).isfinite().all())


def _range(tensor: th.Tensor) -> dict[str, Any]:
    numbers = tensor.detach().float()
    finite = numbers[numbers.isfinite()]
    low, high = (finite.min().item(), finite.max().item()) if len(finite) else (math.nan, math.nan)
    return {"min": _jsonable(low), "max": _jsonable(high), "not_finite": numbers.numel() - finite.numel()}


def _jsonable(value: float) -> float | str:
    """JSON has no word for what is not finite."""
    return value if math.isfinite(value) else repr(value)


def _described(ranges: dict[str, dict[str, Any]]) -> str:
    shown = {name: part for name, part in ranges.items() if not name.startswith(("next_obs", "done", "discount"))}
    parts = [
        f"{name} from {part['min']:.4g} to {part['max']:.4g}" for name, part in shown.items() if part["min"] != "nan"
    ]
    return ", ".join(parts) or "nothing finite"


def _new_folder(parent: str | None) -> Path:
    if parent is not None:
        try:
            return Path(tempfile.mkdtemp(prefix="diverged_", dir=parent))
        except OSError:  # it was removed, or cannot be written
            pass
    return Path(tempfile.mkdtemp(prefix="softac_diverged_"))
