"""Rollouts on a device: nothing passes the host, and what is learned is right."""

import sys
import warnings
from contextlib import contextmanager

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback, EvalCallback, StopTrainingOnMaxEpisodes
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.vec_env import VecEnvWrapper, VecMonitor

from sb3_softac import BadStepError, DivergenceError, SoftAC
from sb3_softac.buffers import SingleCopyReplayBuffer, TensorReplayBuffer
from sb3_softac.buffers.returns import RunningReturns
from sb3_softac.collecting.tensor_episodes import STEPS_BETWEEN_READINGS, TensorEpisodes
from sb3_softac.collecting.tensor_explore import TensorExplorer
from sb3_softac.distributed import TensorStep, TensorVecEnv
from sb3_softac.distributed.tensor_examples import TensorCartPole, TensorPendulum
from tests.helpers import SMALL, SMALL_DICT, parameters_of

N_ENVS = 4
#: methods of a tensor by which a number leaves its device
TO_HOST = ("item", "cpu", "numpy", "tolist", "__bool__", "__float__", "__int__", "__index__", "__array__", "nonzero")


@contextmanager
def counted_transfers():
    """Context manager that gives a list, in which every transfer from the device is named."""
    found, patches = [], pytest.MonkeyPatch()
    for name in TO_HOST:
        original = getattr(th.Tensor, name)

        def noted(self, *args, _name=name, _original=original, **kwargs):
            if (
                not sys._getframe(1).f_globals["__name__"].startswith("torch.optim")
            ):  # Adam counts its steps on the host
                found.append(_name)
            return _original(self, *args, **kwargs)

        patches.setattr(th.Tensor, name, noted)
    try:
        yield found
    finally:
        patches.undo()


class Script(TensorVecEnv):
    """Environments whose observation is the number of the step, in both keys of a Dict if it has them."""

    def __init__(self, space=None, has_final_obs=True, action_space=None):
        self.time, self.space = 0, space or spaces.Box(-np.inf, np.inf, (2,))
        self.actions, self.has_final_obs = [], has_final_obs
        super().__init__(N_ENVS, self.space, action_space or spaces.Box(-2.0, 6.0, (1,)))

    def observed(self, time):
        if isinstance(self.space, spaces.Dict):
            return {key: th.full((N_ENVS, *part.shape), float(time)) for key, part in self.space.items()}
        return th.full((N_ENVS, 2), float(time))

    def reset_tensors(self):
        self.time = 0
        return self.observed(0)

    def step_tensors(self, actions):
        self.actions.append(actions.clone())
        self.time += 1
        index = th.arange(N_ENVS)
        truncated, terminated = (index == 0) & (self.time % 5 == 0), (index == 1) & (self.time % 3 == 0)
        final = self.observed(self.time + 0.5) if self.has_final_obs else None
        return TensorStep(self.observed(self.time), 1.0 * index, terminated, truncated, final, index == 1)


#: of the trainings where only steps matter: one in ten
SELDOM = {"train_freq": 10}


def model_of(env, **kwargs):
    return SoftAC("auto", env, **(SMALL | {"buffer_size": 4000, "seed": 0, "device": "cpu"} | kwargs))


# Nothing passes the host


@pytest.mark.parametrize("kwargs", [{}, {"n_steps": 3}, {"policy_kwargs": {"normalize_obs": True, "net_arch": [16]}}])
@pytest.mark.parametrize("env", [TensorPendulum, TensorCartPole])
def test_no_number_leaves_the_device_between_two_readings(env, kwargs):
    """The first steps and updates set things up; the first reading is at step 100."""

    class Count(BaseCallback):
        found = None

        def _on_step(self):
            if self.n_calls == 60:
                self.transfers = counted_transfers()
                self.found = self.transfers.__enter__()
            elif self.n_calls == 90:
                self.transfers.__exit__(None, None, None)
                self.found = list(self.found)
            return True

    count = Count()
    model = model_of(env(N_ENVS), engine="eager", **kwargs).learn(100 * N_ENVS, count)
    assert model._n_updates > 90
    assert count.found == []


def test_transfers_are_counted():
    with counted_transfers() as found:
        assert float(th.ones(1)) == 1.0
        th.ones(1).item()
        assert th.ones(1)
    assert found == ["__float__", "item", "__bool__"]
    th.ones(1).item()
    assert len(found) == 3


