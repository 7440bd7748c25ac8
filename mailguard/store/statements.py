"""Statements of the hot path: written and compiled by SQLAlchemy once, then run by the driver at a fifth of the cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import ClauseElement, ColumnElement, Connection, Dialect, Table, bindparam, insert
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine.interfaces import DBAPICursor

from mailguard.store.engine import cursor_of

Parameters = Mapping[str, Any]


def run(connection: Connection, statement: ClauseElement, parameters: Parameters) -> DBAPICursor:
    """Run a statement of a module, giving all its bind parameters by name; returns the driver's cursor.

    Errors are the driver's own. Only for works of `Database.write`: the writer knows how to take them.
    """
    text, order = _compiled(statement, connection.dialect)
    cursor = cursor_of(connection)
    cursor.execute(text, _ordered(parameters, order))
    return cursor


def run_many(connection: Connection, statement: ClauseElement, rows: Sequence[Parameters]) -> DBAPICursor:
    """`run` for each of `rows`; the cursor's `rowcount` is of all of them."""
    if len(rows) == 1:
        return run(connection, statement, rows[0])
    text, order = _compiled(statement, connection.dialect)
    cursor = cursor_of(connection)
    cursor.executemany(text, [_ordered(row, order) for row in rows])
    return cursor


def inserting(table: Table, *, without: Sequence[str] = ()) -> ClauseElement:
    """The insert into every column, save those `without` which the database fills in."""
    values: dict[str, ColumnElement[Any]] = {
        column.name: bindparam(column.name) for column in table.c if column.name not in without
    }
    return insert(table).values(values).inline()  # no RETURNING of the id, which would forbid running many at once


def upserting(connection: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    """An insert that may say what is to be done about rows that are there already (`on_conflict_…`), as both databases know it."""
    make = postgresql.Insert if connection.dialect.name == "postgresql" else sqlite.Insert
    return make(table)


@lru_cache(maxsize=128)
def _compiled(statement: ClauseElement, dialect: Dialect) -> tuple[str, Sequence[str] | None]:
    """The SQL and, when the driver takes its parameters by position, their order."""
    compiled = statement.compile(dialect=dialect)
    return str(compiled), getattr(compiled, "positiontup", None)


def _ordered(parameters: Parameters, order: Sequence[str] | None) -> Any:
    return parameters if order is None else [parameters[name] for name in order]
