"""Mail read back as it was recorded, on both databases."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from mailguard.core.decision import Action, Reason
from mailguard.core.events import State
from mailguard.core.ids import new_message_id
from mailguard.core.tenant import SYSTEM_TENANT
from mailguard.core.verdict import CheckResult, Classification, Findings, Symbol
from mailguard.store import recorded, trace
from mailguard.store.db import Database
from mailguard.store.ledger import begin_in, move_in
from mailguard.store.rejudge import Rejudged, rejudge_in
from tests.unit.store.mail import START, a_message, a_move, a_unit

HOUR = 3_600_000


def test_mail_comes_back_in_pages_in_the_order_of_time(db: Database) -> None:
    findings = Findings((CheckResult("rules", symbols=(Symbol("SPAMMY", 4.0),)),), from_address="alice@sender.example")
    messages = [
        a_message(
            message_id=new_message_id(START + at * HOUR), received_at=START + at * HOUR, findings=findings, blob=True
        )
        for at in (0, 5, 2, 9)
    ]
    for message in messages:
        units = [
            a_unit(State.QUARANTINED, 1, reason=Reason.SPAM_SCORE),
            a_unit(State.QUARANTINED, 2, probe=message is messages[1]),
        ]
        db.write_sync(partial(begin_in, message=message, units=units))
    db.write_sync(lambda conn: move_in(conn, [a_move(f"{messages[0].id}-1", State.DELETED)]))

    def page(after: str = "", *, since: int = START, tenant: int = SYSTEM_TENANT) -> list[str]:
        found = db.read_sync(
            lambda conn: recorded.page(conn, tenant=tenant, since=since, until=START + 9 * HOUR, after=after, limit=2)
        )
        return [mail.envelope.message_id for mail in found]

    ids = [message.id for message in messages]
    assert page() == [ids[0], ids[2]]
    assert page(ids[2]) == [ids[1]]
    assert page(since=START + 1) == [ids[2], ids[1]]
    assert page(tenant=7) == []
    first, _ = db.read_sync(
        lambda conn: recorded.page(conn, tenant=SYSTEM_TENANT, since=START, until=START + 9 * HOUR, limit=2)
    )
    assert first.findings == findings
    assert first.envelope.mail_from == "Alice@Sender.example"
    assert [unit.recipient.number for unit in first.units] == [1, 2]
    assert (first.units[0].action, first.units[0].reason) == (Action.DELIVER, Reason.SPAM_SCORE)
    assert first.units[0].recipient == a_unit().recipient
    assert (first.session.client_ip, first.erased) == ("192.0.2.1", False)


def test_what_was_found_with_a_tenants_eyes_is_recorded_of_each_unit(db: Database) -> None:
    seen = CheckResult("history", symbols=(Symbol("FIRST_CONTACT", 0.2, "new", ("eve@evil.test",)),), elapsed=0.1)
    known = replace(seen, classification=Classification(1.5, "m", b"1234"), detail="why")
    message = a_message(blob=True)
    units = [a_unit(State.QUARANTINED, 1, found=(seen,)), a_unit(State.HELD, 2, found=(known,)), a_unit(number=3)]
    db.write_sync(partial(begin_in, message=message, units=units))

    def found() -> list[tuple[CheckResult, ...]]:
        window = {"since": START, "until": START + HOUR}
        (mail,) = db.read_sync(lambda conn: recorded.page(conn, tenant=SYSTEM_TENANT, **window))
        return [unit.found for unit in mail.units]

    assert found() == [(seen,), (replace(known, classification=None),), ()]
    traced = db.read_sync(lambda conn: trace.look_up(conn, [message.id]))
    assert [unit.found for unit in traced] == found()
    anew = Rejudged(f"{message.id}-2", a_unit(number=2).decision, 0.0, (), "", (seen,))
    db.write_sync(lambda conn: rejudge_in(conn, message.id, Findings(), [anew]))
    assert found() == [(seen,), (seen,), ()]
