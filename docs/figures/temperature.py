"""Draw how a learned temperature holds the entropy at its target: `docs/images/temperature.png`.

    python docs/figures/temperature.py

It trains for half a minute.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import torch as th
from stable_baselines3.common.logger import configure

from sb3_softac import SoftAC

OUTPUT = Path(__file__).parents[1] / "images" / "temperature.png"
INK, ENTROPY, TEMPERATURE = "#333333", "#3d6b99", "#c8102e"


def log_of_a_run(steps: int = 6000) -> pd.DataFrame:
    """Train on Pendulum-v1.

    :param steps: environment steps
    :return: the log, a row for each episode
    """
    th.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        model = SoftAC("MlpPolicy", "Pendulum-v1", learning_rate=1e-3, seed=0, device="cpu")
        model.set_logger(configure(folder, ["csv"]))
        model.learn(steps, log_interval=1)
        model.logger.close()
        return pd.read_csv(Path(folder) / "progress.csv")


def main() -> None:
    """Draw entropy and target above, the temperature below."""
    log = log_of_a_run()
    figure, (above, below) = plt.subplots(2, 1, figsize=(7, 4.2), dpi=150, sharex=True, layout="constrained")
    steps = log["time/total_timesteps"]
    above.plot(steps, log["train/entropy"], color=ENTROPY, label="entropy of the policy")
    above.plot(steps, log["train/target_entropy"], "--", color=INK, label="target entropy")
    above.set_ylabel("nats")
    above.legend(frameon=False)
    below.plot(steps, log["train/ent_coef"], color=TEMPERATURE, label="temperature")
    below.set(xlabel="environment steps", ylabel="temperature", yscale="log")
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#dddddd", linewidth=0.6)
    figure.savefig(OUTPUT)
    plt.close(figure)


if __name__ == "__main__":
    main()
