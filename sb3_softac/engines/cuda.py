"""Capture of an update by CUDA graphs."""

from collections.abc import Callable

import torch as th


class CudaCapture:
    """CUDA graphs that share their memory, as no two of them run at once.

    :param device: of the networks, which need not be the current one: what is captured is captured on this
    """

    warm_ups = 3
    runs_while_capturing = False

    def __init__(self, device: th.device) -> None:
        self._device = device
        self._pool = th.cuda.graph_pool_handle()
        self._stream = th.cuda.Stream(device)

    def warm_up(self, function: Callable[[], None]) -> None:
        """On another stream, as PyTorch asks for."""
        current = th.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with th.cuda.stream(self._stream):
            function()
        current.wait_stream(self._stream)

    def capture(self, function: Callable[[], None]) -> Callable[[], None]:
        """See :class:`~sb3_softac.engines.base.Capture`."""
        graph = th.cuda.CUDAGraph()
        with th.cuda.device(self._device), th.cuda.graph(graph, pool=self._pool, stream=self._stream):
            function()
        return graph.replay
