"""Results of a recorded update have fixed places, and none is overwritten while it is needed."""

import random
from collections.abc import Callable
from functools import reduce
from operator import mul

import pytest
import torch as th
from torch import fx

from sb3_softac.engines import passes
from sb3_softac.engines.recorder import Recorder
from sb3_softac.engines.replays import interpreted

X = th.linspace(-2.0, 2.0, 12).view(3, 4)
OUT = th.zeros(3, 4)


def recorded(function: Callable[[], th.Tensor]) -> tuple[fx.Graph, dict[fx.Node, th.Tensor]]:
    """Graph of ``OUT.copy_(function())``, and its inputs."""
    with Recorder() as recorder:
        OUT.copy_(function())
    passes.lighten(recorder.graph, recorder.inputs)
    return recorder.graph, recorder.inputs.values


def names(graph: fx.Graph) -> list[str]:
    return [str(node.target) for node in graph.nodes if node.op == "call_function"]


def changed_part() -> th.Tensor:
    part = X.exp()
    whole = th.stack([part, X.sin()])
    part.add_(1.0)
    return whole


@pytest.mark.parametrize(
    ("function", "left"),
    [
        # a copy has no such form, so that views of it stay
        (lambda: X.exp().t().clone().t() + X, ["aten.exp.out", "aten.clone.default", "aten.t.default", "aten.add.out"]),
        (lambda: th.cat([X.exp(), X])[:3], ["aten.exp.out", "aten.copy_.default"]),
        (lambda: th.cat(X.exp().split([1, 2])), ["aten.exp.out", "aten.cat.out"]),
        (lambda: X.exp().relu_() * 2.0, ["aten.exp.out", "aten.relu_.default", "aten.mul.out"]),
        (lambda: (X.exp() > 1.0) * X, ["aten.exp.out", "aten.gt.Scalar_out", "aten.mul.out"]),
        # a number that stands for a tensor would have a dtype of its own
        (lambda: (X.exp() > 1.0) * 2, ["aten.exp.out", "aten.gt.Scalar_out", "aten.mul.Tensor"]),
        # the same by other words
        (lambda: (1.0 - X.exp()) * X.mean(), ["aten.exp.out", "aten.sub.out", "aten.mean.out", "aten.mul.out"]),
        (
            lambda: th.mul(X.exp().sum(), 2.0) + X,
            ["aten.exp.out", "aten.sum.IntList_out", "aten.mul.out", "aten.add.out"],
        ),
        # put together where the parts are written
        (lambda: th.stack([X.exp(), X.sin()]).sum(0), ["aten.exp.out", "aten.sin.out", "aten.sum.IntList_out"]),
        (lambda: th.stack([X.exp(), X])[1], ["aten.exp.out", "aten.copy_.default"]),
        (lambda: th.cat([X.exp(), X.sin()])[2:5], ["aten.exp.out", "aten.sin.out"]),
        (
            lambda: th.stack([X.exp(), X.sin()], dim=-1).sum(-1),
            ["aten.exp.out", "aten.sin.out", "aten.stack.default", "aten.sum.IntList_out"],
        ),
        (
            lambda: th.stack([X.exp(), X.sin()]).relu_().sum(0),
            ["aten.exp.out", "aten.sin.out", "aten.relu_.default", "aten.sum.IntList_out"],
        ),
        (
            lambda: th.stack([th.cat([X[:1].exp(), X[1:].sin()]), X.cos()]).sum(0),
            [
                "aten.exp.out",
                "aten.sin.out",
                "aten.cos.out",
                "aten.sum.IntList_out",
            ],
        ),
        # it may not, where one of them is changed later
        (
            lambda: changed_part().sum(0),
            [
                "aten.exp.out",
                "aten.sin.out",
                "aten.copy_.default",
                "aten.add_.Tensor",
                "aten.sum.IntList_out",
            ],
        ),
    ],
)
def test_what_has_a_fixed_place_is_written_there_and_its_views_are_made_once(function, left):
    graph, inputs = recorded(function)
    assert names(graph) == [*left, "aten.copy_.default"]
    interpreted(graph, inputs)()
    assert th.equal(OUT, function())


def test_a_view_that_its_schema_does_not_declare_keeps_its_memory():
    def function() -> th.Tensor:
        product = X.expand(2, 3, 4) @ th.eye(4).expand(2, 4, 4)
        return (product + (X.expand(2, 3, 4) * 2.0).exp())[0]

    with Recorder() as recorder:
        function()
    assert "aten._unsafe_view.default" in names(recorder.graph)
    graph, inputs = recorded(function)
    interpreted(graph, inputs)()
    assert th.equal(OUT, function())


def chain(length: int) -> th.Tensor:
    x = X
    for _ in range(length):
        x = x.exp().sin()
    return x


def blocks(inputs: dict[fx.Node, th.Tensor]) -> int:
    """Number of pieces of memory besides ``X`` and ``OUT``."""
    own = {tensor.untyped_storage().data_ptr() for tensor in (X, OUT)}
    return len({tensor.untyped_storage().data_ptr() for tensor in inputs.values()} - own)


def test_results_that_are_not_needed_at_the_same_time_share_memory():
    assert blocks(recorded(lambda: chain(20))[1]) == 2
    assert blocks(recorded(lambda: reduce(mul, [chain(i) for i in range(1, 6)]))[1]) == 6


