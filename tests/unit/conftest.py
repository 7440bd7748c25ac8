"""What the tests of several rooms start from: a small world on SQLite, and on PostgreSQL. A room may have a world of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ledger_of import Clock, World
from tests.servers.postgres import Postgres


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """A database with tenant `acme`, and a clock that the test sets."""
    url = ""
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")
        url = server.clean_database()
    world = World(tmp_path, url=url, clock=Clock())
    yield world
    world.close()
