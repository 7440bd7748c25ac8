"""Usage from events: compared with a plain count in Python over random histories, and at the edges of months."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, insert
from sqlalchemy.engine import Connection

from mailguard.billing import meter
from mailguard.billing.meter import Count, Usage
from mailguard.core.errors import ConfigError
from mailguard.core.events import TRANSITIONS, EventKind, State
from mailguard.core.ids import unit_id
from mailguard.store import migrations, schema
from mailguard.store.engine import make_engine, parse_url
from tests.servers.postgres import Postgres, postgres

__all__ = ["postgres"]

NOVEMBER = meter.month("2026-11", zone=UTC)
MESSAGES = [f"01J{number:023d}" for number in range(4)]
SIZES = dict(zip(MESSAGES, (1_000, 20_000, 300_000, 7), strict=True))
RECIPIENTS = {1: "a@x.test", 2: "b@x.test", 3: "c@x.test"}


@dataclass(frozen=True)
class Walk:
    """One unit's life: its message, number, recipient and tenant, and the states it went through, with times."""

    message: str
    number: int
    recipient: int
    tenant: int
    steps: tuple[tuple[int, State], ...]

    @property
    def moves(self) -> Iterator[tuple[int, State | None, State]]:
        before = None
        for at, state in self.steps:
            yield at, before, state
            before = state


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('meter')}/mailguard.db"
        migrations.upgrade(url)
    else:
        server: Postgres = request.getfixturevalue("postgres")
        url = server.clean_database()
    engine = make_engine(parse_url(url), connections=2)
    with engine.begin() as conn:
        conn.execute(insert(schema.tenants), [{"id": n, "name": f"t{n}", "created_at": 0} for n in (2, 3)])
        conn.execute(insert(schema.addresses), [{"id": n, "address": a} for n, a in RECIPIENTS.items()])
        for message in MESSAGES:
            conn.execute(
                insert(schema.messages).values(
                    id=message,
                    received_at=0,
                    client_ip="",
                    helo="",
                    mail_from=1,
                    mail_from_raw="",
                    size=SIZES[message],
                    sha256="",
                )
            )
    yield engine
    engine.dispose()


def store(conn: Connection, walks: list[Walk]) -> None:
    conn.execute(delete(schema.events))
    conn.execute(delete(schema.units))
    for walk in walks:
        unit = unit_id(walk.message, walk.number)
        conn.execute(
            insert(schema.units).values(
                id=unit,
                message=walk.message,
                tenant=walk.tenant,
                recipient=walk.recipient,
                recipient_raw="",
                domain="x.test",
                state=str(walk.steps[-1][1]),
                reason="clean",
                action="deliver",
                received_at=0,
                changed_at=0,
            )
        )
        for at, before, after in walk.moves:
            conn.execute(
                insert(schema.events).values(
                    at=at,
                    unit=unit,
                    tenant=walk.tenant,
                    kind=str(EventKind.STATE),
                    from_state=before and str(before),
                    to_state=str(after),
                    reason="clean",
                    size=SIZES[walk.message],
                )
            )
            conn.execute(
                insert(schema.events).values(
                    at=at, unit=unit, tenant=walk.tenant, kind=str(EventKind.ATTEMPT), reason="clean", size=99
                )
            )


@st.composite
def histories(draw: st.DrawFn) -> list[Walk]:
    walks = []
    for message in MESSAGES:
        for number in range(1, draw(st.integers(0, 3)) + 1):
            at = draw(st.integers(NOVEMBER.start - 5, NOVEMBER.end))
            state = draw(st.sampled_from(sorted(TRANSITIONS[None])))
            steps = [(at, state)]
            while (following := sorted(TRANSITIONS[state])) and draw(st.booleans()):
                state = draw(st.sampled_from(following))
                at += draw(st.sampled_from([0, 1, 86_400_000]))
                steps.append((at, state))
            walks.append(
                Walk(
                    message,
                    number,
                    draw(st.sampled_from(sorted(RECIPIENTS))),
                    draw(st.sampled_from([2, 3])),
                    tuple(steps),
                )
            )
    return walks


