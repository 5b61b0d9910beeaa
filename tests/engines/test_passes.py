"""Of a recorded function only what differs from call to call is left."""

from collections.abc import Callable

import pytest
import torch as th

from sb3_softac.engines import passes
from sb3_softac.engines.recorder import Recorder
from sb3_softac.engines.replays import interpreted

X = th.tensor([[1.0, -2.0], [3.0, 4.0]])
OUT = th.zeros(2, 2)


def lightened(function: Callable[[], th.Tensor]) -> tuple[list[str], Callable[[], None]]:
    """The operations that are left, and a call of them."""
    with Recorder() as recorder:
        OUT.copy_(function())
    graph, inputs = recorder.graph, recorder.inputs
    passes.lighten(graph, inputs)
    names = [node.target.overloadpacket.__name__ for node in graph.nodes if node.op == "call_function"]
    return names, interpreted(graph, inputs.values)


@pytest.mark.parametrize(
    ("function", "left"),
    [
        (lambda: X.exp(), ["exp"]),
        (lambda: X.t().exp(), ["exp"]),  # a view of what stays in place
        (lambda: X.exp().detach(), ["exp"]),
        (lambda: X.exp() * th.full_like(X.exp(), 3.0).div(2.0).t(), ["exp", "mul"]),
        (lambda: th.ones_like(X) * X.exp(), ["exp"]),
        (lambda: X.exp() ** 1.0, ["exp"]),
        (lambda: X.exp() ** 2.0, ["exp", "pow"]),
        (lambda: X.exp().unsqueeze(1).sum(1), ["exp"]),
        (lambda: X.exp().view(2, 1, 2, 1).sum((-1, 1)), ["exp"]),
        (lambda: X.exp().view(2, 1, 2).sum(1, keepdim=True).squeeze(1), ["exp", "sum"]),
        (lambda: (X > 0.0).unsqueeze(1).sum(1) * X, ["gt", "sum", "mul"]),  # of another type
    ],
)
def test_what_comes_out_the_same_each_time_is_computed_once(function, left):
    names, call = lightened(function)
    assert names == [*left, "copy_"]
    before = X.clone()
    try:
        X.add_(0.5)
        expected = function()
        call()
        th.testing.assert_close(OUT, expected)
    finally:
        X.copy_(before)


def fill_and_add() -> th.Tensor:
    total = th.zeros_like(X)
    total[0].add_(X[0])  # into a view of it
    return total


def ones_of_another_shape() -> th.Tensor:
    return X.sum(dim=0, keepdim=True) * th.ones_like(X)


def one_times_what_is_then_written() -> th.Tensor:
    x = X.exp()
    product = x * th.ones_like(x)
    x.zero_()
    return product


def one_times_a_view_of_what_is_then_written() -> th.Tensor:
    x = X.exp()
    product = x.t() * th.ones_like(x)
    x.zero_()
    return product


def one_times_what_is_written_outside() -> th.Tensor:
    product = X.t() * th.ones_like(X)
    X.add_(1.0).sub_(1.0)
    return product + X.t()


def sum_of_one_that_is_then_written() -> th.Tensor:
    x = X.exp().unsqueeze(1)
    total = x.sum(1)
    x.zero_()
    return total


def a_view_of_what_is_written_by_another_name() -> th.Tensor:
    flat = FLAT.view(4)
    total = FLAT[:1].sum(0)
    flat.add_(1.0)
    later = (total + 0.0).expand(2, 2)
    flat.sub_(1.0)
    return later


FLAT = th.tensor([[1.0, -2.0], [3.0, 4.0]])


@pytest.mark.parametrize(
    "function",
    [
        a_view_of_what_is_written_by_another_name,
        sum_of_one_that_is_then_written,
        fill_and_add,
        ones_of_another_shape,
        one_times_what_is_then_written,
        one_times_a_view_of_what_is_then_written,
        one_times_what_is_written_outside,
    ],
)
def test_what_is_written_into_or_spread_out_stays(function):
    expected = function().clone()
    _, call = lightened(function)
    for _ in range(2):
        OUT.zero_()
        call()
        th.testing.assert_close(OUT, expected)


def test_what_is_drawn_is_drawn_anew():
    names, call = lightened(lambda: th.bernoulli(th.full_like(X, 0.5)) + th.rand_like(th.ones_like(X)))
    assert names == ["bernoulli", "rand_like", "add", "copy_"]
    call()
    first = OUT.clone()
    call()
    assert not th.equal(OUT, first)
