"""The temperature alpha, called ``ent_coef`` outside: fixed or learned, behind one interface."""

import math
import warnings
from abc import ABC, abstractmethod

import torch as th

from sb3_softac.updates import losses
from sb3_softac.updates.gradient import GradientStep

# Above this, a learned temperature has most probably run away.
ALARM = 10.0


class Temperature(ABC):
    """Weight of the entropy against the reward."""

    @abstractmethod
    def alpha(self) -> th.Tensor:
        """Current value, without gradient.

        :return: (1,)
        """

    @abstractmethod
    def step(self, policy_entropy: th.Tensor) -> dict[str, th.Tensor]:
        """Learn from the policy's entropy, where there is anything to learn.

        :param policy_entropy: (B,)
        :return: what to log, each ()
        """

    def set_target_entropy(self, target_entropy: float) -> None:  # noqa: B027  # nothing to do where nothing is learned
        """Aim at another entropy from now on.

        :param target_entropy: in nats
        """

    def warn_of_runaway(self, alpha: float) -> None:  # noqa: B027  # what is fixed does not run away
        """Warn, once, when the policy is not as random as it should be, however large the temperature.

        :param alpha: current value, as the metrics have it
        """


class FixedTemperature(Temperature):
    """A constant.

    :param alpha: (1,)
    """

    def __init__(self, alpha: th.Tensor) -> None:
        self._alpha = alpha

    def alpha(self) -> th.Tensor:
        return self._alpha

    def step(self, policy_entropy: th.Tensor) -> dict[str, th.Tensor]:
        return {}


class LearnedTemperature(Temperature):
    """Lagrange multiplier of the constraint that the policy's mean entropy is at least ``target_entropy``.

    :param log_alpha: (1,), the parameter
    :param optimizer: holds ``log_alpha`` alone
    :param bounds: smallest and largest alpha; None for none
    """

    def __init__(
        self, log_alpha: th.Tensor, optimizer: th.optim.Optimizer, bounds: tuple[float, float] | None = None
    ) -> None:
        self._log_alpha = log_alpha
        self._log_bounds = None if bounds is None else (math.log(bounds[0]), math.log(bounds[1]))
        self._target_entropy = th.zeros((), device=log_alpha.device)
        self._one = th.ones_like(log_alpha, requires_grad=False)
        self._gradient_step = GradientStep(optimizer)
        self._warned = False

    def set_target_entropy(self, target_entropy: float) -> None:
        self._target_entropy.fill_(target_entropy)

    def alpha(self) -> th.Tensor:
        return self._log_alpha.detach().exp()

    def step(self, policy_entropy: th.Tensor) -> dict[str, th.Tensor]:
        # The loss is linear in log alpha: its gradient is its value at log alpha = 1.
        gradient = losses.temperature_loss(self._one, policy_entropy, self._target_entropy)
        loss = self._log_alpha.detach().squeeze() * gradient
        gradient = gradient.to(self._log_alpha.dtype).reshape_as(self._log_alpha)
        self._gradient_step.along([gradient for _ in self._gradient_step.parameters()])  # none while it is frozen
        if self._log_bounds is not None:
            self._log_alpha.data.clamp_(*self._log_bounds)
        return {"ent_coef_loss": loss}

    def warn_of_runaway(self, alpha: float) -> None:
        if alpha < ALARM or self._warned:
            return
        self._warned = True
        warnings.warn(
            f"The learned `ent_coef` has grown to {alpha:.3g}: the policy cannot be as random as "
            f"`target_entropy` ({self._target_entropy.item():.3g}) asks for. Ask for less "
            "(`target_entropy='auto_0.5'`, of the default), bound it (`ent_coef_bounds=(1e-3, 1.0)`), "
            "or fix it (`ent_coef=0.1`).",
            stacklevel=4,
        )
