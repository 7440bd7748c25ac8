"""The service level: the credits by property, the measurement from rows, and both against a plain count."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, insert, update

from mailguard.billing import agreements, months, sla
from mailguard.billing.agreements import Conditions
from mailguard.billing.availability import Availability, availability, maintenance
from mailguard.billing.latency import Latency, latency, percentile
from mailguard.billing.plans import Commitment, CommitmentName, CreditStep, ServiceLevels
from mailguard.billing.sla import Caught, SlaMeasurement, SlaRules
from mailguard.core.clock import HOUR, MINUTE
from mailguard.core.events import State
from mailguard.store import complaints, probes, schema, schema_service, trace
from mailguard.store.complaints import Kind
from mailguard.store.maintenance import Window, add_window
from mailguard.store.probes import ProbeResult
from tests.unit.billing.bill_world import BUYER, a_plan
from tests.unit.billing.conftest import SetClock
from tests.unit.billing.walks import MESSAGES, Walk, add, clear, event_rows

NOVEMBER = months.month("2026-11", zone=UTC)
RULES = SlaRules(UTC, probe_minutes=5, notice_hours=24, maintenance_hours=8)
SLOT = 5 * MINUTE


# --- percentiles -----------------------------------------------------------------------------------------------------


@given(values=st.lists(st.integers(0, 10_000), min_size=1, max_size=300), percent=st.integers(1, 100))
def test_a_percentile_is_the_smallest_value_that_so_many_do_not_exceed(values: list[int], percent: int) -> None:
    found = percentile(sorted(values), percent)
    within = [sum(value <= one for value in values) * 100 >= percent * len(values) for one in sorted(set(values))]
    assert found == sorted(set(values))[within.index(True)]


def test_latency_of_no_mail_is_none() -> None:
    assert latency([]) is None
    assert latency(list(range(1, 101))) == Latency(100, 50, 95, 99)


# --- availability ----------------------------------------------------------------------------------------------------


def probe(minute: float, *, up: bool = True, place: str = "here") -> ProbeResult:
    return ProbeResult(2, NOVEMBER.start + round(minute * MINUTE), place, up)


def an_hour(found: list[ProbeResult], excluded: list[tuple[int, int]] | None = None) -> Availability:
    """Of the first hour of November, which has twelve slots."""
    start = NOVEMBER.start
    return availability(found, excluded or [], grid=start, start=start, end=start + HOUR, length=SLOT)


EACH = [probe(minute) for minute in range(0, 60, 5)]


def test_every_slot_needs_a_probe_that_got_through() -> None:
    assert an_hour(EACH) == Availability(up=12)
    assert an_hour([]) == Availability(down=12, missing=12)
    assert an_hour(EACH[:9]) == Availability(up=9, down=3, missing=3)
    assert an_hour([*EACH[:11], probe(55, up=False)]) == Availability(up=11, down=1)
    assert an_hour([*EACH, probe(56, up=False)]) == Availability(up=11, down=1)


def test_a_place_whose_own_network_is_broken_does_not_make_the_door_down() -> None:
    broken = [probe(minute, up=False, place="there") for minute in range(0, 60, 5)]
    assert an_hour([*EACH, *broken]) == Availability(up=12)
    assert an_hour([*broken, *EACH[:6]]) == Availability(up=6, down=6)


def test_slots_that_maintenance_touches_do_not_count() -> None:
    start = NOVEMBER.start
    half = [(start + 12 * MINUTE, start + 31 * MINUTE)]  # of the slots 2 to 6
    assert an_hour(EACH, half) == Availability(up=7, excluded=5)
    assert an_hour([], half) == Availability(down=7, missing=7, excluded=5)
    assert an_hour([], [(start, start + HOUR)]).percent is None


def test_a_part_of_a_slot_at_the_edges_does_not_count() -> None:
    start = NOVEMBER.start
    found = availability([], [], grid=start, start=start + 1, end=start + HOUR - 1, length=SLOT)
    assert found == Availability(down=10, missing=10)


@given(
    found=st.lists(
        st.builds(probe, st.floats(0, 59.9), up=st.booleans(), place=st.sampled_from(["here", "there"])), max_size=30
    ),
    data=st.data(),
)
def test_more_downtime_never_means_more_availability(found: list[ProbeResult], data: st.DataObject) -> None:
    before = an_hour(found)
    assert before.up + before.down == 12
    if not found:
        return
    victim = data.draw(st.integers(0, len(found) - 1))
    failing = [replace(one, up=False) if index == victim else one for index, one in enumerate(found)]
    silent = [one for one in found if NOVEMBER.start + victim * SLOT > one.at]
    for worse in (failing, silent):
        assert (an_hour(worse).percent or 0) <= (before.percent or 0)


def test_maintenance_counts_when_it_was_announced_in_time_and_up_to_its_most() -> None:
    def window(start: int, end: int, announced: int) -> Window:
        return Window(1, None, start * HOUR, end * HOUR, announced * HOUR)

    span = {"start": 0, "end": 1_000 * HOUR, "notice": 24 * HOUR, "most": 8 * HOUR}
    assert maintenance([window(100, 104, 76)], **span) == ((100 * HOUR, 104 * HOUR),)
    assert maintenance([window(100, 104, 77)], **span) == ()
    overlapping = [window(100, 104, 0), window(102, 105, 0), window(104, 105, 0)]
    assert maintenance(overlapping, **span) == ((100 * HOUR, 104 * HOUR), (104 * HOUR, 105 * HOUR))
    long = [window(100, 106, 0), window(200, 206, 0), window(300, 301, 0)]
    assert maintenance(long, **span) == ((100 * HOUR, 106 * HOUR), (200 * HOUR, 202 * HOUR))
    assert maintenance([window(-30, 2, -60)], **span) == ((0, 2 * HOUR),)


@given(
    windows=st.lists(
        st.builds(
            lambda start, length, early: Window(1, None, start, start + length, start - early),
            st.integers(0, 1_000),
            st.integers(1, 300),
            st.integers(0, 50),
        ),
        max_size=8,
    ),
    most=st.integers(0, 500),
)
def test_maintenance_is_in_order_without_overlaps_and_within_its_most(windows: list[Window], most: int) -> None:
    found = maintenance(windows, start=100, end=900, notice=20, most=most)
    assert sum(end - start for start, end in found) <= most
    points = [point for span in found for point in span]
    assert points == sorted(points)
    assert all(100 <= point <= 900 for point in points)
    announced = {tick for one in windows if one.announced_at <= one.start - 20 for tick in range(one.start, one.end)}
    assert all(tick in announced for start, end in found for tick in range(start, end))


# --- credits ---------------------------------------------------------------------------------------------------------


@st.composite
def promises(draw: st.DrawFn) -> ServiceLevels:
    """Commitments with any steps, even such as a plan's file would not be allowed."""
    made = []
    for name in draw(st.lists(st.sampled_from(list(CommitmentName)), unique=True)):
        limits = st.decimals(0, 100, places=2)
        steps = draw(st.lists(st.builds(CreditStep, limits, st.decimals(0, 100, places=1)), max_size=4))
        made.append(Commitment(name, draw(limits), tuple(steps)))
    return ServiceLevels(tuple(made), draw(st.decimals(0, 100, places=1)))


