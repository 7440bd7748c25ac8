"""DNS block lists: what is asked, what an answer means, and when nothing is asked."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from mailguard.checks.dnsbl import DnsblCheck
from mailguard.checks.lists import ListKind, ListLookups, ReturnCode, Zone, reversed_address
from mailguard.core.verdict import CheckResult, CheckStatus
from mailguard.net.dns import StaticResolver
from tests.unit.checks.contexts import context

SPAM = Zone(
    "bl.example",
    (
        ReturnCode("BL_SPAM", 3.0, ("127.0.0.2", "127.0.0.3")),
        ReturnCode("BL_DIALUP", 1.0, ("127.0.0.10",), "a dial-up line"),
    ),
)
ANY = Zone("any.example", (ReturnCode("ANY_LISTED", 2.0),), ipv6=False)


async def check(resolver: StaticResolver, *zones: Zone, client_ip: str = "8.8.4.4") -> CheckResult:
    return await DnsblCheck(zones, ListLookups(timeout=1)).run(context(client_ip=client_ip, resolver=resolver), {})


async def test_no_zone_is_asked_by_default() -> None:
    resolver = StaticResolver({})
    result = await check(resolver)
    assert (result.status, resolver.queries) == (CheckStatus.SKIPPED, [])


@pytest.mark.parametrize(
    ("answer", "symbols"),
    [
        (["127.0.0.2"], [("BL_SPAM", 3.0)]),
        (["127.0.0.2", "127.0.0.3"], [("BL_SPAM", 3.0)]),
        (["127.0.0.10", "127.0.0.2"], [("BL_DIALUP", 1.0), ("BL_SPAM", 3.0)]),
        (["127.0.0.99"], []),  # not among the codes that mean something to us
        (["192.0.2.1"], []),  # a wildcard of whoever bought the domain: no answer of a list (RFC 5782 §2.1)
        ([], []),
    ],
)
async def test_return_codes(answer: list[str], symbols: list[tuple[str, float]]) -> None:
    zone = {"4.4.8.8.bl.example": {"A": answer}} if answer else {}
    result = await check(StaticResolver(zone), SPAM)
    assert (result.status, [(symbol.name, symbol.score) for symbol in result.symbols]) == (CheckStatus.OK, symbols)


async def test_lists_of_domains_are_not_asked_about_clients() -> None:
    resolver = StaticResolver({})
    domains = Zone("dbl.example", (), kind=ListKind.DOMAIN)
    assert (await check(resolver, domains)).status is CheckStatus.SKIPPED
    assert resolver.queries == []


async def test_the_evidence_names_the_zone_and_the_code() -> None:
    result = await check(StaticResolver({"4.4.8.8.any.example": {"A": ["127.0.0.77"]}}), ANY)
    assert result.symbols[0].evidence == ("any.example=127.0.0.77",)
    assert "any.example" in result.symbols[0].description


async def test_ipv6_goes_to_zones_that_list_it() -> None:
    nibbles = ".".join(reversed(ip_address("2a00:1450:4001:80b::200e").exploded.replace(":", "")))
    resolver = StaticResolver({f"{nibbles}.bl.example": {"A": ["127.0.0.2"]}})
    result = await check(resolver, SPAM, ANY, client_ip="2a00:1450:4001:80b::200e")
    assert [symbol.name for symbol in result.symbols] == ["BL_SPAM"]
    assert [name for name, _ in resolver.queries] == [f"{nibbles}.bl.example", "1.0.0.127.bl.example"]


@pytest.mark.parametrize(
    "client_ip", ["10.0.0.1", "127.0.0.1", "192.168.1.1", "::1", "fe80::1", "fd00::1", "::ffff:10.0.0.1"]
)
async def test_addresses_that_are_not_public_are_not_asked_about(client_ip: str) -> None:
    resolver = StaticResolver({})
    assert (await check(resolver, SPAM, client_ip=client_ip)).status is CheckStatus.SKIPPED
    assert resolver.queries == []


async def test_one_zone_that_fails_does_not_hide_the_others() -> None:
    resolver = StaticResolver({"4.4.8.8.bl.example": {"A": "SERVFAIL"}, "4.4.8.8.any.example": {"A": ["127.0.0.2"]}})
    result = await check(resolver, SPAM, ANY)
    assert result.status is CheckStatus.TEMPERROR
    assert [symbol.name for symbol in result.symbols] == ["ANY_LISTED", "DNSBL_TEMPERROR"]
    assert "bl.example" in result.detail


async def test_a_list_that_refuses_to_serve_us_lists_nobody() -> None:
    result = await check(StaticResolver({"4.4.8.8.any.example": {"A": ["127.255.255.254"]}}), ANY)
    assert result.status is CheckStatus.TEMPERROR
    assert [symbol.name for symbol in result.symbols] == ["DNSBL_TEMPERROR"]


def test_reversed_addresses() -> None:
    assert reversed_address(ip_address("192.0.2.1")) == "1.2.0.192"
    assert reversed_address(ip_address("2001:db8::1")).startswith("1.0.0.0.0.0")
    assert len(reversed_address(ip_address("2001:db8::1"))) == 63
