"""Layers of a network by their kind, as settings name them."""

from torch import nn

from sb3_softac.networks.batch_renorm import BatchRenorm
from sb3_softac.networks.blocks import MLP

#: layers with a scale, and most of them with a shift, for each feature
NORMS = (BatchRenorm, nn.LayerNorm, nn.RMSNorm)


def layers_by_kind(network: nn.Module) -> dict[str, list[nn.Module]]:
    """Layers of a network without its features extractor.

    :param network: actor, critics or state value
    :return: linear layers before the last one, ``"hidden"``; those whose outputs are the network's, ``"output"``; and
        ``"norm"``, normalisations with a scale
    """
    own = [module for name, module in network.named_modules() if not name.startswith("features_extractor")]
    linears = [module for module in own if isinstance(module, nn.Linear)]
    stacks = [module for module in own if isinstance(module, MLP)]
    hidden = {id(module) for stack in stacks for module in stack.modules() if module is not _last(stack)}
    return {
        "hidden": [layer for layer in linears if id(layer) in hidden],
        "output": [layer for layer in linears if id(layer) not in hidden],
        "norm": [module for module in own if isinstance(module, NORMS)],
    }


def _last(stack: MLP) -> nn.Module | None:
    return stack[-1] if len(stack) > 0 else None
