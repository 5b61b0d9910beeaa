"""Capture of updates by CUDA graphs."""

from collections.abc import Callable

import torch as th


class CudaCapture:
    """Capture by CUDA graphs, which share their memory, since no two of them run at once.

    :param device: device of the networks, on which graphs are captured, even if it is not the current device
    """

    warm_ups = 3
    runs_while_capturing = False

    def __init__(self, device: th.device) -> None:
        self._device = device
        self._pool = th.cuda.graph_pool_handle()
        self._stream = th.cuda.Stream(device)

    def warm_up(self, function: Callable[[], None]) -> None:
        """Call the function on a side stream, as PyTorch requires before a capture."""
        current = th.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with th.cuda.stream(self._stream):
            function()
        current.wait_stream(self._stream)

    def capture(self, function: Callable[[], None]) -> Callable[[], None]:
        """Record the function as a CUDA graph; see :class:`~sb3_softac.engines.base.Capture`."""
        graph = th.cuda.CUDAGraph()
        with th.cuda.device(self._device), th.cuda.graph(graph, pool=self._pool, stream=self._stream):
            function()
        return graph.replay
