"""Networks of an agent, as one tuple."""

from typing import NamedTuple

from sb3_softac.networks.actors import SoftActor
from sb3_softac.networks.critics import Critic, ValueNetwork


class Networks(NamedTuple):
    """All networks of an agent; None for a network that the variant or the arguments leave out."""

    actor: SoftActor
    critic: Critic
    critic_target: Critic | None = None
    value_net: ValueNetwork | None = None
    value_target: ValueNetwork | None = None
    actor_average: SoftActor | None = None
