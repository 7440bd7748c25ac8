"""The OpenSPF suites through our resolvers. RFC 7208's must pass whole; the others are for information, their failures listed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from mailguard.checks.spf_query import SpfResult, check_spf
from mailguard.net.dns import Resolver, StaticResolver
from mailguard.net.dns_aio import AiodnsResolver
from tests.dns_server import DnsServer
from tests.suites.openspf import Case, cases

pytestmark = pytest.mark.corpora

KNOWN: dict[str, str] = {
    "corner cases/default-modifier": "expects the obsolete default= modifier of before RFC 4408 to work",
    "corner cases/default-modifier-harsh": "expects pyspf's own result 'ambiguous', which no RFC has",
}


async def verdict(case: Case, resolver: Resolver) -> str:
    """Empty when the case passes, else what was wrong."""
    result = await check_spf(
        resolver, ip=case.ip, helo=case.helo, mail_from=case.mail_from, hostname="receiver.example.test"
    )
    return _compare(case, result)


def _compare(case: Case, result: SpfResult) -> str:
    if result.outcome not in case.results:
        return f"{result.outcome} instead of {case.results}: {result.reason}"
    expected = None if case.explanation is None else case.explanation.replace("DEFAULT", "")
    if result.outcome == "fail" and expected is not None and result.explanation != expected:
        return f"explanation {result.explanation!r} instead of {expected!r}"
    return ""


async def failures(path: Path) -> tuple[int, dict[str, str]]:
    """How many cases there are, and which fail."""
    all_cases = list(cases(path))
    outcomes = {str(case): await verdict(case, StaticResolver(case.zone)) for case in all_cases}
    return len(all_cases), {name: why for name, why in outcomes.items() if why}


@pytest.mark.parametrize(
    ("suite", "count", "known"),
    [
        ("spf/pyspf/test/rfc7208-tests.yml", 203, set()),
        ("spf/albertito-spf/testdata/rfc7208-tests.yml", 203, set()),
        ("spf/pyspf/test/rfc4408-tests.yml", 191, set()),
        ("spf/pyspf/test/test.yml", 16, set(KNOWN)),
    ],
)
async def test_suite(corpora: Callable[[str], Path], suite: str, count: int, known: set[str]) -> None:
    seen, failed = await failures(corpora("auth_suites") / suite)
    assert failed.keys() == known, failed
    assert seen == count


@pytest.fixture
async def server() -> AsyncIterator[DnsServer]:
    with DnsServer() as running:
        yield running


async def test_rfc7208_over_the_wire(corpora: Callable[[str], Path], server: DnsServer) -> None:
    """The whole suite once more through the relay's resolver and a DNS server on loopback."""
    failed = {}
    count = 0
    for case in cases(corpora("auth_suites") / "spf/pyspf/test/rfc7208-tests.yml"):
        server.set_zone(case.zone)
        resolver = AiodnsResolver([server.address], timeout=0.6, cache_size=0)
        if why := await verdict(case, resolver):
            failed[str(case)] = why
        await resolver.close()
        count += 1
    assert failed == {}
    assert count == 203
