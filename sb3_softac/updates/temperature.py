"""Temperature alpha, which users know as ``ent_coef``: fixed or learned, behind one interface."""

import math
import warnings
from abc import ABC, abstractmethod

import torch as th

from sb3_softac.updates import losses
from sb3_softac.updates.gradient import GradientStep, Stepper, plain_step

# Above this, a learned temperature has most probably run away.
ALARM = 10.0


class Temperature(ABC):
    """Temperature: the weight of the entropy against the reward."""

    #: whether the temperature has exceeded :data:`ALARM` at some time
    has_run_away = False

    @abstractmethod
    def alpha(self) -> th.Tensor:
        """Current value, without gradient.

        :return: (1,)
        """

    @abstractmethod
    def step(self, policy_entropy: th.Tensor, max_entropy: th.Tensor | None = None) -> dict[str, th.Tensor]:
        """Learn from the policy's entropy; a fixed temperature does nothing.

        :param policy_entropy: (B,), in nats
        :param max_entropy: (B,), entropy of the uniform policy over the allowed actions; None without masks
        :return: metrics to log, each ()
        """

    def measures(self, max_entropy: th.Tensor | None = None) -> dict[str, th.Tensor]:
        """The target entropy, averaged over the batch; nothing if the temperature is fixed.

        :param max_entropy: (B,), entropy of the uniform policy over the allowed actions; None without masks
        :return: metrics to log, each ()
        """
        return {}

    def set_target_entropy(self, target: float, factor: float = 0.0) -> None:  # noqa: B027  # a fixed one has none
        """Change the target entropy.

        :param target: target entropy in nats
        :param factor: with action masks, this part of the entropy of random allowed actions is added
        """

    def warn_of_runaway(self, alpha: float) -> None:  # noqa: B027  # what is fixed does not run away
        """Warn once if the temperature has grown very large, since the policy cannot reach the target entropy.

        :param alpha: current temperature, from the metrics
        """


class FixedTemperature(Temperature):
    """Constant temperature.

    :param alpha: (1,) or (), the temperature
    """

    def __init__(self, alpha: th.Tensor) -> None:
        self._alpha = alpha

    def alpha(self) -> th.Tensor:
        return self._alpha

    def step(self, policy_entropy: th.Tensor, max_entropy: th.Tensor | None = None) -> dict[str, th.Tensor]:
        return {}


class LearnedTemperature(Temperature):
    """Learned temperature: the Lagrange multiplier of a constraint on the policy's entropy.

    The constraint is that the mean entropy is at least ``target_entropy``.   arXiv:1812.05905v2, section 5

    :param log_alpha: (1,), the parameter
    :param optimizer: optimizer of ``log_alpha`` alone
    :param bounds: smallest and largest alpha; None for none
    :param step: function that makes the optimizer step
    """

    def __init__(
        self,
        log_alpha: th.Tensor,
        optimizer: th.optim.Optimizer,
        bounds: tuple[float, float] | None = None,
        step: Stepper = plain_step,
    ) -> None:
        self._log_alpha = log_alpha
        self._log_bounds = None if bounds is None else (math.log(bounds[0]), math.log(bounds[1]))
        # Filled in place, since a captured update reads these tensors.
        self._target_entropy = th.zeros((), device=log_alpha.device)
        self._factor = th.zeros((), device=log_alpha.device)
        self._gradient_step = GradientStep(optimizer, step=step)

    def set_target_entropy(self, target: float, factor: float = 0.0) -> None:
        self._target_entropy.fill_(target)
        self._factor.fill_(factor)

    def alpha(self) -> th.Tensor:
        return self._log_alpha.detach().exp()

    def _target(self, max_entropy: th.Tensor | None) -> th.Tensor:
        """Target entropy: (), or (B,) with action masks."""
        if max_entropy is None:
            return self._target_entropy
        return losses.masked_target_entropy(self._target_entropy, self._factor, max_entropy)

    def measures(self, max_entropy: th.Tensor | None = None) -> dict[str, th.Tensor]:
        return {"target_entropy": self._target(max_entropy).mean()}

    def step(self, policy_entropy: th.Tensor, max_entropy: th.Tensor | None = None) -> dict[str, th.Tensor]:
        target = self._target(max_entropy)
        gradient = losses.temperature_gradient(policy_entropy, target)
        loss = self._log_alpha.detach().squeeze() * gradient
        gradient = gradient.to(self._log_alpha.dtype).reshape_as(self._log_alpha)
        self._gradient_step.step_along([gradient for _ in self._gradient_step.parameters()])  # none if a user froze it
        if self._log_bounds is not None:
            self._log_alpha.data.clamp_(*self._log_bounds)
        return {"ent_coef_loss": loss}

    def warn_of_runaway(self, alpha: float) -> None:
        if self.has_run_away or not alpha >= ALARM:  # NaN has other causes
            return
        self.has_run_away = True
        warnings.warn(
            f"The learned `ent_coef` has grown to {alpha:.3g}: the policy cannot be as random as "
            f"`target_entropy` ({self._described_target()}) asks for. Ask for less "
            "(`target_entropy='auto_0.5'`, of the default), bound it (`ent_coef_bounds=(1e-3, 1.0)`), "
            "or fix it (`ent_coef=0.1`).",
            stacklevel=4,
        )

    def _described_target(self) -> str:
        target, factor = self._target_entropy.item(), self._factor.item()
        return f"{target:.3g}" if factor == 0.0 else f"{factor:.3g} times that of random allowed actions"


def make_temperature(
    alpha: th.Tensor | None,
    log_alpha: th.Tensor | None,
    optimizer: th.optim.Optimizer | None,
    bounds: tuple[float, float] | None,
    step: Stepper = plain_step,
) -> Temperature:
    """Make a temperature of the attributes in which Stable-Baselines3's SAC holds one.

    :param alpha: (1,) or (), a fixed temperature
    :param log_alpha: (1,), the parameter of a learned temperature
    :param optimizer: optimizer of ``log_alpha``
    :param bounds: smallest and largest value of a learned temperature
    :param step: function that makes the optimizer step
    """
    if log_alpha is not None and optimizer is not None:
        return LearnedTemperature(log_alpha, optimizer, bounds, step)
    assert alpha is not None, "a temperature is fixed or learned"
    return FixedTemperature(alpha)
