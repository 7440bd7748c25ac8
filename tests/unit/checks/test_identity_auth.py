"""Who is authenticated: pass, fail or unknown, by our own results, recorded ones, and none."""

from __future__ import annotations

import pytest

from mailguard.checks.identity_auth import Known, authentication, claimed_domains
from mailguard.core.verdict import AuthMethod, AuthOutcome, AuthResult, CheckResult, CheckStatus
from tests.unit.checks.contexts import context

SIGNED = b"DKIM-Signature: v=1; a=rsa-sha256; d=Mail.B.example; s=x\r\nDKIM-Signature: d=esp.example\r\nFrom: a@b.example\r\n\r\n"


def spf(outcome: AuthOutcome, *, identity: str = "smtp.mailfrom") -> CheckResult:
    return CheckResult("spf", auth=(AuthResult(AuthMethod.SPF, outcome, "b.example", "", ((identity, "b.example"),)),))


def dkim(outcome: AuthOutcome, domain: str = "") -> CheckResult:
    return CheckResult("dkim", auth=(AuthResult(AuthMethod.DKIM, outcome, domain),))


def dmarc(outcome: AuthOutcome, **more: str) -> CheckResult:
    return CheckResult("dmarc", auth=(AuthResult(AuthMethod.DMARC, outcome, "b.example"),), **more)


SKIPPED = {name: CheckResult(name, CheckStatus.SKIPPED) for name in ("spf", "dkim", "dmarc", "arc")}
PASS, FAIL, NONE, LOST = AuthOutcome.PASS, AuthOutcome.FAIL, AuthOutcome.NONE, AuthOutcome.TEMPERROR


@pytest.mark.parametrize(
    ("results", "known"),
    [
        ({}, Known.UNKNOWN),
        (SKIPPED, Known.UNKNOWN),
        ({"spf": spf(FAIL)}, Known.UNKNOWN),
        ({"spf": spf(FAIL), "dkim": dkim(LOST)}, Known.UNKNOWN),
        ({"spf": spf(FAIL), "dkim": dkim(NONE)}, Known.FAIL),
        ({"spf": spf(PASS)}, Known.PASS),
        ({"spf": spf(PASS, identity="smtp.helo"), "dkim": dkim(NONE)}, Known.UNKNOWN),
        ({"dkim": dkim(PASS, "b.example")}, Known.PASS),
        ({"dkim": dkim(PASS, "sub.b.example")}, Known.PASS),
        ({"spf": spf(FAIL), "dkim": dkim(PASS, "other.example")}, Known.FAIL),
        ({"spf": spf(FAIL), "dkim": dkim(PASS)}, Known.PASS),  # recorded: a signature that the mail has verified
        ({"dmarc": dmarc(PASS)}, Known.PASS),
        ({"dmarc": dmarc(FAIL)}, Known.FAIL),
        ({"dmarc": dmarc(FAIL, dmarc_override="trusted")}, Known.PASS),
        ({"dmarc": dmarc(NONE)}, Known.UNKNOWN),
    ],
)
def test_the_author(results: dict[str, CheckResult], known: Known) -> None:
    assert authentication(context(SIGNED), results, "b.example").author is known


def test_spf_of_another_domain_does_not_vouch() -> None:
    found = authentication(
        context(SIGNED, mail_from="x@esp.example"), {"spf": spf(PASS), "dkim": dkim(NONE)}, "b.example"
    )
    assert found.author is Known.FAIL
    assert found.senders == ("esp.example",)


def test_who_took_part() -> None:
    assert claimed_domains(context(SIGNED)) == ("mail.b.example", "esp.example")
    unknown = authentication(context(SIGNED), {}, "b.example")
    assert unknown.senders == ("mail.b.example", "esp.example", "b.example")
    failed = authentication(context(SIGNED), {"spf": spf(FAIL), "dkim": dkim(FAIL, "b.example")}, "b.example")
    assert failed.senders == ()
