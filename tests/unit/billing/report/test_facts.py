"""A report's figures against a plain count of the same histories, and against the usage they must add up to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, insert, update
from sqlalchemy.engine import Connection

from mailguard.billing import closing
from mailguard.billing.months import Month, month
from mailguard.billing.report.facts import THREAT_OF, Day, Facts, Ranked, ServiceFacts, Threat, collect
from mailguard.core.decision import Reason
from mailguard.core.events import State
from mailguard.store import schema
from tests.unit.billing.conftest import SetClock
from tests.unit.billing.walks import MESSAGES, RECIPIENTS, Walk, add, clear, event_rows, histories, store

NOVEMBER = month("2026-11", zone=UTC)
DAY = 86_400_000
REASONS = sorted({*THREAT_OF, Reason.CLEAN.value, Reason.NEXT_HOP_REFUSED.value, Reason.SCANNER_FAILED.value})


def facts(conn: Connection, period: Month = NOVEMBER, *, tenant: int = 2, zone: str = "UTC") -> Facts:
    return collect(conn, tenant, "acme", period, zone=ZoneInfo(zone), service=ServiceFacts())


def stopped(before: State | None, after: State, reason: str) -> bool:
    if reason not in THREAT_OF:
        return False
    return after in (State.REJECTED, State.DISCARDED) or (after is State.QUARANTINED and before is not State.SPOOLED)


@settings(deadline=None, max_examples=40)
@given(data=st.data(), walks=histories(NOVEMBER.start - 2 * DAY, NOVEMBER.end + DAY))
def test_figures_are_those_of_a_plain_count_and_add_up_to_the_usage(
    engine: Engine, data: st.DataObject, walks: Sequence[Walk]
) -> None:
    moves = [(walk, *move, data.draw(st.sampled_from(REASONS))) for walk in walks for move in walk.moves]
    with engine.begin() as conn:
        clear(conn)
        rows = [
            row | {"reason": reason}
            for walk, at, before, after, reason in moves
            for row in event_rows(walk, at, before, after)
        ]
        add(conn, walks, rows)
        found = facts(conn)
    mine = [
        (walk, at, before, after, reason)
        for walk, at, before, after, reason in moves
        if walk.tenant == 2 and not walk.probe and NOVEMBER.start <= at < NOVEMBER.end
    ]
    days = {day.date: day for day in found.days}
    assert list(days) == [date(2026, 11, number) for number in range(1, 31)]
    for day in days.values():
        of_day = [one for one in mine if datetime.fromtimestamp(one[1] / 1000, UTC).date() == day.date]
        assert day == Day(
            day.date,
            sum(before is None for _, _, before, _, _ in of_day),
            sum(after in (State.DELIVERED, State.RELEASED) for _, _, _, after, _ in of_day),
            sum(stopped(before, after, reason) for _, _, before, after, reason in of_day),
        )
    assert sum(day.received for day in found.days) == found.usage.received.units
    assert sum(day.delivered for day in found.days) == found.delivered
    assert sum(day.stopped for day in found.days) == found.stopped
    kinds = Counter(THREAT_OF[reason] for _, _, before, after, reason in mine if stopped(before, after, reason))
    assert found.threats == dict(kinds)
    per_mailbox = Counter(
        RECIPIENTS[walk.recipient] for walk, _, before, after, reason in mine if stopped(before, after, reason)
    )
    assert {one.name: one.mails for one in found.attacked} == dict(per_mailbox)
    assert [one.mails for one in found.attacked] == sorted((one.mails for one in found.attacked), reverse=True)


@pytest.fixture
def forged(engine: Engine) -> Iterator[Engine]:
    """Three mails in the names of two domains, of which one was delivered all the same."""
    at = NOVEMBER.start
    walks = [
        Walk(MESSAGES[0], 1, 1, 2, ((at, State.QUARANTINED),)),
        Walk(MESSAGES[1], 1, 2, 2, ((at, State.REJECTED),)),
        Walk(MESSAGES[2], 1, 2, 2, ((at, State.FORWARDING), (at, State.DELIVERED))),
        Walk(MESSAGES[3], 1, 2, 2, ((at, State.REJECTED),)),
    ]
    with engine.begin() as conn:
        store(conn, walks)
        authors = ("eve@Bank.Example", "mallory@shop.example", "x@shop.example", "just@spam.example")
        for message, author in zip(MESSAGES, authors, strict=True):
            conn.execute(update(schema.messages).where(schema.messages.c.id == message).values(header_from=author))
        conn.execute(update(schema.events).values(reason=Reason.SPAM_SCORE.value))
        first = schema.events.c.unit == walks[0].unit
        conn.execute(update(schema.events).where(first).values(reason=Reason.DMARC_FAIL.value))
        failed = schema.units.c.message.in_(MESSAGES[1:3])
        conn.execute(update(schema.units).where(failed).values(symbols='[["DMARC_FAIL_REJECT",5.0]]'))
        other = schema.units.c.message == MESSAGES[3]
        conn.execute(update(schema.units).where(other).values(symbols='[["DMARCXFAIL_REJECT",5.0]]'))
    yield engine
    with engine.begin() as conn:
        conn.execute(update(schema.messages).values(header_from=""))


def test_spoofed_domains_are_those_in_whose_name_stopped_mail_failed_dmarc(forged: Engine) -> None:
    with forged.begin() as conn:
        assert facts(conn).spoofed == (Ranked("bank.example", 1), Ranked("shop.example", 1))
        assert facts(conn, tenant=3).spoofed == ()


def test_what_the_door_turned_away_is_counted_by_its_time(engine: Engine) -> None:
    row = {"tenant": 2, "reason": "unknown_recipient", "code": 550, "reply": "", "count": 1}
    with engine.begin() as conn:
        conn.execute(
            insert(schema.refusals),
            [
                row | {"at": NOVEMBER.start},
                row | {"at": NOVEMBER.end - 1, "count": 40},
                row | {"at": NOVEMBER.end},
                row | {"at": NOVEMBER.start, "tenant": 3},
                row | {"at": NOVEMBER.start, "reason": "rate_limit"},
            ],
        )
        assert facts(conn).refused == {"unknown_recipient": 41, "rate_limit": 1}
        conn.execute(delete(schema.refusals))


def test_days_are_those_of_the_billing_time_zone_when_clocks_change(engine: Engine) -> None:
    october = month("2026-10", zone=ZoneInfo("Europe/Berlin"))
    late = int(datetime(2026, 10, 25, 22, 30, tzinfo=UTC).timestamp() * 1000)  # 23:30 of a day of 25 hours
    walks = [
        Walk(MESSAGES[0], 1, 1, 2, ((late, State.FORWARDING), (late, State.DELIVERED))),
        Walk(MESSAGES[1], 1, 1, 2, ((late + DAY // 24, State.FORWARDING),)),
    ]
    with engine.begin() as conn:
        store(conn, walks)
        found = facts(conn, october, zone="Europe/Berlin")
    assert len(found.days) == 31
    assert [(day.date.day, day.received) for day in found.days if day.received] == [(25, 1), (26, 1)]


def test_what_came_too_late_for_its_month_counts_on_the_first_day_of_the_next(
    engine: Engine, db_clock: SetClock
) -> None:
    early = Walk(MESSAGES[0], 1, 1, 2, ((NOVEMBER.start - DAY, State.FORWARDING),))
    late = Walk(MESSAGES[1], 1, 1, 2, ((NOVEMBER.start - 2 * DAY, State.FORWARDING),))
    with engine.begin() as conn:
        store(conn, [early])

    def write(work):  # type: ignore[no-untyped-def]
        with engine.begin() as conn:
            return work(conn)

    db_clock.now = NOVEMBER.start
    closing.close_month(write, month("2026-10", zone=UTC), zone=UTC)
    with engine.begin() as conn:
        add(conn, [late], event_rows(late, *next(late.moves)))
        found = facts(conn)
        assert not found.is_over
        db_clock.now = NOVEMBER.end
        assert facts(conn).is_over
    assert found.days[0].received == found.usage.received.units == 1
    assert found.before.received.units == 1


def test_mail_that_was_tagged_reached_the_client(engine: Engine) -> None:
    walk = Walk(MESSAGES[0], 1, 1, 2, ((NOVEMBER.start, State.FORWARDING), (NOVEMBER.start, State.DELIVERED)))
    with engine.begin() as conn:
        store(conn, [walk])
        conn.execute(update(schema.units).values(action="tag"))
        assert (facts(conn).tagged, facts(conn).stopped) == (1, 0)


def test_every_kind_of_threat_has_a_reason() -> None:
    assert set(THREAT_OF.values()) == set(Threat)
