"""DMARC of whole mails: alignment, policies, several Author Domains, failures on the way."""

from __future__ import annotations

import pytest

from mailguard.checks.dmarc import DmarcCheck, author_domains
from mailguard.core.verdict import AuthMethod, AuthOutcome, AuthResult, CheckResult, CheckStatus, DmarcPolicy
from mailguard.message.parse import parse
from mailguard.net.dns import Zone
from tests.unit.checks.mail import context

ZONE: Zone = {
    "_dmarc.a.test": {"TXT": ["v=DMARC1; p=reject; sp=quarantine"]},
    "_dmarc.strict.test": {"TXT": ["v=DMARC1; p=quarantine; adkim=s; aspf=s"]},
    "_dmarc.watch.test": {"TXT": ["v=DMARC1; p=none; rua=mailto:r@watch.test"]},
    "_dmarc.slow.test": {"TXT": "TIMEOUT"},
    "_dmarc.sub.apart.test": {"TXT": ["v=DMARC1; p=reject; psd=n"]},
    "_dmarc.apart.test": {"TXT": ["v=DMARC1; p=reject"]},
    "lists.a.test": {"A": ["192.0.2.9"]},
}


def spf(domain: str, outcome: AuthOutcome = AuthOutcome.PASS, *, helo: bool = False) -> AuthResult:
    prop = ("smtp.helo", domain) if helo else ("smtp.mailfrom", f"x@{domain}")
    return AuthResult(AuthMethod.SPF, outcome, domain, "", (prop,))


def dkim(domain: str, outcome: AuthOutcome = AuthOutcome.PASS) -> AuthResult:
    return AuthResult(AuthMethod.DKIM, outcome, domain, "", (("header.d", domain),))


async def run(
    from_: str, *auth: AuthResult, mail_from: str = "x@other.test", extra: dict[str, CheckResult] | None = None
) -> CheckResult:
    raw = f"{from_}\r\nSubject: x\r\n\r\nbody\r\n".encode()
    results = {
        "spf": CheckResult("spf", auth=tuple(item for item in auth if item.method is AuthMethod.SPF)),
        "dkim": CheckResult("dkim", auth=tuple(item for item in auth if item.method is AuthMethod.DKIM)),
    } | (extra or {})
    return await DmarcCheck().run(context(ZONE, raw=raw, mail_from=mail_from), results)


@pytest.mark.parametrize(
    ("author", "auth", "symbol", "policy"),
    [
        ("a.test", [dkim("a.test")], "DMARC_PASS", None),
        ("a.test", [spf("a.test")], "DMARC_PASS", None),
        ("a.test", [spf("bounce.a.test")], "DMARC_PASS", None),  # relaxed
        ("lists.a.test", [dkim("a.test")], "DMARC_PASS", None),
        ("a.test", [dkim("evil.test"), spf("evil.test"), dkim("x.a.test")], "DMARC_PASS", None),
        ("a.test", [dkim("evil.test"), spf("evil.test")], "DMARC_FAIL_REJECT", "reject"),
        ("a.test", [dkim("a.test", AuthOutcome.FAIL)], "DMARC_FAIL_REJECT", "reject"),
        ("a.test", [dkim("a.test", AuthOutcome.POLICY)], "DMARC_FAIL_REJECT", "reject"),
        ("a.test", [dkim("nota.test"), dkim("test")], "DMARC_FAIL_REJECT", "reject"),
        ("lists.a.test", [], "DMARC_FAIL_QUARANTINE", "quarantine"),  # sp=
        ("strict.test", [dkim("strict.test")], "DMARC_PASS", None),
        ("strict.test", [dkim("x.strict.test"), spf("x.strict.test")], "DMARC_FAIL_QUARANTINE", "quarantine"),
        ("watch.test", [], "DMARC_FAIL_NONE", "none"),
        ("nothing.test", [dkim("nothing.test")], "DMARC_NONE", None),
        ("slow.test", [dkim("slow.test")], "DMARC_TEMPERROR", None),
        ("apart.test", [dkim("sub.apart.test")], "DMARC_FAIL_REJECT", "reject"),  # psd=n: another organisation
        ("A.TEST", [dkim("a.test")], "DMARC_PASS", None),
        # a name server that does not answer helps only where it would have counted
        ("a.test", [dkim("evil.test", AuthOutcome.TEMPERROR)], "DMARC_FAIL_REJECT", "reject"),
        ("a.test", [spf("b.a.test", AuthOutcome.TEMPERROR)], "DMARC_TEMPERROR", None),
        ("a.test", [spf("a.test", AuthOutcome.TEMPERROR), dkim("a.test")], "DMARC_PASS", None),
    ],
)
async def test_alignment_and_policy(author: str, auth: list[AuthResult], symbol: str, policy: str | None) -> None:
    result = await run(f"From: Someone <x@{author}>", *auth)
    assert [found.name for found in result.symbols] == [symbol]
    assert result.dmarc_policy == (DmarcPolicy(policy) if policy else None)
    assert ("header.from", author.lower()) in result.auth[0].properties
    assert (result.status is CheckStatus.TEMPERROR) == (symbol == "DMARC_TEMPERROR")


