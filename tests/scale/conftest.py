"""Tests that need a server or a cluster: ``make test-scale``."""

from collections.abc import Iterator

import pytest

from benchmarks._search import server
from tests.helpers import processes_with

pytest.importorskip("rl_zoo3", reason="needs the extra `zoo`")


@pytest.fixture(scope="session")
def database() -> Iterator[str]:
    """URL of a PostgreSQL server of these tests alone."""
    if server.programs() is None:
        pytest.skip("needs PostgreSQL")
    with server.postgres() as url:
        yield url
    assert processes_with("softac_postgres_") == []
