"""Make the recorded runs of tests/report/data: short trainings by the zoo, most of them with one thing done wrong.

    python -m tests.tools.record_runs [NAME ...]

What the logs hold is as the trainings wrote it. `Measures` adds metrics that a version of SoftAC does not log itself.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import gymnasium as gym
import torch as th
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback, EvalCallback
from stable_baselines3.common.logger import configure
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.type_aliases import ReplayBufferSamples

DATA = Path(__file__).resolve().parents[1] / "report" / "data"
SMALL = ["policy_kwargs:dict(net_arch=[64,64])", "learning_starts:500"]
PENDULUM = ["--env", "Pendulum-v1", "-n", "8000", "--eval-freq", "800", "--log-interval", "1"]
SHORT = ["--env", "Pendulum-v1", "-n", "3000", "--eval-freq", "600", "--log-interval", "1"]
CAR = ["--env", "MountainCarContinuous-v0", "-n", "12000", "--eval-freq", "3000", "--log-interval", "1"]
ME = "tests.tools.record_runs"

#: name of the run: arguments of the zoo, hyperparameters
RUNS: dict[str, tuple[list[str], list[str]]] = {
    "healthy_1": ([*PENDULUM, "--seed", "1"], []),
    "healthy_2": ([*PENDULUM, "--seed", "2"], []),
    "healthy_3": ([*PENDULUM, "--seed", "3"], []),
    "learning_rate_high": (PENDULUM, ["learning_rate:0.3"]),
    "temperature_high": (PENDULUM, ["ent_coef:50.0"]),
    "target_entropy_high": (PENDULUM, ["ent_coef:'auto'", "ent_coef_learning_rate:0.01", "target_entropy:0.69"]),
    "reward_huge": (PENDULUM, [f"env_wrapper:'{ME}.HugeReward'"]),
    "learns_nothing": (PENDULUM, ["gamma:0.0"]),
    "few_updates": (PENDULUM, ["n_envs:8", "train_freq:8", "gradient_steps:1"]),
    "relapse": (PENDULUM, [f"callback:['{ME}.Measures','{ME}.Relapse']"]),
    "no_target_network": (PENDULUM, ["tau:1.0", "learning_rate:0.01", "gamma:0.999"]),
    "never_arrives": (CAR, ["gamma:0.9", "ent_coef:0.0001", "use_sde:False", f"env_wrapper:'{ME}.Success'"]),
    "saturated": (PENDULUM, [f"env_wrapper:'{ME}.HugeReward'", "ent_coef:0.01", "learning_rate:0.01"]),
    "observations_large": (SHORT, [f"env_wrapper:'{ME}.LargeObservation'"]),
    "rewards_alike": ([*SHORT[2:], "--env", "MountainCar-v0"], []),
    "temperature_slow": (SHORT, ["ent_coef:'auto_20.0'", "ent_coef_learning_rate:1e-6"]),
    "reward_noise": (SHORT, [f"env_wrapper:'{ME}.NoisyReward'", "gamma:0.0", "learning_rate:0.01"]),
    "other_evaluation": ([*PENDULUM, "--eval-env-kwargs", "g:30.0"], []),
}


class HugeReward(gym.RewardWrapper):
    """Rewards in another unit, ten thousand times as large."""

    def reward(self, reward):
        return 1e4 * float(reward)


class NoisyReward(gym.RewardWrapper):
    """Rewards that have nothing to do with what was done."""

    def reward(self, reward):
        return 100 * float(self.np_random.standard_normal())


class LargeObservation(gym.ObservationWrapper):
    """Observations in another unit, a thousand times as large."""

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        space = env.observation_space
        self.observation_space = gym.spaces.Box(1e3 * space.low, 1e3 * space.high, dtype=space.dtype)

    def observation(self, observation):
        return 1e3 * observation


class Success(gym.Wrapper):
    """Reports whether the goal was reached, as environments with goals do."""

    def step(self, action):
        obs, reward, terminated, truncated, info = self.env.step(action)
        return obs, reward, terminated, truncated, {**info, "is_success": terminated}


class Relapse(BaseCallback):
    """A learning rate that is far too high from 6,000 steps on."""

    def _on_step(self) -> bool:
        if self.num_timesteps == 6000:
            self.model.learning_rate = 0.05
        return True


class Measures(BaseCallback):
    """The metrics that SoftAC is to log, on a batch of the replay buffer, before they are written."""

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        model, values = self.model, self.logger.name_to_value
        if model._n_updates == 0 or "train/q_value" in values or not self.locals.get("dones", [False])[0]:
            return
        batch = model.replay_buffer.sample(256)
        measured = {
            "updates_per_step": model._n_updates / model.num_timesteps,
            "obs_min": batch.observations.min(),
            "obs_max": batch.observations.max(),
            "obs_mean": batch.observations.mean(),
            "reward_min": batch.rewards.min(),
            "reward_max": batch.rewards.max(),
            "reward_mean": batch.rewards.mean(),
            "target_entropy": getattr(model.temperature, "_target_entropy", None),
        }
        if isinstance(model.action_space, gym.spaces.Box):
            measured |= self._of_networks(batch)
        for name, value in measured.items():
            if value is not None:
                self.logger.record(f"train/{name}", float(value))

    @th.no_grad()
    def _of_networks(self, batch: ReplayBufferSamples) -> dict[str, th.Tensor]:
        model = self.model
        q = th.cat(model.critic(batch.observations, batch.actions), dim=1)
        next_actions, next_log_pi = model.actor.action_log_prob(batch.next_observations)
        target_critic = getattr(model, "critic_target", None) or model.critic
        next_q = th.cat(target_critic(batch.next_observations, next_actions), dim=1).min(1, keepdim=True)[0]
        soft_value = next_q - model.temperature.alpha() * next_log_pi.view(-1, 1)
        target = batch.rewards + model.gamma * (1 - batch.dones) * soft_value
        actions, log_pi = model.actor.action_log_prob(batch.observations)
        return {
            "entropy": -log_pi.mean(),
            "q_value": q.mean(),
            "q_std": q.mean(1).std(),
            "td_error": (q - target).abs().mean(),
            "critic_disagreement": q.std(1).mean(),
            "saturated_actions": (actions.abs() > 0.99).float().mean(),
        }


def record(name: str) -> None:
    """Train a SoftAC by the zoo and keep its logs."""
    arguments, hyperparams = RUNS[name]
    seed = [] if "--seed" in arguments else ["--seed", "1"]
    params = [*SMALL, *hyperparams]
    if not any(each.startswith("callback:") for each in params):
        params.append(f"callback:'{ME}.Measures'")
    root = Path(__file__).resolve().parents[2]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "rl_zoo3.train", "--algo", "softac", *arguments, *seed, "--num-threads", "1"]
        command += ["--eval-episodes", "5", "-f", "logs", "-params", *params]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root), "TMPDIR": folder}
        subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
        (run,) = (Path(folder) / "logs" / "softac").glob("*_1")
        keep(run, DATA / name)


def record_sac() -> None:
    """Train Stable-Baselines3's SAC by the zoo, and keep its TensorBoard file too."""
    root = Path(__file__).resolve().parents[2]
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "rl_zoo3.train",
            "--algo",
            "sac",
            "--env",
            "Pendulum-v1",
            "-n",
            "4000",
            "--seed",
        ]
        command += ["1", "--eval-freq", "600", "--log-interval", "1", "--eval-episodes", "5", "--num-threads", "1"]
        command += ["-f", "logs", "-tb", "tb", "-params", "policy_kwargs:dict(net_arch=[64,64])"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root), "TMPDIR": folder}
        subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
        keep(Path(folder) / "logs" / "sac" / "Pendulum-v1_1", DATA / "sac")
        shutil.rmtree(DATA / "tensorboard", ignore_errors=True)
        shutil.copytree(Path(folder) / "tb", DATA / "tensorboard")


def record_script() -> None:
    """Train PPO as a script does it: a Monitor, an EvalCallback, and the logger's CSV and JSON."""
    kept = DATA / "ppo_script"
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir()
    model = PPO("MlpPolicy", Monitor(gym.make("CartPole-v1"), str(kept)), seed=1, n_steps=256)
    model.set_logger(configure(str(kept), ["csv", "json"]))
    evaluates = EvalCallback(Monitor(gym.make("CartPole-v1")), log_path=str(kept), eval_freq=1024, verbose=0)
    model.learn(6144, callback=evaluates)


def keep(run: Path, kept: Path) -> None:
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(parents=True)
    for path in [*run.glob("*.csv"), *run.glob("evaluations.npz"), *run.glob("*/args.yml"), *run.glob("*/config.yml")]:
        target = kept / path.relative_to(run)
        target.parent.mkdir(exist_ok=True)
        shutil.copy(path, target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    others = {"sac": record_sac, "ppo_script": record_script}
    parser.add_argument("names", nargs="*", default=[*RUNS, *others])
    for name in parser.parse_args().names:
        print(name, flush=True)
        others[name]() if name in others else record(name)


if __name__ == "__main__":
    main()
