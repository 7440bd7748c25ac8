"""The ledger: what begin and move record, what they refuse, and that two at once never both succeed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import fields

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, select, update

from mailguard.core.decision import Reason
from mailguard.core.errors import ConflictError, NotFoundError
from mailguard.core.events import TRANSITIONS, EventKind, MailEvent, State
from mailguard.core.verdict import (
    Attachment,
    AuthMethod,
    AuthOutcome,
    AuthResult,
    CheckResult,
    CheckStatus,
    Classification,
    DmarcPolicy,
    Findings,
    Symbol,
)
from mailguard.store import schema
from mailguard.store.consistency import check_in
from mailguard.store.db import Database
from mailguard.store.findings import (
    findings_from_json,
    findings_to_json,
    result_from_json,
    results_from_json,
    results_to_json,
)
from mailguard.store.leases import Leases
from mailguard.store.ledger import QUEUED, Ledger
from mailguard.store.queue import QueueStore
from tests.unit.store.conftest import ManualClock, OpenDatabase
from tests.unit.store.mail import START, a_message, a_move, a_unit, an_entry

START_STATES = sorted(TRANSITIONS[None])


async def state_of(db: Database, unit: str) -> State:
    found = await db.read(lambda c: c.scalar(select(schema.units.c.state).where(schema.units.c.id == unit)))
    return State(found or "")


async def events_of(db: Database, unit: str) -> list[tuple[str | None, str | None, str, int]]:
    e = schema.events.c
    statement = select(e.from_state, e.to_state, e.reason, e.size).where(e.unit == unit).order_by(e.id)
    return [tuple(row) for row in await db.read(lambda c: c.execute(statement).all())]


async def queued(db: Database) -> set[str]:
    return set(await db.read(lambda c: c.scalars(select(schema.queue.c.unit)).all()))


async def begin(ledger: Ledger, state: State = State.FORWARDING, **fields: object) -> str:
    message = a_message(blob=True)
    await ledger.begin(message, [a_unit(state, **fields)])
    return f"{message.id}-1"


@pytest.mark.parametrize("state", START_STATES)
async def test_a_unit_begins_with_its_event_and_its_place_in_the_queue(
    db: Database, ledger: Ledger, state: State
) -> None:
    unit = await begin(ledger, state)
    assert await state_of(db, unit) is state
    assert await events_of(db, unit) == [(None, state.value, "clean", 1000)]
    assert await queued(db) == ({unit} if state in QUEUED else set())
    assert await db.read(check_in) == []


async def test_every_column_is_written(db: Database, ledger: Ledger) -> None:
    findings = Findings((CheckResult("spf", symbols=(Symbol("SPF_PASS", -0.2),)),), link_hosts=("a.example",))
    message = a_message(findings=findings)
    await ledger.begin(message, [a_unit(number=1), a_unit(number=2, address="alice@sender.example")])
    row = await db.read(lambda c: c.execute(select(schema.messages)).one())
    assert (row.mail_from_raw, row.client_ip, row.size) == ("Alice@Sender.example", "192.0.2.1", 1000)
    assert json.loads(row.options) == {"size": 1000, "eight_bit": True, "smtputf8": False}
    assert findings_from_json(row.findings) == findings
    first, second = await db.read(lambda c: c.execute(select(schema.units).order_by(schema.units.c.id)).all())
    assert (first.recipient_raw, first.domain, first.action, first.holder) == (
        "Bob1@Client.test",
        "client.test",
        "deliver",
        "w1",
    )
    assert json.loads(first.symbols) == [["SPF_PASS", -0.1]]
    assert second.recipient == row.mail_from  # one address, one id
    names = await db.read(lambda c: c.scalars(select(schema.addresses.c.address)).all())
    assert sorted(names) == ["alice@sender.example", "bob1@client.test"]


def test_findings_survive_the_database() -> None:
    spf = AuthResult(AuthMethod.SPF, AuthOutcome.FAIL, "a.example", "why", (("smtp.mailfrom", "x@a.example"),))
    findings = Findings(
        results=(
            CheckResult("spf", auth=(spf,), symbols=(Symbol("SPF_FAIL", 1.5, "text", ("évidence\0",)),), elapsed=0.25),
            CheckResult("clamav", CheckStatus.TEMPERROR, malware=("Eicar",), detail="timed out"),
            CheckResult("dmarc", dmarc_policy=DmarcPolicy.REJECT, dmarc_override="trusted_forwarder"),
        ),
        attachments=(Attachment("a.zip", "application/zip", "application/zip", 10, "f" * 64),),
        link_hosts=("b.example",),
        from_address="x@a.example",
    )
    text = findings_to_json(findings)
    assert "\0" not in text
    assert findings_from_json(text) == findings
    assert findings_from_json("{}") == Findings()


@given(st.text(), st.text(), st.text(), st.floats(allow_nan=False, allow_infinity=False))
@settings(deadline=None, max_examples=50)
def test_whatever_mail_says_findings_are_json(name: str, text: str, seen: str, number: float) -> None:
    auth = AuthResult(AuthMethod.DKIM, AuthOutcome.FAIL, text, seen, ((name, seen),))
    results = (CheckResult(name, symbols=(Symbol(name, number, text, (seen, "")),), auth=(auth,), elapsed=number),)
    assert results_from_json(results_to_json(results)) == results
    assert findings_from_json(findings_to_json(Findings(results))) == Findings(results)


def test_one_result_is_read_without_the_others_and_not_out_of_what_mail_says() -> None:
    sly = '{"check":"reputation","detail":"domain good.example"}'
    results = (CheckResult("history", symbols=(Symbol("S", evidence=(sly, f"\\{sly}")),), detail=sly),)
    assert result_from_json(results_to_json(results), "reputation") is None
    both = results_to_json((*results, CheckResult("reputation", detail="domain other.example")))
    assert (result_from_json(both, "reputation") or {})["detail"] == "domain other.example"
    assert result_from_json("[]", "reputation") is None


def test_no_field_of_a_check_is_forgotten() -> None:
    whole = CheckResult(
        "all",
        CheckStatus.SKIPPED,
        symbols=(Symbol("ONE", -1.0, "text", ("seen",)),),
        auth=(AuthResult(AuthMethod.DKIM, AuthOutcome.PASS, "a.example", "why", (("header.d", "a.example"),)),),
        malware=("Eicar",),
        dmarc_policy=DmarcPolicy.NONE,
        detail="detail",
        elapsed=0.5,
        attachments=(Attachment("a", "b", "c", 1, "d"),),
        classification=Classification(1.0, "model"),
        vouched=(AuthResult(AuthMethod.ARC, AuthOutcome.PASS),),
        dmarc_override="other",
        link_hosts=("c.example",),
    )
    for name in fields(CheckResult):
        assert getattr(whole, name.name), (
            f"{name.name} is new: give it a value here, and say in store.findings what becomes of it"
        )
    read = results_from_json(results_to_json([whole]))[0]
    not_recorded = {"attachments", "classification", "vouched", "link_hosts"}
    for name in fields(CheckResult):
        assert (getattr(read, name.name) == getattr(whole, name.name)) == (name.name not in not_recorded), name.name


async def test_hostile_text_is_stored_as_it_can_be(db: Database, ledger: Ledger) -> None:
    hostile = "nul\0 lone\udc80 bidi\u202e " + "x" * 1000
    message = a_message(
        subject=hostile, header_message_id=hostile, header_from=hostile, mail_from="\udcff@sender.example"
    )
    await ledger.begin(message, [a_unit(detail={"text": hostile}, headers=hostile)])
    await ledger.move([a_move(f"{message.id}-1", State.DELIVERED, actor=hostile, detail={"reply": hostile})])
    row = await db.read(lambda c: c.execute(select(schema.messages)).one())
    assert row.subject.startswith("nul\ufffd lone\ufffd bidi\u202e xxx")
    assert len(row.header_message_id) == 255


async def test_a_message_begins_once(db: Database, ledger: Ledger) -> None:
    message = a_message()
    await ledger.begin(message, [a_unit()])
    with pytest.raises(ConflictError):
        await ledger.begin(message, [a_unit()])
    assert await events_of(db, f"{message.id}-1") == [(None, "forwarding", "clean", 1000)]


async def test_what_makes_no_sense_is_refused_at_once(ledger: Ledger) -> None:
    unit = await begin(ledger)
    with pytest.raises(ValueError, match="needs a place"):
        await ledger.begin(a_message(blob=True), [a_unit(State.SPOOLED, queue=None)])
    with pytest.raises(ValueError, match="has no place"):
        await ledger.begin(a_message(), [a_unit(queue=an_entry())])
    with pytest.raises(ValueError, match="cannot begin"):
        await ledger.begin(a_message(), [a_unit(State.DELIVERED)])
    with pytest.raises(ValueError, match="before its body"):
        await ledger.begin(a_message(blob=False), [a_unit(State.QUARANTINED)])
    with pytest.raises(ValueError, match="moves twice"):
        await ledger.move([a_move(unit, State.DELIVERED), a_move(unit, State.DELIVERED)])


@pytest.mark.parametrize("start", START_STATES)
async def test_only_the_moves_of_the_table_are_made(db: Database, ledger: Ledger, start: State) -> None:
    for target in State:
        unit = await begin(ledger, start)
        if target in TRANSITIONS[start]:
            await ledger.move([a_move(unit, target)])
            assert (await events_of(db, unit))[-1] == (start.value, target.value, "next_hop_accepted", 1000)
        else:
            with pytest.raises(ConflictError):
                await ledger.move([a_move(unit, target)])
            assert await state_of(db, unit) is start
    assert await db.read(check_in) == []


async def test_moves_are_all_made_or_none(db: Database, ledger: Ledger) -> None:
    message = a_message()
    await ledger.begin(message, [a_unit(), a_unit(State.DISCARDED, number=2)])
    one, two = f"{message.id}-1", f"{message.id}-2"
    note = MailEvent(one, START, EventKind.ATTEMPT, Reason.NEXT_HOP_ACCEPTED)
    with pytest.raises(ConflictError):
        await ledger.move([a_move(one, State.DELIVERED), a_move(two, State.DELIVERED)], events=[note])
    assert await state_of(db, one) is State.FORWARDING
    assert len(await events_of(db, one)) == 1
    with pytest.raises(NotFoundError):
        await ledger.move([a_move(one, State.DELIVERED), a_move(f"{message.id}-3", State.DELIVERED)])
    await ledger.move([a_move(one, State.DELIVERED)], events=[note])
    assert len(await events_of(db, one)) == 3


async def test_a_move_may_demand_where_it_starts(ledger: Ledger) -> None:
    unit = await begin(ledger, State.QUARANTINED)
    with pytest.raises(ConflictError):
        await ledger.move([a_move(unit, State.SPOOLED, expected=State.UNDELIVERABLE)])
    await ledger.move([a_move(unit, State.SPOOLED, expected=State.QUARANTINED)])


async def test_spooling_marks_the_body_and_leaving_takes_the_unit_out_of_the_queue(
    db: Database, ledger: Ledger
) -> None:
    message = a_message(blob=False)
    await ledger.begin(message, [a_unit()])
    unit = f"{message.id}-1"
    await ledger.move([a_move(unit, State.SPOOLED)])
    assert await db.read(lambda c: c.scalar(select(schema.messages.c.blob)))
    assert await queued(db) == {unit}
    await ledger.move([a_move(unit, State.DELIVERED, dequeue=True)])
    assert await queued(db) == set()
    assert await db.read(check_in) == []


async def test_a_held_unit_that_is_spooled_gets_a_new_place(db: Database, ledger: Ledger) -> None:
    unit = await begin(ledger, State.HELD, queue=an_entry(purpose="rescan"))
    await ledger.move([a_move(unit, State.SPOOLED)])
    assert await db.read(lambda c: c.scalars(select(schema.queue.c.purpose)).all()) == ["forward"]


async def test_only_the_holder_of_the_claim_moves_by_its_fence(
    db: Database, ledger: Ledger, clock: ManualClock
) -> None:
    unit = await begin(ledger, State.SPOOLED)
    store = QueueStore(db)
    [old] = await store.claim("w1", limit=10, lease_ms=1000)
    clock.advance(2000)
    [new] = await store.claim("w2", limit=10, lease_ms=1000)
    with pytest.raises(ConflictError, match="no longer held"):
        await ledger.move([a_move(unit, State.DELIVERED, dequeue=True, fence=old.fence)])
    await ledger.move([a_move(unit, State.DELIVERED, dequeue=True, fence=new.fence)])


async def test_a_fence_is_never_used_again_for_a_later_place(db: Database, ledger: Ledger, clock: ManualClock) -> None:
    unit = await begin(ledger, State.SPOOLED)
    store = QueueStore(db)
    [old] = await store.claim("w1", limit=10, lease_ms=1000)
    clock.advance(5000)
    await ledger.move([a_move(unit, State.QUARANTINED)])
    await ledger.move([a_move(unit, State.SPOOLED)])
    [new] = await store.claim("w2", limit=10, lease_ms=1000)
    assert new.fence > old.fence


async def test_of_two_who_move_the_same_unit_one_wins(open_db: OpenDatabase) -> None:
    ledgers = [Ledger(open_db()), Ledger(open_db())]
    for _ in range(20):
        unit = await begin(ledgers[0], State.QUARANTINED)
        moves = [ledger.move([a_move(unit, State.SPOOLED)]) for ledger in ledgers for _ in range(3)]
        outcomes = await asyncio.gather(*moves, return_exceptions=True)
        assert sum(isinstance(outcome, Mapping) for outcome in outcomes) == 1
        assert sum(isinstance(outcome, ConflictError) for outcome in outcomes) == 5


async def test_many_at_once_with_the_same_new_addresses(open_db: OpenDatabase) -> None:
    ledgers = [Ledger(open_db()), Ledger(open_db())]

    async def one(number: int) -> None:
        names = [f"user{(number * 7 + step) % 20}@client.test" for step in range(5)]
        units = [a_unit(number=place, address=name) for place, name in enumerate(names, 1)]
        await ledgers[number % 2].begin(a_message(mail_from=f"s{number % 5}@x.example"), units)

    await asyncio.gather(*(one(number) for number in range(60)))
    db = open_db()
    assert len(await db.read(lambda c: c.scalars(select(schema.addresses.c.id)).all())) == 25
    assert await db.read(check_in) == []


async def test_an_undone_work_leaves_no_address_in_memory(db: Database, ledger: Ledger) -> None:
    """The ids that the writer remembers must be those that were committed."""
    taken = a_message()
    await ledger.begin(taken, [a_unit()])
    outcomes = await asyncio.gather(
        ledger.begin(a_message(message_id=taken.id, mail_from="new@x.example"), [a_unit()]),
        ledger.begin(a_message(mail_from="new@x.example"), [a_unit()]),
        return_exceptions=True,
    )
    assert isinstance(outcomes[0], ConflictError)
    assert outcomes[1] == {}
    await ledger.begin(a_message(mail_from="new@x.example"), [a_unit()])
    names = await db.read(lambda c: c.scalars(select(schema.addresses.c.address)).all())
    assert sorted(names) == ["alice@sender.example", "bob1@client.test", "new@x.example"]


async def test_notes_move_nothing_and_need_a_unit(db: Database, ledger: Ledger) -> None:
    unit = await begin(ledger)
    await ledger.note([MailEvent(unit, START, EventKind.ACCESS, Reason.CLEAN, actor="eve", detail={"raw": True})])
    assert await state_of(db, unit) is State.FORWARDING
    assert len(await events_of(db, unit)) == 2
    with pytest.raises(NotFoundError):
        await ledger.note([MailEvent("no-such-1", START, EventKind.NOTE, Reason.CLEAN)])
    with pytest.raises(ValueError, match="STATE"):
        await ledger.note([MailEvent(unit, START, EventKind.STATE, Reason.CLEAN)])
    await ledger.note([])
    await ledger.move([])


async def test_what_a_dead_worker_was_forwarding_is_interrupted(
    db: Database, ledger: Ledger, clock: ManualClock
) -> None:
    leases = Leases(db)
    await leases.beat("lives", lease_ms=10_000)
    await leases.beat("dies", lease_ms=1_000)
    lives = await begin(ledger, holder="lives")
    dies = await begin(ledger, holder="dies")
    never = await begin(ledger, holder="unknown")
    quarantined = await begin(ledger, State.QUARANTINED)
    assert await ledger.interrupt_dead() == 1
    clock.advance(2_000)
    assert await ledger.interrupt_dead() == 1
    assert await ledger.interrupt_dead() == 0
    states = [await state_of(db, unit) for unit in (lives, dies, never, quarantined)]
    assert states == [State.FORWARDING, State.INTERRUPTED, State.INTERRUPTED, State.QUARANTINED]
    assert (await events_of(db, dies))[-1] == ("forwarding", "interrupted", "worker_died", 1000)


async def test_the_check_names_what_does_not_fit(db: Database, ledger: Ledger) -> None:
    units = [await begin(ledger, State.SPOOLED) for _ in range(3)]
    unit, event = schema.units, schema.events

    def damage(connection: Connection) -> None:
        connection.execute(update(unit).where(unit.c.id == units[0]).values(state="delivered"))
        connection.execute(update(unit).where(unit.c.id == units[1]).values(state="lost"))
        connection.execute(update(event).where(event.c.unit == units[2]).values(from_state="bounced", tenant=7))

    await db.write(damage)
    found = {(item.kind.value, item.subject) for item in await db.read(check_in)}
    assert found >= {
        ("state_is_not_last_events", units[0]),
        ("queued_without_need", units[0]),
        ("unknown_state", units[1]),
        ("broken_chain", units[2]),
        ("forbidden_move", units[2]),
        ("wrong_tenant", units[2]),
        ("counts_differ", "tenant 1"),
        ("counts_differ", "tenant 7"),
    }
