"""Look-ups in DNS lists: what an answer means, refusals, and a list that is away."""

from __future__ import annotations

import asyncio
from typing import get_args

import pytest

from mailguard.checks.known_lists import KNOWN
from mailguard.checks.lists import (
    FIRST_PAUSE,
    LONGEST_PAUSE,
    SANE_FOR,
    ListKind,
    ListLookups,
    ListUnavailableError,
    LookupResult,
    ReturnCode,
    Zone,
    meanings_of,
)
from mailguard.config.network_sections import KnownList
from mailguard.net.dns import Answer, Rcode, StaticResolver

ZONE = Zone("bl.example", (ReturnCode("LISTED", 1.0),))


class Bench:
    """Look-ups under a clock that the test sets, and what was told of them."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.results: list[str] = []
        self.refusals: list[tuple[str, str]] = []
        self.lookups = ListLookups(
            timeout=0.5,
            monotonic=lambda: self.now,
            on_result=lambda title, result: self.results.append(result),
            on_refusal=lambda title, answer: self.refusals.append((title, answer)),
        )

    async def ask(self, zone: dict[str, object], name: str = "2.0.0.127") -> tuple[str, ...] | str:
        resolver = StaticResolver({f"{name}.bl.example": zone} if zone else {})  # type: ignore[dict-item]
        try:
            return await self.lookups.look_up(resolver, ZONE, name)
        except ListUnavailableError as error:
            return str(error)


async def test_listed_and_clear() -> None:
    bench = Bench()
    assert await bench.ask({"A": ["127.0.0.2"]}) == ("127.0.0.2",)
    assert await bench.ask({}) == ()
    assert await bench.ask({"A": ["192.0.2.1"]}) == ()
    assert bench.results == [LookupResult.LISTED, LookupResult.CLEAR, LookupResult.CLEAR]


async def test_a_dead_list_is_left_alone_and_tried_again_by_one_question() -> None:
    bench = Bench()
    for _ in range(3):
        assert "SERVFAIL" in await bench.ask({"A": "SERVFAIL"})
    assert "not asked for a while" in await bench.ask({"A": ["127.0.0.2"]})
    bench.now += FIRST_PAUSE + 1
    assert "SERVFAIL" in await bench.ask({"A": "SERVFAIL"})
    bench.now += FIRST_PAUSE + 1
    assert "not asked" in await bench.ask({"A": ["127.0.0.2"]}), "the pause has doubled"
    bench.now += FIRST_PAUSE
    assert await bench.ask({"A": ["127.0.0.2"]}) == ("127.0.0.2",)
    assert await bench.ask({"A": "SERVFAIL"}) != "not asked", "one failure after it came back is no reason"
    assert bench.results.count(LookupResult.SKIPPED) == 2


async def test_the_pause_has_an_end() -> None:
    bench = Bench()
    for _ in range(30):
        await bench.ask({"A": "SERVFAIL"})
        bench.now += LONGEST_PAUSE + 1
    bench.results.clear()
    assert await bench.ask({}) == ()
    assert bench.results == [LookupResult.CLEAR]


async def test_failures_that_were_under_way_count_once() -> None:
    bench = Bench()
    await asyncio.gather(*(bench.ask({"A": "SERVFAIL"}) for _ in range(50)))
    bench.now += FIRST_PAUSE + 1
    assert await bench.ask({}) == ()


async def test_only_one_asks_whether_it_is_back() -> None:
    bench = Bench()
    for _ in range(3):
        await bench.ask({"A": "SERVFAIL"})
    bench.now += FIRST_PAUSE + 1
    bench.results.clear()
    await asyncio.gather(*(bench.ask({"A": "SERVFAIL"}) for _ in range(10)))
    assert sorted(bench.results) == [LookupResult.FAILED] + 9 * [LookupResult.SKIPPED]


@pytest.mark.parametrize("code", ["127.255.255.252", "127.255.255.254", "127.255.255.255"])
async def test_a_refusal_is_no_listing_and_is_told(code: str) -> None:
    bench = Bench()
    assert "refuses to answer us" in await bench.ask({"A": [code, "127.0.0.2"]})
    assert "not asked for a while" in await bench.ask({"A": ["127.0.0.2"]})
    assert bench.refusals == [("bl.example", code)]
    bench.now += LONGEST_PAUSE + 1
    assert await bench.ask({"A": ["127.0.0.2"]}) == ("127.0.0.2",)


async def test_a_slow_list_costs_its_time_and_no_more() -> None:
    class Slow(StaticResolver):
        async def query(self, name: str, rdtype: str) -> Answer:
            await asyncio.sleep(60)
            raise AssertionError

    lookups = ListLookups(timeout=0.01)
    with pytest.raises(ListUnavailableError, match="timeout"):
        await asyncio.wait_for(lookups.look_up(Slow({}), ZONE, "x"), 5)


async def test_a_key_in_the_zones_name_is_never_told() -> None:
    zone = KNOWN["spamhaus-zen"]("secretkey1234567890")
    assert zone.name == "secretkey1234567890.zen.dq.spamhaus.net"
    resolver = StaticResolver({f"x.{zone.name}": {"A": "SERVFAIL"}})
    with pytest.raises(ListUnavailableError) as caught:
        await ListLookups().look_up(resolver, zone, "x")
    assert "secretkey" not in f"{caught.value} {zone.title}"


def test_bits_and_codes() -> None:
    surbl = KNOWN["surbl"]("")
    assert [(one.symbol, code) for one, code in meanings_of(surbl, ("127.0.0.80",))] == [
        ("SURBL_MALWARE", "127.0.0.80"),
        ("SURBL_ABUSE", "127.0.0.80"),
    ]
    zen = KNOWN["spamhaus-zen"]("")
    assert [one.symbol for one, _ in meanings_of(zen, ("127.0.0.2", "127.0.0.9", "127.0.0.99"))] == [
        "SPAMHAUS_SBL",
        "SPAMHAUS_DROP",
    ]
    dnswl = KNOWN["dnswl"]("")
    assert [one.symbol for one, _ in meanings_of(dnswl, ("127.0.9.2",))] == ["DNSWL_MEDIUM"]


def test_every_name_in_the_settings_is_a_list() -> None:
    assert set(get_args(KnownList)) == set(KNOWN)
    titles = [make("").title for make in KNOWN.values()]
    assert len(set(titles)) == len(titles)
    assert all(make("").kind in ListKind for make in KNOWN.values())


async def test_a_list_that_lists_all_the_world_is_not_believed() -> None:
    class World(StaticResolver):
        """A name server that answers to anything."""

        async def query(self, name: str, rdtype: str) -> Answer:
            self.queries.append((name, rdtype))
            return Answer(Rcode.NOERROR, ("127.0.0.2",), 300)

    bench = Bench()
    with pytest.raises(ListUnavailableError, match="lists all the world"):
        await bench.lookups.look_up(World(), ZONE, "4.4.8.8")
    with pytest.raises(ListUnavailableError, match="not asked for a while"):
        await bench.lookups.look_up(World(), ZONE, "4.4.8.8")
    assert bench.refusals == [("bl.example", "lists all the world")]
    assert bench.results == [LookupResult.REFUSED, LookupResult.SKIPPED]


async def test_it_is_asked_about_that_once_an_hour_and_only_for_listings() -> None:
    bench = Bench()
    resolver = StaticResolver({"a.bl.example": {"A": ["127.0.0.2"]}, "b.bl.example": {"A": ["127.0.0.2"]}})
    for name in ("clear", "a", "b", "a"):
        await bench.lookups.look_up(resolver, ZONE, name)
    bench.now += SANE_FOR + 1
    await bench.lookups.look_up(resolver, ZONE, "a")
    assert [name.removesuffix(".bl.example") for name, _ in resolver.queries] == [
        "clear", "a", "1.0.0.127", "b", "a", "a", "1.0.0.127",
    ]  # fmt: skip


async def test_when_that_cannot_be_told_the_listing_counts() -> None:
    resolver = StaticResolver({"a.bl.example": {"A": ["127.0.0.2"]}, "1.0.0.127.bl.example": {"A": "SERVFAIL"}})
    assert await Bench().lookups.look_up(resolver, ZONE, "a") == ("127.0.0.2",)
