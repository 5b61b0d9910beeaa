"""Environments of JAX, in a process of their own: JAX starts threads, and other tests fork theirs."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

CASES = Path(__file__).with_name("jax_cases.py")


def test_the_cases_of_jax():
    if importlib.util.find_spec("jax") is None:
        pytest.skip("needs the extra `jax`")
    command = [sys.executable, "-m", "pytest", str(CASES), "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=False, env=os.environ | {"JAX_PLATFORMS": "cpu"}
    )
    assert done.returncode == 0, done.stdout[-3000:]
    passed, skipped = (sum(map(int, re.findall(rf"(\d+) {word}", done.stdout))) for word in ("passed", "skipped"))
    assert passed + skipped == CASES.read_text().count("def test_") + 1  # one of them has two cases
    assert skipped <= 1  # Brax, which no extra has
