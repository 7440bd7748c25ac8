"""Migrations on both databases: they make the schema, once, however many start at a time."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

from mailguard.core.errors import ConfigError
from mailguard.core.tenant import SYSTEM_TENANT
from mailguard.store import (
    migrations,
    schema_audit,
    schema_bill,
    schema_history,
    schema_learning,
    schema_reputation,
    schema_service,
)
from mailguard.store.db import Database
from mailguard.store.engine import make_engine, parse_url
from mailguard.store.schema import metadata
from tests.servers.postgres import Postgres
from tests.unit.store.conftest import BOTH


@pytest.fixture(params=BOTH)
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'sub' / 'mailguard.db'}"
        return
    server: Postgres = request.getfixturevalue("postgres")
    fresh = server.new_database(migrated=False)
    yield fresh
    server.drop(fresh)


@pytest.mark.filterwarnings(
    "ignore:.*expression-based index"
)  # SQLite's cannot be read back: the plans' tests see them
def test_the_schema_is_what_the_migrations_make(url: str) -> None:
    engine = make_engine(parse_url(url), connections=1)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        rooms = (schema_audit, schema_bill, schema_history, schema_learning, schema_reputation, schema_service)
        assert {one.metadata for one in rooms} == {metadata}
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_head_names_the_last_step() -> None:
    folder = Path(migrations.__file__).parent
    assert ScriptDirectory(str(folder)).get_current_head() == migrations.HEAD == migrations.head_revision()


def test_revision_numbers_grow_as_text() -> None:
    steps = list(ScriptDirectory(str(Path(migrations.__file__).parent)).walk_revisions())
    assert [step.revision for step in steps] == sorted((step.revision for step in steps), reverse=True)


def test_the_system_tenant_is_there_and_the_next_one_follows_it(url: str) -> None:
    database = Database.open(url)
    insert = "INSERT INTO tenants (name, created_at) VALUES ('acme', 1) RETURNING id"
    assert database.read_sync(lambda c: c.execute(text("SELECT id, name FROM tenants")).all()) == [
        (SYSTEM_TENANT, "system")
    ]
    assert database.write_sync(lambda c: c.execute(text(insert)).scalar_one()) == SYSTEM_TENANT + 1
    database.close_sync()


def test_a_database_that_was_not_migrated_is_refused_with_what_to_do(empty_url: str) -> None:
    with pytest.raises(ConfigError, match="mailguard db upgrade"):
        Database.open(empty_url)
    assert migrations.current_revision(empty_url) == ""


def test_a_database_that_lacks_a_table_is_refused_with_what_to_do(empty_url: str) -> None:
    migrations.upgrade(empty_url)
    database = Database.open(empty_url)
    database.write_sync(lambda c: c.execute(text("DROP TABLE message_files")))
    database.close_sync()
    with pytest.raises(ConfigError, match=r"lacks message_files; .* `mailguard db upgrade`"):
        Database.open(empty_url)


def test_opening_makes_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="mailguard db upgrade"):
        Database.open(f"sqlite:///{tmp_path / 'none.db'}")
    assert list(tmp_path.iterdir()) == []


def test_a_database_that_is_further_on_is_accepted(empty_url: str) -> None:
    url = empty_url
    migrations.upgrade(url)
    database = Database.open(url)
    database.write_sync(lambda c: c.execute(text("UPDATE alembic_version SET version_num = '9999'")))
    database.close_sync()
    migrations.upgrade(url)
    Database.open(url).close_sync()
    assert migrations.current_revision(url) == "9999"


def test_several_upgrades_at_once_do_it_once(empty_url: str) -> None:
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as processes:
        list(processes.map(migrations.upgrade, [empty_url] * 4))
    assert migrations.current_revision(empty_url) == migrations.HEAD
    database = Database.open(empty_url)
    assert database.read_sync(lambda c: c.execute(text("SELECT count(*) FROM tenants")).scalar_one()) == 1
    database.close_sync()


@pytest.mark.parametrize("url", ["mysql://x/y", "sqlite://", "sqlite:///:memory:", "nonsense"])
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"database\.url"):
        Database.open(url)


def test_a_refused_url_does_not_show_its_password() -> None:
    with pytest.raises(ConfigError) as refused:
        Database.open("mysql://user:hunter2@host/db")
    assert "hunter2" not in str(refused.value)
