"""Exported files, opened with one thread: the threads of the runtime would spin beside other tests."""

import onnxruntime
import pytest


@pytest.fixture
def session():
    """Function that opens an exported policy."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1

    def opened(path):
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    return opened
