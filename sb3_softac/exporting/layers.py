"""The layer in which an export fails."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from sb3_softac.exporting.deployed import ExportError

ADVICE = (
    "An export follows no `if` or `for` that depends on the values of a tensor, no numpy and no `.item()` in a layer: "
    "write it with PyTorch's operations, such as `torch.where`"
)


@contextmanager
def layer_is_named(root: nn.Module) -> Iterator[None]:
    """Context in which an error names the layer that was computed when it happened.

    :param root: the module that is traced
    :raises ExportError: in place of any error
    """
    inside: list[str] = []

    def watch(name: str, layer: nn.Module) -> list[Any]:
        def enter(*_: Any) -> None:
            inside.append(name)

        def leave(*_: Any) -> None:
            inside.pop()

        return [layer.register_forward_pre_hook(enter), layer.register_forward_hook(leave)]

    handles = [handle for name, layer in root.named_modules() for handle in watch(name, layer)]
    try:
        yield
    except Exception as error:
        raise ExportError(
            f"{named(root, inside[-1] if inside else '')} cannot be exported: {cause(error)}. {ADVICE}"
        ) from error
    finally:
        for handle in handles:
            handle.remove()


def named(root: nn.Module, path: str) -> str:
    """A layer in words.

    :param root: the module that was traced
    :param path: of the layer in it
    """
    layer = dict(root.named_modules()).get(path)
    name = path.removeprefix("policy").removeprefix(".")
    return "The policy" if layer is None or not name else f"The layer `{name}` ({type(layer).__name__})"


def cause(error: BaseException) -> str:
    """Kind of an error and the first sentence of its message.

    :param error: of PyTorch, whose messages are pages long
    """
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {text}".rstrip(".: ")