@st.composite
def measurements(draw: st.DrawFn) -> SlaMeasurement:
    number = st.integers(0, 50)
    return SlaMeasurement(
        2,
        "2026-11",
        NOVEMBER.start,
        NOVEMBER.end,
        Availability(draw(number), draw(number)),
        latency(draw(st.lists(st.integers(0, 200_000), max_size=20))),
        Caught(draw(number), draw(number)),
        Caught(draw(number), draw(number)),
        draw(number),
        draw(number),
        tuple(sorted(draw(st.lists(st.integers(0, 100 * HOUR), max_size=5)))),
    )


def given_back(measurement: SlaMeasurement, levels: ServiceLevels) -> Decimal:
    return sum((one.credit_percent for one in sla.credits(measurement, levels)), Decimal(0))


@given(measurement=measurements(), levels=promises(), more=st.integers(1, 10))
def test_what_is_worse_never_gives_back_less(measurement: SlaMeasurement, levels: ServiceLevels, more: int) -> None:
    before = given_back(measurement, levels)
    door, delay, good = measurement.door, measurement.delay, measurement.good
    worse = [
        replace(measurement, door=Availability(max(0, door.up - more), door.down + min(more, door.up))),
        replace(measurement, door=replace(door, down=door.down + more)),
        replace(measurement, virus=replace(measurement.virus, missed=measurement.virus.missed + more)),
        replace(measurement, spam=replace(measurement.spam, missed=measurement.spam.missed + more)),
        replace(measurement, false_positives=measurement.false_positives + more),
        replace(measurement, delay=replace(delay, p95=delay.p95 + more * 1_000) if delay else None),
        replace(measurement, waits=tuple(wait + more * HOUR for wait in measurement.waits)),
        replace(measurement, good=max(0, good - more) if measurement.false_positives else good),
    ]
    for one in worse:
        assert given_back(one, levels) >= before


