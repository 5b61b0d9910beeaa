"""Connection to Ray: an own one on this machine, or a cluster that is there, with the same versions as here."""

import logging
import os
import platform
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from sb3_softac.version import __version__

#: seconds within which a cluster, and each of its nodes, has to answer
PATIENCE = 30.0


class ClusterError(RuntimeError):
    """A Ray cluster does not answer, or has other versions than this process."""


class _Held:
    """Contexts of :func:`connect` in this process: how many there are, and whether the first of them began with Ray."""

    count = 0
    is_ours = False


def import_ray() -> ModuleType:
    """Import Ray.

    :raises ImportError: naming the extra
    """
    # Read by Ray as it is imported: no figures of its use are sent anywhere, unless the user wants that.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise ImportError("ray is not installed, run: pip install 'sb3_softac[ray]'") from error
    return ray


@contextmanager
def connect(address: str | None = None, **init_kwargs: Any) -> Iterator[ModuleType]:
    """Context manager that connects this process to Ray, and undoes at its end what it did.

    A Ray to which the process is connected already is used, and stays. Otherwise Ray is started on this machine, and
    ends with the last context that uses it; or a cluster is joined, and left running. Contexts may overlap.

    :param address: ``"<host>:<port>"`` of a cluster, or ``"auto"`` for the one that runs on this machine; None: what
        the environment variable ``RAY_ADDRESS`` says, else a Ray of our own
    :param init_kwargs: for ``ray.init()``, as ``num_cpus``, where this starts Ray or joins a cluster
    :return: the module ``ray``
    :raises ImportError: Ray is not installed
    :raises ValueError: an address of another form, or of another cluster than the process is connected to
    :raises ClusterError: the cluster does not answer, or has other versions of Ray, Python or this package
    """
    ray = import_ray()
    if ray.is_initialized():
        _check_is_connected_to(ray, address)
    else:
        _join(ray, address or os.environ.get("RAY_ADDRESS") or "local", init_kwargs)
        _Held.count, _Held.is_ours = 0, True
    _Held.count += 1
    try:
        yield ray
    finally:
        _Held.count -= 1
        # As the interpreter ends, Ray has ended itself already.
        if _Held.count == 0 and _Held.is_ours and not sys.is_finalizing():
            _Held.is_ours = False
            ray.shutdown()


def _check_is_connected_to(ray: ModuleType, address: str | None) -> None:
    current = ray.get_runtime_context().gcs_address
    if address not in (None, "auto", "local", current):
        raise ValueError(
            f"This process is connected to Ray at {current} and cannot use {address!r} as well. Leave `address` out, "
            "or call `ray.shutdown()` before"
        )


def _join(ray: ModuleType, address: str, init_kwargs: dict[str, Any]) -> None:
    if address not in ("local", "auto"):
        _check_answers(address)
    quiet = {"include_dashboard": False} if address == "local" else {}
    try:
        ray.init(address, logging_level=logging.ERROR, **quiet, **init_kwargs)
    except (ConnectionError, TimeoutError) as error:
        if "AuthToken" in str(error.__cause__):
            raise ClusterError(
                f"The Ray cluster at {address!r} asks for a token. Set RAY_AUTH_MODE=token, and give this process the "
                "cluster's token, as Ray's manual says under 'token authentication'"
            ) from error
        raise ClusterError(
            f"No Ray cluster was found for the address {address!r} ({error}). `ray start --head` starts one; without "
            "`address` Ray is started on this machine"
        ) from error
    except RuntimeError as error:
        raise ClusterError(
            f"Ray at {address!r} refused this process: {error}. Install the same versions of Python and Ray on all "
            "machines"
        ) from error
    if address != "local":
        try:
            check_versions(ray)
        except BaseException:
            ray.shutdown()
            raise


def _check_answers(address: str) -> None:
    """Refuse an address where nothing answers: Ray itself would end the process, after a minute."""
    host, _, port = address.rpartition(":")
    if "/" in address or not host or not port.isdigit():
        raise ValueError(
            f"`address` is {address!r}, but must be '<host>:<port>' of a Ray cluster (`ray start --head` prints it), "
            "'auto', or None. A client's address ('ray://...') is of no use: the training must run on a machine of "
            "the cluster"
        )
    try:
        socket.create_connection((host, int(port)), timeout=PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise ClusterError(
            f"Nothing answers at {address!r} ({error}). Is the cluster running (`ray status`), and does a firewall "
            "let this machine in? `ray start --head` starts one; without `address` Ray is started on this machine"
        ) from error


def check_versions(ray: ModuleType) -> None:
    """Refuse a cluster of which a node has another version of Python or of this package.

    :param ray: the module, connected
    :raises ClusterError: naming the node, and both versions
    """
    here = {"Python": _python(), "sb3_softac": __version__}
    for node in ray.nodes():
        if not node["Alive"]:
            continue
        name = f"The node {node['NodeManagerHostname']} ({node['NodeManagerAddress']}) of the Ray cluster"
        try:
            there = _versions_on(ray, node["NodeID"])
        except (ray.exceptions.RayError, TimeoutError) as error:
            raise ClusterError(f"{name} did not answer within {PATIENCE:g} seconds: {error}") from error
        wrong = [what for what in here if there[what] != here[what]]
        if wrong:
            told = " and ".join(f"{what} {there[what]} where this process has {here[what]}" for what in wrong)
            raise ClusterError(f"{name} has {told}. Install the same versions on all machines")


def _versions_on(ray: ModuleType, node: str) -> dict[str, str]:
    """Versions on a node of the cluster."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    def versions() -> dict[str, str]:  # inside, so that it is sent by value: a node may lack this package
        import platform

        try:
            from sb3_softac.version import __version__
        except ImportError:
            __version__ = "none"
        return {"Python": ".".join(platform.python_version_tuple()[:2]), "sb3_softac": __version__}

    here = NodeAffinitySchedulingStrategy(node, soft=False)
    ask = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=here)(versions)
    return ray.get(ask.remote(), timeout=PATIENCE)


def _python() -> str:
    """Version of Python, in so far as processes must have the same: ``"3.11"``."""
    return ".".join(platform.python_version_tuple()[:2])
