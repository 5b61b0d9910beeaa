"""Log a run of SoftAC to MLflow: an output format for the logger of Stable-Baselines3.

pip install mlflow-skinny; python examples/mlflow_logger.py
"""

import sys
from typing import Any

import mlflow
from stable_baselines3.common.logger import HumanOutputFormat, KVWriter, Logger

from sb3_softac import SoftAC


class MLflowOutputFormat(KVWriter):
    """Writes every number of a log as a metric of the active run of MLflow."""

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        """Write the numbers; histograms and texts are left out.

        :param key_values: values by key
        :param key_excluded: by key, the formats that are not to write it
        :param step: environment steps
        """
        numbers = {key: float(value) for key, value in key_values.items() if isinstance(value, (int, float))}
        mlflow.log_metrics(numbers, step=step)

    def close(self) -> None:
        """Nothing is held."""


def main(total_timesteps: int = 5_000) -> None:
    """Train on Pendulum-v1, with a log on the console and in MLflow.

    :param total_timesteps: environment steps
    """
    model = SoftAC("MlpPolicy", "Pendulum-v1", learning_rate=1e-3, gamma=0.98)
    formats = [HumanOutputFormat(sys.stdout), MLflowOutputFormat()]
    model.set_logger(Logger(folder=None, output_formats=formats))
    with mlflow.start_run():
        mlflow.log_params({name: getattr(model, name) for name in ("learning_rate", "gamma", "batch_size", "tau")})
        model.learn(total_timesteps)


if __name__ == "__main__":
    main()
