"""Replay buffers: one that stores each observation once, one for simulators on a device, and the choice of one."""

from sb3_softac.buffers.single_copy import SingleCopyReplayBuffer
from sb3_softac.buffers.tensors import TensorReplayBuffer

__all__ = ["SingleCopyReplayBuffer", "TensorReplayBuffer"]
