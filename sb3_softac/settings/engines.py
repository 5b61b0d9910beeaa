"""Engines: one row for each, with the methods by which it runs an update."""

from dataclasses import dataclass


@dataclass(frozen=True)
class EngineKind:
    """Properties of an engine: a row of :data:`ENGINE_KINDS`.

    :param device: type of the only device that the engine runs on; None for any device
    :param fuses: whether each optimizer step is one call, and each network one node of the autograd graph
    :param captures: whether the whole update is recorded once and replayed
    :param compiles: whether ``torch.compile`` compiles each network, in place of the one node
    """

    device: str | None = None
    fuses: bool = True
    captures: bool = False
    compiles: bool = False

    @property
    def has_own_products(self) -> bool:
        """Whether the matrix products are this package's, so that the argument ``precision`` applies."""
        return self.fuses and not self.compiles


ENGINE_KINDS = {
    "eager": EngineKind(fuses=False),
    "fused": EngineKind(),
    "traced": EngineKind(device="cpu", captures=True),
    "cuda_graph": EngineKind(device="cuda", captures=True),
    "compile": EngineKind(compiles=True),
}


def captures_on(device_type: str) -> str | None:
    """Name of the engine that captures updates on a device; None if there is none.

    :param device_type: such as ``"cpu"``
    """
    kinds = ENGINE_KINDS.items()
    return next((name for name, kind in kinds if kind.captures and kind.device == device_type), None)
