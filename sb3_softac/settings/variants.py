"""Variants of SAC: one row for each, with its networks beside actor and critics, and the arguments it refuses."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Variant:
    """Properties of a variant: a row of :data:`VARIANTS`. Its update is in :mod:`sb3_softac.updates.variants`.

    :param networks: attributes of the policy that hold networks of this variant; those of other variants are None
    :param optimizers: which of these networks have an optimizer; all follow the critics' learning rate
    :param learns_temperature: True: ``ent_coef="auto"`` is learned; False: it is fixed at 1
    :param refuses: arguments that must be None, each with the reason
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
#: networks that only some variants have
VARIANT_NETWORKS = ("critic_target", "value_net", "value_target")
