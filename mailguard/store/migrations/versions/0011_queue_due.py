"""When the next mail of the queue is due, without looking at all of it."""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """An index of the queue."""
    op.create_index("ix_queue_due_at", "queue", ["due_at"])
