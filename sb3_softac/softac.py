"""SoftAC: Soft Actor-Critic behind the interface of Stable-Baselines3."""

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property, partial
from itertools import chain
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm, maybe_make_env
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import (
    GymEnv,
    MaybeCallback,
    ReplayBufferSamples,
    RolloutReturn,
    Schedule,
)
from stable_baselines3.common.vec_env import VecEnv

from sb3_softac.buffers import make as buffers
from sb3_softac.buffers.first_look import first_rows, warn_of_environment
from sb3_softac.buffers.returns import RunningReturns
from sb3_softac.buffers.single_copy import SingleCopyReplayBuffer
from sb3_softac.collecting.episodes import return_statistics, successes
from sb3_softac.collecting.explore import Explorer, random_allowed_action, ready_to_explore
from sb3_softac.collecting.lost import without_lost_steps
from sb3_softac.collecting.overlap import Overlap
from sb3_softac.collecting.seen import SeenObservations
from sb3_softac.collecting.steps import StepCheck, unusable_value
from sb3_softac.collecting.tensor_rollouts import TensorRollouts
from sb3_softac.collecting.tensor_steps import takes_tensors
from sb3_softac.engines import adam
from sb3_softac.engines.base import Engine
from sb3_softac.engines.denormals import denormals_as_zero
from sb3_softac.engines.divergence import DivergenceError, DivergenceWatch, all_finite
from sb3_softac.engines.keeper import EngineKeeper
from sb3_softac.networks.actors import SoftActor
from sb3_softac.networks.critics import Critic, ValueNetwork
from sb3_softac.networks.health import health
from sb3_softac.offline.fill import make_demonstrations
from sb3_softac.policies import POLICIES, SoftACPolicy, check_policy, choose_policy
from sb3_softac.saved_algorithm import SavedAlgorithm
from sb3_softac.saving import callbacks
from sb3_softac.settings.arguments import EntCoef, check_ensemble, read_ent_coef
from sb3_softac.settings.model import Attributes, Settings, check_arguments
from sb3_softac.settings.parsing import NOT_NEGATIVE, schedule, value_at, whole_number
from sb3_softac.settings.policy import check_decided
from sb3_softac.settings.rows import check_known
from sb3_softac.settings.variants import VARIANT_NETWORKS, VARIANTS
from sb3_softac.spaces import check_action_space, check_observation_space
from sb3_softac.updates.batch import Batch
from sb3_softac.updates.temperature import Temperature, make_temperature
from sb3_softac.updates.variants import takes_mean
from sb3_softac.wrappers import check_masks

SelfSoftAC = TypeVar("SelfSoftAC", bound="SoftAC")
# Gradient steps of `learn_offline()` between two readings of the metrics, and of the schedules.
OFFLINE_BLOCK = 10


