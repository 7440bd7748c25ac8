"""The SPF check: which identity, which symbols, what goes into Authentication-Results."""

from __future__ import annotations

import asyncio

from mailguard.checks.spf import SpfCheck
from mailguard.checks.spf_query import check_spf
from mailguard.core.verdict import AuthOutcome, CheckResult, CheckStatus
from mailguard.net.dns import Answer, StaticResolver, Zone
from tests.unit.checks.mail import context


async def run(zone: Zone, **changes: str) -> CheckResult:
    return await SpfCheck().run(context(zone, **changes), {})


def names(result: CheckResult) -> list[str]:
    return [symbol.name for symbol in result.symbols]


async def test_mail_from_and_helo_are_both_reported() -> None:
    zone = {"a.test": {"TXT": ["v=spf1 ip4:192.0.2.1 -all"]}, "mx.a.test": {"TXT": ["v=spf1 -all"]}}
    result = await run(zone)
    assert names(result) == ["SPF_PASS", "SPF_HELO_FAIL"]
    assert [auth.properties for auth in result.auth] == [
        (("smtp.mailfrom", "ann@a.test"),),
        (("smtp.helo", "mx.a.test"),),
    ]
    assert [auth.domain for auth in result.auth] == ["a.test", "mx.a.test"]
    assert result.status is CheckStatus.OK


async def test_helo_without_a_record_says_nothing() -> None:
    result = await run({"a.test": {"TXT": ["v=spf1 ~all"]}})
    assert names(result) == ["SPF_SOFTFAIL"]
    assert len(result.auth) == 1


async def test_the_null_sender_has_the_result_of_helo_alone() -> None:
    result = await run({"mx.a.test": {"TXT": ["v=spf1 a -all"], "A": ["192.0.2.1"]}}, mail_from="")
    assert names(result) == ["SPF_PASS"]
    assert result.auth[0].properties == (("smtp.helo", "mx.a.test"),)


async def test_no_dns_is_a_visible_temperror() -> None:
    result = await run({"a.test": {"*": "TIMEOUT"}})
    assert names(result) == ["SPF_TEMPERROR"]
    assert result.status is CheckStatus.TEMPERROR
    assert result.auth[0].outcome is AuthOutcome.TEMPERROR


async def test_a_record_that_takes_too_long_is_a_temperror_of_its_domain() -> None:
    class Slow(StaticResolver):
        async def query(self, name: str, rdtype: str) -> Answer:
            await asyncio.sleep(30)
            return await super().query(name, rdtype)

    result = await check_spf(
        Slow(), ip="192.0.2.1", helo="", mail_from="x@a.test", hostname="relay.test", time_limit=0.01
    )
    assert (result.outcome, result.domain) == (AuthOutcome.TEMPERROR, "a.test")


async def test_an_odd_client_is_no_trouble() -> None:
    for helo in ("", "[192.0.2.1]", "\x00", "é" * 300):
        result = await run({}, helo=helo, mail_from="")
        assert names(result) == ["SPF_NONE"]
