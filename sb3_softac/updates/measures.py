"""Measures of a gradient step, which help to say why an agent does not learn.

They cost some operations, so that only some steps are measured. A measured step learns exactly what any other would.

Shapes: N critics, B batch, K support size, D action dimension.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch as th

from sb3_softac.networks.distributions import PolicySupport
from sb3_softac.updates.batch import Batch, named_tensors

# Gradient steps from one measured step to the next. At 100, all measures together cost less than 1 % of the time.
INTERVAL = 100
# An action counts as saturated if it is further than this from the middle of its range, which is [-1, 1].
SATURATED = 0.99


@dataclass(frozen=True)
class Measured:
    """Decides which gradient steps are measured: the first step of the actor, and then about every hundredth step.

    :param is_on: False: no step
    :param policy_delay: gradient steps between steps of the actor, which a measured step always includes
    """

    is_on: bool = True
    policy_delay: int = 1

    def __call__(self, n_updates: int) -> bool:
        """Whether a gradient step is measured.

        :param n_updates: gradient steps done in the whole run, that one included
        """
        n_actor_steps, rest = divmod(n_updates, self.policy_delay)
        interval = max(1, INTERVAL // self.policy_delay)
        return self.is_on and rest == 0 and (n_actor_steps - 1) % interval == 0


@th.no_grad()
def of_batch(batch: Batch) -> dict[str, th.Tensor]:
    """Ranges of the rewards and of the observations; for Dict observations, those of each key.

    :param batch: B transitions
    :return: metrics to log, each ()
    """
    ranges: dict[str, th.Tensor] = {}
    for name, tensor in named_tensors(batch):
        if name.startswith(("obs", "reward")) and tensor.numel() > 0:  # a part of an observation may be empty
            field, _, key = name.partition("[")
            suffix = "_" + key[1:-2] if key else ""  # of the name "obs['key']"
            numbers = tensor.to(batch.reward.dtype)
            for measure in ("min", "max", "mean"):
                ranges[f"{field}_{measure}{suffix}"] = getattr(numbers, measure)()
    return ranges


@th.no_grad()
def of_critics(q_NB: th.Tensor, td_error_NB: th.Tensor, gradients: Sequence[th.Tensor | None]) -> dict[str, th.Tensor]:
    """Spread of the values, TD error, disagreement of the critics and norm of their gradient.

    :param q_NB: values of the actions taken
    :param td_error_NB: distance of each value from its target
    :param gradients: of the critics' loss, before clipping
    :return: metrics to log, each ()
    """
    return {
        "q_std": q_NB.mean(dim=0).std(correction=0),
        "td_error": td_error_NB.abs().mean(),
        "critic_disagreement": q_NB.std(dim=0, correction=0).mean(),
        "critic_grad_norm": norm(gradients, q_NB),
    }


@th.no_grad()
def of_actor(support: PolicySupport, is_box: bool, gradients: Sequence[th.Tensor | None]) -> dict[str, th.Tensor]:
    """Share of saturated actions, for Box, and norm of the actor's gradient.

    :param support: of the policy; its Box actions are (B, K, D), in [-1, 1]
    :param is_box: whether actions are numbers, and not ids
    :param gradients: of the actor's loss, before clipping
    :return: metrics to log, each ()
    """
    metrics = {"actor_grad_norm": norm(gradients, support.log_pi)}
    if is_box and support.actions is not None:
        metrics["saturated_actions"] = (support.actions.abs() > SATURATED).to(support.log_pi.dtype).mean()
    return metrics


def norm(gradients: Sequence[th.Tensor | None], like: th.Tensor) -> th.Tensor:
    """Euclidean norm of all gradients together, (); 0 if there is none.

    :param gradients: of any shapes; None for a parameter that the loss does not depend on
    :param like: a tensor of the wanted device and dtype
    """
    present = [gradient for gradient in gradients if gradient is not None]
    return th.nn.utils.get_total_norm(present).to(like.dtype) if present else like.new_zeros(())
