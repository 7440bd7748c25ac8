"""The last result of each tenant, and what the record says of a mail, on both databases."""

from __future__ import annotations

from mailguard.core.decision import Action, Reason
from mailguard.core.events import State
from mailguard.store import tenants
from mailguard.store.probes import ProbeResult, record
from mailguard.watch.probe_record import look
from mailguard.watch.probe_results import Latest, latest
from tests.ledger_of import START, World


def test_the_last_result_counts_from_all_places(world: World) -> None:
    def seen(*results: ProbeResult) -> list[Latest]:
        world.db.write_sync(lambda conn: record(conn, results))
        return world.db.read_sync(latest)

    assert seen() == []
    us = world.tenant
    assert seen(ProbeResult(us, 5, "here", True, True, None, False)) == [Latest("acme", 5, False)]
    assert seen(ProbeResult(us, 9, "here", True, True, None, True)) == [Latest("acme", 9, True)]
    assert seen(ProbeResult(us, 9, "there", False)) == [Latest("acme", 9, False)]
    assert seen(ProbeResult(us, 8, "late", True)) == [Latest("acme", 9, False)]
    world.db.write_sync(lambda conn: tenants.remove_tenant(conn, name="acme", now=START))
    assert seen() == []


def test_the_record_tells_what_was_decided_and_when_it_was_delivered(world: World) -> None:
    world.mail(probe=True)
    recorded = world.db.read_sync(lambda conn: look(conn, "<1@evil.test>", tenant=world.tenant))
    assert recorded is not None
    assert (recorded.state, recorded.action, recorded.reason) == (
        State.QUARANTINED,
        Action.QUARANTINE,
        Reason.SPAM_SCORE,
    )
    assert (recorded.probe, recorded.after_ms, recorded.is_settled) == (True, None, True)
    assert world.db.read_sync(lambda conn: look(conn, "<2@evil.test>", tenant=world.tenant)) is None
    assert world.db.read_sync(lambda conn: look(conn, "<1@evil.test>", tenant=world.tenant + 1)) is None