async def test_helo_counts_for_the_null_sender_only() -> None:
    passing = await run("From: x@a.test", spf("a.test", helo=True), mail_from="")
    assert passing.symbols[0].name == "DMARC_PASS"
    failing = await run("From: x@a.test", spf("other.test"), spf("a.test", helo=True))
    assert failing.dmarc_policy is DmarcPolicy.REJECT


@pytest.mark.parametrize(
    ("header", "policy"),
    [
        ("From: x@evil.test\r\nFrom: y@a.test", "reject"),
        ("From: x@evil.test, y@a.test", "reject"),
        ("From: x@watch.test, y@lists.a.test", "quarantine"),
        ("From: x@evil.test\r\nFrom: y@evil.test", None),
    ],
)
async def test_another_from_does_not_switch_a_policy_off(header: str, policy: str | None) -> None:
    result = await run(header, dkim("evil.test"))
    assert [symbol.name for symbol in result.symbols] == ["DMARC_PERMERROR", "DMARC_MULTIPLE_FROM"]
    assert result.auth[0].outcome is AuthOutcome.PERMERROR
    assert result.dmarc_policy == (DmarcPolicy(policy) if policy else None)


async def test_several_addresses_of_one_domain_are_one_author_domain() -> None:
    result = await run("From: x@a.test, y@A.test", dkim("a.test"))
    assert result.symbols[0].name == "DMARC_PASS"


@pytest.mark.parametrize("header", ["To: x@a.test", "From: ", "From: x@[192.0.2.1]", "From: undisclosed:;", "From: <>"])
async def test_without_an_author_domain_it_is_a_permerror(header: str) -> None:
    result = await run(header, dkim("a.test"))
    assert [symbol.name for symbol in result.symbols] == ["DMARC_PERMERROR"]
    assert result.dmarc_policy is None


async def test_a_lost_check_leaves_the_failure_undecided() -> None:
    lost = {"dkim": CheckResult("dkim", CheckStatus.TEMPERROR)}
    result = await run("From: x@a.test", spf("evil.test"), extra=lost)
    assert (result.symbols[0].name, result.dmarc_policy) == ("DMARC_TEMPERROR", None)
    assert (await run("From: x@a.test", spf("a.test"), extra=lost)).symbols[0].name == "DMARC_PASS"


def test_internationalised_author_domains_become_a_labels() -> None:
    message = parse("From: =?utf-8?q?J?= <x@bücher.test>\r\n\r\n".encode())
    assert author_domains(message) == ("xn--bcher-kva.test",)


async def test_failing_without_policy_changes_nothing() -> None:
    result = await run("From: x@watch.test")
    assert result.symbols[0].score == 0.0  # RFC 9989 §5.4
