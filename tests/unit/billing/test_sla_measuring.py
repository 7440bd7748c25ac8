"""The measurement of the service level from rows, against what was put in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date
from decimal import Decimal

import pytest
from sqlalchemy import Engine, delete, insert, update

from mailguard.billing import agreements, sla
from mailguard.billing.agreements import Conditions
from mailguard.billing.availability import Availability
from mailguard.billing.latency import Latency
from mailguard.billing.plans import CommitmentName
from mailguard.billing.sla import Caught
from mailguard.core.clock import HOUR, MINUTE
from mailguard.core.events import State
from mailguard.store import complaints, probes, schema, schema_service, trace
from mailguard.store.complaints import Kind
from mailguard.store.maintenance import add_window
from tests.unit.billing.bill_world import BUYER, a_plan
from tests.unit.billing.conftest import SetClock
from tests.unit.billing.november import EACH, NOVEMBER, RULES, SLOT, probe
from tests.unit.billing.walks import MESSAGES, Walk, add, clear, event_rows


@pytest.fixture
def service(engine: Engine, db_clock: SetClock) -> Iterator[Engine]:
    """A database without mail and probes, a day after November."""
    tables = (
        schema_service.probes,
        schema_service.maintenance_windows,
        schema_service.complaints,
        schema_service.release_requests,
    )

    def empty() -> None:
        with engine.begin() as conn:
            for table in tables:
                conn.execute(delete(table))
            clear(conn)

    empty()
    db_clock.now = NOVEMBER.end + 24 * HOUR
    yield engine
    empty()


def test_probes_are_recorded_once(service: Engine) -> None:
    with service.begin() as conn:
        assert probes.record(conn, EACH[:3]) == 3
        assert probes.record(conn, [*EACH[:4], probe(0, place="there", up=False)]) == 2
        found = probes.results(conn, 2, start=NOVEMBER.start, end=NOVEMBER.start + 11 * MINUTE)
    assert [(one.at, one.place, one.up) for one in found] == [
        (NOVEMBER.start, "here", True),
        (NOVEMBER.start, "there", False),
        (NOVEMBER.start + SLOT, "here", True),
        (NOVEMBER.start + 2 * SLOT, "here", True),
    ]


def test_a_month_is_measured_from_probes_events_and_complaints(service: Engine) -> None:
    """Each figure against what was put in."""
    at = NOVEMBER.start
    quick = Walk(MESSAGES[0], 1, 1, 2, ((at, State.FORWARDING), (at, State.DELIVERED)))
    slow = Walk(MESSAGES[0], 2, 2, 2, ((at, State.FORWARDING), (at, State.DELIVERED)))
    put_off = Walk(MESSAGES[0], 3, 2, 2, ((at, State.SPOOLED), (at, State.DELIVERED)))
    canary = Walk(MESSAGES[1], 1, 1, 2, ((at, State.FORWARDING), (at, State.DELIVERED)), probe=True)
    virus = Walk(MESSAGES[1], 2, 1, 2, ((at, State.QUARANTINED),))
    spam = Walk(MESSAGES[1], 3, 1, 2, ((at, State.REJECTED),))
    wanted = Walk(MESSAGES[2], 1, 1, 2, ((at, State.QUARANTINED), (at, State.SPOOLED), (at, State.RELEASED)))
    walks = [quick, slow, put_off, canary, virus, spam, wanted]
    rows = [row for walk in walks for move in walk.moves for row in event_rows(walk, *move)]
    latencies = {quick.unit: 400, slow.unit: 2_600, canary.unit: 9_000}
    reasons = {virus.unit: "malware", spam.unit: "spam_score", wanted.unit: "spam_score"}
    for row in rows:
        unit = str(row["unit"])
        row["reason"] = reasons.get(unit, "clean")
        row["detail"] = f'{{"latency_ms":{latencies[unit]}}}' if unit in latencies else "{}"
    with service.begin() as conn:
        add(conn, walks, rows)
        probes.record(
            conn, [probe(minute) for minute in range(0, 30 * 24 * 60 - 180, 60)]
        )  # the last three are missing
        wrong = {one.id: one for one in trace.look_up(conn, [quick.unit, slow.unit, wanted.unit])}
        wrong[wanted.unit] = replace(wrong[wanted.unit], action="quarantine")
        complaints.complain(conn, [wrong[quick.unit]], Kind.VIRUS, actor="ann", now=at + 1)
        complaints.complain(conn, [wrong[quick.unit], wrong[slow.unit]], Kind.SPAM, actor="ann", now=NOVEMBER.end - 1)
        complaints.complain(conn, [wrong[wanted.unit]], Kind.FALSE_POSITIVE, actor="ann", now=at + 2)
        complaints.complain(conn, [wrong[wanted.unit]], Kind.FALSE_POSITIVE, actor="bob", now=NOVEMBER.end)  # no news
        found = sla.measure(conn, 2, NOVEMBER, rules=replace(RULES, probe_minutes=60))
    assert found.door == Availability(up=30 * 24 - 3, down=3, missing=3)
    assert found.delay == Latency(2, 400, 2_600, 2_600)
    assert (found.virus, found.spam) == (Caught(1, 1), Caught(1, 2))
    assert (found.good, found.false_positives) == (4, 1)
    assert found.false_positive_rate == 25
    assert found.figure(CommitmentName.DELAY_P95) == Decimal("2.6")


def test_mail_of_days_without_contract_is_in_no_figure(service: Engine) -> None:
    """A contract from the 11th to the 20th, and the same mail and reports on its first and last day and on those beside."""
    found = []
    for days in ((11, 20), (10, 21), (10, 11, 20, 21)):
        times = [NOVEMBER.start + (day - 1) * 24 * HOUR for day in days]
        walks = [
            Walk(MESSAGES[number % 3], number, 1, 2, ((at, State.FORWARDING), (at, state)))
            for number, (at, state) in enumerate(
                [(at, state) for at in times for state in (State.DELIVERED, State.REJECTED)], start=1
            )
        ]
        rows = [row for walk in walks for move in walk.moves for row in event_rows(walk, *move)]
        rows = [row | {"reason": "malware", "detail": '{"latency_ms":700}'} for row in rows]
        with service.connect() as conn:  # never committed
            add(conn, walks, rows)
            for at, walk in zip(times, walks[::2], strict=True):
                complaints.complain(conn, trace.look_up(conn, [walk.unit]), Kind.VIRUS, actor="ann", now=at)
            contract = agreements.sign(
                conn,
                tenant=2,
                name="acme",
                plan=a_plan(),
                start=date(2026, 11, 11),
                conditions=Conditions(buyer=BUYER),
                zone=UTC,
                now=0,
            )
            agreements.cancel(
                conn,
                contract,
                name="acme",
                notice_on=contract.start,
                now=0,
                last_day=date(2026, 11, 20),
                waive_notice=True,
            )
            found.append(sla.measure(conn, 2, NOVEMBER, rules=RULES))
    covered, beside, both = found
    assert (covered.good, covered.virus, covered.delay) == (2, Caught(2, 2), Latency(2, 700, 700, 700))
    assert (beside.good, beside.virus, beside.delay) == (0, Caught(), None)
    assert both == covered


def test_a_request_is_answered_by_the_release_or_deletion_that_comes_after_it(
    service: Engine, db_clock: SetClock
) -> None:
    at = NOVEMBER.start
    walks = [Walk(MESSAGES[0], number, 1, 2, ((at, State.QUARANTINED),)) for number in (1, 2, 3)]
    with service.begin() as conn:
        add(conn, walks, [row for walk in walks for move in walk.moves for row in event_rows(walk, *move)])
        units = trace.look_up(conn, [walk.unit for walk in walks])
        assert complaints.request_release(conn, units, actor="ann", now=at) == [walk.unit for walk in walks]
        assert complaints.request_release(conn, units, actor="ann", now=at + 1) == []
        for walk, hours, state, reason in (
            (walks[0], 1, State.SPOOLED, "released_by_admin"),
            (walks[1], 3, State.DELETED, "deleted_by_admin"),
        ):
            row = event_rows(walk, at + hours * HOUR, State.QUARANTINED, state)[0]
            conn.execute(insert(schema.events).values(row | {"reason": reason}))
        found = sla.measure(conn, 2, NOVEMBER, rules=RULES)
        assert complaints.request_release(conn, units, actor="ann", now=at + 9) == [walks[0].unit, walks[1].unit]
    waited = db_clock.now - at
    assert found.waits == (HOUR, 3 * HOUR, waited)
    assert found.unanswered == 1
    assert found.release_hours == Decimal(waited) / HOUR


def test_only_the_days_that_a_tenant_was_there_are_measured(service: Engine) -> None:
    tenants = schema.tenants
    day = 24 * HOUR
    with service.begin() as conn:
        there = {"created_at": NOVEMBER.start + day, "removed_at": NOVEMBER.start + 3 * day}
        conn.execute(update(tenants).where(tenants.c.id == 3).values(there))
        found = sla.measure(conn, 3, NOVEMBER, rules=RULES)
        conn.execute(update(tenants).where(tenants.c.id == 3).values(created_at=0, removed_at=None))
    assert (found.start, found.end) == (NOVEMBER.start + day, NOVEMBER.start + 3 * day)
    assert found.door.down == 2 * 24 * 12


def test_an_open_month_is_measured_up_to_now(service: Engine, db_clock: SetClock) -> None:
    db_clock.now = NOVEMBER.start + HOUR + 1
    with service.begin() as conn:
        probes.record(conn, EACH[:6])
        found = sla.measure(conn, 2, NOVEMBER, rules=RULES)
    assert found.door == Availability(up=6, down=6, missing=6)


def test_announced_maintenance_of_all_or_of_the_tenant_is_not_counted(service: Engine) -> None:
    start = NOVEMBER.start
    with service.begin() as conn:
        for tenant, begins in ((None, start), (2, start + HOUR), (3, start + 2 * HOUR)):
            add_window(conn, tenant=tenant, start=begins, end=begins + HOUR, now=start - 25 * HOUR, author="ann")
        found = sla.measure(conn, 2, NOVEMBER, rules=RULES)
    assert found.door.excluded == 24
