"""How senders stand with tenants, from the ledger's events, on both databases."""

from __future__ import annotations

from functools import partial

import pytest

from mailguard.core.clock import DAY, SECOND
from mailguard.core.decision import Action, Decision, Reason
from mailguard.core.errors import ConflictError
from mailguard.core.events import State
from mailguard.core.ids import new_message_id
from mailguard.core.reply import OK
from mailguard.core.standing import HALF_LIFE, Sender, SenderKind, Standing
from mailguard.core.tenant import SYSTEM_TENANT
from mailguard.core.verdict import CheckResult, ScoredSymbol
from mailguard.store.bookmarks import SETTLED
from mailguard.store.complaints import Kind, complain
from mailguard.store.db import Database
from mailguard.store.ledger import begin_in, move_in
from mailguard.store.reputation import REMEMBERED, Reputations, forget_in, read_batch, write_batch
from mailguard.store.schema_reputation import reputation
from mailguard.store.trace import look_up
from tests.unit.store.conftest import ManualClock
from tests.unit.store.mail import a_message, a_move, a_unit

DOMAIN = Sender(SenderKind.DOMAIN, "partner.example")
NETWORK = Sender(SenderKind.NETWORK, "192.0.2.0/24")
TENANT = SYSTEM_TENANT


def mail(
    db: Database,
    clock: ManualClock,
    state: State = State.DELIVERED,
    *,
    senders: tuple[Sender, ...] = (DOMAIN, NETWORK),
    reason: Reason = Reason.SPAM_SCORE,
    action: Action = Action.DELIVER,
    symbols: tuple[ScoredSymbol, ...] = (),
    probe: bool = False,
) -> str:
    """One mail that came to this state; its unit."""
    message = a_message(message_id=new_message_id(clock.now), blob=True)
    first = state if state in (State.QUARANTINED, State.REJECTED, State.DEFERRED) else State.FORWARDING
    unit = a_unit(
        first,
        reason=reason if first is state else Reason.CLEAN,
        decision=Decision(1, action, Reason.CLEAN, "", "default", "abc", OK),
        symbols=symbols,
        found=(CheckResult("reputation", detail="; ".join(map(str, senders))),),
        probe=probe,
    )
    db.write_sync(partial(begin_in, message=message, units=[unit]))
    if first is not state:
        db.write_sync(lambda conn: move_in(conn, [a_move(f"{message.id}-1", state)]))
    return f"{message.id}-1"


async def standing(
    reputations: Reputations, clock: ManualClock, sender: Sender = DOMAIN, tenant: int = TENANT
) -> Standing:
    clock.advance(SETTLED + SECOND)
    await reputations.record()
    return (await reputations.standings(tenant, [sender])).get(sender, Standing(0, 0))


async def test_outcomes_are_counted_for_each_sender_of_a_mail(db: Database, clock: ManualClock) -> None:
    reputations = Reputations(db)
    assert await reputations.standings(TENANT, [DOMAIN, NETWORK]) == {}
    first = clock.now
    for _ in range(3):
        mail(db, clock)
    mail(db, clock, State.QUARANTINED)
    for sender in (DOMAIN, NETWORK):
        seen = await standing(reputations, clock, sender)
        assert (seen.first_at, seen.delivered, seen.kept, seen.recent, seen.usual) == (first, 3, 1, 4, 4)
    assert await standing(reputations, clock, tenant=99) == Standing(0, 0)
    assert await standing(reputations, clock, Sender(SenderKind.DOMAIN, "192.0.2.0/24")) == Standing(0, 0)


async def test_what_proves_nothing_is_not_counted(db: Database, clock: ManualClock) -> None:
    reputations = Reputations(db)
    mail(db, clock, action=Action.TAG)
    mail(db, clock, State.REJECTED, reason=Reason.DENY_LIST)
    mail(db, clock, State.QUARANTINED, reason=Reason.DMARC_FAIL)
    mail(db, clock, State.DEFERRED)
    mail(db, clock, probe=True)
    seen = await standing(reputations, clock)
    assert (seen.mails, seen.recent) == (0, 3)


