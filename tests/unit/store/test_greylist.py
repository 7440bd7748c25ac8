"""Greylisting: who must come again, when, and who need not any more."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address

import pytest
from sqlalchemy import func, select

from mailguard.core.clock import DAY, HOUR, MINUTE
from mailguard.store import schema
from mailguard.store.db import Database
from mailguard.store.greylist import Greylist, GreylistSettings, network_of

from .conftest import ManualClock

DELAY = 5 * MINUTE


@pytest.fixture
def greylist(db: Database) -> Greylist:
    return Greylist(db, GreylistSettings(auto_allow=2))


async def ask(
    greylist: Greylist,
    client: str = "192.0.2.1",
    sender: str = "a@sender.test",
    recipient: str = "u@client.test",
    tenant: int = 2,
) -> int:
    return await greylist.wait(tenant, ip_address(client), sender, recipient)


async def test_new_sender_must_come_again_after_a_while(greylist: Greylist, clock: ManualClock) -> None:
    assert await ask(greylist) == DELAY
    clock.advance(MINUTE)
    assert await ask(greylist) == 4 * MINUTE
    clock.advance(4 * MINUTE)
    assert await ask(greylist) == 0
    assert await ask(greylist) == 0


async def test_another_server_of_the_sender_may_come_instead(greylist: Greylist, clock: ManualClock) -> None:
    await ask(greylist, "192.0.2.1")
    await ask(greylist, "2001:db8::1")
    clock.advance(DELAY)
    assert await ask(greylist, "192.0.2.250") == 0
    assert await ask(greylist, "2001:db8::ffff:1") == 0
    assert await ask(greylist, "198.51.100.1") == DELAY


@pytest.mark.parametrize(
    "other", [{"sender": "b@sender.test"}, {"recipient": "v@client.test"}, {"tenant": 3}, {"sender": ""}], ids=str
)
async def test_every_triple_waits_for_itself(greylist: Greylist, clock: ManualClock, other: dict[str, str]) -> None:
    await ask(greylist)
    clock.advance(DELAY)
    assert await ask(greylist, **other) == DELAY  # type: ignore[arg-type]


async def test_case_makes_no_other_sender(greylist: Greylist, clock: ManualClock) -> None:
    await ask(greylist)
    clock.advance(DELAY)
    assert await ask(greylist, sender="A@SENDER.test", recipient="U@Client.Test") == 0


async def test_who_comes_too_late_is_new(greylist: Greylist, clock: ManualClock) -> None:
    await ask(greylist)
    clock.advance(25 * HOUR)
    assert await ask(greylist) == DELAY


async def test_who_has_come_again_is_remembered_for_weeks(greylist: Greylist, clock: ManualClock) -> None:
    await ask(greylist)
    clock.advance(DELAY)
    assert await ask(greylist) == 0
    for _ in range(3):
        clock.advance(34 * DAY)
        assert await ask(greylist) == 0
    clock.advance(36 * DAY)
    assert await ask(greylist) == DELAY


async def test_network_whose_senders_come_again_is_let_in(greylist: Greylist, clock: ManualClock) -> None:
    for sender in ("a@sender.test", "b@sender.test"):
        await ask(greylist, sender=sender)
        clock.advance(DELAY)
        assert await ask(greylist, sender=sender) == 0
    assert await ask(greylist, sender="new@other.test", recipient="w@client.test") == 0
    assert await ask(greylist, sender="new@other.test", tenant=3) == DELAY  # each tenant for itself
    clock.advance(36 * DAY)
    assert await ask(greylist, sender="new@other.test") == DELAY


async def test_one_sender_that_comes_often_does_not_let_in_its_network(greylist: Greylist, clock: ManualClock) -> None:
    await ask(greylist)
    for _ in range(5):
        clock.advance(2 * HOUR)
        assert await ask(greylist) == 0
    assert await ask(greylist, sender="b@sender.test") == DELAY


async def test_asking_at_the_same_time_counts_once_each(greylist: Greylist, clock: ManualClock) -> None:
    assert await asyncio.gather(*(ask(greylist) for _ in range(5))) == [DELAY] * 5
    clock.advance(DELAY)
    assert await asyncio.gather(*(ask(greylist) for _ in range(5))) == [0] * 5
    assert await ask(greylist, sender="b@sender.test") == DELAY


async def test_busy_sender_costs_no_writes(greylist: Greylist, clock: ManualClock, db: Database) -> None:
    await ask(greylist)
    clock.advance(DELAY)
    await ask(greylist)

    async def last() -> int:
        return await db.read(lambda connection: connection.scalar(select(func.max(schema.greylist.c.last_at))) or 0)

    noted = await last()
    clock.advance(MINUTE)
    await ask(greylist)
    assert await last() == noted
    clock.advance(HOUR)
    await ask(greylist)
    assert await last() > noted


async def test_old_rows_are_removed(greylist: Greylist, clock: ManualClock, db: Database) -> None:
    await ask(greylist, sender="never@sender.test")
    await ask(greylist)
    clock.advance(DELAY)
    await ask(greylist)
    assert await greylist.forget() == 0
    clock.advance(25 * HOUR)
    assert await greylist.forget() == 1
    clock.advance(35 * DAY)
    assert await greylist.forget() == 2
    count = select(func.count()).select_from(schema.greylist)
    assert await db.read(lambda connection: connection.scalar(count)) == 0


def test_networks() -> None:
    assert network_of(ip_address("192.0.2.77")) == "192.0.2.0/24"
    assert network_of(ip_address("2001:db8:1:2:3::4")) == "2001:db8:1:2::/64"
