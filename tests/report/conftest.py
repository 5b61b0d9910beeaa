from pathlib import Path

import pytest

for library in ("pandas", "bokeh", "jinja2", "scipy"):
    pytest.importorskip(library, reason="needs the extra `report`")


@pytest.fixture
def data() -> Path:
    """Logs of real runs, made by `python -m tests.tools.record_runs`."""
    return Path(__file__).parent / "data"
