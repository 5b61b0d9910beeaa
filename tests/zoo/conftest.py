import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("rl_zoo3", reason="needs the extra `zoo`")

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def hook() -> Iterator[ModuleType]:
    """A private copy of the start-up module, so that the one of this interpreter stays as it is."""
    spec = importlib.util.spec_from_file_location("private_hook", ROOT / "startup" / "_sb3_softac_zoo.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    module.uninstall()
