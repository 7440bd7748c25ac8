"""Alembic's hook: runs the steps on the connection, and in the transaction, that `upgrade` has opened."""

from __future__ import annotations

from alembic import context

from mailguard.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
