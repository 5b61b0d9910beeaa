"""The programs in examples/ run."""

import functools
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import sb3_softac

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def test_mlflow_gets_the_numbers_of_each_log(monkeypatch):
    """A stand-in for MLflow, of which the example calls three functions."""
    logged: list[tuple[int, dict[str, float]]] = []

    class Run:
        def __enter__(self) -> None:
            logged.clear()

        def __exit__(self, *error: object) -> None:
            pass

    mlflow = SimpleNamespace(
        start_run=Run, log_params=lambda params: None, log_metrics=lambda numbers, step: logged.append((step, numbers))
    )
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    small = {"policy_kwargs": {"net_arch": [16]}, "batch_size": 16, "learning_starts": 760}
    monkeypatch.setattr(sb3_softac, "SoftAC", functools.partial(sb3_softac.SoftAC, **small))
    runpy.run_path(str(EXAMPLES / "mlflow_logger.py"))["main"](total_timesteps=800)
    assert [step for step, _ in logged] == [800]
    assert logged[0][1].keys() >= {"rollout/ep_rew_mean", "train/td_error", "train/ent_coef"}
