"""Checks of shapes at the top of equations, which PyTorch would broadcast to others."""

import torch as th


def check_same_shape(**tensors: th.Tensor) -> None:
    """Refuse tensors of different shapes, such as (B, 1) with (B,), which PyTorch would broadcast.

    Python compares the shapes on the host, so that a captured update does not contain the check.

    :param tensors: tensors by the name of the argument
    :raises ValueError: naming all shapes
    """
    shapes = [tensor.shape for tensor in tensors.values()]
    if any(shape != shapes[0] for shape in shapes):
        given = ", ".join(f"`{name}` is {tuple(tensor.shape)}" for name, tensor in tensors.items())
        raise ValueError(f"These must be of the same shape, but {given}")


def check_dimensions(**expected: tuple[th.Tensor, int]) -> None:
    """Refuse tensors with a wrong number of dimensions.

    :param expected: tensor and its number of dimensions, by the name of the argument
    :raises ValueError: naming the argument
    """
    for name, (tensor, n_dimensions) in expected.items():
        if tensor.dim() != n_dimensions:
            raise ValueError(f"`{name}` must have {n_dimensions} dimension(s), but its shape is {tuple(tensor.shape)}")
