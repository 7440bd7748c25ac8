"""The same surroundings as in tests/e2e, and a database of each kind."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import clamd, dns_server, new_relay, new_sink
from tests.servers.postgres import postgres

__all__ = ["clamd", "database", "dns_server", "new_relay", "new_sink", "postgres"]


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database(request: pytest.FixtureRequest) -> str:
    """The URL of an empty database; empty for the relay's own SQLite file."""
    if request.param == "sqlite":
        return ""
    url: str = request.getfixturevalue("postgres").new_database(migrated=False)
    return url
