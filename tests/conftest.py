"""Every test runs on one thread: repeatable, and as fast as more on networks this small."""

import multiprocessing
import signal

import pytest
import torch as th


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    th.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _ctrl_c_ends_what_tests_start():
    """A shell lets tests that it starts in the background ignore it, and so would the processes that they start."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def _workers_have_imported_it():
    """Processes of environments are forked from one that imports PyTorch once, in place of each of them."""
    multiprocessing.set_forkserver_preload(["sb3_softac"])
