"""Months: their edges, which events are of which, and what closing one means for events that are committed late."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select, text

from mailguard.billing import closing, meter, months
from mailguard.billing.meter import MonthUsage
from mailguard.billing.months import Calendar, Month, bounds
from mailguard.core.errors import ConfigError
from mailguard.core.events import State
from mailguard.store import billing_months, schema
from mailguard.store.billing_months import Closing
from tests.servers.ports import wait_until
from tests.unit.billing.conftest import SetClock
from tests.unit.billing.test_meter import writing
from tests.unit.billing.walks import MESSAGES, Walk, add, clear, event_rows, store

OCTOBER, NOVEMBER, DECEMBER = (months.month(f"2026-{number}", zone=UTC) for number in (10, 11, 12))
ZONES = [ZoneInfo(name) for name in ("UTC", "Europe/Berlin", "Pacific/Apia", "America/St_Johns", "America/Havana")]


# --- edges -----------------------------------------------------------------------------------------------------------


def test_each_moment_is_in_exactly_one_month() -> None:
    for zone in ZONES:
        found = [months.month(f"{year}-{number:02d}", zone=zone) for year in (2011, 2026) for number in range(1, 13)]
        for one, following in pairwise(found[:12]):
            assert one.start < one.end == following.start
        assert found[11].end == months.month("2012-01", zone=zone).start


@given(at=st.integers(100_000_000_000, 4_000_000_000_000), zone=st.sampled_from(ZONES))
def test_a_moment_is_in_the_month_that_it_is_said_to_be_in(at: int, zone: tzinfo) -> None:
    name = months.month_at(at, zone=zone)
    found = months.month(name, zone=zone)
    assert found.start <= at < found.end
    assert months.month_at(found.start, zone=zone) == name == months.preceding(months.following(name))
    assert months.month_at(found.end, zone=zone) == months.following(name)


def test_a_month_follows_the_billing_time_zone() -> None:
    berlin = months.month("2026-10", zone=ZoneInfo("Europe/Berlin"))  # its last Sunday has 25 hours
    assert datetime.fromtimestamp(berlin.start / 1000, UTC) == datetime(2026, 9, 30, 22, tzinfo=UTC)
    assert datetime.fromtimestamp(berlin.end / 1000, UTC) == datetime(2026, 10, 31, 23, tzinfo=UTC)


@pytest.mark.parametrize("text", ["2026-13", "2026-1", "26-01", "2026-00", "", "2026-11-01", "9999-12", "2026-11\n"])
def test_what_is_no_month(text: str) -> None:
    with pytest.raises(ConfigError):
        months.month(text, zone=UTC)


def test_what_is_no_time_zone() -> None:
    for name in ("Mars/Olympus", "../etc/passwd", ""):
        with pytest.raises(ConfigError):
            months.time_zone(name)


# --- which events ----------------------------------------------------------------------------------------------------


@st.composite
def calendars(draw: st.DrawFn) -> Calendar:
    """Some months closed in a row, with watermarks that never fall."""
    first, count = draw(st.integers(0, 3)), draw(st.integers(0, 4))
    marks = sorted(draw(st.lists(st.integers(0, 30), min_size=count, max_size=count)))
    names = [f"2026-{number:02d}" for number in range(6 + first, 6 + first + count)]
    found = [Closing(name, months.month(name, zone=UTC).end, 0, mark) for name, mark in zip(names, marks, strict=True)]
    return Calendar(tuple(found), UTC)


@given(calendar=calendars(), at=st.integers(1_770_000_000_000, 1_800_000_000_000), event=st.integers(1, 40))
def test_an_event_is_of_the_first_month_that_neither_ended_nor_was_closed_before_it(
    calendar: Calendar, at: int, event: int
) -> None:
    natural = months.month_at(at, zone=UTC)
    watermarks = {one.month: one.watermark for one in calendar.closings}
    names = [f"{year}-{number:02d}" for year in (2026, 2027) for number in range(1, 13)]
    if calendar.closings and natural < calendar.closings[0].month:
        natural = calendar.closings[0].month  # those before it are closed with it
    expected = next(name for name in names if name >= natural and event <= watermarks.get(name, event))
    assert calendar.month_of(at, event) == expected
    for name in names[:20]:
        period = months.month(name, zone=UTC)
        assert bounds(calendar.closings, period).has(at, event) == (name == expected)


@settings(max_examples=30)
@given(
    calendar=calendars(),
    events=st.lists(st.integers(1_770_000_000_000, 1_800_000_000_000), min_size=1, max_size=40),
)
def test_the_condition_in_sql_says_the_same(engine: Engine, calendar: Calendar, events: list[int]) -> None:
    walk = Walk(MESSAGES[0], 1, 1, 2, ((0, State.REJECTED),))
    with engine.begin() as conn:
        clear(conn)
        add(conn, [walk], [event_rows(walk, at, None, State.REJECTED)[0] for at in events])
        first = conn.execute(select(schema.events.c.id).order_by(schema.events.c.id)).scalars().first() or 0
        moved = [Closing(c.month, c.ends_at, c.closed_at, c.watermark + first) for c in calendar.closings]
        for one in moved:
            billing_months.add(conn, one)
        rows = conn.execute(select(schema.events.c.id, schema.events.c.at)).all()
        here = Calendar(tuple(moved), UTC)
        seen: list[int] = []
        for name in sorted({here.month_of(row.at, row.id) for row in rows}):
            condition = months.events_of(conn, months.month(name, zone=UTC))
            found = list(conn.execute(select(schema.events.c.id).where(condition)).scalars())
            assert sorted(found) == sorted(row.id for row in rows if here.month_of(row.at, row.id) == name)
            seen += found
        assert sorted(seen) == sorted(row.id for row in rows)


def test_a_new_time_zone_neither_doubles_nor_loses_the_hours_at_the_edge() -> None:
    closed = (Closing("2026-11", NOVEMBER.end, 0, 10),)
    apia = ZoneInfo("Pacific/Apia")  # 13 hours ahead: its December begins earlier
    december = months.month("2026-12", zone=apia)
    assert bounds(closed, december).start == NOVEMBER.end
    assert Calendar(closed, apia).month_of(NOVEMBER.end - 1, 5) == "2026-11"
    assert bounds(closed, months.month("2026-11", zone=apia)).end == NOVEMBER.end


# --- closing ---------------------------------------------------------------------------------------------------------


def delivered(engine: Engine, number: int, at: int) -> None:
    """Commit a mail that was delivered at a time."""
    walk = Walk(MESSAGES[0], number, 1, 2, ((at, State.REJECTED), (at, State.DELIVERED)))
    with engine.begin() as conn:
        add(conn, [walk], event_rows(walk, at, State.FORWARDING, State.DELIVERED))


def volumes(engine: Engine, *periods: Month) -> list[int]:
    with engine.begin() as conn:
        return [meter.usage_of_month(conn, period, 2).messages for period in periods]


@pytest.fixture
def november(engine: Engine, db_clock: SetClock) -> Iterator[None]:
    """An empty database in the first minute after November."""
    with engine.begin() as conn:
        store(conn, [])
    db_clock.now = NOVEMBER.end + 60_000
    yield
    with engine.begin() as conn:
        clear(conn)


@pytest.mark.usefixtures("november")
def test_an_event_that_is_committed_after_the_closing_is_of_the_next_month(engine: Engine) -> None:
    """Its transaction was opened, and its time taken, while the month was still open."""
    write = writing(engine)
    delivered(engine, 1, NOVEMBER.start)
    late = engine.connect()  # on SQLite it can only begin to write later; its time is of November all the same
    if engine.dialect.name == "postgresql":
        late.execute(text("SELECT 1"))
    closed = closing.close_month(write, NOVEMBER, zone=UTC)
    walk = Walk(MESSAGES[0], 2, 1, 2, ((NOVEMBER.end - 1, State.FORWARDING), (NOVEMBER.end - 1, State.DELIVERED)))
    add(late, [walk], event_rows(walk, NOVEMBER.end - 1, State.FORWARDING, State.DELIVERED))
    late.commit()
    late.close()
    assert volumes(engine, NOVEMBER, DECEMBER) == [1, 1]
    closing.catch_up(write, zone=UTC)
    assert volumes(engine, NOVEMBER, DECEMBER) == [1, 1]
    assert closing.close_month(write, NOVEMBER, zone=UTC) == closed


@pytest.mark.usefixtures("november")
def test_closing_waits_for_whoever_is_writing_events(engine: Engine) -> None:
    """What is being committed when a month closes is of that month: its id is below the watermark."""
    write = writing(engine)
    writer = engine.connect()
    walk = Walk(MESSAGES[0], 1, 1, 2, ((NOVEMBER.start, State.FORWARDING), (NOVEMBER.start, State.DELIVERED)))
    add(writer, [walk], event_rows(walk, NOVEMBER.start, State.FORWARDING, State.DELIVERED))
    closes = threading.Thread(target=lambda: closing.close_month(write, NOVEMBER, zone=UTC))
    closes.start()
    if engine.dialect.name == "postgresql":
        waits = text("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'events'::regclass")
        with engine.connect() as watcher:
            wait_until(lambda: bool(watcher.scalar(waits)), what="the closing waiting for the writer")
    assert closes.is_alive()
    writer.commit()
    writer.close()
    closes.join(30)
    assert not closes.is_alive()
    assert volumes(engine, NOVEMBER, DECEMBER) == [1, 0]


@pytest.mark.usefixtures("november")
def test_several_that_close_at_once_close_it_once(engine: Engine) -> None:
    delivered(engine, 1, OCTOBER.start)
    delivered(engine, 2, NOVEMBER.start)
    found: list[Closing] = []
    closers = [
        threading.Thread(target=lambda: found.append(closing.close_month(writing(engine), NOVEMBER, zone=UTC)))
        for _ in range(3)
    ]
    for closer in closers:
        closer.start()
    for closer in closers:
        closer.join(60)
    with engine.begin() as conn:
        (october, november) = billing_months.closings(conn)
    assert found == [november] * 3
    assert (october.month, october.ends_at) == ("2026-10", OCTOBER.end)
    assert volumes(engine, OCTOBER, NOVEMBER) == [1, 1]


@pytest.mark.usefixtures("november")
def test_a_month_before_the_first_mail_is_closed_with_it(engine: Engine) -> None:
    delivered(engine, 1, NOVEMBER.start)
    write = writing(engine)
    closing.close_month(write, NOVEMBER, zone=UTC)
    assert closing.close_month(write, OCTOBER, zone=UTC).watermark == 0
    with engine.begin() as conn:
        assert meter.usage_of_month(conn, OCTOBER, 2) == MonthUsage()
        assert [one.month for one in billing_months.closings(conn)] == ["2026-11"]


@pytest.mark.usefixtures("november")
def test_a_writer_that_hangs_does_not_hold_mail_up_for_the_meters_sake(engine: Engine) -> None:
    if engine.dialect.name != "postgresql":
        pytest.skip("SQLite has one writer: there is nobody to wait for")
    writer = engine.connect()
    walk = Walk(MESSAGES[0], 1, 1, 2, ((NOVEMBER.start, State.REJECTED),))
    add(writer, [walk], event_rows(walk, NOVEMBER.start, None, State.REJECTED))
    with pytest.raises(Exception, match="lock timeout"):
        closing.catch_up(writing(engine), zone=UTC, patience=50)
    writer.commit()
    writer.close()
    with engine.begin() as conn:
        before = conn.scalar(text("SHOW lock_timeout"))
        billing_months.commit_watermark(conn, patience=50)
        assert conn.scalar(text("SHOW lock_timeout")) == before
