"""Usage from events: compared with a plain count in Python over random histories, and at the edges of months."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, insert
from sqlalchemy.engine import Connection

from mailguard.billing import closing, meter, tally
from mailguard.billing.meter import BilledMailbox, Count, MonthUsage, Usage
from mailguard.billing.months import following
from mailguard.core.errors import ConflictError
from mailguard.core.events import State
from mailguard.store import metered, schema
from mailguard.store.billing_months import take_turn
from tests.unit.billing.conftest import SetClock
from tests.unit.billing.walks import (
    MAILBOXES,
    MESSAGES,
    RECIPIENTS,
    SIZES,
    Walk,
    add,
    clear,
    event_rows,
    histories,
    store,
)

T = TypeVar("T")
NOVEMBER = meter.month("2026-11", zone=UTC)
MONTHS = [meter.month(name, zone=UTC) for name in ("2026-10", "2026-11", "2026-12", "2027-01", "2027-02")]


def delivered(at: int) -> tuple[tuple[int, State], ...]:
    """The steps of a mail that is delivered at once."""
    return ((at, State.FORWARDING), (at, State.DELIVERED))


def writing(engine: Engine) -> closing.Write:
    def write(work: Callable[[Connection], T], /) -> T:
        with engine.begin() as conn:
            return work(conn)

    return write


Happened = tuple[Walk, int, State | None, State, str]
"""A move: of whom, when, from where to where, and the month it belongs to."""


def plainly(happened: list[Happened], name: str, tenant: int) -> Usage:
    """The usage of a month by a loop."""
    seen: dict[str, list[str]] = {counted: [] for counted in meter.COUNTED}
    active, billed = set(), set()
    for walk, _, before, after, month in happened:
        if walk.tenant != tenant or walk.probe or month != name:
            continue
        if before is None:
            seen["received"].append(walk.message)
        if after in (State.DELIVERED, State.REJECTED, State.DEFERRED, State.RELEASED):
            seen[after].append(walk.message)
        if after is State.QUARANTINED and before is not State.SPOOLED:
            seen["quarantined"].append(walk.message)
        if after in (State.DELIVERED, State.RELEASED):
            active.add(walk.recipient)
            billed.add(walk)
    counts = {
        counted: Count(len(messages), len(set(messages)), sum(SIZES[message] for message in set(messages)))
        for counted, messages in seen.items()
    }
    return Usage(
        tenant,
        **counts,
        active_recipients=len(active),
        billed_mailboxes=len({MAILBOXES[recipient] for recipient in active})
        if tenant == 2
        else len(by_address(active)),
        billed_messages=len(billed),
        billed_octets=sum(SIZES[walk.message] for walk in billed),
    )


def by_address(recipients: set[int]) -> set[str]:
    """Tenant 3 parts mailboxes by the same separator."""
    return {MAILBOXES[recipient] for recipient in recipients}


@given(walks=histories(NOVEMBER.start - 5, NOVEMBER.end))
def test_usage_is_what_a_plain_count_says(engine: Engine, walks: list[Walk]) -> None:
    happened = [
        (walk, at, before, after, "2026-11")
        for walk in walks
        for at, before, after in walk.moves
        if NOVEMBER.start <= at < NOVEMBER.end
    ]
    with engine.begin() as conn:
        store(conn, walks)
        found = {usage.tenant: usage for usage in meter.usage(conn, NOVEMBER)}
        for tenant in (2, 3):
            expected = plainly(happened, "2026-11", tenant)
            assert found.get(tenant, Usage(tenant)) == expected
            assert meter.usage(conn, NOVEMBER, tenant=tenant) == [expected]


@settings(max_examples=40)
@given(data=st.data(), walks=histories(MONTHS[0].start, MONTHS[2].end))
def test_however_the_meter_is_moved_on_and_months_are_closed_each_event_counts_once(
    engine: Engine, db_clock: SetClock, data: st.DataObject, walks: list[Walk]
) -> None:
    """Events come in any order of their times, as those of slow transactions do; months close in between, the meter moves."""
    moves = [(walk, index, *move) for walk in walks for index, move in enumerate(walk.moves)]
    todo = {walk: list(walk.moves) for walk in walks}
    order = data.draw(st.permutations([walk for walk, *_ in moves]))
    happened: list[Happened] = []
    open_month, closed = MONTHS[0].name, False
    write = writing(engine)
    with engine.begin() as conn:
        clear(conn)
        add(conn, walks, [])
    for walk in order:
        at, before, after = todo[walk].pop(0)
        natural = next((month.name for month in MONTHS if month.start <= at < month.end), "later")
        happened.append((walk, at, before, after, max(natural, open_month) if closed else natural))
        with engine.begin() as conn:
            add(conn, [], event_rows(walk, at, before, after))
        match data.draw(st.integers(0, 6)):
            case 0:
                closing.catch_up(write, zone=UTC, at_once=data.draw(st.integers(1, 4)))
            case 1 if open_month < "2027-01" and any(not walk.probe for walk, *_ in happened):
                period = next(month for month in MONTHS if month.name == open_month)
                earliest = min(month for walk, *_, month in happened if not walk.probe)
                if closed or earliest <= open_month:
                    db_clock.now = period.end
                    assert closing.close_month(write, period, zone=UTC).ends_at == period.end
                    open_month, closed = following(open_month), True
    with engine.begin() as conn:
        for month in MONTHS[:4]:
            for tenant in (2, 3):
                expected = plainly(happened, month.name, tenant)
                assert meter.usage(conn, month, tenant=tenant) == [expected]
                assert meter.recount(conn, month, tenant=tenant) == [expected]


def test_parts_are_bounded_and_add_up(engine: Engine) -> None:
    """A message whose recipients are counted in different parts is still one message."""
    at = NOVEMBER.start
    walks = [
        Walk(MESSAGES[0], number, number, 2, ((at, State.FORWARDING), (at, State.DELIVERED))) for number in (1, 2, 3)
    ]
    with engine.begin() as conn:
        store(conn, walks)
    with engine.begin() as conn:
        assert len(list(tally.count_events(conn, 0, until=None, month_of=lambda _, __: "2026-11", at_once=2))) == 3
    reached = closing.catch_up(writing(engine), zone=UTC, at_once=2)
    with engine.begin() as conn:
        assert metered.position(conn) == reached
        (usage,) = meter.usage(conn, NOVEMBER)
        assert usage.received == usage.delivered == Count(3, 1, 1_000)


def test_a_message_for_three_counts_its_octets_once_but_is_billed_for_each(engine: Engine) -> None:
    at = NOVEMBER.start
    walks = [
        Walk(MESSAGES[0], number, number, 2, ((at, State.FORWARDING), (at, State.DELIVERED))) for number in (1, 2, 3)
    ]
    with engine.begin() as conn:
        store(conn, walks)
        (usage,) = meter.usage(conn, NOVEMBER)
        assert meter.usage_of_month(conn, NOVEMBER, 2) == MonthUsage(mailboxes=2, messages=3, octets=3_000)
    assert usage.received == usage.delivered == Count(3, 1, 1_000)
    assert (usage.active_recipients, usage.billed_mailboxes) == (3, 2)


def test_a_failed_release_is_not_quarantined_again(engine: Engine) -> None:
    at = NOVEMBER.start
    steps = (State.QUARANTINED, State.SPOOLED, State.QUARANTINED, State.SPOOLED, State.RELEASED)
    with engine.begin() as conn:
        store(conn, [Walk(MESSAGES[0], 1, 1, 2, tuple((at, state) for state in steps))])
        (usage,) = meter.usage(conn, NOVEMBER)
    assert (usage.quarantined.units, usage.released.units, usage.delivered.units) == (1, 1, 0)


def test_what_was_refused_bounced_discarded_or_kept_is_not_billed(engine: Engine) -> None:
    at = NOVEMBER.start
    ends = [
        (State.REJECTED,),
        (State.FORWARDING, State.BOUNCED),
        (State.DISCARDED,),
        (State.QUARANTINED, State.EXPIRED),
        (State.FORWARDING, State.SPOOLED, State.EXPIRED),
    ]
    walks = [Walk(MESSAGES[0], n, 1, 2, tuple((at, state) for state in steps)) for n, steps in enumerate(ends, start=1)]
    with engine.begin() as conn:
        store(conn, walks)
        assert meter.usage_of_month(conn, NOVEMBER, 2) == MonthUsage()
        assert meter.billed_mailboxes(conn, NOVEMBER, 2) == ()


def test_mail_of_the_probe_counts_nowhere(engine: Engine) -> None:
    steps = ((NOVEMBER.start, State.FORWARDING), (NOVEMBER.start, State.DELIVERED))
    with engine.begin() as conn:
        store(conn, [Walk(MESSAGES[0], 1, 1, 2, steps, probe=True)])
        assert meter.usage(conn, NOVEMBER) == []


def test_releasing_again_bills_the_mail_once_a_month(engine: Engine) -> None:
    at = NOVEMBER.start
    steps = [(at, State.QUARANTINED), *[(at, State.SPOOLED), (at, State.RELEASED)] * 2]
    december = [(NOVEMBER.end, State.SPOOLED), (NOVEMBER.end, State.RELEASED)]
    with engine.begin() as conn:
        store(conn, [Walk(MESSAGES[1], 1, 1, 2, (*steps, *december))])
        (usage,) = meter.usage(conn, NOVEMBER)
        assert meter.usage_of_month(conn, MONTHS[2], 2) == MonthUsage(1, 1, 20_000)
    assert usage.released.units == 2
    assert (usage.billed_messages, usage.billed_octets) == (1, 20_000)


def test_a_billed_mailbox_has_its_evidence(engine: Engine) -> None:
    start = NOVEMBER.start
    walks = [
        Walk(MESSAGES[0], 1, 3, 2, delivered(start + 5)),
        Walk(MESSAGES[1], 1, 1, 2, delivered(start + 9)),
        Walk(MESSAGES[2], 1, 2, 2, delivered(start)),
    ]
    with engine.begin() as conn:
        store(conn, walks)
        found = meter.billed_mailboxes(conn, NOVEMBER, 2)
    assert found == (
        BilledMailbox("a@x.test", walks[0].unit, start + 5, 2, 21_000, ("a+news@x.test", "a@x.test")),
        BilledMailbox("b@x.test", walks[2].unit, start, 1, 300_000, ("b@x.test",)),
    )


def test_a_list_that_changes_later_does_not_change_a_closed_month(engine: Engine, db_clock: SetClock) -> None:
    at = NOVEMBER.start
    steps = ((at, State.FORWARDING), (at, State.DELIVERED))
    write = writing(engine)
    with engine.begin() as conn:
        store(conn, [Walk(MESSAGES[0], 1, 1, 2, steps), Walk(MESSAGES[0], 2, 2, 2, steps)])
        listed = [{"tenant": 2, "address": address, "added_at": 0} for address in ("a@x.test", "b@x.test")]
        conn.execute(insert(schema.recipients), listed)
        assert meter.usage_of_month(conn, NOVEMBER, 2).mailboxes == 2
        conn.execute(schema.recipients.update().values(mailbox="office@x.test"))
        (open_,) = meter.billed_mailboxes(conn, NOVEMBER, 2)
        assert (open_.mailbox, open_.addresses) == ("office@x.test", ("a@x.test", "b@x.test"))
    db_clock.now = NOVEMBER.end
    closing.close_month(write, NOVEMBER, zone=UTC)
    with engine.begin() as conn:
        conn.execute(schema.recipients.delete())
        assert meter.billed_mailboxes(conn, NOVEMBER, 2) == (open_,)
        assert meter.recount(conn, NOVEMBER, tenant=2)[0].billed_mailboxes == 1
    closing.close_month(write, NOVEMBER, zone=UTC)
    with engine.begin() as conn:
        assert meter.billed_mailboxes(conn, NOVEMBER, 2) == (open_,)


def test_an_erased_address_still_counts(engine: Engine) -> None:
    at = NOVEMBER.start
    steps = ((at, State.FORWARDING), (at, State.DELIVERED))
    with engine.begin() as conn:
        store(conn, [Walk(MESSAGES[0], 1, 1, 2, steps), Walk(MESSAGES[0], 2, 2, 2, steps)])
        changed = schema.addresses.update().where(schema.addresses.c.id == 2)
        conn.execute(changed.values(address="erased 2"))
        assert meter.usage_of_month(conn, NOVEMBER, 2).mailboxes == 2
        conn.execute(changed.values(address=RECIPIENTS[2]))


def test_the_system_tenant_shows_only_when_asked_for(engine: Engine) -> None:
    with engine.begin() as conn:
        store(conn, [Walk(MESSAGES[0], 1, 1, 1, ((NOVEMBER.start, State.SPOOLED),))])
        assert meter.usage(conn, NOVEMBER) == []
        assert meter.usage(conn, NOVEMBER, tenant=1)[0].received.units == 1


def test_a_month_that_is_not_over_cannot_be_closed(engine: Engine, db_clock: SetClock) -> None:
    with engine.begin() as conn:
        clear(conn)
    db_clock.now = NOVEMBER.end - 1
    with pytest.raises(ConflictError, match="2026-12-01T00:00:00"):
        closing.close_month(writing(engine), NOVEMBER, zone=UTC)
    with engine.begin() as conn:
        take_turn(conn)
        assert meter.usage(conn, NOVEMBER) == []