def plainly(walks: list[Walk], tenant: int) -> Usage:
    """The same by a loop."""
    seen: dict[str, list[str]] = {name: [] for name in meter.COUNTED}
    active = set()
    for walk in walks:
        if walk.tenant != tenant:
            continue
        for at, before, after in walk.moves:
            if not NOVEMBER.start <= at < NOVEMBER.end:
                continue
            if before is None:
                seen["received"].append(walk.message)
            if after in (State.DELIVERED, State.REJECTED, State.DEFERRED, State.RELEASED):
                seen[after].append(walk.message)
            if after is State.QUARANTINED and before is not State.SPOOLED:
                seen["quarantined"].append(walk.message)
            if after in (State.DELIVERED, State.RELEASED):
                active.add(walk.recipient)
    counts = {
        name: Count(len(messages), len(set(messages)), sum(SIZES[message] for message in set(messages)))
        for name, messages in seen.items()
    }
    return Usage(tenant, **counts, active_recipients=len(active))


@given(walks=histories())
def test_usage_is_what_a_plain_count_says(engine: Engine, walks: list[Walk]) -> None:
    with engine.begin() as conn:
        store(conn, walks)
        found = {usage.tenant: usage for usage in meter.usage(conn, NOVEMBER)}
        for tenant in (2, 3):
            expected = plainly(walks, tenant)
            assert found.get(tenant, Usage(tenant)) == expected
            assert meter.usage(conn, NOVEMBER, tenant=tenant) == [expected]


def test_a_message_for_three_counts_its_octets_once(engine: Engine) -> None:
    at = NOVEMBER.start
    walks = [
        Walk(MESSAGES[0], number, number, 2, ((at, State.FORWARDING), (at, State.DELIVERED))) for number in (1, 2, 3)
    ]
    with engine.begin() as conn:
        store(conn, walks)
        (usage,) = meter.usage(conn, NOVEMBER)
    assert usage.received == usage.delivered == Count(3, 1, 1_000)
    assert usage.active_recipients == 3


def test_a_failed_release_is_not_quarantined_again(engine: Engine) -> None:
    at = NOVEMBER.start
    steps = (State.QUARANTINED, State.SPOOLED, State.QUARANTINED, State.SPOOLED, State.RELEASED)
    with engine.begin() as conn:
        store(conn, [Walk(MESSAGES[0], 1, 1, 2, tuple((at, state) for state in steps))])
        (usage,) = meter.usage(conn, NOVEMBER)
    assert (usage.quarantined.units, usage.released.units, usage.delivered.units) == (1, 1, 0)


def test_the_system_tenant_shows_only_when_asked_for(engine: Engine) -> None:
    with engine.begin() as conn:
        store(conn, [Walk(MESSAGES[0], 1, 1, 1, ((NOVEMBER.start, State.SPOOLED),))])
        assert meter.usage(conn, NOVEMBER) == []
        assert meter.usage(conn, NOVEMBER, tenant=1)[0].received.units == 1


def test_each_moment_is_in_exactly_one_month() -> None:
    for zone in (UTC, ZoneInfo("Europe/Berlin"), ZoneInfo("Pacific/Apia"), ZoneInfo("America/St_Johns")):
        months = [meter.month(f"{year}-{number:02d}", zone=zone) for year in (2011, 2026) for number in range(1, 13)]
        for one, following in pairwise(months[:12]):
            assert one.start < one.end == following.start
        assert months[11].end == meter.month("2012-01", zone=zone).start


def test_a_month_follows_the_billing_time_zone() -> None:
    berlin = meter.month("2026-10", zone=ZoneInfo("Europe/Berlin"))  # its last Sunday has 25 hours
    assert datetime.fromtimestamp(berlin.start / 1000, UTC) == datetime(2026, 9, 30, 22, tzinfo=UTC)
    assert datetime.fromtimestamp(berlin.end / 1000, UTC) == datetime(2026, 10, 31, 23, tzinfo=UTC)


@pytest.mark.parametrize("text", ["2026-13", "2026-1", "26-01", "2026-00", "", "2026-11-01", "9999-12"])
def test_what_is_no_month(text: str) -> None:
    with pytest.raises(ConfigError):
        meter.month(text, zone=UTC)


def test_what_is_no_time_zone() -> None:
    for name in ("Mars/Olympus", "../etc/passwd", ""):
        with pytest.raises(ConfigError):
            meter.time_zone(name)
