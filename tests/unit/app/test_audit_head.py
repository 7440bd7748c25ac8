"""The audit log's head in the relay's log: once for each head."""

from __future__ import annotations

from pathlib import Path

from structlog.testing import capture_logs

from mailguard.app.audit_head import AuditHeads
from mailguard.store.audit import AuditAction, AuditEntry, append_in
from tests.ledger_of import World


async def test_a_head_is_told_once(tmp_path: Path) -> None:
    world = World(tmp_path)
    heads = AuditHeads(world.db)
    with capture_logs() as lines:
        await heads.tell()
        head = await world.db.write(lambda conn: append_in(conn, AuditEntry(AuditAction.TENANT_ADD, "ann")))
        await heads.tell()
        await heads.tell()
    assert [(line["event"], line["entry"], line["head"]) for line in lines] == [("audit_head", 1, head.hash)]
    world.close()
