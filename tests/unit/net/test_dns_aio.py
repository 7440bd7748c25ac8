"""The relay's resolver against a real server on loopback: records, failures, cache, one query for many."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from mailguard.core.errors import ConfigError
from mailguard.net.dns import Answer, DnsTemporaryError, Rcode
from mailguard.net.dns_aio import AiodnsResolver, TtlCache, is_nameserver
from tests.dns_server import DnsServer

ZONE = {
    "a.test": {
        "A": ["192.0.2.1"],
        "AAAA": ["2001:db8::1"],
        "TXT": ["v=spf1 -all"],
        "MX": [(20, "b.test"), (10, "M.test")],
    },
    "big.test": {"TXT": ["x" * 3000, "y"]},
    "alias.test": {"CNAME": ["a.test"]},
    "null.test": {"MX": [(0, "")]},
    "slow.test": {"*": "TIMEOUT"},
    "broken.test": {"*": "SERVFAIL"},
    "1.2.0.192.in-addr.arpa": {"PTR": ["a.test"]},
    "x+y=z.l._spf.test": {"A": ["127.0.0.2"], "MX": [(5, "M.test")], "TXT": ["t"]},
    "q+.test": {"*": "TIMEOUT"},
    "binary.test": {"TXT": [b"\xff\x00\xfe"]},
}


@pytest.fixture
def server() -> Iterator[DnsServer]:
    with DnsServer(ZONE) as running:
        yield running


@pytest.fixture
async def resolver(server: DnsServer) -> AsyncIterator[AiodnsResolver]:
    made = AiodnsResolver([server.address], timeout=1.0)
    yield made
    await made.close()


async def test_every_type_over_the_wire(resolver: AiodnsResolver, server: DnsServer) -> None:
    assert await resolver.a_and_aaaa("A.test.") == ("2001:db8::1", "192.0.2.1")
    assert await resolver.txt("a.test") == (b"v=spf1 -all",)
    assert await resolver.mx("a.test") == ((10, "m.test"), (20, "b.test"))
    assert await resolver.mx("null.test") == ((0, ""),)
    assert await resolver.ptr("192.0.2.1") == ("a.test",)
    assert await resolver.a("alias.test") == ("192.0.2.1",)
    assert await resolver.txt("binary.test") == (b"\xff\x00\xfe",)
    assert sorted(await resolver.txt("big.test")) == [b"x" * 3000, b"y"]
    assert ("big.test", "TXT", "tcp") in server.queries  # truncated over UDP


async def test_missing_names_and_failures(resolver: AiodnsResolver) -> None:
    assert (await resolver.query("nowhere.test", "A")).rcode is Rcode.NXDOMAIN
    assert (await resolver.query("x" * 70 + ".test", "A")).rcode is Rcode.NXDOMAIN
    assert await resolver.query("big.test", "A") == Answer(Rcode.NOERROR)
    for name in ("slow.test", "broken.test"):
        with pytest.raises(DnsTemporaryError, match=name):
            await resolver.txt(name)


async def test_names_that_are_no_host_names(resolver: AiodnsResolver) -> None:
    """c-ares refuses them; SPF's %{l} makes them."""
    assert await resolver.a("x+y=z.l._spf.test") == ("127.0.0.2",)
    assert await resolver.mx("x+y=z.l._spf.test") == ((5, "m.test"),)
    assert await resolver.txt("x+y=z.l._spf.test") == (b"t",)
    assert await resolver.query("x+y=z.l._spf.test", "AAAA") == Answer(Rcode.NOERROR)
    assert (await resolver.query("no+where.test", "A")).rcode is Rcode.NXDOMAIN
    with pytest.raises(DnsTemporaryError):
        await resolver.a("q+.test")


async def test_many_who_ask_at_once_cause_one_query_and_answers_are_kept(server: DnsServer) -> None:
    server.ttl = 60
    resolver = AiodnsResolver([server.address], timeout=1.0)
    answers = await asyncio.gather(*(resolver.a("a.test") for _ in range(50)))
    assert set(answers) == {("192.0.2.1",)}
    server.update({"a.test": {"A": ["192.0.2.2"]}})
    assert await resolver.a("a.test") == ("192.0.2.1",)
    await asyncio.gather(*(resolver.a("nowhere.test") for _ in range(5)))
    await resolver.a("nowhere.test")
    assert [name for name, _, _ in server.queries] == ["a.test", "nowhere.test"]
    await resolver.close()


