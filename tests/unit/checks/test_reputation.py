"""What the standing of a mail's senders says, and who its senders are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from mailguard.checks.reputation import ReputationCheck, senders_of
from mailguard.core.clock import DAY, HOUR
from mailguard.core.standing import Sender, SenderKind, Standing
from mailguard.core.tenant import Tenant
from mailguard.core.verdict import AuthMethod, AuthOutcome, AuthResult, CheckResult, Findings
from tests.unit.checks.contexts import context

NOW = 1_790_000_000_000
OLD = NOW - 30 * DAY
DOMAIN = Sender(SenderKind.DOMAIN, "example.org")
NETWORK = Sender(SenderKind.NETWORK, "8.8.4.0/24")


def auth(method: AuthMethod, domain: str, outcome: AuthOutcome = AuthOutcome.PASS) -> AuthResult:
    return AuthResult(method, outcome, domain)


def findings(*results: AuthResult) -> Findings:
    return Findings(results=(CheckResult("x", auth=results),))


class Known:
    """Standings that a test gives."""

    def __init__(self, known: Mapping[Sender, Standing]) -> None:
        self.known = known

    async def standings(self, tenant: int, senders: Sequence[Sender]) -> Mapping[Sender, Standing]:
        return {sender: self.known[sender] for sender in senders if tenant == 2 and sender in self.known}


async def run(known: Mapping[Sender, Standing], *, tenant: int = 2) -> CheckResult:
    check = ReputationCheck(Known(known), clock=lambda: NOW)
    return await check.run(Tenant(tenant, "acme"), context(), findings(auth(AuthMethod.DKIM, "mail.example.org")))


@pytest.mark.parametrize(
    ("standing", "symbols"),
    [
        (Standing(OLD, NOW, delivered=212, kept=2), ["REPUTATION_GOOD"]),
        (Standing(OLD, NOW, delivered=10, released=12), ["REPUTATION_GOOD"]),
        (Standing(OLD, NOW, delivered=19), []),  # too few
        (Standing(NOW - DAY, NOW, delivered=500), []),  # too young
        (Standing(OLD, NOW, delivered=212, reported=1), []),
        (Standing(OLD, NOW, delivered=100, kept=20), []),
        (Standing(OLD, NOW, kept=6, delivered=2), ["REPUTATION_BAD"]),
        (Standing(OLD, NOW, reported=3, kept=3), ["REPUTATION_BAD"]),
        (Standing(OLD, NOW, kept=4), []),
        (Standing(OLD, NOW - 60 * DAY, kept=16), []),  # long ago
        (Standing(OLD, NOW, recent=300, usual=301), ["SENDER_SURGE"]),
        (Standing(NOW - DAY, NOW, recent=300, usual=301), []),
        (Standing(OLD, NOW, recent=80, usual=80), []),
        (Standing(OLD, NOW, recent=300, usual=100_000), []),
        (Standing(OLD, NOW - 12 * HOUR, recent=300, usual=301), []),
    ],
)
async def test_standings(standing: Standing, symbols: list[str]) -> None:
    result = await run({DOMAIN: standing})
    assert [symbol.name for symbol in result.symbols] == symbols


async def test_the_evidence_tells_the_counts() -> None:
    result = await run({DOMAIN: Standing(OLD, NOW, delivered=211.6, released=1.2, kept=2)})
    (symbol,) = result.symbols
    assert symbol.evidence == (
        "of late 213 of 215 mails from example.org were delivered, 1 of them released, 2 kept as spam and none reported",
    )
    assert result.detail == "domain example.org; network 8.8.4.0/24"


async def test_networks_are_asked_more_and_say_less() -> None:
    assert (await run({NETWORK: Standing(OLD, NOW, kept=6)})).symbols == ()
    (symbol,) = (await run({NETWORK: Standing(OLD, NOW, kept=30)})).symbols
    assert (symbol.name, symbol.score) == ("REPUTATION_NETWORK_BAD", 1.0)
    (symbol,) = (await run({NETWORK: Standing(OLD, NOW, delivered=30)})).symbols
    assert (symbol.name, symbol.score) == ("REPUTATION_NETWORK_GOOD", -0.3)


async def test_another_tenants_experience_says_nothing() -> None:
    assert (await run({DOMAIN: Standing(OLD, NOW, kept=30)}, tenant=3)).symbols == ()


@pytest.mark.parametrize(
    ("results", "domains"),
    [
        ([], []),
        ([auth(AuthMethod.DKIM, "example.org", AuthOutcome.FAIL)], []),
        ([auth(AuthMethod.SPF, "example.org", AuthOutcome.SOFTFAIL)], []),
        ([auth(AuthMethod.ARC, "example.org")], []),  # that is who passed it on
        (
            [auth(AuthMethod.SPF, "bounce.example.net"), auth(AuthMethod.DMARC, "example.org")],
            ["example.org", "example.net"],
        ),
        ([auth(AuthMethod.DKIM, "a.example.co.uk"), auth(AuthMethod.DKIM, "b.example.co.uk")], ["example.co.uk"]),
        ([auth(AuthMethod.DMARC, "gmail.com")], []),
        ([auth(AuthMethod.DKIM, f"d{n}.example") for n in range(9)], ["d0.example", "d1.example", "d2.example"]),
        ([auth(AuthMethod.DKIM, "")], []),
    ],
)
def test_only_authenticated_domains_that_are_somebodys_own(results: list[AuthResult], domains: list[str]) -> None:
    found = senders_of(context(), findings(*results))
    assert [sender.name for sender in found if sender.kind is SenderKind.DOMAIN] == domains
    assert found[-1] == NETWORK


def test_a_private_client_is_no_network() -> None:
    assert senders_of(context(client_ip="10.0.0.1"), findings()) == ()
    (sender,) = senders_of(context(client_ip="2a00:1450:4001:80b::200e"), findings())
    assert sender.name == "2a00:1450:4001::/48"
