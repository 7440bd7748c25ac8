"""What commands share: the settings, the database, the blobs, who is acting. Opened when asked for, closed at the end.

Commands open the few stores they need by themselves rather than through app, which would load the whole relay.
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import typer

from mailguard.core.errors import ConfigError, ConflictError, NotFoundError, Problem

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from mailguard.config import Settings
    from mailguard.store.blobs import BlobStore
    from mailguard.store.db import Database

T = TypeVar("T")
_ATTEMPTS = 5


class Cli:
    """One run of the command line. Every property raises ConfigError or UnavailableError when it cannot be had."""

    def __init__(self, config: Path | None) -> None:
        self.config = config
        self._stack = ExitStack()

    @cached_property
    def settings(self) -> Settings:
        """The settings of the file and the environment."""
        from mailguard.config import load_settings

        return load_settings(self.config)

    @cached_property
    def db(self) -> Database:
        """The database, which must have been migrated."""
        from mailguard.store.db import Database

        database = Database.open(self.settings.database.url, readers=1)
        self._stack.callback(database.close_sync)
        return database

    @cached_property
    def blobs(self) -> BlobStore:
        """The stored bodies."""
        from mailguard.store.blobs import FileBlobStore

        return FileBlobStore(self.settings.storage.path)

    def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a read transaction."""
        return self.db.read_sync(work)

    def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a write transaction. Raises ConflictError when somebody else added the same at the same time."""
        from sqlalchemy.exc import IntegrityError

        try:
            return self.db.write_sync(work)
        except IntegrityError as error:
            raise ConflictError("somebody else changed the same at this moment; look at it and try again") from error

    def write_persistently(self, work: Callable[[Connection], T]) -> T:
        """`write`, repeated when it met another transaction on the same mail: the next look sees what that one did."""
        for _ in range(_ATTEMPTS - 1):
            try:
                return self.write(work)
            except ConflictError:
                continue
        return self.write(work)

    def now(self, conn: Connection) -> int:
        """The database's clock, in milliseconds UTC."""
        return self.db.now(conn)

    def listeners(self) -> list[tuple[str, int]]:
        """The (host, port) pairs on which the relay takes mail in."""
        from mailguard.config.values import split_host_port

        server = self.settings.server
        return [split_host_port(listener) for listener in (*server.listen, *server.proxy_listen)]

    def close(self) -> None:
        """Close what was opened."""
        self._stack.close()


class Problems:
    """Gathers what is wrong with several arguments, so that all of it is told at once."""

    def __init__(self) -> None:
        self._found: list[Problem] = []

    def add(self, *problems: Problem) -> None:
        """Note problems found elsewhere."""
        self._found.extend(problems)

    def parse(self, parser: Callable[[str], T], texts: Iterable[str]) -> list[T]:
        """Each text parsed; those that raise ConfigError are left out and noted."""
        values = []
        for text in texts:
            try:
                values.append(parser(text))
            except ConfigError as error:
                self._found.extend(error.problems)
        return values

    def raise_any(self) -> None:
        """Raises ConfigError with all that was noted, if anything was."""
        if self._found:
            raise ConfigError(list(dict.fromkeys(self._found)))


def cli_of(context: typer.Context) -> Cli:
    """The Cli that the main callback made."""
    cli = context.find_object(Cli)
    if cli is None:
        raise RuntimeError("the command was started without the main callback")
    return cli


def actor_name(given: str) -> str:
    """Who acts, for the record: `--actor`, else the user behind sudo, else the user."""
    name = given or os.environ.get("SUDO_USER") or os.environ.get("USER") or ""
    if not name:
        try:
            name = getpass.getuser()
        except (KeyError, OSError):
            name = f"uid {os.getuid()}"
    return name[:128]


def tenant_id(conn: Connection, name: str | None) -> int | None:
    """The id of a tenant by its name, removed ones included; None for no name. Raises NotFoundError."""
    if name is None:
        return None
    from mailguard.store.tenants import tenant_names

    wanted = name.strip().lower()
    names = tenant_names(conn)
    for number, known in names.items():
        if known == wanted:
            return number
    raise NotFoundError(f"no tenant {name!r}; there are: {', '.join(sorted(names.values())[:10])}")
