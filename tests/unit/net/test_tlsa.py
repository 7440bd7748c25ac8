"""Looking TLSA records up: only what a validating resolver vouches for counts, and no answer is not "none"."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mailguard.net.dns import DnsTemporaryError
from mailguard.net.tlsa import TlsaResolver
from tests.dns_server import DnsServer

RECORD = f"3 1 1 {'ab' * 32}"
ZONE = {
    "mx.secure.test": {"A": ["127.0.0.1"]},
    "_25._tcp.mx.secure.test": {"TLSA": [RECORD, f"2 0 1 {'cd' * 32}"]},
    "six.secure.test": {"AAAA": ["::1"]},
    "_25._tcp.six.secure.test": {"TLSA": [RECORD]},
    "none.secure.test": {"A": ["127.0.0.1"]},
    "mx.plain.test": {"A": ["127.0.0.1"]},
    "_25._tcp.mx.plain.test": {"TLSA": [RECORD]},
    "alias.secure.test": {"CNAME": ["mx.secure.test"]},
    "out.secure.test": {"CNAME": ["mx.plain.test"]},
    "own.secure.test": {"CNAME": ["none.secure.test"]},
    "_25._tcp.own.secure.test": {"TLSA": [RECORD]},
    "lame.secure.test": {"A": ["127.0.0.1"]},
    "_25._tcp.lame.secure.test": {"*": "SERVFAIL"},
    "bogus.secure.test": {"*": "SERVFAIL"},
    "slow.secure.test": {"*": "TIMEOUT"},
}


@pytest.fixture
def server() -> Iterator[DnsServer]:
    with DnsServer(ZONE) as running:
        running.secure = ("secure.test",)
        yield running


@pytest.fixture
def resolver(server: DnsServer) -> TlsaResolver:
    return TlsaResolver([server.address], timeout=0.5)


async def test_secure_records_are_found(resolver: TlsaResolver) -> None:
    found = await resolver.lookup("MX.secure.test.", 25)
    assert found.names == ("mx.secure.test",)
    assert {(one.usage, one.selector, one.matching, one.data) for one in found.records} == {
        (2, 0, 1, b"\xcd" * 32),
        (3, 1, 1, b"\xab" * 32),
    }
    assert found.usable


async def test_a_host_with_an_ipv6_address_alone(resolver: TlsaResolver) -> None:
    assert (await resolver.lookup("six.secure.test", 25)).usable


@pytest.mark.parametrize("host", ["none.secure.test", "nowhere.secure.test", "127.0.0.1", "::1", "not a name"])
async def test_no_records(resolver: TlsaResolver, host: str) -> None:
    assert (await resolver.lookup(host, 25)).records == ()


async def test_another_port_has_other_records(resolver: TlsaResolver) -> None:
    assert (await resolver.lookup("mx.secure.test", 26)).records == ()


@pytest.mark.parametrize("host", ["mx.plain.test", "out.secure.test"])
async def test_zones_that_are_not_signed_are_not_even_asked(
    resolver: TlsaResolver, server: DnsServer, host: str
) -> None:
    assert (await resolver.lookup(host, 25)).records == ()
    assert "TLSA" not in {rdtype for _, rdtype, _ in server.queries}


async def test_the_target_of_an_alias_comes_first_then_the_alias(resolver: TlsaResolver) -> None:
    assert (await resolver.lookup("alias.secure.test", 25)).names == ("mx.secure.test", "alias.secure.test")
    assert (await resolver.lookup("own.secure.test", 25)).names == ("own.secure.test", "none.secure.test")


@pytest.mark.parametrize("host", ["lame.secure.test", "bogus.secure.test", "slow.secure.test"])
async def test_no_answer_is_not_none(resolver: TlsaResolver, host: str) -> None:
    with pytest.raises(DnsTemporaryError):
        await resolver.lookup(host, 25)


async def test_answers_are_kept_for_their_time(resolver: TlsaResolver, server: DnsServer) -> None:
    server.ttl = 60
    await resolver.lookup("mx.secure.test", 25)
    asked = len(server.queries)
    assert (await resolver.lookup("mx.secure.test", 25)).usable
    assert len(server.queries) == asked