async def test_a_bad_name_does_not_feed_on_itself(db: Database, clock: ManualClock) -> None:
    reputations = Reputations(db)
    marked = (ScoredSymbol("REPUTATION_BAD", 1.5), ScoredSymbol("OTHER", 7.0))
    mail(db, clock, State.QUARANTINED, symbols=marked)
    mail(db, clock, State.REJECTED, symbols=(ScoredSymbol("REPUTATION_NETWORK_BAD", 1.0),))
    assert (await standing(reputations, clock)).kept == 0
    mail(db, clock, State.QUARANTINED, symbols=marked, reason=Reason.MALWARE)
    mail(db, clock, State.QUARANTINED, symbols=(ScoredSymbol("REPUTATION_BAD", 0.0),))
    assert (await standing(reputations, clock)).kept == 2


async def test_release_and_reports_change_sides(db: Database, clock: ManualClock) -> None:
    reputations = Reputations(db)
    released = mail(db, clock, State.QUARANTINED)
    for state in (State.SPOOLED, State.RELEASED):
        db.write_sync(partial(move_in, moves=[a_move(released, state)]))
    reported = mail(db, clock)
    units = db.read_sync(lambda conn: look_up(conn, [reported]))
    db.write_sync(lambda conn: complain(conn, units, Kind.SPAM, actor="bob", now=clock.now))
    seen = await standing(reputations, clock)
    assert (seen.kept, seen.released, seen.delivered, seen.reported) == (0, 1, 0, 1)


async def test_counts_fade(db: Database, clock: ManualClock) -> None:
    reputations = Reputations(db)
    for _ in range(4):
        mail(db, clock)
    await standing(reputations, clock)
    clock.advance(HALF_LIFE)
    mail(db, clock)
    assert (await standing(reputations, clock)).delivered == pytest.approx(3.0, abs=0.01)


async def test_each_event_counts_once_whoever_reads_it(db: Database, clock: ManualClock) -> None:
    mail(db, clock)
    clock.advance(SETTLED + SECOND)
    one, other = db.read_sync(read_batch), db.read_sync(read_batch)
    db.write_sync(lambda conn: write_batch(conn, one))
    with pytest.raises(ConflictError):
        db.write_sync(lambda conn: write_batch(conn, other))
    assert (await standing(Reputations(db), clock)).delivered == 1


async def test_a_long_ledger_is_read_in_batches(
    db: Database, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mailguard.store.reputation.PAUSE", 0.0)
    monkeypatch.setattr(read_batch, "__kwdefaults__", {"limit": 3})
    for _ in range(5):
        mail(db, clock)
    assert (await standing(Reputations(db), clock)).delivered == 5


async def test_what_is_old_or_too_much_is_forgotten(db: Database, clock: ManualClock) -> None:
    for number in range(5):
        mail(db, clock, senders=(Sender(SenderKind.DOMAIN, f"d{number}.example"),))
        clock.advance(SECOND)
    reputations = Reputations(db)
    await standing(reputations, clock)
    assert db.write_sync(lambda conn: forget_in(conn, most=3)) == 2
    left = await Reputations(db).standings(TENANT, [Sender(SenderKind.DOMAIN, f"d{n}.example") for n in range(5)])
    assert {sender.name for sender in left} == {"d2.example", "d3.example", "d4.example"}
    clock.advance(REMEMBERED + DAY)
    assert await reputations.forget() == 3


async def test_no_name_of_a_sender_is_stored(db: Database, clock: ManualClock) -> None:
    mail(db, clock)
    await standing(Reputations(db), clock)
    rows = db.read_sync(lambda conn: conn.execute(reputation.select()).all())
    assert len(rows) == 2
    assert "partner" not in str(rows)