async def test_each_question_is_counted_by_its_answer(server: DnsServer) -> None:
    server.ttl = 60
    seen: list[str] = []
    resolver = AiodnsResolver([server.address], timeout=1.0, on_query=seen.append)
    for name in ("a.test", "a.test", "nowhere.test", "nowhere.test"):
        await resolver.a(name)
    with pytest.raises(DnsTemporaryError):
        await resolver.a("broken.test")
    assert seen == ["found", "cached", "nothing", "cached", "failed"]
    await resolver.close()


async def test_one_who_gives_up_does_not_take_the_answer_from_the_others(resolver: AiodnsResolver) -> None:
    first = asyncio.create_task(resolver.a("a.test"))
    second = asyncio.create_task(resolver.a("a.test"))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == ("192.0.2.1",)
    assert first.cancelled() or first.cancelling()


async def test_a_slow_name_has_its_time_at_a_server_that_is_fast_for_others(server: DnsServer) -> None:
    resolver = AiodnsResolver([server.address], timeout=5.0, cache_size=0)
    for _ in range(200):
        await resolver.a("a.test")
    asked = asyncio.create_task(resolver.txt("slow.test"))
    await asyncio.sleep(1.0)
    server.update({"slow.test": {"TXT": ["at last"]}})
    assert await asked == (b"at last",)
    await resolver.close()


async def test_closing_ends_what_is_under_way(server: DnsServer) -> None:
    resolver = AiodnsResolver([server.address], timeout=30.0)
    waiting = asyncio.create_task(resolver.a("slow.test"))
    while not server.queries:
        await asyncio.sleep(0.01)
    await resolver.close()
    with pytest.raises(DnsTemporaryError):
        await waiting


async def test_an_ipv6_name_server() -> None:
    with DnsServer(ZONE, host="::1") as server:
        resolver = AiodnsResolver([server.address], timeout=1.0)
        assert await resolver.a("a.test") == ("192.0.2.1",)
        await resolver.close()


async def test_a_dead_server_is_a_temporary_error() -> None:
    with DnsServer(ZONE) as server:
        address = server.address
    resolver = AiodnsResolver([address], timeout=0.5)
    with pytest.raises(DnsTemporaryError):
        await resolver.a("a.test")
    await resolver.close()


async def test_the_channel_is_renewed_before_its_own_cache_grows(server: DnsServer) -> None:
    server.ttl = 600
    resolver = AiodnsResolver([server.address], timeout=1.0, cache_size=0)
    await resolver.a("a.test")
    server.update({"a.test": {"A": ["192.0.2.2"]}})
    for _ in range(1_000):
        seen = await resolver.a("a.test")
    assert seen == ("192.0.2.2",)
    assert len(server.queries) == 2
    await resolver.close()


def test_the_cache_forgets_by_time_and_by_size() -> None:
    now = 0.0
    cache = TtlCache(2, clock=lambda: now)
    one, two, three = (Answer(Rcode.NOERROR, (f"192.0.2.{i}",), 60) for i in (1, 2, 3))
    cache.put(("a", "A"), one, 10)
    cache.put(("b", "A"), two, 20)
    assert cache.get(("a", "A")) is one
    cache.put(("c", "A"), three, 30)
    assert cache.get(("b", "A")) is None  # the least recently used
    assert len(cache) == 2
    now = 10.0
    assert cache.get(("a", "A")) is None
    assert cache.get(("c", "A")) is three
    cache.put(("c", "A"), three, 0)
    assert len(cache) == 0


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("192.0.2.53", True),
        ("127.0.0.1:5300", True),
        ("[::1]:53", True),
        ("[::1]", True),
        ("::1", True),
        ("2001:db8::1:5300", True),  # an address, as it stands
        ("localhost:53", False),
        ("127.0.0.1:", False),
        ("127.0.0.1:0", False),
        ("127.0.0.1:70000", False),
        ("127.0.0.300", False),
        ("", False),
    ],
)
def test_name_server_syntax(text: str, good: bool) -> None:
    assert is_nameserver(text) is good
    if not good:
        with pytest.raises(ConfigError, match=r"dns\.nameservers"):
            AiodnsResolver([text])
