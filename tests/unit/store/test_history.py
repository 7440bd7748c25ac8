"""What tenants know of authors, from the ledger's events, on both databases."""

from __future__ import annotations

from functools import partial

import pytest

from mailguard.core.clock import DAY, SECOND
from mailguard.core.correspondent import AUTHENTICATED, UNPROVEN, Acquaintance, Correspondent
from mailguard.core.decision import Action, Decision, Reason
from mailguard.core.errors import ConflictError
from mailguard.core.events import State
from mailguard.core.ids import new_message_id
from mailguard.core.names import name_key
from mailguard.core.reply import OK
from mailguard.core.tenant import SYSTEM_TENANT
from mailguard.core.verdict import CheckResult, Symbol
from mailguard.store.bookmarks import SETTLED
from mailguard.store.complaints import Kind, complain
from mailguard.store.db import Database
from mailguard.store.history import History
from mailguard.store.history_events import read_batch, write_batch
from mailguard.store.ledger import begin_in, move_in
from mailguard.store.trace import look_up
from tests.unit.store.conftest import ManualClock
from tests.unit.store.mail import a_message, a_move, a_unit

ANN = "ann@partner.example"
TENANT = SYSTEM_TENANT


def found(address: str = ANN, *, name: str = "Ann Lee", proven: bool = True) -> CheckResult:
    evidence = (address, address.rpartition("@")[2], name)
    return CheckResult("history", symbols=(Symbol(AUTHENTICATED if proven else UNPROVEN, evidence=evidence),))


def mail(
    db: Database,
    clock: ManualClock,
    state: State = State.DELIVERED,
    *,
    seen: CheckResult | None = None,
    action: Action = Action.DELIVER,
    probe: bool = False,
) -> str:
    """One mail that came to this state; its unit."""
    message = a_message(message_id=new_message_id(clock.now), blob=True)
    decision = Decision(1, action, Reason.CLEAN, "", "default", "abc", OK)
    first = state if state in (State.QUARANTINED, State.REJECTED) else State.FORWARDING
    unit = a_unit(first, decision=decision, found=(seen or found(),), probe=probe)
    db.write_sync(partial(begin_in, message=message, units=[unit]))
    if first is not state:
        db.write_sync(lambda conn: move_in(conn, [a_move(f"{message.id}-1", state)]))
    return f"{message.id}-1"


async def known(
    history: History, clock: ManualClock, *, address: str = ANN, name: str = "", tenant: int = TENANT
) -> Acquaintance:
    clock.advance(SETTLED + SECOND)
    await history.record()
    domain = address.rpartition("@")[2]
    return await history.known(tenant, address=address, domain=domain, name=name_key(name))


async def test_an_author_becomes_known_by_what_was_delivered(db: Database, clock: ManualClock) -> None:
    history = History(db)
    first = clock.now
    assert await known(history, clock) == Acquaintance(remembered_since=(await known(history, clock)).remembered_since)
    for day in range(3):
        clock.now = first + day * DAY
        for _ in range(2):
            mail(db, clock)
    seen = await known(history, clock)
    assert seen.author == Correspondent(
        "partner.example", ANN, name_key("Ann Lee"), first, first + 2 * DAY, days=3, delivered=6
    )
    assert seen.domain == Correspondent("partner.example", "", "", first, first + 2 * DAY, days=3, delivered=6)
    assert seen.domain_since == first
    assert (await known(history, clock, tenant=99)).author is None
    other = await known(history, clock, address="bob@partner.example")
    assert (other.author, other.domain) == (None, seen.domain)


async def test_only_what_proves_something_is_counted(db: Database, clock: ManualClock) -> None:
    history = History(db)
    mail(db, clock, seen=found(proven=False))
    mail(db, clock, action=Action.TAG)
    mail(db, clock, State.REJECTED)
    mail(db, clock, probe=True)
    seen = await known(history, clock)
    assert (seen.author, seen.domain) == (None, None)
    assert seen.domain_since > 0
    mail(db, clock)
    mail(db, clock, State.QUARANTINED)
    mail(db, clock, seen=found(proven=False))
    released = mail(db, clock, State.QUARANTINED)
    for state in (State.SPOOLED, State.RELEASED):
        db.write_sync(partial(move_in, moves=[a_move(released, state)]))
    reported = mail(db, clock)
    units = db.read_sync(lambda conn: look_up(conn, [reported]))
    db.write_sync(lambda conn: complain(conn, units, Kind.SPAM, actor="bob", now=clock.now))
    author = (await known(history, clock)).author
    assert author is not None
    counts = author.delivered, author.released, author.quarantined, author.reported, author.unproven
    assert counts == (2, 1, 2, 1, 1)
    assert author.complained
    assert not author.known


