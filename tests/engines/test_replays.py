"""A recorded update does the same, run by PyTorch's interpreter and as a list of calls."""

from typing import Any
from unittest.mock import patch

import pytest
import torch as th
from torch import fx

from sb3_softac import SoftAC
from sb3_softac.engines import replays, traced
from sb3_softac.engines.traced import TraceCapture
from tests.engines.replays import make, n_graphs
from tests.helpers import Target, fixed_samples, random_samples

aten = th.ops.aten
OUT = th.zeros(2, 2)
ONES = th.ones(2, 2)


def program(target: Any, *args: Any, **kwargs: Any) -> tuple[fx.Graph, dict[fx.Node, th.Tensor]]:
    """Graph of one call, which has the input ``OUT``."""
    graph = fx.Graph()
    out = graph.placeholder("out")
    args, kwargs = fx.node.map_aggregate((args, kwargs), lambda each: out if each is OUT else each)
    graph.call_function(target, args, kwargs)
    graph.output(())
    return graph, {out: OUT}


@pytest.mark.parametrize(
    ("call", "result"),
    [
        (program(aten.add_.Tensor, OUT, 2), 3 * ONES),  # a number in place of a tensor
        (program(aten.add_.Tensor, OUT, 1.5, alpha=2), 4 * ONES),
        (program(aten.mul_.Tensor, OUT, OUT), ONES),
        (program(aten.uniform_.default, OUT, 3, 3), 3 * ONES),  # a whole number where a real one is asked for
        (program(aten._foreach_add_.Scalar, [OUT], 3.0), 4 * ONES),
        (program(aten.clamp_.default, OUT, None, 0.5), ONES / 2),
    ],
)
def test_both_ways_call_an_operation_alike(call, result):
    graph, inputs = call
    for way in (replays.interpreted(graph, inputs), replays.listed(graph, inputs)):
        OUT.fill_(1.0)
        way()
        assert th.equal(OUT, result)


def trained(n_updates: int = 8) -> SoftAC:
    with patch.object(TraceCapture, "warm_ups", 3):
        model = make("traced", Target())
        th.manual_seed(11)
        fixed_samples(model, random_samples(n_updates, batch_size=40))
        model.train(n_updates, batch_size=40)
    return model


@pytest.mark.parametrize("missing", ["Graph", "_create_function_from_graph"])
def test_without_the_interpreter_python_calls_the_same_operations(missing):
    expected = trained()
    with patch.object(th._C, missing, None), patch.object(traced, "listed", wraps=replays.listed) as listed:
        found = trained()
    assert listed.call_count == n_graphs(found) == 1
    for one, other in zip(expected.policy.parameters(), found.policy.parameters(), strict=True):
        assert th.equal(one, other)


def test_an_operation_that_would_become_another_one_is_refused():
    graph, inputs = program(aten.add_.Tensor, OUT, 2)
    with patch.object(replays, "_of_numbers", return_value=None), pytest.raises(RuntimeError, match=r"add_\.Scalar"):
        replays.interpreted(graph, inputs)
