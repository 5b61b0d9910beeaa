"""What each engine does with an update: one row for each."""

from dataclasses import dataclass


@dataclass(frozen=True)
class EngineKind:
    """A row of :data:`ENGINE_KINDS`.

    :param device: type of the only device that it runs on; None for any
    :param fuses: runs each optimizer step as one call, and each network as one node of the autograd graph
    :param captures: records the whole update and replays it
    :param compiles: compiles each network by ``torch.compile``, in place of the one node
    """

    device: str | None = None
    fuses: bool = True
    captures: bool = False
    compiles: bool = False

    @property
    def has_own_products(self) -> bool:
        """Whether its matrix products are ours, in the precision that the user asks for."""
        return self.fuses and not self.compiles


ENGINE_KINDS = {
    "eager": EngineKind(fuses=False),
    "fused": EngineKind(),
    "traced": EngineKind(device="cpu", captures=True),
    "cuda_graph": EngineKind(device="cuda", captures=True),
    "compile": EngineKind(compiles=True),
}


def captures_on(device_type: str) -> str | None:
    """The engine that captures updates on a device; None where none does.

    :param device_type: as ``"cpu"``
    """
    kinds = ENGINE_KINDS.items()
    return next((name for name, kind in kinds if kind.captures and kind.device == device_type), None)
