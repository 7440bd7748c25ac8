"""The Directory that the running relay looks tenants and domains up in, loaded anew when they change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from sqlalchemy.engine import Connection

from mailguard.core.tenant import Directory
from mailguard.store import schema
from mailguard.store.tenants import directory_version, records_of

T = TypeVar("T")


def load_directory(conn: Connection) -> Directory:
    """All tenants that are not removed, with lists and domains; a removed tenant's domains are nobody's."""
    # The version first: a change that comes between is then loaded once more, never missed.
    version = directory_version(conn)
    records = records_of(conn, schema.tenants.c.removed_at.is_(None))
    return Directory.of(
        (record.tenant for record in records),
        (domain for record in records for domain in record.domains),
        version=version,
    )


class DirectoryCache:
    """The current Directory of this process; `refresh` costs one row when nothing changed."""

    def __init__(self, db: ReadsDatabase, *, initial: Directory | None = None) -> None:
        self._db = db
        self._current = initial
        self.current = initial or Directory()

    async def refresh(self) -> bool:
        """Load the directory anew if it changed; whether it did. Raises UnavailableError; the last one then stays."""
        if self._current is not None:
            version = await self._db.read(directory_version)
            if version == self._current.version:
                return False
        self._current = self.current = await self._db.read(load_directory)
        return True


class ReadsDatabase(Protocol):
    """What the DirectoryCache needs of store.db.Database."""

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a read transaction on a reader thread."""
        ...
