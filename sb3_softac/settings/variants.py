"""What each variant has, beside an actor and critics, and what it refuses: one row for each."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Variant:
    """A row of :data:`VARIANTS`; its update is in :mod:`sb3_softac.updates.variants`.

    :param networks: attributes of the policy that this variant has; those of other variants are None
    :param optimizers: those of its networks that have an optimizer, and follow the critics' learning rate
    :param learns_temperature: whether ``ent_coef="auto"`` is learned, or fixed at 1
    :param refuses: arguments that must be None, and why
    """

    networks: tuple[str, ...]
    optimizers: tuple[str, ...] = ()
    learns_temperature: bool = True
    refuses: dict[str, str] = field(default_factory=dict)


_NO_CRITIC_TARGET = (
    "changes the TD target of `variant='v2'`; that of `variant='v1'` is made by a state value network. "
    "Pass None, or `variant='v2'`"
)
VARIANTS = {
    "v1": Variant(
        networks=("value_net", "value_target"),
        optimizers=("value_net",),
        learns_temperature=False,  # its reward scale sets the temperature
        refuses={"critic_ent_coef": _NO_CRITIC_TARGET, "q_target_clip": _NO_CRITIC_TARGET},
    ),
    "v2": Variant(networks=("critic_target",)),
}
#: every network that some variant has, beside an actor and critics
VARIANT_NETWORKS = ("critic_target", "value_net", "value_target")