@given(measurement=measurements(), levels=promises())
def test_credits_are_capped_and_follow_from_the_promises(measurement: SlaMeasurement, levels: ServiceLevels) -> None:
    found = sla.credits(measurement, levels)
    assert given_back(measurement, levels) <= levels.max_credit_percent
    assert [one.commitment for one in found] == [sla.TITLES[one.name] for one in levels.commitments]
    alone = sum(
        (
            commitment.credit_percent(figure)
            for commitment in levels.commitments
            if (figure := measurement.figure(commitment.name)) is not None
        ),
        Decimal(0),
    )
    assert given_back(measurement, levels) == min(alone, levels.max_credit_percent)


def test_what_could_not_be_measured_for_want_of_mail_counts_as_kept() -> None:
    levels = ServiceLevels(
        tuple(Commitment(name, Decimal(50), (CreditStep(Decimal(50), Decimal(10)),)) for name in CommitmentName)
    )
    found = sla.credits(SlaMeasurement(2, "2026-11", NOVEMBER.start, NOVEMBER.end), levels)
    assert {(one.measured, one.met) for one in found} == {("nothing to measure", True)}
    assert {one.credit_percent for one in found} == {Decimal(0)}


@pytest.mark.parametrize(
    ("door", "most", "missing", "percent", "probed_percent"),
    [
        (Availability(up=90, down=10, missing=10), 100, 10, 50, 0),
        (Availability(up=90, down=10, missing=9), 100, 9, 50, 10),  # 1 of 91 was down by what was seen
        (Availability(up=0, down=12, missing=12), 100, 12, 50, 0),
        (Availability(up=9_999, down=1, missing=1), 100, 1, 0, 0),
        (Availability(up=90, down=10, missing=9), 5, 9, 5, 5),
    ],
)
def test_what_missing_probes_alone_give_back(
    door: Availability, most: int, missing: int, percent: int, probed_percent: int
) -> None:
    steps = (CreditStep(Decimal("99.9"), Decimal(10)), CreditStep(Decimal(95), Decimal(50)))
    promised = Commitment(CommitmentName.AVAILABILITY, Decimal("99.9"), steps)
    levels = ServiceLevels((promised,), Decimal(most))
    counted = door.up + door.down
    assert sla.unprobed(door, levels) == sla.Unprobed(missing, counted, Decimal(percent), Decimal(probed_percent))
    assert sla.unprobed(replace(door, missing=0), levels) is None
    assert sla.unprobed(door, ServiceLevels()) is None


def test_a_hair_below_the_target_is_shown_and_counts_as_below() -> None:
    door = Availability(up=99_899, down=101)  # 99.899 %
    levels = ServiceLevels(
        (Commitment(CommitmentName.AVAILABILITY, Decimal("99.9"), (CreditStep(Decimal("99.9"), Decimal(10)),)),)
    )
    (found,) = sla.credits(SlaMeasurement(2, "2026-11", 0, 1, door), levels)
    assert (found.target, found.measured, found.met) == ("≥ 99.9 %", "99.899 %", False)
    assert found.credit_percent == 10


# --- measuring -------------------------------------------------------------------------------------------------------


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
