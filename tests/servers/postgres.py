"""A private PostgreSQL on a Unix socket, made by initdb as a plain user, without fsync. Starts in about a second."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from mailguard.store import migrations
from tests.servers.ports import wait_until

_TEMPLATE = "mailguard_template"
_OPTIONS = {
    "listen_addresses": "",
    "fsync": "off",  # the tests kill processes, not the machine
    "full_page_writes": "off",
    "max_connections": "100",
    "shared_buffers": "32MB",
    "log_min_messages": "warning",
}


def _programs() -> Path | None:
    """The folder of initdb and postgres, newest version first."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]), reverse=True)
    if found:
        return found[0].parent
    on_path = shutil.which("initdb")
    return Path(on_path).resolve().parent if on_path else None


@dataclass(slots=True)
class Postgres:
    """A server of our own. `stop` and `start` again keep its data and its socket."""

    root: Path
    programs: Path
    process: subprocess.Popen[bytes] | None = None
    _shared: str = ""
    _names: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def url(self, database: str = "postgres") -> str:
        """As in `[database] url`."""
        return f"postgresql://mailguard@/{database}?host={self.root}"

    def initialise(self) -> None:
        """Make its data directory, and a migrated database that the others are copied from."""
        options = ["-A", "trust", "-U", "mailguard", "-E", "UTF8", "--locale", "C.UTF-8", "--no-sync"]
        subprocess.run(
            [*self._as_plain_user(), self.programs / "initdb", "-D", self.root / "data", *options],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=self.root,
        )
        self.start()
        self._execute(f"CREATE DATABASE {_TEMPLATE}")
        migrations.upgrade(self.url(_TEMPLATE))

    def new_database(self, *, migrated: bool = True) -> str:
        """The URL of a fresh database."""
        name = f"test_{os.getpid()}_{next(self._names)}"
        self._execute(f"CREATE DATABASE {name}" + (f" TEMPLATE {_TEMPLATE}" if migrated else ""))
        return self.url(name)

    def clean_database(self) -> str:
        """The URL of a migrated database as it was made; the same one each time, since making one takes half a second."""
        if not self._shared:
            self._shared = self.new_database()
        with closing(psycopg.connect(self._shared)) as connection, connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            # Without triggers: what is append-only refuses this.
            connection.execute("SET LOCAL session_replication_role = replica")
            for (table,) in connection.execute(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
            ).fetchall():
                connection.execute(f"DELETE FROM {table}".encode())
            connection.execute("SET LOCAL session_replication_role = origin")
            connection.execute("ALTER SEQUENCE tenants_id_seq RESTART WITH 1")
            connection.execute("INSERT INTO tenants (name, created_at) VALUES ('system', 0)")
            connection.execute("INSERT INTO meta VALUES ('directory_version', '1')")
        return self._shared

    def drop(self, url: str) -> None:
        """Drop a database, whoever is connected."""
        self._execute(f"DROP DATABASE IF EXISTS {make_url(url).database} WITH (FORCE)")

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = [word for name, value in _OPTIONS.items() for word in ("-c", f"{name}={value}")]
        with (self.root / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *self._as_plain_user(),
                    str(self.programs / "postgres"),
                    *("-D", str(self.root / "data"), "-k", str(self.root), *options),
                ],
                stdout=log,
                stderr=log,
                cwd=self.root,
            )
        wait_until(self._answers, seconds=60, what="PostgreSQL answering")

    def stop(self) -> None:
        """Stop it as `pg_ctl -m immediate` does: every connection breaks."""
        if self.process:
            os.kill(self.process.pid, signal.SIGQUIT)
            self.process.wait()
            self.process = None

    def kill(self) -> None:
        """SIGKILL to all of its processes, as the kernel does when memory runs out."""
        if self.process:
            pid = self.process.pid
            children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
            for victim in (pid, *children):  # the postmaster first: it would begin anew without its children
                with suppress(ProcessLookupError):
                    os.kill(victim, signal.SIGKILL)
            self.process.wait()
            self.process = None
            # They are no children of ours; a new postmaster does not start while one of them has the shared memory.
            wait_until(lambda: not any(map(_runs, children)), seconds=60, what="PostgreSQL's processes ending")

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url()).close()
        except psycopg.OperationalError:
            return False
        return True

    def _execute(self, statement: str) -> None:
        with closing(psycopg.connect(self.url(), autocommit=True)) as connection:
            connection.execute(statement.encode())

    def _as_plain_user(self) -> list[str]:
        """PostgreSQL refuses to run as root."""
        if os.geteuid() != 0:
            return []
        user = _plain_user()
        return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _plain_user() -> pwd.struct_passwd:
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    return names.get("postgres") or names["nobody"]


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One server for the whole session. Skips, loudly, where PostgreSQL is not installed."""
    programs = _programs()
    if programs is None:
        pytest.skip("POSTGRESQL MISSING: initdb is not installed, so nothing was tested on PostgreSQL")
    # Not pytest's folder: only root may enter that, and a socket's path must be short.
    root = Path(tempfile.mkdtemp(prefix="mg-pg-", dir="/tmp"))
    if os.geteuid() == 0:
        user = _plain_user()
        os.chown(root, user.pw_uid, user.pw_gid)
    server = Postgres(root, programs)
    try:
        server.initialise()
        yield server
    finally:
        server.stop()
        shutil.rmtree(root, ignore_errors=True)
