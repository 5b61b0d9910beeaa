"""SoftAC: Soft Actor-Critic behind the interface of Stable-Baselines3."""

import math
import warnings
from typing import Any, ClassVar, TypeVar

import torch as th
from stable_baselines3.common.base_class import maybe_make_env
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, Schedule

from sb3_softac import arguments, parsing
from sb3_softac.acting import ActorCopy, pays_to_copy
from sb3_softac.checkpoint import check_policy_class
from sb3_softac.collection import CollectingAlgorithm
from sb3_softac.networks.actors import SoftActor
from sb3_softac.networks.critics import Critic, ValueNetwork
from sb3_softac.policies import CnnPolicy, MlpPolicy, MultiInputPolicy, SoftACPolicy
from sb3_softac.updates.batch import Batch
from sb3_softac.updates.compute import choose_engine
from sb3_softac.updates.current import CurrentEngine
from sb3_softac.updates.denormals import denormals_as_zero
from sb3_softac.updates.factory import make_temperature
from sb3_softac.updates.gradient import set_learning_rate
from sb3_softac.updates.temperature import Temperature
from sb3_softac.wrappers import check_masks

SelfSoftAC = TypeVar("SelfSoftAC", bound="SoftAC")


class SoftAC(CollectingAlgorithm):
    """Soft Actor-Critic: off-policy maximum-entropy reinforcement learning with a stochastic actor.

    Papers: arXiv:1812.05905 (v2), arXiv:1801.01290 (v1), arXiv:1910.07207 (Discrete actions). Box or Discrete: the
    action space decides. The arguments up to ``_init_setup_model`` are those of Stable-Baselines3's SAC, in its order
    and with its defaults.

    :param policy: ``"MlpPolicy"``, ``"CnnPolicy"``, ``"MultiInputPolicy"``, or a subclass of ``SoftACPolicy``
    :param env: the environment to learn from, or its registered id
    :param learning_rate: of every optimizer that has none of its own: a number, a callable of the remaining progress
        (from 1 to 0), or linear: ``"lin_<start>"`` down to 0, ``"lin_<start>_<end>"``
    :param buffer_size: transitions that the replay buffer holds
    :param learning_starts: environment steps with random actions before learning
    :param batch_size: transitions in one gradient step
    :param tau: in [0, 1]; how far the targets move towards the trained networks. Small: stable and slow
    :param gamma: discount of one step, in [0, 1]
    :param train_freq: environment steps between trainings, or ``(number, "step" or "episode")``
    :param gradient_steps: gradient steps in one training; -1: as many as environment steps since the last
    :param action_noise: noise added to the actions while exploring; None for none
    :param replay_buffer_class: None: ``sb3_softac.buffers.SingleCopyReplayBuffer``
    :param replay_buffer_kwargs: arguments of the replay buffer; ``{"storage": "device"}`` keeps it on a GPU
    :param optimize_memory_usage: Stable-Baselines3's single-copy replay buffer, which cannot tell time limits
        from terminal states; the default one saves the same memory
    :param n_steps: steps of reward in the TD target before bootstrapping
    :param ent_coef: the temperature: ``"auto"`` learns it from 1 (v1: fixes it at 1, and its reward scale sets the
        temperature), ``"auto_0.1"`` learns it from 0.1, a number fixes it. Large: more random actions
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
        temperature, and a ``reward_scale``
    :param actor_gradient: how the gradient of the policy's objective reaches the actor: ``"reparameterized"`` through
        the actions (exact for Discrete), or ``"score_function"``, of sampled actions
    :param baseline: of the score function: ``"state_value"`` (v1: the value network; v2: exact for Discrete, else an
        estimate from further samples), ``"leave_one_out"`` (the other samples), ``"none"``
    :param n_action_samples: actions sampled in each state for the losses; more: less variance, more time
    :param q_reduction: ``"min"`` or ``"mean"`` of the critics, in targets and in the actor's loss
    :param actor_q_reduction: the same, in the actor's loss alone; None: as ``q_reduction``
    :param n_target_critics: critics that count in the value that the critics learn from, drawn at random in each
        gradient step (REDQ, arXiv:2101.05982: 2 of 10, with ``actor_q_reduction="mean"``); None: all
    :param policy_delay: gradient steps, over the whole run, between steps of the actor and the temperature. With many
        gradient steps in one training, as in REDQ and DroQ, ``policy_delay=gradient_steps``
    :param target_networks: False: the TD target is by the trained critics (v1: the trained value network), in one pass
        with the transitions themselves, as CrossQ has it (arXiv:1902.05605, with ``policy_kwargs=dict(batch_norm=True,
        optimizer_kwargs=dict(betas=(0.5, 0.999)))``, ``policy_delay=3`` and wide critics). ``tau`` and
        ``target_update_interval`` then have no effect
    :param actor_tau: in (0, 1]; keeps a moving average of the actor's weights (arXiv:1803.05407), which takes this part
        of each new actor, and acts wherever actions are ``deterministic``; what is learnt stays the same. 0.001 makes
        the returns of an agent that wavers steadier; None: the actor itself acts
    :param q_target_clip: bound on how far a critic may leave its target network before the loss counts it
        (arXiv:2209.10081); None for none
    :param critic_ent_coef: the temperature in the TD target; None: the same as the actor's. 0: no entropy in the values
        (arXiv:2509.09838)
    :param ent_coef_bounds: smallest and largest value of a learned temperature; None for none
    :param reward_scale: factor on the rewards of a batch (not of the buffer): a number above 0, or a schedule
    :param actor_learning_rate: of the actor; None: ``learning_rate``
    :param critic_learning_rate: of the critics; None: ``learning_rate``
    :param ent_coef_learning_rate: of the temperature; None: ``learning_rate``
    :param max_grad_norm: clip the gradients of actor and critics to this norm; None for no clipping
    :param precision: of the matrix products of hidden layers while learning: ``"float32"`` or ``"bfloat16"``; outputs,
        losses, optimizers, acting and checkpoints stay float32
    :param engine: how a gradient step runs: ``"eager"``: module by module, the reference; ``"fused"``: each network one
        node of the autograd graph; ``"traced"``: on a CPU, its operations recorded once and called again;
        ``"cuda_graph"``: the same on a GPU, captured; ``"compile"``: networks by torch.compile;
        ``"auto"``: what is fastest for the device
    :raises ValueError: for any argument that is out of its range
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": MlpPolicy,
        "CnnPolicy": CnnPolicy,
        "MultiInputPolicy": MultiInputPolicy,
    }
    actor: SoftActor
    critic: Critic
    critic_target: Critic  # v2 only, if there are targets
    value_net: ValueNetwork  # v1 only
    value_target: ValueNetwork  # v1 only, if there are targets

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
        replay_buffer_class: type[ReplayBuffer] | None = None,
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
        q_reduction: str = "min",
        actor_q_reduction: str | None = None,
        n_target_critics: int | None = None,
        policy_delay: int = 1,
        target_networks: bool = True,
        actor_tau: float | None = None,
        q_target_clip: float | None = None,
        critic_ent_coef: float | None = None,
        ent_coef_bounds: tuple[float, float] | None = None,
        reward_scale: float | str | Schedule = 1.0,
        actor_learning_rate: float | str | Schedule | None = None,
        critic_learning_rate: float | str | Schedule | None = None,
        ent_coef_learning_rate: float | str | Schedule | None = None,
        max_grad_norm: float | None = None,
        precision: str = "float32",
        engine: str = "auto",
    ) -> None:
        check_policy_class(policy)
        if env is not None:  # None while loading
            env = self._wrap_env(maybe_make_env(env, verbose), verbose)
            arguments.check_action_space(env.action_space)
        super().__init__(
            policy,
            env,
            learning_rate,  # type: ignore[arg-type]  # a string is parsed in _setup_lr_schedule()
            buffer_size,
            learning_starts,
            batch_size,
            tau,
            gamma,
            train_freq,
            gradient_steps,
            action_noise,
            replay_buffer_class=replay_buffer_class,
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
        self.q_reduction = q_reduction
        self.actor_q_reduction = actor_q_reduction
        self.n_target_critics = n_target_critics
        self.policy_delay = policy_delay
        self.target_networks = target_networks
        self.actor_tau = actor_tau
        self.q_target_clip = q_target_clip
        self.critic_ent_coef = critic_ent_coef
        self.ent_coef_bounds = ent_coef_bounds
        self.reward_scale = reward_scale
        self.actor_learning_rate = actor_learning_rate
        self.critic_learning_rate = critic_learning_rate
        self.ent_coef_learning_rate = ent_coef_learning_rate
        self.max_grad_norm = max_grad_norm
        self.precision = precision
        self.engine = engine
        self._is_loaded = not _init_setup_model

        if env is not None:
            check_masks(self.env)
        if _init_setup_model:
            arguments.check_policy_kwargs(self.policy_kwargs, self._arguments_of_policy())
            if env is None:
                raise ValueError("`env` must be an environment or the id of one, but None was given")
            self._setup_model()
            self.replay_buffer = self._make_replay_buffer()

    # Set-up

    def _setup_model(self) -> None:
        arguments.check(self)  # here and not in the constructor: loading can change arguments
        engine_name = choose_engine(self)
        self.policy_kwargs.update(self._arguments_of_policy())
        super()._setup_model()
        self.actor = self.policy.actor
        self.critic = self.policy.critic
        arguments.check_ensemble(self.n_target_critics, self.critic.n_critics)
        for name in ("critic_target", "value_net", "value_target"):
            if hasattr(self.policy, name):
                setattr(self, name, getattr(self.policy, name))
        self._engine = CurrentEngine(self, engine_name)
        self._actor_copy = ActorCopy(self.actor) if pays_to_copy(self) else None
        self._setup_temperature()

    def _arguments_of_policy(self) -> dict[str, Any]:
        return {
            "variant": self.variant,
            "target_networks": self.target_networks,
            "actor_average": self.actor_tau is not None,
        }

    def _setup_lr_schedule(self) -> None:
        self.lr_schedule = parsing.learning_rate("learning_rate", self.learning_rate)
        own_rates = {
            "actor": self.actor_learning_rate,
            "critic": self.critic_learning_rate,
            "ent_coef": self.ent_coef_learning_rate,
        }
        self._own_lr_schedules = {
            name: None if rate is None else parsing.learning_rate(f"{name}_learning_rate", rate)
            for name, rate in own_rates.items()
        }

    def _setup_temperature(self) -> None:
        """Create the temperature, in the attributes that Stable-Baselines3's SAC has."""
        self.log_ent_coef, self.ent_coef_optimizer = None, None
        if arguments.learns_ent_coef(self.ent_coef, self.variant):
            initial = parsing.auto_number("ent_coef", self.ent_coef) or 1.0
            self.log_ent_coef = th.tensor([initial], device=self.device).log().requires_grad_(True)
            self.ent_coef_optimizer = th.optim.Adam([self.log_ent_coef], lr=self.lr_schedule(1.0))
        else:
            value = arguments.fixed_ent_coef(self.ent_coef)
            self.ent_coef_tensor = th.tensor(value, device=self.device)
        self.temperature: Temperature = make_temperature(self)

    # Training

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
        :param progress_bar: show one, with tqdm and rich
        :return: self
        """
        steps = parsing.positive_int("total_timesteps", total_timesteps, minimum=0)
        if self.batch_size > self.buffer_size:
            warnings.warn(
                f"`batch_size={self.batch_size}` is more than the replay buffer holds "
                f"(`buffer_size={self.buffer_size}`): every batch repeats transitions. Pass a smaller `batch_size` or "
                "a larger `buffer_size`",
                stacklevel=2,
            )
        return super().learn(
            steps,
            callback=callback,
            log_interval=log_interval,  # type: ignore[arg-type]  # None is documented there
            tb_log_name=tb_log_name,
            reset_num_timesteps=reset_num_timesteps,
            progress_bar=progress_bar,
        )

    def train(self, gradient_steps: int, batch_size: int = 64) -> None:
        """Sample the replay buffer and update every network.

        :param gradient_steps: how often
        :param batch_size: transitions in each gradient step
        """
        self.policy.set_training_mode(True)
        self._update_learning_rates()
        engine = self._engine.up_to_date(self)
        progress = self._current_progress_remaining
        self.temperature.set_target_entropy(parsing.value_at(self.target_entropy, progress))
        reward_scale = parsing.value_at(self.reward_scale, progress)
        with denormals_as_zero():
            for samples in self._batches(gradient_steps, batch_size):
                self._n_updates += 1
                engine.update(Batch.from_samples(samples, self.gamma, reward_scale), self._n_updates)
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        metrics = engine.read_metrics()
        for name, value in metrics.items():
            self.logger.record(f"train/{name}", value)
        if not all(map(math.isfinite, metrics.values())):
            raise ValueError(
                f"After {self._n_updates} gradient steps learning has diverged: {metrics}. An observation or a reward "
                "was not finite (stable_baselines3's `VecCheckNan` around the environment finds it), or the learning "
                "rate is too high. Load the last checkpoint"
            )
        self.temperature.warn_of_runaway(metrics.get("ent_coef", 0.0))

    def optimizers(self) -> dict[str, list[th.optim.Optimizer]]:
        """Every optimizer, by the learning rate that it follows."""
        value_optimizers = [self.value_net.optimizer] if self.variant == "v1" else []
        return {
            "actor": [self.actor.optimizer],
            "critic": [self.critic.optimizer, *value_optimizers],
            "ent_coef": [] if self.ent_coef_optimizer is None else [self.ent_coef_optimizer],
        }

    def _update_learning_rates(self) -> None:
        """Set each optimizer's learning rate for the current progress, and log the common one."""
        progress = self._current_progress_remaining
        self.logger.record("train/learning_rate", self.lr_schedule(progress))
        for name, group in self.optimizers().items():
            own_schedule = self._own_lr_schedules[name]
            rate = (own_schedule or self.lr_schedule)(progress)
            if own_schedule is not None:
                self.logger.record(f"train/{name}_learning_rate", rate)
            for optimizer in group:
                set_learning_rate(optimizer, rate)
