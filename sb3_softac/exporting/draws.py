"""Random numbers of a policy, taken from outside: a sampled action is then a function of observation and noise."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch as th
from torch.overrides import TorchFunctionMode

from sb3_softac.networks.actors import SoftActor, SquashedGaussianActor

#: from the distribution, ``"normal"`` or ``"uniform"``, and the shape to random numbers
Source = Callable[[str, tuple[int, ...]], th.Tensor]
ARGMAX = (th.argmax, th.Tensor.argmax)


class Draws(TorchFunctionMode):
    """Mode of PyTorch in which ``randn_like``, ``rand_like`` and ``multinomial`` draw from a source.

    It also tells how clear the choices were, be it by ``argmax`` or by ``multinomial``: rounding may turn a near tie.

    :param source: of the random numbers
    """

    def __init__(self, source: Source) -> None:
        super().__init__()
        self._source = source
        #: (B,), the smallest distance of the best score to the second best; None: nothing was chosen
        self.margin: th.Tensor | None = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is th.randn_like:
            return self._source("normal", tuple(args[0].shape))
        if func is th.rand_like:
            return self._source("uniform", tuple(args[0].shape))
        if func in (th.multinomial, th.Tensor.multinomial):
            return self._choose(*args, **(kwargs or {}))
        if func in ARGMAX and args[0].is_floating_point():
            self._watch(args[0])
        return func(*args, **(kwargs or {}))

    def _choose(self, probs: th.Tensor, num_samples: int, replacement: bool = False) -> th.Tensor:
        """Ids (B, num_samples) by the Gumbel-max trick: the best of log p + noise is distributed as p.

        :param probs: (B, A)
        """
        if num_samples != 1 and not replacement:
            raise ValueError("`multinomial()` without replacement cannot be exported; draw one sample")
        uniform = self._source("uniform", (probs.shape[0], num_samples, probs.shape[1]))
        scores = probs.log().unsqueeze(1) - (-uniform.log()).log()
        self._watch(scores)
        return scores.argmax(dim=-1)

    def _watch(self, scores: th.Tensor) -> None:
        if th.compiler.is_exporting() or th.jit.is_tracing() or scores.shape[-1] < 2:
            return
        best = scores.topk(2, dim=-1).values
        margin = (best[..., 0] - best[..., 1]).reshape(scores.shape[0], -1).amin(dim=1)
        self.margin = margin if self.margin is None else self.margin.minimum(margin)


@contextmanager
def drawn_from(source: Source, actor: SoftActor | None) -> Iterator[Draws]:
    """Context in which an actor takes its random numbers from a source.

    :param source: of the random numbers
    :param actor: that samples; None: actions are deterministic
    """
    with _sde_drawn_from(source, actor), Draws(source) as draws:
        yield draws


@contextmanager
def _sde_drawn_from(source: Source, actor: SoftActor | None) -> Iterator[None]:
    """Context in which gSDE, which keeps its noise between draws, has the noise of a source; then that of before."""
    if not isinstance(actor, SquashedGaussianActor) or not actor.use_sde:
        yield
        return
    before = actor.sde_noise.draws()
    draw = source("normal", tuple(actor.log_std.shape))
    actor.sde_noise.set_draws(draw, draw.new_empty(0, *draw.shape))
    try:
        yield
    finally:
        actor.sde_noise.set_draws(*before)