def test_a_reading_comes_every_hundred_steps_and_at_the_end():
    model = model_of(TensorPendulum(N_ENVS), **SELDOM)
    read, times = model._read_device, []
    model._read_device = lambda interval: (times.append(model.num_timesteps // N_ENVS), read(interval))
    model.learn(250 * N_ENVS)
    assert times == [100, 200, 250]


# What is stored


@pytest.mark.parametrize("in_dict", [False, True], ids=["Box", "Dict"])
def test_transitions_are_stored_with_the_last_observations(in_dict):
    part = spaces.Box(-np.inf, np.inf, (2,))
    env = Script(spaces.Dict({"a": part, "b": part}) if in_dict else None)
    buffer = model_of(env, learning_starts=10_000).learn(10 * N_ENVS).replay_buffer
    assert isinstance(buffer, TensorReplayBuffer)
    obs, next_obs = buffer.observations, buffer.next_observations
    obs, next_obs = (obs["b"], next_obs["b"]) if in_dict else (obs, next_obs)
    times = np.arange(10.0)
    assert np.array_equal(obs[:10, :, 0], np.repeat(times[:, None], N_ENVS, 1))
    expected = np.repeat(times[:, None] + 1.0, N_ENVS, 1)
    expected[[4, 9], 0] += 0.5
    expected[[2, 5, 8], 1] += 0.5
    assert np.array_equal(next_obs[:10, :, 0], expected)
    assert buffer.dones[:10].nonzero().tolist() == [[2, 1], [4, 0], [5, 1], [8, 1], [9, 0]]
    assert buffer.timeouts[:10].nonzero().tolist() == [[4, 0], [9, 0]]
    assert buffer.rewards[0].tolist() == [0.0, 1.0, 2.0, 3.0]


def test_actions_are_stored_as_the_networks_have_them_and_reach_the_simulator_in_its_bounds():
    env = Script()
    model = model_of(env, learning_starts=20 * N_ENVS).learn(40 * N_ENVS)
    stored = th.as_tensor(model.replay_buffer.actions[:40])
    taken = th.stack(env.actions)
    th.testing.assert_close(taken, 2.0 + 4.0 * stored)
    assert stored[:20].min() < -0.8
    assert stored[:20].max() > 0.8


def test_a_simulator_may_write_into_the_memory_of_its_last_observation():
    class InPlace(Script):
        def observed(self, time):
            if not hasattr(self, "memory"):
                self.memory = th.zeros(N_ENVS, 2)
            return self.memory.fill_(float(time))

    model = model_of(InPlace(has_final_obs=False), learning_starts=10_000)
    with pytest.warns(UserWarning, match="no last observation"):
        model.learn(6 * N_ENVS)
    assert model.replay_buffer.observations[:6, 0, 0].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]


def test_without_last_observations_a_time_limit_is_a_terminal_state_and_one_warning_says_so():
    model = model_of(Script(has_final_obs=False), learning_starts=10_000)
    with pytest.warns(UserWarning, match="gave no last observation") as caught:
        model.learn(250 * N_ENVS)
    assert len(caught) == 1
    buffer = model.replay_buffer
    assert not buffer.timeouts.any()
    assert bool(buffer.dones[4, 0])


def test_a_new_learn_begins_new_episodes():
    model = model_of(TensorPendulum(N_ENVS), learning_starts=10_000).learn(10 * N_ENVS)
    model.learn(10 * N_ENVS, reset_num_timesteps=False)
    assert not model.replay_buffer.timeouts.any()
    model.learn(10 * N_ENVS)
    assert model.replay_buffer.timeouts.nonzero()[:, 0].unique().tolist() == [19]
    assert not model.replay_buffer.dones.any()


# Exploring


def test_random_actions_are_spread_evenly():
    policy = model_of(Script()).policy
    actions = TensorExplorer(policy).random(th.zeros(1), 4000)
    assert actions.stored.mean() == pytest.approx(0.0, abs=0.05)
    assert actions.stored.var() == pytest.approx(1.0 / 3.0, abs=0.02)
    assert actions.for_env.shape == (4000, 1)


@pytest.mark.parametrize(
    ("space", "sizes"),
    [(spaces.Discrete(3), [3]), (spaces.MultiDiscrete([2, 3]), [2, 3])],
    ids=["Discrete", "MultiDiscrete"],
)
def test_random_ids_are_those_that_a_mask_allows(space, sizes):
    mask_space = spaces.Dict({"action_mask": spaces.MultiBinary(sum(sizes)), "a": spaces.Box(-1.0, 1.0, (2,))})
    policy = SoftAC("auto", Script(mask_space, action_space=space), **SMALL_DICT).policy
    explorer = TensorExplorer(policy)
    masks = th.ones(1000, sum(sizes))
    masks[:, -1] = 0
    masks[:500, 0] = 0
    ids = explorer.random({"action_mask": masks}, 1000).stored
    assert ids.shape == (1000, len(sizes))
    assert ids[:, -1].max() == sizes[-1] - 2
    assert ids[:500, 0].min() == 1
    assert ids[500:, 0].min() == 0
    assert explorer.random({}, 1000).stored[:, -1].max() == sizes[-1] - 1


@pytest.mark.parametrize("space", [spaces.Discrete(3), spaces.MultiDiscrete([2, 3])], ids=["Discrete", "MultiDiscrete"])
def test_ids_have_the_shape_that_gymnasium_gives_them(space):
    env = Script(action_space=space)
    model_of(env).learn(100)
    assert {tuple(actions.shape) for actions in env.actions} == {(N_ENVS, *np.shape(space.sample()))}


def test_gsde_draws_its_weights_as_in_stable_baselines3():
    model = model_of(TensorPendulum(N_ENVS), use_sde=True, sde_sample_freq=3, train_freq=8)
    reset, draws = model.policy.reset_noise, []
    model.policy.reset_noise = lambda n: (draws.append(model.num_timesteps // N_ENVS), reset(n))
    model.learn(16 * N_ENVS)
    assert draws == [0, 3, 6, 8, 11, 14]


# Episodes and logs


def test_returns_and_lengths_are_those_of_the_episodes():
    model = model_of(Script(), learning_starts=10_000).learn(30 * N_ENVS)
    infos = list(model.ep_info_buffer)
    assert len(infos) == model._episode_num == 6 + 10
    assert {(info["r"], info["l"]) for info in infos} == {(0.0, 5), (3.0, 3)}
    assert sorted(model.ep_success_buffer) == [False] * 6 + [True] * 10


def test_success_is_a_return_where_the_environment_does_not_say_it():
    model = model_of(TensorCartPole(N_ENVS), success_return=25.0, **SELDOM).learn(200 * N_ENVS)
    returns = [info["r"] >= 25.0 for info in model.ep_info_buffer]
    assert list(model.ep_success_buffer) == returns
    assert len(set(returns)) == 2


def test_episodes_whose_beginning_nobody_has_seen_are_left_out():
    episodes = TensorEpisodes(2, "cpu")
    episodes.begin(is_reset=False)
    step = TensorStep(th.zeros(2, 1), th.ones(2), th.tensor([True, False]))
    for _ in range(3):
        episodes.add(step, step.ended())
    assert episodes.read() == [{"episode": {"r": 1.0, "l": 1}}] * 2
    assert episodes.read() == []


def test_it_is_full_after_the_steps_between_two_readings():
    episodes = TensorEpisodes(2, "cpu")
    step = TensorStep(th.zeros(2, 1), th.ones(2), th.zeros(2, dtype=th.bool))
    for _ in range(STEPS_BETWEEN_READINGS):
        assert not episodes.is_full()
        episodes.add(step, step.ended())
    assert episodes.is_full()


def test_logs_have_returns_and_metrics(tmp_path):
    from stable_baselines3.common.logger import configure

    model = model_of(TensorPendulum(N_ENVS), **SELDOM)
    model.set_logger(configure(str(tmp_path), ["csv"]))
    model.learn(450 * N_ENVS)
    model.logger.close()
    lines = (tmp_path / "progress.csv").read_text().splitlines()
    assert {"rollout/ep_rew_mean", "train/critic_loss", "train/entropy", "time/fps"} <= set(lines[0].split(","))
    assert len(lines) == 1 + 2  # episodes end at steps 200 and 400


@pytest.mark.parametrize("interval", [None, 1000])
def test_few_episodes_or_no_interval_give_no_logs(interval):
    model = model_of(TensorPendulum(N_ENVS), **SELDOM)
    model.dump_logs = lambda: pytest.fail("a log was written")
    assert model.learn(250 * N_ENVS, log_interval=interval)._episode_num == N_ENVS


def test_callbacks_are_called_at_every_step_and_may_end_the_training():
    stop = StopTrainingOnMaxEpisodes(max_episodes=2)
    model = model_of(TensorPendulum(N_ENVS), **SELDOM)
    model.learn(1000 * N_ENVS, stop)
    assert (stop.n_calls, model.num_timesteps) == (400, 400 * N_ENVS)


def test_evaluations_run_beside_it(tmp_path):
    evaluate = EvalCallback(
        TensorPendulum(2), eval_freq=50, n_eval_episodes=2, best_model_save_path=str(tmp_path), verbose=0, warn=False
    )
    model = model_of(TensorPendulum(N_ENVS)).learn(110 * N_ENVS, evaluate)
    assert len(evaluate.evaluations_results) == 0
    assert evaluate.best_mean_reward > -np.inf
    loaded = SoftAC.load(tmp_path / "best_model.zip", env=TensorPendulum(N_ENVS))
    assert loaded.learn(10 * N_ENVS).num_timesteps == 10 * N_ENVS
    assert model._last_obs is not None


# Learning


def test_learning_is_the_same_as_through_the_host_but_for_the_random_numbers():
    """Equal batches and equal noise: then the networks are equal, too."""

    class OnHost(VecEnvWrapper):
        def reset(self):
            return self.venv.reset()

        def step_wait(self):
            return self.venv.step_wait()

    device = model_of(TensorPendulum(N_ENVS), learning_starts=10_000).learn(50 * N_ENVS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        host = model_of(OnHost(TensorPendulum(N_ENVS)), learning_starts=10_000, replay_buffer_class=TensorReplayBuffer)
        host.learn(1)
    host.replay_buffer = device.replay_buffer
    for model in (device, host):
        th.manual_seed(1)
        model.train(20, 16)
    ours, theirs = parameters_of(device), parameters_of(host)
    assert all(th.equal(value, theirs[name]) for name, value in ours.items())


def test_a_seed_gives_the_same_agent():
    first, second = (parameters_of(model_of(TensorPendulum(N_ENVS)).learn(60 * N_ENVS)) for _ in range(2))
    assert all(th.equal(value, second[name]) for name, value in first.items())


def test_it_goes_on_exactly_from_a_checkpoint(tmp_path):
    whole = model_of(TensorPendulum(N_ENVS))
    whole.learn(70 * N_ENVS)
    saved = whole.save_checkpoint(tmp_path)
    assert saved.is_exact, saved.reasons
    whole.learn(50 * N_ENVS, reset_num_timesteps=False)
    resumed = SoftAC.load_checkpoint(tmp_path, TensorPendulum(N_ENVS))
    assert isinstance(resumed.replay_buffer, TensorReplayBuffer)
    resumed.learn(50 * N_ENVS, reset_num_timesteps=False)
    ours, theirs = parameters_of(whole), parameters_of(resumed)
    assert all(th.equal(value, theirs[name]) for name, value in ours.items())


def test_the_agent_takes_tensors_and_can_be_saved_in_the_middle(tmp_path):
    class Save(BaseCallback):
        def _on_step(self):
            if self.n_calls == 30:
                action, _ = self.model.predict(self.model._last_obs, deterministic=True)
                assert action.shape == (N_ENVS, 1)
                self.model.save(tmp_path / "agent.zip")
            return True

    model_of(TensorPendulum(N_ENVS)).learn(40 * N_ENVS, Save())
    assert SoftAC.load(tmp_path / "agent.zip").num_timesteps == 30 * N_ENVS


def test_learning_offline_reads_its_metrics():
    model = model_of(TensorPendulum(N_ENVS)).learn(40 * N_ENVS)
    model._metrics = {}
    model.learn_offline(20)
    assert model._metrics["critic_loss"] > 0.0


def test_rewards_are_divided_by_the_returns_of_the_episodes():
    """Environment 1 collects 1 a step for three steps, then begins again: G is 1, 1.5, 1.75, with gamma 0.5."""
    model = model_of(Script(), normalize_rewards=True, gamma=0.5, learning_starts=8 * N_ENVS, **SELDOM)
    model.learn(250 * N_ENVS)
    model.learn(10 * N_ENVS, reset_num_timesteps=False)
    returns = model._running_returns
    expected = RunningReturns(N_ENVS)
    rewards, dones = (values[:260].numpy() for values in (model.replay_buffer.rewards, model.replay_buffer.dones))
    for each in zip(rewards, dones, strict=True):
        expected.see(*each, 0.5)
    assert returns.statistics.count == 260 * N_ENVS
    assert returns.divisor() == pytest.approx(expected.divisor(), rel=1e-6)
    assert returns.largest == pytest.approx(6.0)  # of environment 3, which never ends


def test_noise_is_held():
    model = model_of(Script(), noise_repeat=16, learning_starts=0, gradient_steps=0)
    model.learn(200 * N_ENVS)
    actions = th.stack(model.env.actions)[:, 0]
    noise = actions - actions.mean()
    together = (noise[1:] * noise[:-1]).mean() / noise.square().mean()
    assert together > 0.3


def test_a_small_buffer_is_read_before_it_is_overwritten():
    model = model_of(Script(), buffer_size=20 * N_ENVS, learning_starts=10_000)
    read, times = model._read_device, []
    model._read_device = lambda interval: (times.append(model.num_timesteps // N_ENVS), read(interval))
    model.learn(50 * N_ENVS)
    assert times == [20, 40, 50]


@pytest.mark.slow
def test_pendulum_is_learned():
    model = SoftAC("MlpPolicy", TensorPendulum(64), learning_rate=1e-3, gradient_steps=8, seed=0, learning_starts=640)
    model.learn(64 * 1000)
    assert np.mean([info["r"] for info in list(model.ep_info_buffer)[-64:]]) > -250.0


# What cannot be learned from, and what passes the host


def test_a_number_that_is_not_finite_ends_the_training_at_the_next_reading():
    class Broken(Script):
        def step_tensors(self, actions):
            step = super().step_tensors(actions)
            return step._replace(rewards=step.rewards * th.nan) if self.time == 30 else step

    model = model_of(Broken(), learning_starts=10_000)
    with pytest.raises(BadStepError, match="In the last 100 steps up to step 400"):
        model.learn(200 * N_ENVS)
    assert model._last_obs is None


def test_a_divergence_is_noticed_at_the_next_reading():
    model = model_of(TensorPendulum(N_ENVS), learning_rate=1e18)
    with pytest.raises(DivergenceError):
        model.learn(300 * N_ENVS)
    assert model.num_timesteps == 100 * N_ENVS


def test_another_device_than_that_of_the_networks_is_refused():
    class Elsewhere(Script):
        @property
        def device(self):
            return th.device("meta")

        @device.setter
        def device(self, device):
            pass

    with pytest.raises(
        ValueError, match="The environment computes on meta, but the networks are on cpu: pass `device="
    ):
        model_of(Elsewhere())


@pytest.mark.parametrize(
    ("wrap", "kwargs", "words"),
    [
        (VecMonitor, {}, "`VecMonitor` computes in numpy. Leave it out"),
        (None, {"replay_buffer_class": SingleCopyReplayBuffer}, "`SingleCopyReplayBuffer` takes numpy arrays"),
        (None, {"action_noise": NormalActionNoise(np.zeros(1), np.ones(1))}, "`action_noise` is drawn in numpy"),
        (None, {"overlap": True}, "`overlap` makes gradient steps beside steps of numpy"),
    ],
    ids=["wrapper", "buffer", "noise", "overlap"],
)
def test_a_reason_is_given_where_steps_pass_the_host(wrap, kwargs, words):
    env = TensorPendulum(N_ENVS)
    model = model_of(env if wrap is None else wrap(env), **kwargs)
    with pytest.warns(UserWarning, match=f"each step passes the host: {words}"):
        model.learn(30 * N_ENVS)
    assert model._n_updates > 0


def test_a_policy_of_ones_own_passes_the_host():
    model = model_of(TensorPendulum(N_ENVS))
    predict = model.predict
    model.predict = lambda *args, **kwargs: predict(*args, **kwargs)
    with pytest.warns(UserWarning, match="`predict\\(\\)` is not SoftAC's own"):
        model.learn(30 * N_ENVS)


def test_episodes_as_a_rhythm_pass_the_host():
    model = model_of(TensorPendulum(1, max_episode_steps=10), train_freq=(1, "episode"))
    with pytest.warns(UserWarning, match="`train_freq` counts episodes"):
        model.learn(50)


def test_a_wrapper_that_makes_steps_of_tensors_stays_on_the_device():
    class Scaled(VecEnvWrapper):
        """Halves the rewards."""

        def reset(self):
            return self.venv.reset()

        def step_wait(self):
            return self.venv.step_wait()

        def step_tensors(self, actions):
            step = self.venv.step_tensors(actions)
            return step._replace(rewards=step.rewards / 2.0)

    model = model_of(Scaled(Script()), learning_starts=10_000).learn(5 * N_ENVS)
    assert model.replay_buffer.rewards[0].tolist() == [0.0, 0.5, 1.0, 1.5]
