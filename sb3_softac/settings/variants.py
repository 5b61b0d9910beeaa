"""Variants of SAC: one row for each, with its networks beside actor and critics, and the arguments it refuses."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Variant:
    """Properties of a variant: a row of :data:`VARIANTS`. Its update is in :mod:`sb3_softac.updates.variants`.

    :param networks: attributes of the policy that hold networks of this variant; those of other variants are None
    :param optimizers: which of these networks have an optimizer; all follow the critics' learning rate
    :param learns_temperature: True: ``ent_coef="auto"`` is learned; False: it is fixed at 1
    :param is_energy_based: the policy is the Boltzmann distribution of the critics' values
    :param refuses: arguments that must be as :data:`NEUTRAL` says, each with the reason
    """

    networks: tuple[str, ...]
    optimizers: tuple[str, ...] = ()
    learns_temperature: bool = True
    is_energy_based: bool = False
    refuses: dict[str, str] = field(default_factory=dict)


_NO_CRITIC_TARGET = (
    "changes the TD target of `variant='v2'`; that of `variant='v1'` is made by a state value network. "
    "Pass None, or `variant='v2'`"
)
_NO_ACTOR_LOSS = (
    "belongs to the actor's loss of `variant='v2'` and `'v1'`; the policy of `variant='soft_q'` is the Boltzmann "
    "distribution of the critics' values. Leave it out"
)
#: what a refused argument must be; None for all others
NEUTRAL = {"actor_gradient": "reparameterized", "n_action_samples": 1, "use_sde": False}
VARIANTS = {
    "v1": Variant(
        networks=("value_net", "value_target"),
        optimizers=("value_net",),
        learns_temperature=False,  # its reward scale sets the temperature
        refuses={"critic_ent_coef": _NO_CRITIC_TARGET, "q_target_clip": _NO_CRITIC_TARGET},
    ),
    "v2": Variant(networks=("critic_target",)),
    "soft_q": Variant(
        networks=("critic_target",),
        learns_temperature=False,  # as in v1
        is_energy_based=True,
        refuses=dict.fromkeys(NEUTRAL, _NO_ACTOR_LOSS),
    ),
}
#: networks that only some variants have
VARIANT_NETWORKS = ("critic_target", "value_net", "value_target")
