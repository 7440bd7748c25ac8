"""Brings a database to the schema's shape. `versions/` holds the steps; the previous release's code survives each of them.

A step may add tables, columns with a default and indexes; what the code no longer uses is dropped one release later.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import URL, Connection, Engine, inspect, text

from mailguard.core.errors import ConfigError, Problem
from mailguard.store.engine import driver_errors, is_away, make_engine, parse_url, unavailable
from mailguard.store.schema import metadata

HEAD = "0011"
"""The revision this code needs. A database that is further on is fine: see above."""
_LOCK = 0x6D61696C  # PostgreSQL's advisory lock that one upgrade at a time holds
_UPGRADE_TIMEOUT = 60.0


def upgrade(url: str) -> None:
    """Bring the database at `url` to HEAD in one transaction, making it when it is a SQLite file that is not there yet.

    Several may do so at once: one works, the others wait for it. Raises ConfigError and UnavailableError.
    """
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite" and parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = make_engine(parsed, connections=1, busy_timeout=_UPGRADE_TIMEOUT)
    try:
        with engine.begin() as connection:  # on SQLite BEGIN IMMEDIATE is the lock
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            if _revision(connection) < HEAD:
                _run_steps(connection)
    except driver_errors() as error:
        if is_away(error):
            raise unavailable(error) from error
        raise
    finally:
        engine.dispose()


def current_revision(url: str) -> str:
    """The revision of the database at `url`, empty when it has none. Raises ConfigError and UnavailableError."""
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").exists():
        return ""
    engine: Engine = make_engine(parsed, connections=1)
    try:
        with engine.connect() as connection:
            return _revision(connection)
    except driver_errors() as error:
        if is_away(error):
            raise unavailable(error) from error
        raise
    finally:
        engine.dispose()


def head_revision() -> str:
    """The revision that this code needs."""
    return HEAD


def require_file(url: URL) -> None:
    """Raises ConfigError when a SQLite file is not there: opening it would make an empty one."""
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
        raise _not_migrated("")


def require_head(connection: Connection) -> None:
    """Raises ConfigError unless the database is at HEAD or further, with the tables that goes with."""
    revision = _revision(connection)
    if revision < HEAD:
        raise _not_migrated(revision)
    missing = sorted(metadata.tables.keys() - set(inspect(connection).get_table_names()))
    if missing:
        more = f" and {len(missing) - 3} more tables" if len(missing) > 3 else ""
        what = f"the database says it is at revision {revision}, but lacks {', '.join(missing[:3])}{more}"
        mend = "it was not restored whole: put back a whole backup, then run `mailguard db upgrade`"
        raise ConfigError([Problem("database.url", f"{what}; {mend}")])


def _not_migrated(revision: str) -> ConfigError:
    found = f"the database is at revision {revision}" if revision else "the database has no tables yet"
    return ConfigError([Problem("database.url", f"{found}, {HEAD} is needed: run `mailguard db upgrade`")])


def _revision(connection: Connection) -> str:
    if not inspect(connection).has_table("alembic_version"):
        return ""
    return connection.scalar(text("SELECT version_num FROM alembic_version")) or ""


def _run_steps(connection: Connection) -> None:
    from alembic import command  # here, since every command line call would pay for it
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
