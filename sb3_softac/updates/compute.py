"""How the networks and the optimizers of a model are computed: chosen once, when it is set up."""

import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch as th

from sb3_softac.networks.layers import MLP
from sb3_softac.updates.gradient import FUSABLE_OPTIMIZERS, fuse_optimizer

if TYPE_CHECKING:
    from sb3_softac.softac import SoftAC

# None: what the parameters are, which tests set to double precision.
DTYPES = {"float32": None, "bfloat16": th.bfloat16}


def choose_engine(engine: str, precision: str, device: th.device) -> str:
    """The engine that a model runs by.

    :param engine: what the user asked for
    :param precision: ``"float32"`` or ``"bfloat16"``
    :param device: of the model
    :return: ``"eager"``, ``"fused"``, ``"cuda_graph"`` or ``"compile"``
    :raises ValueError: what the user asked for cannot run there
    """
    if engine == "cuda_graph" and device.type != "cuda":
        raise ValueError(f"`engine='cuda_graph'` needs a CUDA device, but the model is on {device}; pass 'auto'")
    if precision != "float32" and engine in ("eager", "compile"):
        raise ValueError(
            f"`precision={precision!r}` needs the products of `engine='fused'` or 'cuda_graph', but {engine!r} was "
            "given; pass 'auto'"
        )
    if precision == "bfloat16" and device.type == "cpu" and not has_bfloat16_products():
        warnings.warn(
            "`precision='bfloat16'` works on this CPU, but it has no instructions for it (AVX512-BF16, AMX): it will "
            "be slower than 'float32'",
            stacklevel=2,
        )
    if engine != "auto":
        return engine
    return "cuda_graph" if device.type == "cuda" else "fused"


def has_bfloat16_products() -> bool:
    """Whether this machine's CPU multiplies matrices in bfloat16."""
    return th.cpu._is_avx512_bf16_supported() or th.cpu._is_amx_tile_supported()


def set_up_networks(model: "SoftAC", engine: str, is_required: bool) -> None:
    """Let each fully connected network of a model be one node of the autograd graph, or plain modules.

    :param model: set up
    :param engine: of :func:`choose_engine`
    :param is_required: refuse a network that cannot be one node, in place of leaving it plain
    :raises ValueError: naming the layer that is in the way
    """
    for network in model.policy.modules():
        if isinstance(network, MLP):
            network.compute_plainly()
            if engine not in ("fused", "cuda_graph"):
                continue
            try:
                network.compute_fused(DTYPES[model.precision])
            except ValueError as error:
                if is_required:
                    raise ValueError(f"`engine={model.engine!r}` cannot run this policy: {error}") from None


def set_up_optimizers(optimizers: Iterable[th.optim.Optimizer], engine: str) -> None:
    """Let the optimizers step as the engine needs it.

    :param optimizers: of a model
    :param engine: of :func:`choose_engine`
    :raises ValueError: an optimizer that cannot be captured in a CUDA graph
    """
    for optimizer in optimizers:
        is_captured = engine == "cuda_graph"
        if is_captured and type(optimizer) not in FUSABLE_OPTIMIZERS:
            raise ValueError(
                f"a CUDA graph cannot hold the optimizer {type(optimizer).__name__}; use Adam or AdamW, or "
                "`engine='fused'`"
            )
        fuse_optimizer(optimizer, fused=engine != "eager", capturable=is_captured)
