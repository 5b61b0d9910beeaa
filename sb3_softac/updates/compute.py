"""How the networks and the optimizers of a model are computed: chosen once, when it is set up."""

import warnings
from collections.abc import Callable
from itertools import chain
from typing import TYPE_CHECKING

import torch as th

from sb3_softac.networks.layers import MLP
from sb3_softac.updates.engine import CudaGraphs, EagerEngine, Engine, GraphEngine, Graphs, Update
from sb3_softac.updates.gradient import FUSABLE_OPTIMIZERS, fuse_optimizer
from sb3_softac.updates.tracing import HeldByTrace, TracedGraphs

if TYPE_CHECKING:
    from sb3_softac.softac import SoftAC

# None: what the parameters are, which tests set to double precision.
DTYPES = {"float32": None, "bfloat16": th.bfloat16}
# Whose modules call the same operations every time.
TRACEABLE_MODULES = ("torch.nn.", "stable_baselines3.", "sb3_softac.")
# Engines that replay an update, and what they capture it by.
GRAPHS: dict[str, Callable[[th.device], Graphs]] = {
    "cuda_graph": lambda device: CudaGraphs(device),
    "traced": lambda _: TracedGraphs(),
}
ENGINE_OF_DEVICE = {"cuda": "cuda_graph", "cpu": "traced"}
DEVICE_OF_ENGINE = {engine: device for device, engine in ENGINE_OF_DEVICE.items()}


def choose_engine(model: "SoftAC") -> str:
    """The engine that a model runs by.

    :param model: with a device, and checked arguments
    :return: ``"eager"``, ``"fused"``, ``"traced"``, ``"cuda_graph"`` or ``"compile"``
    :raises ValueError: what the user asked for cannot run there
    """
    engine, precision, device = _engine_for_device(model), model.precision, model.device
    if engine in GRAPHS and model.use_sde:
        raise ValueError(
            f"`engine={engine!r}` cannot run gSDE, which draws its noise anew between updates; pass `engine='fused'`, "
            "or `use_sde=False`"
        )
    if precision != "float32" and engine in ("eager", "compile"):
        raise ValueError(
            f"`precision={precision!r}` needs the products of `engine='fused'`, 'traced' or 'cuda_graph', but "
            f"{engine!r} was given; pass 'auto'"
        )
    if precision == "bfloat16" and device.type == "cpu" and not has_bfloat16_products():
        warnings.warn(
            "`precision='bfloat16'` works on this CPU, but it has no instructions for it (AVX512-BF16, AMX): it will "
            "be slower than 'float32'",
            stacklevel=2,
        )
    optimizer_class = model.policy_kwargs.get("optimizer_class", th.optim.Adam)
    if engine in GRAPHS:
        _check_optimizer(engine, optimizer_class)
    if engine != "auto":
        return engine
    can_be_captured = not model.use_sde and optimizer_class in FUSABLE_OPTIMIZERS
    return ENGINE_OF_DEVICE.get(device.type, "fused") if can_be_captured else "fused"


def _check_optimizer(engine: str, optimizer_class: type) -> None:
    if optimizer_class not in FUSABLE_OPTIMIZERS:
        raise ValueError(
            f"`engine={engine!r}` cannot hold the optimizer {optimizer_class.__name__}; use Adam or AdamW, or "
            "`engine='fused'`"
        )


def _engine_for_device(model: "SoftAC") -> str:
    engine, device = model.engine, model.device
    if DEVICE_OF_ENGINE.get(engine, device.type) == device.type:
        return engine
    message = f"`engine={engine!r}` needs the device {DEVICE_OF_ENGINE[engine]!r}, but the model is on {device}"
    if not model._is_loaded:
        raise ValueError(f"{message}; pass 'auto'")
    warnings.warn(f"{message}, where it was loaded: 'auto' takes its place", stacklevel=2)
    return "auto"


def refine_engine(model: "SoftAC", engine: str) -> str:
    """The engine, now that the networks are there: a user's module may do in Python what no trace records.

    :param model: with a policy
    :param engine: of :func:`choose_engine`
    :raises ValueError: what the user asked for cannot run there
    """
    own = [module for module in model.policy.modules() if not type(module).__module__.startswith(TRACEABLE_MODULES)]
    if engine != "traced" or not own:
        return engine
    if model.engine == "traced":
        raise ValueError(
            f"`engine='traced'` cannot hold the module {type(own[0]).__name__}, which may do in Python what no trace "
            "records; pass 'auto' or 'fused'"
        )
    return "fused"


def has_bfloat16_products() -> bool:
    """Whether this machine's CPU multiplies matrices in bfloat16."""
    return th.cpu._is_avx512_bf16_supported() or th.cpu._is_amx_tile_supported()


def set_up_networks(model: "SoftAC", engine: str) -> None:
    """Let each fully connected network of a model be plain modules, one node of the autograd graph, or compiled.

    :param model: set up
    :param engine: of :func:`choose_engine`
    :raises ValueError: naming the layer that is in the way, if the user asked for this engine
    """
    for network in model.policy.modules():
        if isinstance(network, MLP):
            network.compute_plainly()
            if engine == "compile":
                network.compile(dynamic=False)
            elif engine != "eager":
                _fuse(model, network)


def _fuse(model: "SoftAC", network: MLP) -> None:
    try:
        network.compute_fused(DTYPES[model.precision])
    except ValueError as error:
        if model.engine == "fused":
            raise ValueError(f"`engine={model.engine!r}` cannot run this policy: {error}") from None
        if model.precision != "float32":
            warnings.warn(f"`precision={model.precision!r}` leaves a network in float32: {error}", stacklevel=2)


def make_engine(model: "SoftAC", engine: str, update: Update) -> Engine:
    """What runs the update of a model, and its optimizers set up for it.

    :param model: set up
    :param engine: of :func:`choose_engine`
    :param update: one gradient step
    :raises ValueError: an optimizer that cannot be captured
    """
    captured = engine in GRAPHS
    optimizers = list(chain(*model.optimizers().values()))
    for optimizer in optimizers:
        if captured:
            _check_optimizer(engine, type(optimizer))
        fuse_optimizer(optimizer, fused=engine != "eager", capturable=captured)
    if not captured:
        return EagerEngine(update)
    return GraphEngine(update, GRAPHS[engine](model.device), HeldByTrace(model.policy, optimizers))
