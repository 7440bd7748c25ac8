"""The client's names: what it is called in the DNS (iprev), and what it calls itself (HELO)."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address

import pytest

from mailguard.checks.client import ClientCheck, is_dynamic, names_address
from mailguard.core.verdict import AuthMethod, AuthOutcome, CheckResult, CheckStatus
from mailguard.message.headers import authentication_results
from mailguard.net.dns import Answer, StaticResolver, Zone
from tests.unit.checks.contexts import context

CLIENT = "8.8.4.4"
PTR = "4.4.8.8.in-addr.arpa"
NAMED: Zone = {PTR: {"PTR": ["mx.sender.example"]}, "mx.sender.example": {"A": [CLIENT]}}


async def check(zone: Zone, *, helo: str = "mx.sender.example", ip: str = CLIENT) -> CheckResult:
    return await ClientCheck().run(context(client_ip=ip, helo=helo, resolver=StaticResolver(zone)), {})


def names(result: CheckResult) -> list[str]:
    return [symbol.name for symbol in result.symbols]


async def test_a_well_named_server() -> None:
    result = await check(NAMED)
    assert names(result) == ["RDNS_CONFIRMED", "HELO_CONFIRMED"]
    (auth,) = result.auth
    assert (auth.method, auth.outcome, auth.domain) == (AuthMethod.IPREV, AuthOutcome.PASS, "mx.sender.example")
    assert b"iprev=pass policy.iprev=8.8.4.4" in authentication_results("mx.test", result.auth)


@pytest.mark.parametrize(
    ("zone", "outcome", "symbols"),
    [
        ({}, AuthOutcome.PERMERROR, ["RDNS_NONE"]),
        ({PTR: {"PTR": ["mx.sender.example"]}}, AuthOutcome.FAIL, ["RDNS_UNCONFIRMED"]),
        (
            {PTR: {"PTR": ["mx.sender.example"]}, "mx.sender.example": {"A": ["192.0.2.1"]}},
            AuthOutcome.FAIL,
            ["RDNS_UNCONFIRMED"],
        ),
        (
            {PTR: {"PTR": ["a.example", "b.example"]}, "b.example": {"A": [CLIENT]}},
            AuthOutcome.PASS,
            ["RDNS_CONFIRMED"],
        ),
        (
            {PTR: {"PTR": ["dsl-8-8-4-4.isp.example"]}, "dsl-8-8-4-4.isp.example": {"A": [CLIENT]}},
            AuthOutcome.PASS,
            ["RDNS_CONFIRMED", "RDNS_DYNAMIC"],
        ),
        (
            {PTR: {"PTR": ["ec2-8-8-4-4.cloud.example"]}, "ec2-8-8-4-4.cloud.example": {"A": [CLIENT]}},
            AuthOutcome.PASS,
            ["RDNS_CONFIRMED", "RDNS_GENERIC"],
        ),
        ({PTR: {"PTR": "TIMEOUT"}}, AuthOutcome.TEMPERROR, ["CLIENT"]),
        ({PTR: {"PTR": ["mx.example"]}, "mx.example": {"A": "SERVFAIL"}}, AuthOutcome.TEMPERROR, ["CLIENT"]),
    ],
)
async def test_reverse_names(zone: Zone, outcome: AuthOutcome, symbols: list[str]) -> None:
    result = await check(zone, helo="")
    assert result.auth[0].outcome is outcome
    if outcome is AuthOutcome.TEMPERROR:
        assert (result.status, result.symbols) == (CheckStatus.TEMPERROR, ())
    else:
        assert (result.status, names(result)) == (CheckStatus.OK, symbols)


@pytest.mark.parametrize(
    ("helo", "symbols"),
    [
        ("MX.Relay.example.", ["HELO_OURS"]),
        ("[8.8.4.4]", ["HELO_LITERAL"]),
        ("8.8.4.4", ["HELO_BARE_ADDRESS"]),
        ("[8.8.8.8]", ["HELO_OTHER_ADDRESS"]),
        ("8.8.8.8", ["HELO_BARE_ADDRESS", "HELO_OTHER_ADDRESS"]),
        ("[IPv6:2001:db8::1]", ["HELO_OTHER_ADDRESS"]),
        ("localhost", ["HELO_BARE_WORD"]),
        ("nowhere.example", ["HELO_UNRESOLVABLE"]),
        ("elsewhere.other.test", ["HELO_ELSEWHERE"]),
        ("out.sender.example", []),  # another machine of the same organisation
        ("mx.sender.example", ["HELO_CONFIRMED"]),
        ("", []),
        ("…", ["HELO_BARE_WORD"]),
    ],
)
async def test_helo(helo: str, symbols: list[str]) -> None:
    zone: Zone = {
        **NAMED,
        "elsewhere.other.test": {"A": ["192.0.2.9"]},
        "out.sender.example": {"A": ["192.0.2.9"]},
    }
    result = await check(zone, helo=helo)
    assert names(result)[1:] == symbols


async def test_a_name_that_cannot_be_looked_up_now_is_no_sign_of_anything() -> None:
    result = await check({**NAMED, "x.example": {"*": "TIMEOUT"}}, helo="x.example")
    assert (result.status, names(result)) == (CheckStatus.TEMPERROR, ["RDNS_CONFIRMED"])
    assert "HELO" in result.detail


async def test_clients_that_are_not_public_are_not_looked_at() -> None:
    resolver = StaticResolver({})
    result = await ClientCheck().run(context(client_ip="10.0.0.1", helo="x", resolver=resolver), {})
    assert (result.status, result.auth, resolver.queries) == (CheckStatus.SKIPPED, (), [])


async def test_ipv6() -> None:
    ip = "2a00:1450:4001:80b::200e"
    zone: Zone = {
        ip_address(ip).reverse_pointer: {"PTR": ["mx.six.example"]},
        "mx.six.example": {"AAAA": [ip], "A": [CLIENT]},
    }
    result = await check(zone, helo="mx.six.example", ip=ip)
    assert names(result) == ["RDNS_CONFIRMED", "HELO_CONFIRMED"]


@pytest.mark.parametrize(
    ("name", "dynamic", "generic"),
    [
        ("mail-ed1-f41.google.com", False, False),
        ("a8-50.smtp-out.amazonses.com", False, False),
        ("static-198-51-100-7.isp.example", False, True),
        ("7.100.51.198.isp.example", False, True),
        ("host-c6336407.isp.example", False, True),
        ("pool-198-51-100-7.isp.example", True, True),
        ("p54.dyn.isp.example", True, False),
        ("cpe-7.isp.example", True, False),
        ("mx.homedepot.example", False, False),
        ("mail.dynamic.example", False, False),  # the organisation's own name says nothing
        ("mobile.example", False, False),
    ],
)
def test_generic_names(name: str, dynamic: bool, generic: bool) -> None:
    assert is_dynamic(name) is dynamic
    assert names_address(name, ip_address("198.51.100.7")) is generic


async def test_name_servers_that_do_not_answer_hold_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(StaticResolver):
        async def query(self, name: str, rdtype: str) -> Answer:
            await asyncio.sleep(60)
            raise AssertionError

    monkeypatch.setattr("mailguard.checks.client.PATIENCE", 0.01)
    result = await asyncio.wait_for(ClientCheck().run(context(client_ip=CLIENT, resolver=Slow({})), {}), 10)
    assert (result.status, result.symbols, result.auth[0].outcome) == (
        CheckStatus.TEMPERROR,
        (),
        AuthOutcome.TEMPERROR,
    )
