"""Databases for the store's tests: each test that asks for `url` or `db` runs on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from mailguard.core.clock import Clock
from mailguard.store import migrations
from mailguard.store.blobs import FileBlobStore
from mailguard.store.db import Database
from mailguard.store.ledger import Ledger
from tests.servers.postgres import Postgres

BOTH = ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)]
START = 1_790_000_000_000


class ManualClock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> int:
        return self.now

    def advance(self, milliseconds: int) -> None:
        self.now += milliseconds


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite database, to be copied."""
    path = tmp_path_factory.mktemp("template") / "mailguard.db"
    migrations.upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture(params=BOTH)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a migrated database with nothing in it yet."""
    if request.param == "sqlite":
        template: Path = request.getfixturevalue("sqlite_template")
        path = tmp_path / "mailguard.db"
        path.write_bytes(template.read_bytes())
        return f"sqlite:///{path}"
    server: Postgres = request.getfixturevalue("postgres")
    return server.clean_database()


@pytest.fixture
def clock() -> ManualClock:
    """The database's clock in these tests."""
    return ManualClock()


OpenDatabase = Callable[..., Database]


@pytest.fixture
async def open_db(url: str, clock: ManualClock) -> AsyncIterator[OpenDatabase]:
    """Opens the database once more, as another process would; all are closed at the end."""
    opened: list[Database] = []

    def open_database(*, clock: Clock | None = clock, **settings: object) -> Database:
        opened.append(Database.open(url, clock=clock, **settings))  # type: ignore[arg-type]
        return opened[-1]

    yield open_database
    for database in opened:
        await database.close()


@pytest.fixture
def db(open_db: OpenDatabase) -> Database:
    """An open database."""
    return open_db()


@pytest.fixture
def ledger(db: Database) -> Ledger:
    """The ledger in it."""
    return Ledger(db)


@pytest.fixture
def blobs(tmp_path: Path) -> FileBlobStore:
    """An empty blob store."""
    return FileBlobStore(tmp_path / "blobs")
