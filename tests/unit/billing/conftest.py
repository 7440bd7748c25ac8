"""A database for the tests of the meter, on SQLite and on PostgreSQL, made once for each file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, event

from mailguard.store import migrations
from mailguard.store.engine import make_engine, parse_url
from tests.servers.postgres import Postgres
from tests.unit.billing.walks import set_up


class SetClock:
    """The database's clock: shows what it was set to."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now


@pytest.fixture(scope="module")
def db_clock() -> SetClock:
    """The clock of `engine`."""
    return SetClock()


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, db_clock: SetClock
) -> Iterator[Engine]:
    """A migrated database with two tenants, some messages and addresses, and no unit yet."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('meter')}/mailguard.db"
        migrations.upgrade(url)
    else:
        server: Postgres = request.getfixturevalue("postgres")
        url = server.clean_database()
    engine = make_engine(parse_url(url), connections=3, clock=db_clock)
    if request.param == "sqlite":  # many small transactions, and no machine that could go down
        event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous = OFF"))
    set_up(engine)
    yield engine
    engine.dispose()
