"""Recorded results in the place of SPF, DKIM and DMARC: outcomes, domains, and when the real checks go first."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from mailguard.checks.base import Check, CheckContext
from mailguard.checks.recorded_auth import RecordedAuth, RecordedResults, Recordings
from mailguard.checks.runner import Runner
from mailguard.core.verdict import AuthOutcome, CheckResult, CheckStatus, DmarcPolicy, Findings, Symbol
from tests.unit.checks.mail import context

PASS, FAIL, NONE = AuthOutcome.PASS, AuthOutcome.FAIL, AuthOutcome.NONE
AUTHOR = "news@shop.example.com"


def mail(*signers: str, author: str = AUTHOR) -> bytes:
    signatures = "".join(f"DKIM-Signature: v=1; a=rsa-sha256;\r\n d={d}; s=k; h=from; bh=x; b=y\r\n" for d in signers)
    return f"{signatures}From: Shop <{author}>\r\nSubject: x\r\n\r\nbody\r\n".encode()


async def judged(
    recorded: RecordedResults | None,
    raw: bytes | None = None,
    live: Mapping[str, Check] | None = None,
    ip: str = "192.0.2.1",
) -> Findings:
    recordings = Recordings()
    checks = [RecordedAuth(name, recordings, live=(live or {}).get(name)) for name in ("spf", "dkim", "dmarc")]
    given = context(raw=raw or mail(), ip=ip)
    with recordings.of(given.envelope.message_id, recorded):
        return await Runner(checks).run(given)


def names(findings: Findings) -> list[str]:
    return [symbol.name for symbol in findings.symbols]


async def test_all_that_is_recorded_is_reported_under_the_real_names() -> None:
    recorded = RecordedResults(PASS, PASS, PASS, mail_from="b@bounce.example.com", spf_domain="bounce.example.com")
    findings = await judged(recorded, mail("example.com"))
    assert names(findings) == ["SPF_PASS", "DKIM_VALID", "DMARC_PASS"]
    assert [(auth.method, auth.outcome, auth.domain) for auth in findings.auth] == [
        ("spf", PASS, "bounce.example.com"),
        ("dkim", PASS, "example.com"),
        ("dmarc", PASS, "shop.example.com"),
    ]
    assert dict(findings.auth[0].properties) == {"smtp.mailfrom": "b@bounce.example.com"}


async def test_what_is_unknown_is_not_reported() -> None:
    for recorded in (None, RecordedResults()):
        findings = await judged(recorded)
        assert not names(findings)
        assert not findings.auth
        assert {result.status for result in findings.results} == {CheckStatus.SKIPPED}
    findings = await judged(RecordedResults(dkim=NONE))
    assert names(findings) == ["DKIM_NONE"]


@pytest.mark.parametrize(
    ("dkim", "dmarc", "signers", "expected"),
    [
        (PASS, PASS, ("esp.test", "example.com"), "example.com"),  # the aligned one
        (PASS, PASS, ("esp.test", "mail.example.com"), "mail.example.com"),
        (PASS, None, ("esp.test", "other.test"), "esp.test"),  # none is: the first
        (PASS, FAIL, ("example.com", "esp.test"), "esp.test"),  # DMARC failed: the aligned one cannot have passed
        (PASS, FAIL, ("example.com",), ""),
        (FAIL, FAIL, ("esp.test", "example.com"), "example.com"),
        (PASS, PASS, (), "shop.example.com"),  # lost, but DMARC passed without SPF
        (PASS, NONE, (), ""),
        (PASS, PASS, ("no domain", "EXAMPLE.com."), "example.com"),
    ],
)
async def test_which_signature_a_result_means(
    dkim: AuthOutcome, dmarc: AuthOutcome | None, signers: tuple[str, ...], expected: str
) -> None:
    findings = await judged(RecordedResults(dkim=dkim, dmarc=dmarc), mail(*signers))
    result = findings.result("dkim")
    assert result is not None
    assert [auth.domain for auth in result.auth] == [expected]


async def test_spf_alone_may_be_why_dmarc_passed() -> None:
    recorded = RecordedResults(PASS, PASS, PASS, mail_from=AUTHOR, spf_domain="shop.example.com")
    result = (await judged(recorded)).result("dkim")
    assert result is not None
    assert result.auth[0].domain == ""


async def test_a_failed_dmarc_asks_for_nothing_unless_it_is_known_what() -> None:
    findings = await judged(RecordedResults(dmarc=FAIL))
    assert names(findings) == ["DMARC_FAIL_NONE"]
    assert findings.results[-1].dmarc_policy is DmarcPolicy.NONE
    findings = await judged(RecordedResults(dmarc=FAIL, dmarc_policy=DmarcPolicy.REJECT))
    assert names(findings) == ["DMARC_FAIL_REJECT"]
    assert findings.results[-1].dmarc_policy is DmarcPolicy.REJECT


async def test_a_recorded_temperror_is_as_visible_as_a_real_one() -> None:
    findings = await judged(RecordedResults(spf=AuthOutcome.TEMPERROR))
    assert names(findings) == ["SPF_TEMPERROR"]
    assert findings.failed_checks == ("spf",)


class Live:
    """A check that ends as it is told."""

    needs: tuple[str, ...] = ()

    def __init__(self, name: str, status: CheckStatus) -> None:
        self.name = name
        self.status = status
        self.asked = 0

    async def run(self, context: CheckContext, results: Mapping[str, CheckResult]) -> CheckResult:
        self.asked += 1
        return CheckResult(self.name, self.status, (Symbol(f"LIVE_{self.name.upper()}"),))


async def test_what_can_be_looked_up_goes_before_what_was_recorded() -> None:
    live = {"spf": Live("spf", CheckStatus.OK), "dkim": Live("dkim", CheckStatus.TEMPERROR)}
    findings = await judged(RecordedResults(FAIL, PASS), live=live)
    assert names(findings) == ["LIVE_SPF", "DKIM_VALID"]
    findings = await judged(None, live=live)
    assert names(findings)[:2] == ["LIVE_SPF", "LIVE_DKIM"]


async def test_spf_is_not_looked_up_without_a_client() -> None:
    live = {"spf": Live("spf", CheckStatus.OK)}
    assert names(await judged(RecordedResults(FAIL), live=live, ip="127.0.0.1")) == ["SPF_FAIL"]
    assert not live["spf"].asked


async def test_one_mails_results_are_not_anothers() -> None:
    recordings = Recordings()
    with recordings.of("a", RecordedResults(PASS)):
        assert recordings.get("b") is None
        with recordings.of("b", RecordedResults(FAIL)):
            assert recordings.get("a") == RecordedResults(PASS)
    assert recordings.get("a") is recordings.get("b") is None