async def test_a_name_is_found_at_other_addresses(db: Database, clock: ManualClock) -> None:
    history = History(db)
    mail(db, clock)
    mail(db, clock, seen=found("sales@shop.example", name="Sales"))
    seen = await known(history, clock, address="ann.lee@evil.example", name="LEE, Ann")
    assert [one.address for one in seen.namesakes] == [ANN]
    assert (await known(history, clock, name="Ann Lee")).namesakes == ()
    assert (await known(history, clock, address="x@evil.example", name="Sales")).namesakes == ()


async def test_what_was_read_counts_until_it_is_recorded_or_old(db: Database, clock: ManualClock) -> None:
    history, other, short = History(db), History(db), History(db, ttl=0.0)
    for one in (history, other, short):
        assert (await known(one, clock)).author is None
    mail(db, clock)
    assert (await known(history, clock)).author is not None  # it recorded that itself
    assert (await known(other, clock)).author is None  # another worker, within its time
    assert (await known(short, clock)).author is not None


async def test_what_is_read_is_bounded(db: Database, clock: ManualClock) -> None:
    history = History(db, most=3)
    for number in range(10):
        await known(history, clock, address=f"a@d{number}.example")
    for number in range(150):
        await known(history, clock, address=f"a{number}@d9.example")
    assert len(history._read) == 3
    assert len(history._read[TENANT, "d9.example"]) == 100


async def test_many_events_are_counted_once_each(db: Database, clock: ManualClock) -> None:
    for number in range(25):
        mail(db, clock, seen=found(f"a{number % 3}@partner.example"))
    clock.advance(SETTLED + SECOND)
    total = 0
    while (batch := db.read_sync(lambda conn: read_batch(conn, limit=7))).moves_on:
        db.write_sync(partial(write_batch, batch=batch))
        total += batch.events
        with pytest.raises(ConflictError, match="somebody else"):
            db.write_sync(partial(write_batch, batch=batch))
    assert total == 50
    history = History(db)
    seen = await known(history, clock, address="a1@partner.example")
    assert seen.author is not None
    assert seen.domain is not None
    assert (seen.author.delivered, seen.domain.delivered) == (8, 25)


async def test_whoever_is_gone_for_long_is_forgotten(db: Database, clock: ManualClock) -> None:
    history = History(db, ttl=0.0)
    mail(db, clock)
    mail(db, clock, State.QUARANTINED, seen=found("spam@evil.example"))
    assert (await known(history, clock, address="spam@evil.example")).author is not None
    assert await history.forget() == 0
    clock.advance(31 * DAY)
    assert await history.forget() == 2
    assert (await known(history, clock, address="spam@evil.example")).author is None
    assert (await known(history, clock)).author is not None
    clock.advance(150 * DAY)
    await history.forget()
    assert await known(history, clock) == Acquaintance(remembered_since=(await known(history, clock)).remembered_since)


async def test_what_is_erased_or_no_evidence_is_passed_over(db: Database, clock: ManualClock) -> None:
    history = History(db)
    for evidence in (
        (),
        ("x" * 400 + "@a.example", "a.example"),
        ("a@a.example", "a" * 300),
        ("\ud800@a.example", "a.example"),
    ):
        mail(db, clock, seen=CheckResult("history", symbols=(Symbol(AUTHENTICATED, evidence=evidence),)))
    mail(db, clock, seen=CheckResult("learned", symbols=(Symbol("LEARNED_HAM"),)))
    assert (await known(history, clock, address="\ufffd@a.example")).author is not None
    assert (await known(history, clock, address="a@a.example")).author is None