def random_program(seed: int) -> Callable[[], th.Tensor]:
    """Thirty operations on results of earlier ones: new tensors, views, and writes into both."""
    draw = random.Random(seed)
    steps = [(draw.choice(list(OPERATIONS)), draw.random(), draw.random()) for _ in range(30)]

    def program() -> th.Tensor:
        made = [X.cos(), X.sin()]
        for name, one, other in steps:
            a, b = made[int(one * len(made))], made[int(other * len(made))]
            made.append(OPERATIONS[name](a, b))
        return th.stack(made).sum(0)

    return program


OPERATIONS: dict[str, Callable[[th.Tensor, th.Tensor], th.Tensor]] = {
    "sin": lambda a, b: a.sin(),
    "neg": lambda a, b: -a,
    "t": lambda a, b: a.t().contiguous().view(3, 4),
    "first": lambda a, b: a[:1].expand(3, 4),
    "halves": lambda a, b: th.cat([a.chunk(2, dim=1)[1], b.chunk(2, dim=1)[0]], dim=1),
    "add_": lambda a, b: a.mul(0.5).add_(b),
    "mul": lambda a, b: a * b,
    "mm": lambda a, b: a @ (b.t() @ a) / 100.0,
    "sum": lambda a, b: a + b.sum(dim=1, keepdim=True),
    "mean": lambda a, b: (1.0 - a) * b.mean(),
    "stack": lambda a, b: th.stack([a, b * 0.5]).sum(0),
    "cat": lambda a, b: th.cat([a[1:] * 0.5, b.sin(), a])[1:4],
}


@pytest.mark.parametrize("seed", range(20))
def test_programs_compute_the_same_with_fixed_places(seed):
    program = random_program(seed)
    graph, inputs = recorded(program)
    assert any(name.endswith("out") for name in names(graph))
    replay = interpreted(graph, inputs)
    for _ in range(2):
        OUT.zero_()
        replay()
        assert th.equal(OUT, program())


def test_a_large_block_is_not_kept_for_a_small_result():
    long = th.linspace(0.0, 1.0, 1000)
    graph, inputs = recorded(lambda: X * (long.exp()[:5].exp().sum() + long.sin()[0]))
    sizes = {inputs[node.kwargs["out"]].numel(): inputs[node.kwargs["out"]] for node in graph.nodes if node.kwargs}
    assert sizes[5].untyped_storage().nbytes() < 100
    replay = interpreted(graph, inputs)
    replay()
    assert th.equal(OUT, X * (long.exp()[:5].exp().sum() + long.sin()[0]))


def test_what_is_drawn_is_drawn_in_its_place():
    graph, inputs = recorded(lambda: th.cat([th.randn(1, 4), th.randn(2, 4)]))
    assert names(graph) == ["aten.normal_.default", "aten.normal_.default", "aten.copy_.default"]
    th.manual_seed(3)
    interpreted(graph, inputs)()
    th.manual_seed(3)
    assert th.equal(OUT, th.cat([th.randn(1, 4), th.randn(2, 4)]))


def computes_the_same(function: Callable[[], th.Tensor]) -> None:
    out = th.zeros_like(function())
    with Recorder() as recorder:
        out.copy_(function())
    assert recorder.obstacle is None
    passes.lighten(recorder.graph, recorder.inputs)
    replay = interpreted(recorder.graph, recorder.inputs.values)
    for _ in range(2):
        out.zero_()
        replay()
        assert th.equal(out, function())


def products_of_odd_sizes() -> th.Tensor:
    rows, matrices = A_ROW.unbind(), MATRIX.unbind()
    return th.stack([row @ matrix for row, matrix in zip(rows, matrices, strict=True)])


def a_part_of_a_part_that_is_used_after_the_whole_was_changed() -> th.Tensor:
    part = X.exp()
    inner = th.cat([part, X.sin()])
    outer = th.stack([inner, X.repeat(2, 1)])
    outer.add_(1.0)
    return outer.sum(0)[:3] + part


def an_argument_that_is_written_into_and_not_returned() -> th.Tensor:
    noise = th.ones_like(X)
    return th.ops.aten.rrelu_with_noise(X, noise, 0.25, 0.25, True) + noise


def a_view_in_place() -> th.Tensor:
    return (X.exp()[0] @ MATRIX[0, :4, :4]).split([1, 3])[1].unsqueeze_(0).t_() * 2.0


def products_by_one_of_another_layout() -> th.Tensor:
    return (th.ones_like(X.t().contiguous()) * X.exp().t()).as_strided((12,), (1,))


def one_times_what_is_expanded() -> th.Tensor:
    return (X.exp()[:1].expand(3, 4) ** 1).view(-1)


def a_number_beside_bfloat16() -> th.Tensor:
    return (X.to(th.bfloat16).exp() * 0.1).float()


def undeclared_views() -> th.Tensor:
    one, other = X.exp().unsafe_chunk(2, 1)
    return X.sin().cos().sin()[:, :2] + one + other


A_ROW, MATRIX = (th.randn(*shape, generator=th.Generator().manual_seed(0)) for shape in [(2, 1, 40), (2, 40, 33)])


@pytest.mark.parametrize(
    "function",
    [
        products_of_odd_sizes,
        a_part_of_a_part_that_is_used_after_the_whole_was_changed,
        an_argument_that_is_written_into_and_not_returned,
        a_view_in_place,
        products_by_one_of_another_layout,
        one_times_what_is_expanded,
        a_number_beside_bfloat16,
        undeclared_views,
    ],
)
def test_what_looks_alike_and_is_not(function):
    computes_the_same(function)
