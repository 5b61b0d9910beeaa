"""What does a transition cost that stays on the device, and what does a large run need?

    python -m benchmarks.tensors collecting updates plan   # three minutes; plan reads what the others have written
    python -m benchmarks.tensors collecting --quick        # a look in seconds, into logs/tensors

Writes ``<study>.json`` and ``<study>.md`` for each.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper

from benchmarks import _studies
from benchmarks._output import number
from sb3_softac import SoftAC
from sb3_softac.distributed.planning import Costs, Plan, computed_update_ms, plan, update_flop
from sb3_softac.distributed.tensor_examples import TensorPendulum

RESULTS = Path(__file__).resolve().parent / "results" / "tensors"
SIZES = (1, 10, 100, 1000, 4096)
NETS = {"random": None, "64 x 2": [64, 64], "256 x 2": [256, 256]}
BATCHES = (256, 2048, 8192)
ROUNDS, SECONDS = 5, 0.4


class InNumpy(VecEnvWrapper):
    """Hides that an environment makes steps of tensors, so that every step passes the host."""

    def reset(self) -> Any:
        return self.venv.reset()

    def step_wait(self) -> Any:
        return self.venv.step_wait()


def collecting(quick: bool, device: str = "cpu") -> list[dict[str, Any]]:
    """Microseconds of a transition: on the device and through numpy, in turn.

    :param quick: few sizes, once each
    :param device: of simulator and networks
    """
    sizes, rounds, seconds = ((1, 100), 1, 0.02) if quick else (SIZES, ROUNDS, SECONDS)
    return [
        {"n_envs": n_envs, "actions": actions, **compared(n_envs, actions, rounds, seconds, device)}
        for n_envs in sizes
        for actions in NETS
    ]


def compared(n_envs: int, actions: str, rounds: int, seconds: float, device: str) -> dict[str, list[float]]:
    """Microseconds of a transition, by its way, in turn: ``device_us``, ``numpy_us`` and ``gymnasium_us``.

    :param n_envs: number of environments
    :param actions: a key of :data:`NETS`
    :param rounds: blocks of each way
    :param seconds: of a block, about
    :param device: of simulator and networks
    """
    ways = {
        "device_us": _collector(TensorPendulum(n_envs, device), actions, device),
        "numpy_us": _collector(InNumpy(TensorPendulum(n_envs, device)), actions, device),
        "gymnasium_us": _collector(make_vec_env("Pendulum-v1", n_envs), actions, device),
    }
    n_steps = {name: _steps_in(collect, seconds) for name, collect in ways.items()}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, collect in ways.items():
            times[name].append(round(1e6 * collect(n_steps[name]) / (n_steps[name] * n_envs), 4))
    return times


def _collector(env: VecEnv, actions: str, device: str) -> Callable[[int], float]:
    """A function from a number of steps of all environments to the seconds that these take, without learning."""
    n_random = 10**9 if NETS[actions] is None else 0
    model = SoftAC(
        "MlpPolicy",
        env,
        learning_starts=n_random,
        gradient_steps=0,
        buffer_size=100_000,
        policy_kwargs={"net_arch": NETS[actions] or [64, 64]},
        device=device,
        seed=0,
    )

    def collect(n_steps: int) -> float:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that steps pass the host
            started = time.perf_counter()
            model.learn(n_steps * env.num_envs, log_interval=None)
            return time.perf_counter() - started  # the last episodes were read: nothing waits on the device

    return collect


def _steps_in(collect: Callable[[int], float], seconds: float) -> int:
    """Steps of all environments that take about so long; calling it warms up."""
    collect(2)
    return max(2, min(2000, round(2 * seconds / max(collect(2), 1e-9))))


def updates(quick: bool, device: str = "cpu") -> list[dict[str, Any]]:
    """Milliseconds of a gradient step.

    :param quick: the smallest batch, once
    :param device: of the networks
    """
    batches, rounds, seconds = ((256,), 1, 0.02) if quick else (BATCHES, ROUNDS, SECONDS)
    cases = [(net, batch) for net in NETS if NETS[net] is not None for batch in batches]
    return [_update_row(net, batch, rounds, seconds, device) for net, batch in cases]


def _update_row(net: str, batch: int, rounds: int, seconds: float, device: str) -> dict[str, Any]:
    model = SoftAC(
        "MlpPolicy",
        TensorPendulum(64, device),
        batch_size=batch,
        buffer_size=100_000,
        policy_kwargs={"net_arch": NETS[net]},
        device=device,
        seed=0,
    ).learn(64 * 100)
    started = time.perf_counter()
    model.train(2, batch)
    n_updates = max(1, round(2 * seconds / (time.perf_counter() - started)))
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        model.train(n_updates, batch)  # which reads its metrics, and so waits for the device
        times.append(round(1e3 * (time.perf_counter() - started) / n_updates, 4))
    sizes = [sum(each.numel() for each in network.parameters()) for network in (model.critic, model.actor)]
    return {"net": net, "batch_size": batch, "ms": times, "flop": update_flop(*sizes, batch)}


class Device(NamedTuple):
    """A GPU for gradient steps.

    :param tflops: peak of its products in single precision with TF32 off, from its data sheet
    """

    name: str
    tflops: float


GPUS = (Device("RTX 4090", 82.6), Device("A100", 19.5), Device("H100 SXM", 67.0))
#: microseconds of a transition of a simulator on one core: C++ or a device, a light one in Python, a robot in Python
SIMULATORS = {"fast, 10 us": 10.0, "light, 100 us": 100.0, "slow, 5 ms": 5000.0}
PLANNED_NET, PLANNED_BATCH = "256 x 2", 2048


def planned(quick: bool, folder: Path = RESULTS) -> list[dict[str, Any]]:
    """Plans of runs, from the results of the other studies.

    :param quick: the smallest number of environments alone
    :param folder: of the results
    """
    collected, updated = (
        json.loads((folder / f"{name}.json").read_text())["rows"] for name in ("collecting", "updates")
    )
    acting = {row["n_envs"]: median(row["device_us"]) for row in collected if row["actions"] == PLANNED_NET}
    (row,) = (each for each in updated if (each["net"], each["batch_size"]) == (PLANNED_NET, PLANNED_BATCH))
    learners = {"this core": median(row["ms"])}
    learners |= {gpu.name: computed_update_ms(row["flop"], gpu.tflops) for gpu in GPUS}
    return [
        _plan_row(simulator, n_envs, learner, ms, acting[n_envs])
        for n_envs in (SIZES[1:2] if quick else SIZES[1:])
        for simulator in SIMULATORS
        for learner, ms in learners.items()
    ]


def _plan_row(simulator: str, n_envs: int, learner: str, update_ms: float, collecting_us: float) -> dict[str, Any]:
    made: Plan = plan(Costs(SIMULATORS[simulator], collecting_us, update_ms), n_envs, updates_per_step=2)
    named = {"simulator": simulator, "n_envs": n_envs, "learner": learner, "update_ms": round(update_ms, 3)}
    return named | {
        name: round(value, 3) if isinstance(value, float) else value for name, value in made._asdict().items()
    }


def _ratio(row: dict[str, Any], way: str) -> str:
    return number(median(row[way]) / median(row["device_us"]))


def _spread(times: list[float], digits: int = 2) -> str:
    return f"{number(median(times), digits)} [{number(min(times), digits)}, {number(max(times), digits)}]"


STUDIES = {
    "collecting": _studies.Study(
        "Microseconds of a transition that stays on the device, and of one through numpy",
        collecting,
        (
            ("environments", lambda row: row["n_envs"]),
            ("actions", lambda row: row["actions"]),
            ("on the device", lambda row: _spread(row["device_us"])),
            ("through numpy", lambda row: _spread(row["numpy_us"])),
            ("Gymnasium's", lambda row: _spread(row["gymnasium_us"])),
            ("numpy / device", lambda row: _ratio(row, "numpy_us")),
            ("Gymnasium's / device", lambda row: _ratio(row, "gymnasium_us")),
        ),
        "Pendulum on one core of a CPU: step, action, replay buffer and returns, without learning. *On the device* "
        "and *through numpy* have one simulator, in torch; *Gymnasium's* is `Pendulum-v1` in a `DummyVecEnv`. "
        "*actions* are random, or of an actor of this size. Median of five blocks in turn [least, most].",
    ),
    "updates": _studies.Study(
        "Milliseconds of a gradient step from a replay buffer on the device",
        updates,
        (
            ("hidden layers", lambda row: row["net"]),
            ("batch size", lambda row: row["batch_size"]),
            ("ms", lambda row: _spread(row["ms"])),
            ("GFLOP", lambda row: number(row["flop"] / 1e9, 2)),
        ),
        "Pendulum in torch on one core of a CPU, default engine. Median of five blocks [least, most].",
    ),
    "plan": _studies.Study(
        "Runs with two gradient steps for a step of all environments",
        planned,
        (
            ("environments", lambda row: row["n_envs"]),
            ("simulator, a transition", lambda row: row["simulator"]),
            ("learner", lambda row: row["learner"]),
            ("ms an update", lambda row: number(row["update_ms"], 2)),
            ("transitions a second", lambda row: f"{row['transitions_per_second']:,.0f}"),
            ("learner busy", lambda row: f"{row['learner_busy']:.0%}"),
            ("bottleneck", lambda row: row["bottleneck"]),
            ("then", lambda row: row["next_bottleneck"]),
            ("actors to saturate", lambda row: row["actors"]),
            ("updates that fit", lambda row: row["updates_per_step"]),
        ),
        "Computed by `sb3_softac.distributed.planning.plan`. Measured are the times of acting and storing, and those "
        f"of an update on this core (hidden layers {PLANNED_NET}, batches of {PLANNED_BATCH}). The times of the GPUs "
        "are computed: operations, at 30 % of the peak in single precision, and no less than 0.5 ms. Acting and "
        "storing count as on this core. One actor, beside the learner.",
    ),
}

if __name__ == "__main__":
    _studies.run(__doc__, STUDIES, RESULTS)
