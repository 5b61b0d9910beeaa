"""Choice of the engine for a policy on its device, and the set-up of networks and optimizers for it."""

import warnings
from collections.abc import Callable, Sequence

import torch as th

from sb3_softac.engines.adam import FUSABLE_OPTIMIZERS, fuse_optimizer
from sb3_softac.engines.base import Capture, EagerEngine, Engine
from sb3_softac.engines.cuda import CudaCapture
from sb3_softac.engines.graph import GraphEngine
from sb3_softac.engines.traced import TraceCapture, TraceKey
from sb3_softac.networks.blocks import MLP
from sb3_softac.networks.critics import Critic
from sb3_softac.policies import SoftACPolicy
from sb3_softac.settings.arguments import EngineSettings
from sb3_softac.settings.engines import ENGINE_KINDS, captures_on
from sb3_softac.updates.update import Update

# None keeps the dtype of the parameters: float32, or float64 in tests.
DTYPES = {"float32": None, "bfloat16": th.bfloat16}
# Packages whose modules call the same operations in every pass, so that they can be traced.
TRACEABLE_MODULES = ("torch.nn.", "stable_baselines3.", "sb3_softac.")
#: factory of the capture, for each engine in :data:`~sb3_softac.settings.engines.ENGINE_KINDS` that captures
CAPTURES: dict[str, Callable[[th.device], Capture]] = {
    "traced": lambda _: TraceCapture(),
    "cuda_graph": CudaCapture,
}


def choose_engine(settings: EngineSettings, policy: SoftACPolicy, is_loaded: bool = False) -> str:
    """Choose the engine for a policy on its device.

    :param settings: engine and precision that the user asked for
    :param policy: all networks
    :param is_loaded: True: the settings are from a file. If its engine is for another device, there is a warning, and
        ``"auto"`` takes its place
    :return: a key of :data:`~sb3_softac.settings.engines.ENGINE_KINDS`
    :raises ValueError: the engine cannot run this policy on this device
    """
    engine = _engine_for_device(settings.engine, policy.device, is_loaded)
    if engine == "auto":
        capturing = captures_on(policy.device.type)
        engine = "fused" if capturing is None or _obstacle(capturing, policy) else capturing
    obstacle = _obstacle(engine, policy)
    if obstacle is not None:
        raise ValueError(f"`engine={engine!r}` cannot {obstacle}")
    if settings.precision != "float32":
        _check_precision(settings.precision, engine, policy.device)
    return engine


def _engine_for_device(engine: str, device: th.device, is_loaded: bool) -> str:
    if engine == "auto" or ENGINE_KINDS[engine].device in (None, device.type):
        return engine
    message = f"`engine={engine!r}` needs the device {ENGINE_KINDS[engine].device!r}, but the model is on {device}"
    if not is_loaded:
        raise ValueError(f"{message}; pass 'auto'")
    warnings.warn(f"{message}, where it was loaded: 'auto' takes its place", stacklevel=2)
    return "auto"


def _obstacle(engine: str, policy: SoftACPolicy) -> str | None:
    """Reason why an engine cannot capture the updates of a policy, as the end of a message; None if it can."""
    if not ENGINE_KINDS[engine].captures:
        return None
    if policy.settings.use_sde:
        return "run gSDE, which draws its noise anew between updates; pass `engine='fused'`, or `use_sde=False`"
    if policy.optimizer_class not in FUSABLE_OPTIMIZERS:
        return _cannot_hold(policy.optimizer_class)
    own = [module for module in policy.modules() if not type(module).__module__.startswith(TRACEABLE_MODULES)]
    if engine == "traced" and own:
        return (
            f"hold the module {type(own[0]).__name__}, which may do in Python what no trace records; pass 'auto' or "
            "'fused'"
        )
    return None


def _cannot_hold(optimizer_class: type) -> str:
    name = getattr(optimizer_class, "__name__", optimizer_class)
    return f"hold the optimizer {name}; use Adam or AdamW, or `engine='fused'`"


def _check_precision(precision: str, engine: str, device: th.device) -> None:
    if not ENGINE_KINDS[engine].has_own_products:
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


def has_bfloat16_products() -> bool:
    """Whether this machine's CPU has instructions for matrix products in bfloat16."""
    return th.cpu._is_avx512_bf16_supported() or th.cpu._is_amx_tile_supported()


def set_up_networks(policy: SoftACPolicy, engine: str, settings: EngineSettings) -> None:
    """Set up each fully connected network for an engine: plain modules, one autograd node, or compiled.

    :param policy: all networks
    :param engine: result of :func:`choose_engine`
    :param settings: engine and precision that the user asked for
    :raises ValueError: the user asked for ``"fused"``, and a layer has no written-out gradient
    """
    for network in policy.modules():
        if isinstance(network, MLP):
            network.compute_plainly()
            if ENGINE_KINDS[engine].compiles:
                network.compile(dynamic=False)
            elif ENGINE_KINDS[engine].fuses:
                _fuse(network, settings)
    for network in policy.modules():
        if isinstance(network, Critic):
            MLP.join(network.q_networks)


def _fuse(network: MLP, settings: EngineSettings) -> None:
    try:
        network.compute_fused(DTYPES[settings.precision])
    except ValueError as error:
        if settings.engine == "fused":
            raise ValueError(f"`engine={settings.engine!r}` cannot run this policy: {error}") from None
        if settings.precision != "float32":
            warnings.warn(f"`precision={settings.precision!r}` leaves a network in float32: {error}", stacklevel=2)


def make_engine(engine: str, update: Update, policy: SoftACPolicy, optimizers: Sequence[th.optim.Optimizer]) -> Engine:
    """Make an engine, and set up the optimizers for it.

    :param engine: result of :func:`choose_engine`
    :param update: gradient step of a variant
    :param policy: all networks
    :param optimizers: optimizers of all networks and of the temperature
    :raises ValueError: the engine cannot capture the steps of an optimizer
    """
    kind = ENGINE_KINDS[engine]
    for optimizer in optimizers:
        if kind.captures and type(optimizer) not in FUSABLE_OPTIMIZERS:
            raise ValueError(f"`engine={engine!r}` cannot {_cannot_hold(type(optimizer))}")
        fuse_optimizer(optimizer, fused=kind.fuses, capturable=kind.captures)
    if not kind.captures:
        return EagerEngine(update)
    return GraphEngine(update, CAPTURES[engine](policy.device), TraceKey(policy, optimizers))