class SoftAC(TensorRollouts, SavedAlgorithm):
    """Soft Actor-Critic: off-policy maximum-entropy reinforcement learning with a stochastic actor.

    Papers: arXiv:1812.05905 (v2), arXiv:1801.01290 (v1), arXiv:1910.07207 (Discrete actions). The action space decides
    between continuous and discrete actions. The arguments up to ``_init_setup_model`` are those of Stable-Baselines3's
    SAC, in its order and with its defaults.

    :param policy: ``"auto"`` chooses by the observations among ``"MlpPolicy"``, ``"CnnPolicy"`` and
        ``"MultiInputPolicy"``; or a subclass of ``SoftACPolicy``
    :param env: the environment to learn from, or its registered id
    :param learning_rate: learning rate of every optimizer that has none of its own: a number, a callable of the
        remaining progress (from 1 to 0), or linear: ``"lin_<start>"`` down to 0, ``"lin_<start>_<end>"``
    :param buffer_size: transitions that the replay buffer holds
    :param learning_starts: environment steps with random actions before learning
    :param batch_size: transitions in one gradient step
    :param tau: in [0, 1]; how far the targets move towards the trained networks. Small: stable and slow
    :param gamma: discount of one step, in [0, 1]
    :param train_freq: environment steps between trainings, or ``(number, "step" or "episode")``
    :param gradient_steps: gradient steps in one training; -1: as many as environment steps since the last training
    :param action_noise: noise added to the actions while exploring; None for none
    :param replay_buffer_class: None: ``sb3_softac.buffers.SingleCopyReplayBuffer``, or ``TensorReplayBuffer`` for a
        simulator on a device (``sb3_softac.distributed.TensorVecEnv``); ``"auto"``: for an environment with goals
        Stable-Baselines3's ``HerReplayBuffer``, else as None
    :param replay_buffer_kwargs: arguments of the replay buffer; ``{"storage": "device"}`` keeps it on a GPU
    :param optimize_memory_usage: Stable-Baselines3's single-copy replay buffer, which cannot tell time limits
        from terminal states; the default one saves the same memory
    :param n_steps: steps of reward in the TD target before bootstrapping
    :param ent_coef: the temperature: ``"auto"`` learns it, starting at 1 (v1 and soft_q: fixes it at 1, and the reward
        scale takes its place), ``"auto_0.1"`` learns it, starting at 0.1, a number fixes it. Large: more random actions
    :param target_update_interval: gradient steps, over the whole run, between updates of the targets
    :param target_entropy: the entropy that a learned temperature aims at, in nats (Box: of the actions scaled to
        [-1, 1]): ``"auto"`` is -dim(A) for Box and 0.98 log|A| for Discrete and MultiDiscrete, ``"auto_0.5"`` replaces
        the 1 or the 0.98 by 0.5; a number, or a schedule as for ``learning_rate``. With few discrete actions 0.98
        leaves the policy nearly uniform; 0.3 to 0.7 suits most
    :param use_sde: generalized state-dependent exploration (gSDE)
    :param sde_sample_freq: environment steps between draws of the gSDE weights; -1: only as a rollout begins
    :param use_sde_at_warmup: gSDE in place of uniform actions before learning starts
    :param stats_window_size: episodes over which the rollout's statistics are averaged
    :param tensorboard_log: folder of the TensorBoard logs; None for none
    :param policy_kwargs: arguments of the policy, see ``SoftACPolicy``
    :param verbose: 0: silent, 1: information, 2: debugging
    :param seed: of all random numbers
    :param device: ``"cpu"``, ``"cuda"``, ...; ``"auto"`` takes a GPU if there is one
    :param _init_setup_model: create networks and buffer now
    :param variant: ``"v2"``: target critics and a learned temperature; ``"v1"``: a state value with a target, a fixed
        temperature, and a ``reward_scale``; ``"soft_q"``: soft Q-learning (arXiv:1702.08165): the policy is the
        Boltzmann distribution ``exp(Q / ent_coef)``, exactly for Discrete, by a network that turns noise into actions
        for Box
    :param actor_gradient: how the gradient of the policy's objective reaches the actor: ``"reparameterized"`` through
        the actions (exact for Discrete), or ``"score_function"``, of sampled actions
    :param baseline: baseline of the score function: ``"state_value"`` (v1: the value network; v2: exact for Discrete,
        else an estimate from further samples), ``"leave_one_out"`` (the other samples), ``"none"``
    :param n_action_samples: actions sampled in each state for the losses; more: less variance, more time
    :param n_particles: with ``variant="soft_q"`` and Box actions: actions in each state by which the network of the
        policy learns, and random ones by which a state is valued; more: more exact, more time
    :param q_reduction: ``"min"`` or ``"mean"`` of the critics, in targets and in the actor's loss
    :param actor_q_reduction: ``"min"`` or ``"mean"`` of the critics in the actor's loss alone; None: as ``q_reduction``
    :param n_target_critics: number of critics in the TD target (v1: in the target of the state value), drawn at random
        in each gradient step (REDQ, arXiv:2101.05982: 2 of 10, with ``actor_q_reduction="mean"``); None: all
    :param policy_delay: gradient steps, over the whole run, between steps of the actor and the temperature. With many
        gradient steps in one training, as in REDQ and DroQ, ``policy_delay=gradient_steps``
    :param target_networks: False: the trained critics (v1: the trained value network) give the TD target, in one pass
        with the transitions themselves, as in CrossQ (arXiv:1902.05605, with ``policy_kwargs=dict(batch_norm=True,
        optimizer_kwargs=dict(betas=(0.5, 0.999)))``, ``policy_delay=3`` and wide critics). ``tau`` and
        ``target_update_interval`` then have no effect
    :param joint_pass: for ``batch_norm`` beside target networks: critics (v1: state value) and their target see a state
        and its successor in one pass, by the statistics of both (arXiv:2502.07523). False: in a pass for each, the
        target by running statistics. Without target networks the pass is always one
    :param actor_tau: in (0, 1]; keeps a moving average of the actor's weights (arXiv:1803.05407), which moves by this
        part towards the actor after each of its steps. The average takes all ``deterministic`` actions; learning stays
        the same. 0.001 makes the returns of an agent that wavers steadier; None: the actor itself acts
    :param q_target_clip: distance from its target network beyond which a critic gains nothing in the loss
        (arXiv:2209.10081); None for no bound
    :param critic_ent_coef: temperature in the TD target; None: the actor's temperature. 0: no entropy in the values
        (arXiv:2509.09838)
    :param ent_coef_bounds: smallest and largest value of a learned temperature; None for none
    :param reward_scale: factor on the rewards of a batch (not of the buffer): a number above 0, or a schedule
    :param normalize_rewards: divide the rewards of a batch (not of the buffer) by the standard deviation of the
        discounted returns that the agent has collected so far (arXiv:2502.15280), before ``reward_scale``
    :param max_normalized_return: with ``normalize_rewards``, divide by more where it takes more to keep the largest
        discounted return so far at this size (arXiv:2502.15280: 5); None for no bound
    :param noise_repeat: largest number of steps for which the noise of an exploring action is held; the number n is
        drawn anew each time, with P(n) ~ n^-2, for all environments together (arXiv:2604.04539: 16). 1: each step has
        its own noise
    :param reset_networks: environment steps at which actor, critics, targets, optimizers and temperature begin anew,
        while the replay buffer stays (arXiv:2205.07802; BRO, arXiv:2405.16158, with many gradient steps:
        ``[15_000, 50_000, 250_000, 500_000, 750_000]``); a number: every so many steps; None: never
    :param actor_learning_rate: learning rate of the actor; None: ``learning_rate``
    :param critic_learning_rate: learning rate of the critics; None: ``learning_rate``
    :param ent_coef_learning_rate: learning rate of the temperature; None: ``learning_rate``
    :param max_grad_norm: clip the gradients of actor and critics to this norm; None for no clipping
    :param diagnostics: what is logged to say why an agent does not learn. ``"basic"``: TD error, spread of Q,
        disagreement of the critics, norms of gradients, saturated actions, ranges of observations and rewards, of about
        every hundredth gradient step. ``"full"``: also dead units, effective rank of features, norms of weights, and
        histograms for TensorBoard, some milliseconds in each log. ``"off"``: neither
    :param success_return: return from which on an episode counts as a success, in ``rollout/success_rate``, where the
        environment does not say so itself (``info["is_success"]``); None: as the environment says
    :param precision: dtype of the matrix products of hidden layers while learning: ``"float32"`` or ``"bfloat16"``;
        outputs, losses, optimizers, acting and checkpoints stay float32
    :param engine: how a gradient step runs: ``"eager"``: module by module, the reference; ``"fused"``: each network one
        node of the autograd graph; ``"traced"``: on a CPU, its operations recorded once and called again;
        ``"cuda_graph"``: the same on a GPU, captured; ``"compile"``: networks by torch.compile;
        ``"auto"``: what is fastest for the device
    :param overlap: train while the environments make their step, for simulators of some milliseconds a step. Each
        training is spread over the steps of the next rollout, so that the actions come from an actor that is up to one
        training behind
    :raises ValueError: for any argument that is out of its range
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = dict(POLICIES)
    policy: SoftACPolicy
    actor: SoftActor
    critic: Critic
    critic_target: Critic | None  # v2 and soft_q only, if there are targets
    value_net: ValueNetwork | None  # v1 only
    value_target: ValueNetwork | None  # v1 only, if there are targets

    def __init__(
        self,
        policy: str | type[SoftACPolicy],
        env: GymEnv | str,
        learning_rate: float | str | Schedule = 3e-4,
        buffer_size: int = 1_000_000,
        learning_starts: int = 100,
        batch_size: int = 256,
        tau: float = 0.005,
        gamma: float = 0.99,
        train_freq: int | tuple[int, str] = 1,
        gradient_steps: int = 1,
        action_noise: ActionNoise | None = None,
        replay_buffer_class: type[ReplayBuffer] | str | None = None,
        replay_buffer_kwargs: dict[str, Any] | None = None,
        optimize_memory_usage: bool = False,
        n_steps: int = 1,
        ent_coef: str | float = "auto",
        target_update_interval: int = 1,
        target_entropy: str | float | Schedule = "auto",
        use_sde: bool = False,
        sde_sample_freq: int = -1,
        use_sde_at_warmup: bool = False,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: th.device | str = "auto",
        _init_setup_model: bool = True,
        *,
        variant: str = "v2",
        actor_gradient: str = "reparameterized",
        baseline: str = "state_value",
        n_action_samples: int = 1,
        n_particles: int = 16,
        q_reduction: str = "min",
        actor_q_reduction: str | None = None,
        n_target_critics: int | None = None,
        policy_delay: int = 1,
        target_networks: bool = True,
        joint_pass: bool = False,
        actor_tau: float | None = None,
        q_target_clip: float | None = None,
        critic_ent_coef: float | None = None,
        ent_coef_bounds: tuple[float, float] | None = None,
        reward_scale: float | str | Schedule = 1.0,
        normalize_rewards: bool = False,
        max_normalized_return: float | None = None,
        noise_repeat: int = 1,
        reset_networks: int | list[int] | None = None,
        actor_learning_rate: float | str | Schedule | None = None,
        critic_learning_rate: float | str | Schedule | None = None,
        ent_coef_learning_rate: float | str | Schedule | None = None,
        max_grad_norm: float | None = None,
        diagnostics: str = "basic",
        success_return: float | None = None,
        precision: str = "float32",
        engine: str = "auto",
        overlap: bool = False,
    ) -> None:
        check_arguments(locals())
        check_policy(policy, env)
        if env is not None:  # None while loading
            env = maybe_make_env(env, verbose)
            check_observation_space(getattr(env, "observation_space", None))  # before SB3 stacks observations
            env = self._wrap_env(env, verbose)
            check_action_space(env.action_space)
            policy = choose_policy(policy, env.observation_space, policy_kwargs)
        super().__init__(
            policy,
            env,
            learning_rate,  # type: ignore[arg-type]  # a string is read in _setup_lr_schedule()
            buffer_size,
            learning_starts,
            batch_size,
            tau,
            gamma,
            train_freq,
            gradient_steps,
            action_noise,
            replay_buffer_class=replay_buffer_class,  # type: ignore[arg-type]  # "auto" is read in _setup_model()
            replay_buffer_kwargs=replay_buffer_kwargs,
            optimize_memory_usage=optimize_memory_usage,
            n_steps=n_steps,
            policy_kwargs=dict(policy_kwargs or {}),
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            verbose=verbose,
            device=device,
            seed=seed,
            use_sde=use_sde,
            sde_sample_freq=sde_sample_freq,
            use_sde_at_warmup=use_sde_at_warmup,
            support_multi_env=True,
        )
        self.ent_coef = ent_coef
        self.target_entropy = target_entropy
        self.target_update_interval = target_update_interval
        self.log_ent_coef: th.Tensor | None = None
        self.ent_coef_optimizer: th.optim.Optimizer | None = None
        self.variant = variant
        self.actor_gradient = actor_gradient
        self.baseline = baseline
        self.n_action_samples = n_action_samples
        self.n_particles = n_particles
        self.q_reduction = q_reduction
        self.actor_q_reduction = actor_q_reduction
        self.n_target_critics = n_target_critics
        self.policy_delay = policy_delay
        self.target_networks = target_networks
        self.joint_pass = joint_pass
        self.actor_tau = actor_tau
        self.q_target_clip = q_target_clip
        self.critic_ent_coef = critic_ent_coef
        self.ent_coef_bounds = ent_coef_bounds
        self.reward_scale = reward_scale
        self.normalize_rewards = normalize_rewards
        self.max_normalized_return = max_normalized_return
        self.noise_repeat = noise_repeat
        self.reset_networks = reset_networks
        self.actor_learning_rate = actor_learning_rate
        self.critic_learning_rate = critic_learning_rate
        self.ent_coef_learning_rate = ent_coef_learning_rate
        self.max_grad_norm = max_grad_norm
        self.diagnostics = diagnostics
        self.success_return = success_return
        self.precision = precision
        self.engine = engine
        self.overlap = overlap
        self._metrics: dict[str, float] = {}
        self._n_resets = 0
        #: of the agent's episodes so far, with ``normalize_rewards``
        self._running_returns: RunningReturns | None = None
        #: a part of each batch, by :meth:`add_demonstrations`; None: all of it is from the replay buffer
        self.demonstrations: buffers.Demonstrations | None = None
        self._is_loaded = not _init_setup_model
        #: called where nothing is half-done: the last rollout is stored, and trained on (or with `overlap` about to be)
        self._between_rollouts: list[Callable[[], None]] = []
        self._overlap = Overlap(self._prepare_overlapped, self._log_policy_lag)
        #: all callbacks of the last :meth:`learn`, and what those of the next one go on from
        self._last_callback: BaseCallback | None = None
        self._states_of_callbacks: dict[str, Any] = {}

        if env is not None:
            check_masks(self.env)
        if _init_setup_model:
            if env is None:
                raise ValueError("`env` must be an environment or the id of one, but None was given")
            check_decided(policy_kwargs or {}, self._arguments_of_policy())
            self._setup_model()
            self.replay_buffer = self._make_replay_buffer()

    # Set-up

    def _setup_model(self) -> None:
        settings = Attributes(self).settings  # read here and not in the constructor, since loading can change arguments
        self.policy_kwargs = settings.set_up.policy_kwargs | self._arguments_of_policy()
        check_known(
            "policy_kwargs", self.policy_kwargs, self.policy_class, ("observation_space", "action_space", "lr_schedule")
        )
        self.replay_buffer_class = buffers.choose_class(
            self.replay_buffer_class, self.optimize_memory_usage, self.n_steps, self.env, takes_tensors(self.env)
        )
        buffers.check_replay_kwargs(self.replay_buffer_class, self.replay_buffer_kwargs)
        with buffers.without_allocation(self):
            super()._setup_model()
        self._warn_of_two_normalizers()
        for name in ("actor", "critic", *VARIANT_NETWORKS):
            setattr(self, name, getattr(self.policy, name))
        check_ensemble(settings.update.n_target_critics, self.critic.n_critics)
        self._engine = EngineKeeper(self.policy, settings.engine, self._is_loaded)
        self._watch = DivergenceWatch()
        self._attributes = Attributes(self)  # read again, since the set-up has changed some
        self.explorer = self._make_explorer(settings)
        self._step_check = StepCheck(self.observation_space, self.n_envs, self._vec_normalize_env)
        self._seen = SeenObservations(self.policy.obs_normalizer)
        self._set_up_returns(settings)
        self._setup_temperature(settings.run.ent_coef)

    def _warn_of_two_normalizers(self) -> None:
        env = self._vec_normalize_env
        if env is not None and env.norm_obs and self.policy.obs_normalizer is not None:
            warnings.warn(
                "Observations are normalised twice: by `policy_kwargs=dict(normalize_obs=True)` and by `VecNormalize`. "
                "Pass `VecNormalize(env, norm_obs=False)`, or leave `normalize_obs` out",
                stacklevel=4,
            )
        if env is not None and env.norm_reward and self.normalize_rewards:
            warnings.warn(
                "Rewards are normalised twice: by `normalize_rewards=True` and by `VecNormalize`. Pass "
                "`VecNormalize(env, norm_reward=False)`, or leave `normalize_rewards` out",
                stacklevel=4,
            )

    def _make_explorer(self, settings: Settings) -> Explorer:
        return Explorer(self.policy, settings.run.train_freq, self.n_envs, settings.run.noise_repeat)

    def _set_up_returns(self, settings: Settings) -> None:
        """Begin or end to follow the returns, as ``normalize_rewards`` says; those that a file brought stay."""
        if not settings.run.normalize_rewards:
            self._running_returns = None
        elif self._running_returns is None:
            self._running_returns = RunningReturns(self.n_envs)

    def _arguments_of_policy(self) -> dict[str, Any]:
        """Arguments of the policy that follow from those of the algorithm."""
        return {
            "variant": self.variant,
            "target_networks": self.target_networks,
            "actor_average": self.actor_tau is not None,
            "use_sde": self.use_sde,
        }

    def _setup_lr_schedule(self) -> None:
        self.lr_schedule = schedule("learning_rate", self.learning_rate, NOT_NEGATIVE)

    def _setup_temperature(self, ent_coef: EntCoef) -> None:
        """Create the temperature, in the attributes that Stable-Baselines3's SAC has."""
        self.log_ent_coef, self.ent_coef_optimizer = None, None
        vars(self).pop("ent_coef_tensor", None)
        if ent_coef.is_learned:
            self.log_ent_coef = th.tensor([ent_coef.value], device=self.device).log().requires_grad_(True)
            self.ent_coef_optimizer = th.optim.Adam([self.log_ent_coef], lr=self.lr_schedule(1.0))
        else:
            self.ent_coef_tensor = th.tensor(ent_coef.value, device=self.device)
        self._parts_of_temperature: tuple[Any, ...] = ()
        self._update_temperature(self._attributes.settings)
        self.policy.follow(self.temperature.alpha(), takes_mean(self._attributes.settings.update))

    def _update_temperature(self, settings: Settings) -> None:
        """Make a new temperature if one of its parts was replaced."""
        parts = (vars(self).get("ent_coef_tensor"), self.log_ent_coef, self.ent_coef_optimizer)
        bounds = settings.update.ent_coef_bounds
        identity = (*map(id, parts), bounds)
        if identity != self._parts_of_temperature:
            self.temperature: Temperature = make_temperature(*parts, bounds, adam.step)
            self._parts_of_temperature = identity

    def change_ent_coef(self, ent_coef: str | float) -> None:
        """Change the argument; the temperature itself changes only if it was or becomes fixed."""
        meaning = read_ent_coef("ent_coef", ent_coef, self.variant)
        stays_learned = meaning.is_learned and self.ent_coef_optimizer is not None
        self.ent_coef = ent_coef
        self._attributes = Attributes(self)
        if not stays_learned:
            self._setup_temperature(meaning)

    def current_settings(self) -> Settings:
        """Current settings; an argument that was changed takes effect here, or is refused.

        :raises ValueError: naming an argument that was changed to a wrong value, or that cannot be changed
        """
        settings, changed = self._attributes.up_to_date(self, self._check_change)
        if "learning_rate" in changed:
            self._setup_lr_schedule()
        if "ent_coef" in changed:
            self._setup_temperature(settings.run.ent_coef)
        if "normalize_rewards" in changed:
            self._set_up_returns(settings)
        if changed & {"train_freq", "noise_repeat"}:
            self.explorer = self._make_explorer(settings)
        return settings

    def _check_change(self, settings: Settings, changed: set[str]) -> None:
        """Refuse new settings for which the networks or the replay buffer would have to be others."""
        check_ensemble(settings.update.n_target_critics, self.critic.n_critics)
        if changed & {"n_steps", "gamma"}:
            buffers.check_returns(self.replay_buffer, settings.run.n_steps, settings.run.gamma)

    # Acting

    @cached_property
    def replay_buffer(self) -> ReplayBuffer:  # type: ignore[override]
        """Replay buffer, allocated at its first use: an agent that is loaded only to act has none."""
        return self._make_replay_buffer()

    def _make_replay_buffer(self) -> ReplayBuffer:
        assert self.replay_buffer_class is not None  # chosen in _setup_model()
        return buffers.make_replay_buffer(
            self._attributes.settings.set_up,
            self.replay_buffer_class,
            (self.observation_space, self.action_space),
            self.n_envs,
            self.device,
            self.env,
            self._return_arguments(self._attributes.settings),
        )

    @staticmethod
    def _return_arguments(settings: Settings) -> Mapping[str, Any]:
        return buffers.return_arguments(settings.run.n_steps, settings.run.gamma, settings.set_up.replay_buffer_kwargs)

    def _sample_action(
        self, learning_starts: int, action_noise: ActionNoise | None = None, n_envs: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        """Sample exploring actions: random ones before learning starts, then those of the policy.

        :param learning_starts: environment steps with random actions
        :param action_noise: noise added to the actions; None for none
        :param n_envs: number of environments
        :return: actions for the environments, and actions to store, in [-1, 1] for Box; both (n_envs, ...)
        """
        if self.num_timesteps < learning_starts and not (self.use_sde and self.use_sde_at_warmup):
            action = random_allowed_action(self._last_obs, self.action_space)
            if action is not None:
                return action, action
        elif not self._predicts_by_own_code():
            return self.explorer.action(self._last_obs, self._n_updates, action_noise)
        return super()._sample_action(learning_starts, action_noise, n_envs)

    def _predicts_by_own_code(self) -> bool:
        """Whether model or policy has another ``predict()``, by a subclass or set on it, which then explores, too."""
        has_own = "predict" in vars(self) or "predict" in vars(self.policy)
        policy_predict = getattr(type(self.policy), "predict", None)  # a compiled policy's class has none
        return has_own or type(self).predict is not BaseAlgorithm.predict or policy_predict is not SoftACPolicy.predict

    def _store_transition(
        self,
        replay_buffer: ReplayBuffer,
        buffer_action: np.ndarray,
        new_obs: Any,
        reward: np.ndarray,
        dones: np.ndarray,
        infos: list[dict[str, Any]],
    ) -> None:
        """Store a step. In the middle of an episode, SB3's copies of the observation are skipped: our buffer copies it.

        :param replay_buffer: buffer that gets the step
        :param buffer_action: (n_envs, ...) actions to store
        :param new_obs: (n_envs, ...) next observations, or a dict of such
        :param reward: (n_envs,); a simulator may give a list
        :param dones: (n_envs,); a simulator may give a list
        :param infos: n_envs dicts
        :raises BadStepError: an observation or a reward that cannot be learned from; nothing is stored
        """
        reward, dones = np.asarray(reward), np.asarray(dones)
        normalize, check, ended = self._vec_normalize_env, self._step_check, dones.any()
        if normalize is None:
            check.check(new_obs, reward, self.num_timesteps)
        else:
            check.check(normalize.old_obs, np.asarray(normalize.old_reward), self.num_timesteps)
        if ended:
            check.check_finals(dones, infos, self.num_timesteps)
            replay_buffer = without_lost_steps(replay_buffer, infos)
        if normalize is not None:
            check.keep_statistics(normalize)
        self._seen.add(self._last_obs)
        if self._running_returns is not None:
            self._running_returns.see(reward, dones, self._attributes.settings.run.gamma)
        is_kept = type(replay_buffer).add is SingleCopyReplayBuffer.add  # another buffer may write into its arguments
        if not is_kept or normalize is not None or ended:
            super()._store_transition(replay_buffer, buffer_action, new_obs, reward, dones, infos)
            return
        assert self._last_obs is not None
        replay_buffer.add(self._last_obs, new_obs, buffer_action, reward, dones, infos)  # type: ignore[arg-type]
        self._last_obs = self._last_original_obs = new_obs

    def _update_info_buffer(self, infos: list[dict[str, Any]], dones: np.ndarray | None = None) -> None:
        self._step_check.check_ends(dones, infos, self.num_timesteps)  # here, as nothing reads them before
        self._count_episodes(infos, dones)

    def _count_episodes(self, infos: list[dict[str, Any]], dones: np.ndarray | None) -> None:
        super()._update_info_buffer(infos, dones)
        if self.success_return is not None:
            assert self.ep_success_buffer is not None
            self.ep_success_buffer.extend(successes(infos, self.success_return))

    # Learning

    def _setup_learn(self, *args: Any, **kwargs: Any) -> tuple[int, BaseCallback]:
        last_obs = self._last_obs
        ready = super()._setup_learn(*args, **kwargs)
        if self._running_returns is not None and self._last_obs is not last_obs:  # the environments were reset
            self._running_returns.begin(self.n_envs)
        self._last_callback = ready[1]
        callbacks.restore(self._last_callback, self._states_of_callbacks)
        self._states_of_callbacks = {}
        obs = self._last_obs if self._vec_normalize_env is None else self._last_original_obs
        self._step_check.check_observations(obs, self.num_timesteps, "was reset")
        return ready

    def learn(
        self: SelfSoftAC,
        total_timesteps: float,
        callback: MaybeCallback = None,
        log_interval: int | None = 4,
        tb_log_name: str = "SoftAC",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> SelfSoftAC:
        """Interact with the environment and learn.

        :param total_timesteps: environment steps; ``1e6`` is fine
        :param callback: called at every step
        :param log_interval: episodes between logs; None for no logs
        :param tb_log_name: name of the run in TensorBoard
        :param reset_num_timesteps: start counting from zero, or continue
        :param progress_bar: show a progress bar, with tqdm and rich
        :return: self
        :raises ValueError: an attribute that was changed to what the constructor would refuse, what an environment gave
            cannot be learned from (``BadStepError``), or learning has diverged (``DivergenceError``)
        """
        steps = whole_number("total_timesteps", total_timesteps, minimum=0)
        if self.env is None:
            raise ValueError("`learn()` needs an environment: pass `env` to `load()`, or call `set_env(env)`")
        if reset_num_timesteps:
            self._states_of_callbacks = {}
        self.current_settings()
        if self.batch_size > self.buffer_size:
            warnings.warn(
                f"`batch_size={self.batch_size}` is more than the replay buffer holds "
                f"(`buffer_size={self.buffer_size}`): every batch repeats transitions. Pass a smaller `batch_size` or "
                "a larger `buffer_size`",
                stacklevel=2,
            )
        try:
            return super().learn(
                steps,
                callback=callback,
                log_interval=log_interval,
                tb_log_name=tb_log_name,
                reset_num_timesteps=reset_num_timesteps,
                progress_bar=progress_bar,
            )
        except BaseException as error:
            self._break_off()
            explained = self._explained(error)
            if explained is not None:
                raise explained from error
            raise

    def _explained(self, error: BaseException) -> ValueError | None:
        """An error that says more of the cause, where more is known."""
        if type(error) is ValueError and not all_finite(self.policy.parameters()):
            return self._divergence({})
        return unusable_value(error, self.num_timesteps + self.n_envs)

    def _break_off(self) -> None:
        """Leave the environments as after an error: the next :meth:`learn` resets them, wherever they are now."""
        self._last_obs = None
        self._overlap.drop()
        self._step_check.undo()
        buffers.end_episodes(vars(self).get("replay_buffer"))

    def add_demonstrations(
        self, source: Any, ratio: float = 0.5, *, clip_actions: bool = False, allow_pickle: bool | None = None
    ) -> int:
        """Take a fixed part of each batch from demonstrations, and the rest from the replay buffer.

        RLPD (arXiv:2302.02948) takes half, with ``policy_kwargs=dict(layer_norm=True)``. Further demonstrations come
        beside those that are there; ``model.demonstrations = None`` leaves all of them out. They are in checkpoints,
        and not in files of :meth:`save` and :meth:`save_replay_buffer`.

        :param source: see :func:`sb3_softac.offline.read`
        :param ratio: of the demonstrations in a batch, above 0 and at most 1
        :param clip_actions: move actions that are out of bounds to the bounds; False: refuse them
        :param allow_pickle: as for :meth:`load_replay_buffer`
        :return: number of steps of all demonstrations
        :raises ValueError: the data does not fit the model, or is empty; then nothing has changed
        """
        before = [] if self.demonstrations is None else [self.demonstrations.buffer]
        spaces_of_model = (self.observation_space, self.action_space)
        self.demonstrations = make_demonstrations(
            [*before, source], ratio, spaces_of_model, self.replay_buffer, self.device, clip_actions, allow_pickle
        )
        return self.demonstrations.buffer.size()

    def learn_offline(
        self: SelfSoftAC,
        gradient_steps: int,
        callback: MaybeCallback = None,
        log_interval: int | None = 1000,
        tb_log_name: str = "SoftAC_offline",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> SelfSoftAC:
        """Learn from the replay buffer and the demonstrations alone, without a step in the environment.

        A gradient step counts as a timestep: for schedules, callbacks, logs and checkpoints. Nothing keeps the agent
        from actions that the data does not show; see ``docs/guide/offline.md``.

        :param gradient_steps: how many
        :param callback: called at every gradient step, in blocks: ten steps are done before ten calls
        :param log_interval: gradient steps between logs; None for no logs
        :param tb_log_name: name of the run in TensorBoard
        :param reset_num_timesteps: start counting from zero, or continue
        :param progress_bar: show a progress bar, with tqdm and rich
        :return: self
        :raises ValueError: there is nothing to learn from, or no environment; or as for :meth:`learn`
        """
        steps = whole_number("gradient_steps", gradient_steps, minimum=0)
        log_interval = None if log_interval is None else whole_number("log_interval", log_interval)
        self._check_offline()
        total_timesteps, callback = self._setup_learn(steps, callback, reset_num_timesteps, tb_log_name, progress_bar)
        callback.on_training_start(locals(), globals())
        goes_on = True
        while goes_on and self.num_timesteps < total_timesteps:
            for hook in self._between_rollouts:
                hook()
            self._update_current_progress_remaining(self.num_timesteps, total_timesteps)
            block = min(OFFLINE_BLOCK, total_timesteps - self.num_timesteps)
            self.train(block, self.batch_size)
            goes_on = self._count_offline(block, callback, log_interval)
        callback.on_training_end()
        return self

    def _check_offline(self) -> None:
        self.current_settings()
        if self.env is None:
            raise ValueError(
                "`learn_offline()` makes no steps, but callbacks and schedules ask for an environment: pass `env` to "
                "`load()`. Where there is none, `offline.spaces_env(source)` stands in for it"
            )
        if self.replay_buffer.size() == 0 and self.demonstrations is None:
            raise ValueError(
                "There is nothing to learn from: call `offline.fill_buffer(model, source)`, `load_replay_buffer()` or "
                "`add_demonstrations()` first"
            )

    def _count_offline(self, n_steps: int, callback: BaseCallback, log_interval: int | None) -> bool:
        """Count gradient steps as timesteps, and tell the callbacks; False if one of them ends the training."""
        callback.update_locals({"infos": [], "rewards": np.zeros(0), "dones": np.zeros(0, bool)})
        for _ in range(n_steps):
            self.num_timesteps += 1
            if not callback.on_step():
                return False
            if log_interval is not None and self.num_timesteps % log_interval == 0:
                self.dump_logs()
        return True

    def collect_rollouts(self, env: VecEnv, *args: Any, **kwargs: Any) -> RolloutReturn:
        """Act in the environment until the next training; see Stable-Baselines3.

        :param env: the training environment
        :param args: of Stable-Baselines3's method
        :param kwargs: of Stable-Baselines3's method
        """
        for hook in self._between_rollouts:
            hook()
        try:
            if self.overlap or self._overlap.due[0]:
                return self._collect_overlapped(env, *args, **kwargs)
            return super().collect_rollouts(env, *args, **kwargs)
        finally:
            self._seen.take_in()

    def _collect_overlapped(self, env: VecEnv, *args: Any, **kwargs: Any) -> RolloutReturn:
        rollout = super().collect_rollouts(self._overlap.begin_rollout(env), *args, **kwargs)
        trains = self.num_timesteps > self.learning_starts and self.gradient_steps != 0
        goes_on = rollout.continue_training and self.num_timesteps < self._total_timesteps
        self._overlap.end_rollout(rollout.episode_timesteps // self.n_envs, self.overlap and trains and goes_on)
        return rollout

    def train(self, gradient_steps: int, batch_size: int = 64) -> None:
        """Sample the replay buffer and update every network.

        With ``overlap``, the training that :meth:`learn` asks for after a rollout is made beside the next one.

        :param gradient_steps: number of gradient steps
        :param batch_size: transitions in each gradient step
        :raises ValueError: an attribute that was changed to what the constructor would refuse, or learning that has
            diverged (``DivergenceError``)
        """
        if not self._overlap.puts_off(gradient_steps):
            self._prepare_training(gradient_steps, batch_size)()

    def _prepare_overlapped(self, gradient_steps: int) -> Callable[[], None]:
        ahead = buffers.asks_environment(self.replay_buffer)
        return partial(ready_to_explore, self.policy, self._prepare_training(gradient_steps, self.batch_size, ahead))

    def _prepare_training(self, gradient_steps: int, batch_size: int, ahead: bool = False) -> Callable[[], None]:
        """A training that only has to be called.

        :param gradient_steps: number of gradient steps
        :param batch_size: transitions in each gradient step
        :param ahead: sample now, and not when the training is called
        """
        settings = self.current_settings()
        if buffers.awaits_first_episode(self.replay_buffer):
            warnings.warn(
                "Learning waits for the end of the first episode: hindsight takes goals from episodes that are over. "
                "A larger `learning_starts` says so from the beginning",
                stacklevel=3,
            )
            return lambda: None
        batches = self._batches(gradient_steps, batch_size, settings)
        return partial(self._learn_from, list(batches) if ahead else batches, settings)

    def _log_policy_lag(self, gradient_steps: int) -> None:
        self.logger.record_mean("train/policy_lag", gradient_steps)

    def _learn_from(self, batches: Iterable[ReplayBufferSamples], settings: Settings) -> None:
        if settings.run.reset_networks is not None:
            self._reset_if_due(settings)
        self.policy.set_training_mode(True)
        self._update_learning_rates(settings)
        engine = self._current_engine(settings)
        engine.begin()
        progress = self._current_progress_remaining
        self.temperature.set_target_entropy(*settings.run.target_entropy.at(progress))
        reward_scale = value_at(settings.run.reward_scale, progress) / self._reward_divisor(settings)
        if self._n_updates == 0:
            self._begin_learning(reward_scale, settings.run.gamma)
        if not self._watch.begin(self.policy, self._n_updates):
            raise self._divergence({})
        with denormals_as_zero():
            for samples in batches:
                self._n_updates += 1
                batch = Batch.from_samples(samples, settings.run.gamma, reward_scale)
                self._watch.see(batch, self._n_updates)
                engine.update(batch, self._n_updates)
        if not self._reads_later:
            self._log_training(engine.read_metrics())

    def _reset_if_due(self, settings: Settings) -> None:
        """Let networks, optimizers and temperature begin anew, if the run has come to a step where they are to."""
        assert settings.run.reset_networks is not None
        due = settings.run.reset_networks.due_until(self.num_timesteps)
        if due > self._n_resets:
            self.policy.begin_anew()
            self._setup_temperature(settings.run.ent_coef)
            self._engine.forget()
            self.logger.record("train/resets", due)
        self._n_resets = due

    def _reward_divisor(self, settings: Settings) -> float:
        """Number that the rewards of a batch are divided by; 1 without ``normalize_rewards``."""
        returns = self._running_returns
        if returns is None:
            return 1.0
        if returns.is_empty:  # a buffer that came from elsewhere
            shown = [] if self.demonstrations is None else [self.demonstrations.buffer]
            for buffer in (self.replay_buffer, *shown):
                returns.see_buffer(buffer, settings.run.gamma)
        divisor = returns.divisor(settings.run.max_normalized_return)
        self.logger.record("train/reward_divisor", divisor)
        return divisor

    def _begin_learning(self, reward_scale: float, gamma: float) -> None:
        """Look at the replay buffer before the first gradient step."""
        normalizer, normalize = self.policy.obs_normalizer, self._vec_normalize_env
        if normalizer is not None and normalizer.count == 0 and normalize is None:  # a buffer that came from elsewhere
            rows = first_rows(self.replay_buffer, self.replay_buffer.size())
            if rows is not None:
                normalizer.update(rows.observations)
        keys = () if normalizer is None else normalizer.keys
        warn_of_environment(self.replay_buffer, reward_scale, gamma, normalize, keys)

    def _current_engine(self, settings: Settings | None = None) -> Engine:
        """Engine that runs the next gradient step.

        :param settings: current settings; None: read them
        """
        settings = self.current_settings() if settings is None else settings
        self._update_temperature(settings)
        optimizers = list(chain(*self.optimizers().values()))
        return self._engine.up_to_date(self.policy, self.temperature, optimizers, settings.update, settings.engine)

    def _batches(self, n_batches: int, batch_size: int, settings: Settings) -> Iterator[ReplayBufferSamples]:
        sizes = (n_batches, batch_size, self._return_arguments(settings), self._vec_normalize_env)
        if self.demonstrations is None:
            return buffers.batches(self.replay_buffer, *sizes)
        return buffers.mixed_batches(self.replay_buffer, self.demonstrations, *sizes)

    def dump_logs(self) -> None:
        """Write what was logged since the last call: to the console, and to the files of the logger."""
        # Not every training is measured, but every line of a log has the same columns.
        for name, value in self._metrics.items():
            self.logger.record(f"train/{name}", value)
        self.logger.record("train/updates_per_step", self._n_updates / max(1, self.num_timesteps))
        for name, value in return_statistics(self.ep_info_buffer or ()).items():
            self.logger.record(f"rollout/{name}", value)
        batch = self._watch.last_batch()
        if self.diagnostics == "full" and batch is not None:
            self._log_networks(batch)
        super().dump_logs()

    def _log_networks(self, batch: Batch) -> None:
        self.policy.set_training_mode(False)
        obs = self.policy.normalized(batch.obs)
        for name, value in health(self.policy.networks(), obs, batch.action).items():
            self.logger.record(f"diagnostics/{name}", value)
        with th.no_grad():
            histograms = {"q_values": self.critic.q_taken(obs, batch.action), "actions": batch.action}
        for name, tensor in histograms.items():
            self.logger.record(f"diagnostics/{name}", tensor, exclude=("stdout", "log", "json", "csv"))

    def _log_training(self, metrics: dict[str, float]) -> None:
        self._metrics |= metrics
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        for name, value in metrics.items():
            self.logger.record(f"train/{name}", value)
        self.temperature.warn_of_runaway(metrics.get("ent_coef", 0.0))
        if not all(map(math.isfinite, metrics.values())):
            raise self._divergence(metrics)

    def _divergence(self, metrics: dict[str, float]) -> DivergenceError:
        has_run_away = self.temperature.has_run_away
        return self._watch.error(metrics, self.policy, has_run_away, self.logger.dir, self._n_updates)

    def optimizers(self) -> dict[str, list[th.optim.Optimizer]]:
        """All optimizers, by the name of the learning rate that they follow."""
        variant_optimizers = [getattr(self, name).optimizer for name in VARIANTS[self.variant].optimizers]
        return {
            # An actor that is a function of the critics has nothing to optimise.
            "actor": [self.actor.optimizer] if self.actor.optimizer.param_groups[0]["params"] else [],
            "critic": [self.critic.optimizer, *variant_optimizers],
            "ent_coef": [] if self.ent_coef_optimizer is None else [self.ent_coef_optimizer],
        }

    def _update_learning_rates(self, settings: Settings) -> None:
        """Set and log the learning rate of each optimizer for the current progress."""
        progress = self._current_progress_remaining
        self.logger.record("train/learning_rate", self.lr_schedule(progress))
        for name, group in self.optimizers().items():
            own_schedule = getattr(settings.run, f"{name}_learning_rate")
            rate = (own_schedule or self.lr_schedule)(progress)
            if own_schedule is not None:
                self.logger.record(f"train/{name}_learning_rate", rate)
            for optimizer in group:
                adam.set_learning_rate(optimizer, rate)

    # Files

    def _excluded_save_params(self) -> list[str]:
        networks = ["actor", "critic", *VARIANT_NETWORKS]
        made_anew = ["lr_schedule", "temperature", "_parts_of_temperature", "_engine", "explorer", "_attributes"]
        made_anew += ["_step_check", "_watch", "_between_rollouts", "_metrics", "_seen", "demonstrations"]
        made_anew += ["_last_callback", "_states_of_callbacks", "_overlap"]
        return [*super()._excluded_save_params(), *networks, *made_anew, "_is_loaded"]
