"""Replay buffers: one that stores each observation once, and the choice of the buffer of a model."""

from sb3_softac.buffers.single_copy import SingleCopyReplayBuffer

__all__ = ["SingleCopyReplayBuffer"]
