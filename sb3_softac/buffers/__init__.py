"""Replay buffers."""

from sb3_softac.buffers.single_copy import SingleCopyReplayBuffer

__all__ = ["SingleCopyReplayBuffer"]
