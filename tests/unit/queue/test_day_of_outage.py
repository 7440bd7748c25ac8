"""A next hop that is down for a day, comes back slow and refuses a third for now: who asks it when, and that all is delivered.

The clock is moved from one due time to the next, so a day takes seconds; nothing else is simulated.
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import select

from mailguard.core.clock import DAY, MINUTE, SECOND
from mailguard.core.envelope import NextHop
from mailguard.core.events import State
from mailguard.store import schema
from tests.servers.smtp_sink import Say, SmtpSink
from tests.unit.queue.conftest import Queue, until

MAILS = 60
AWAITED = 11 * MINUTE
"""The lease under which a reply that did not come in time is awaited."""


async def rows_of(queue: Queue) -> dict[str, Any]:
    """What is in the queue, by unit."""
    rows = await queue.db.read(lambda connection: connection.execute(select(schema.queue)).all())
    return {row.unit: row for row in rows}


async def idle(queue: Queue) -> dict[str, Any]:
    """Wait until nobody holds anything and nothing is due; what is in the queue then."""

    async def rests() -> bool:
        return all(row.holder == "" and row.due_at > queue.clock() for row in (await rows_of(queue)).values())

    await until(rests)
    return await rows_of(queue)


@pytest.mark.timeout(120)
async def test_a_day_of_outage_costs_a_probe_each_few_minutes_whoever_waits(queue: Queue) -> None:
    def rcpt(line: str) -> str | Say:
        number = int(line.partition("<u")[2].partition("@")[0])
        return "450 4.2.1 Busy" if refusing and number % 3 == 0 else Say("250 2.1.5 Ok", delay=0.02)

    refusing = True
    async with SmtpSink(script={"rcpt": rcpt}) as sink:
        queue.hops["client.test"] = (sink.hop,)
        await sink.stop()
        start = queue.clock()
        units = [(await queue.spool(f"u{number}@client.test"))[0] for number in range(MAILS)]
        await queue.runner().start()

        # Down. Only what was under way when it was found dead, then one at a time.
        probes: list[tuple[int, str]] = []
        seen = dict.fromkeys(units, 0)
        while queue.clock() < start + DAY:
            rows = await idle(queue)
            for unit in units:
                probes += [(queue.clock(), unit)] * (rows[unit].attempts - seen[unit])
                seen[unit] = rows[unit].attempts
            queue.clock.now = min(row.due_at for row in rows.values())
        first = [unit for at, unit in probes if at == start]
        later = [at for at, _ in probes if at > start]
        assert len(first) <= 5  # the window at the start
        assert len(later) == len(set(later)), "never two at a time"
        pauses = [(after - before) / SECOND for before, after in pairwise([start, *later])]
        print(
            f"{MAILS} mails, {len(probes)} attempts in a day; pauses in seconds: {[round(one) for one in pauses[:12]]} …"
        )
        assert min(pauses) >= 4.5
        assert (
            DAY / SECOND / 3_700 <= len(later) <= DAY / SECOND / 250
        )  # once an hour to each five minutes, not per mail
        assert len(set(pauses)) > len(pauses) / 2, "spread by chance"

        # Back, slow, and busy for a third: one asks, then all others, a few at a time.
        before = len(sink.commands)
        await sink.start()
        queue.clock.now = min(row.due_at for row in (await idle(queue)).values()) + 5 * MINUTE
        busy = {unit for number, unit in enumerate(units) if number % 3 == 0}
        for unit in units:
            if unit not in busy:
                await queue.reached(unit, State.DELIVERED)
        asked = Counter(line for _, line in sink.commands[before:] if line.startswith("RCPT"))
        assert len(asked) == MAILS
        assert max(asked.values()) <= 2  # who was busy may be brought forward once with all the others
        assert sink.most_open <= 20
        assert set(await rows_of(queue)) == busy
        refusing = False
        queue.clock.advance(70 * MINUTE)
        for unit in units:
            await queue.reached(unit, State.DELIVERED)
        assert sorted(len(one.rcpts) for one in sink.messages) == [1] * MAILS
        assert len({one.rcpts[0] for one in sink.messages}) == MAILS


async def test_an_unknown_outcome_is_nobody_elses_for_ten_minutes(queue: Queue) -> None:
    """Its holder awaits the reply; were it lost without a word, another asks only after the lease."""
    async with SmtpSink() as sink:
        queue.hops["client.test"] = (sink.hop,)
        (unit,) = await queue.spool(holder="w1", lease=AWAITED)
        (beside,) = await queue.spool()
        await queue.runner("w2").start()
        await queue.reached(beside, State.DELIVERED)
        queue.clock.advance(10 * MINUTE)
        await queue.reached((await queue.spool())[0], State.DELIVERED)  # it has looked, and left the other alone
        assert await queue.state(unit) is State.SPOOLED
        assert (await queue.row(unit)).holder == "w1"
        queue.clock.advance(2 * MINUTE)
        await queue.reached(unit, State.DELIVERED)
        assert len(sink.messages) == 3


async def test_two_dead_next_hops_are_not_probed_in_step(queue: Queue) -> None:
    """The pauses of each are spread by chance, so that they do not come back all at one moment."""
    hops = {f"client{number}.test": (NextHop("127.0.0.1", 1 + number),) for number in range(8)}
    queue.hops.update(hops)
    for domain in hops:
        await queue.spool(f"u@{domain}")
    await queue.runner().start()

    async def all_tried() -> bool:
        return [row.attempts for row in (await rows_of(queue)).values()] == [1] * len(hops)

    await until(all_tried)
    dues = {row.due_at for row in (await rows_of(queue)).values()}
    assert len(dues) > len(hops) / 2
    assert max(dues) - min(dues) <= 2 * 0.1 * MINUTE + SECOND
