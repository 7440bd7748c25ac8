"""Mail of a list that breaks DMARC, with real signatures and seals: rescued when the sealers are trusted, and only then."""

from __future__ import annotations

import pytest

from mailguard.checks.arc import ArcCheck
from mailguard.checks.arc_trust import trusted_from, vouching_for
from mailguard.checks.base import Check, CheckContext
from mailguard.checks.dkim import DkimCheck
from mailguard.checks.dmarc import DmarcCheck
from mailguard.checks.runner import Runner
from mailguard.checks.spf import SpfCheck
from mailguard.core.decision import Action, Decision, Reason
from mailguard.core.envelope import Envelope, Recipient
from mailguard.core.tenant import Tenant
from mailguard.core.verdict import AuthMethod, AuthOutcome, AuthResult, DmarcPolicy, Findings
from mailguard.message.headers import authentication_results
from mailguard.net.dns import Zone
from mailguard.policy.decide import decide
from mailguard.policy.profile import Policy
from mailguard.policy.score import score
from tests.unit.checks.mail import context
from tests.unit.checks.sealing import sealed
from tests.unit.checks.signing import RAW, rsa_signer, signed

KEY = {"TXT": [rsa_signer().record]}
ZONE: Zone = {
    "_dmarc.a.test": {"TXT": ["v=DMARC1; p=reject"]},
    **{f"s1._domainkey.{domain}": KEY for domain in ("a.test", "inbox.test", "list.test", "evil.test")},
}
DMARC_PASS = "dmarc=pass (p=REJECT) header.from=a.test"
NOW = 1_800_000_000_000


def listed(*, says: str = DMARC_PASS, first: str = "inbox.test", last: str = "list.test", raw: bytes = RAW) -> bytes:
    """The mail as a list sends it on: signed by its author, sealed on its way in, changed, sealed on its way out."""
    raw = sealed(signed(raw), domain=first, says=says)
    raw = raw.replace(b"Subject:  Hello", b"Subject: [list] Hello").replace(b"Bye\r\n", b"Bye\r\n-- \r\nthe list\r\n")
    return sealed(raw, domain=last, instance=2, status="pass", says="dmarc=fail header.from=a.test")


async def find(raw: bytes, *trusted: str) -> tuple[CheckContext, Findings]:
    given = context(ZONE, raw=raw, mail_from="bounces@list.test", ip="192.0.2.1")
    checks: list[Check] = [
        SpfCheck(),
        DkimCheck(clock=lambda: NOW),
        DmarcCheck(),
        ArcCheck(trusted=trusted, clock=lambda: NOW),
    ]
    return given, await Runner(checks, budget=20).run(given)


def dmarc(findings: Findings) -> tuple[list[str], DmarcPolicy | None]:
    result = findings.result("dmarc")
    assert result is not None
    return [symbol.name for symbol in result.symbols], result.dmarc_policy


def decision(given: CheckContext, findings: Findings) -> Decision:
    recipient = Recipient("bob@client.test", 2, "client.test")
    verdict = score(
        findings,
        tenant=Tenant(2, "acme"),
        policy=Policy(),
        envelope=Envelope("m", given.envelope.mail_from, recipients=(recipient,)),
        session=given.session,
        now_ms=NOW,
    )
    return decide(verdict, Policy(), recipient)


async def test_a_list_that_is_trusted_is_not_quarantined_for_dmarc() -> None:
    given, findings = await find(listed(), "inbox.test", "list.test")
    assert dmarc(findings) == (["DMARC_RESCUED"], None)
    assert (decided := decision(given, findings)).action is Action.DELIVER
    assert decided.reason is Reason.CLEAN
    assert decided.explanation.endswith(
        "; DMARC failed, but local_policy: arc=pass as[2].d=list.test as[2].s=s1 as[1].d=inbox.test as[1].s=s1"
    )
    field = authentication_results("mx.test", findings.auth).replace(b"\r\n\t", b" ")
    assert b"dmarc=fail (local_policy: arc=pass as[2].d=list.test" in field
    assert b"header.from=a.test policy.dmarc=reject" in field
    (symbol,) = (symbol for symbol in findings.symbols if symbol.name == "DMARC_RESCUED")
    assert symbol.evidence == ("a.test", "i=1 inbox.test says dmarc=pass a.test")
    (trusted,) = (symbol for symbol in findings.symbols if symbol.name == "ARC_TRUSTED")
    assert trusted.evidence == ("list.test", "inbox.test")


async def test_without_trust_dmarc_counts() -> None:
    given, findings = await find(listed())
    assert dmarc(findings) == (["DMARC_FAIL_REJECT"], DmarcPolicy.REJECT)
    assert (decision(given, findings).action, decision(given, findings).reason) == (
        Action.QUARANTINE,
        Reason.DMARC_FAIL,
    )


@pytest.mark.parametrize(
    ("raw", "trusted"),
    [
        (listed(first="evil.test"), ("list.test",)),  # made up below the one that is trusted
        (listed(last="evil.test"), ("inbox.test",)),  # the last one may have changed all
        (listed(says="dmarc=fail header.from=a.test; dkim=pass header.d=a.test"), ("inbox.test", "list.test")),
        (listed(says="dmarc=pass header.from=other.test"), ("inbox.test", "list.test")),
        (listed(says="none"), ("inbox.test", "list.test")),
        (listed(says="spf=pass smtp.mailfrom=x@evil.test"), ("inbox.test", "list.test")),
        (listed().replace(b"the list", b"the l1st"), ("inbox.test", "list.test")),  # changed after the last seal
        (listed().replace(b"header.from=a.test", b"header.from=b.test"), ("inbox.test", "list.test")),
        (signed(RAW.replace(b"ann@a.test>", b"ann@a.test>, eve@b.test")), ("inbox.test", "list.test")),
    ],
)
async def test_nothing_else_rescues(raw: bytes, trusted: tuple[str, ...]) -> None:
    _, findings = await find(raw, *trusted)
    assert "DMARC_RESCUED" not in {symbol.name for symbol in findings.symbols}


async def test_a_mail_that_passes_by_itself_needs_no_rescue() -> None:
    _, findings = await find(sealed(signed(), domain="list.test", says=DMARC_PASS), "list.test")
    assert dmarc(findings) == (["DMARC_PASS"], None)


async def test_two_authors_are_never_rescued() -> None:
    raw = RAW.replace(b"From: Ann <ann@a.test>", b"From: Ann <ann@a.test>, Eve <eve@evil.test>")
    _, findings = await find(listed(raw=raw), "inbox.test", "list.test")
    assert "DMARC_MULTIPLE_FROM" in dmarc(findings)[0]
    assert dmarc(findings)[1] is DmarcPolicy.REJECT


def test_trust_ends_at_the_first_who_is_not_trusted() -> None:
    assert trusted_from(("a.test", "b.test", "c.test"), ("c.test", "a.test")) == 3
    assert trusted_from(("a.test", "x.b.test", "c.test"), ("c.test", "b.test", "a.test")) == 1
    assert trusted_from(("a.test", "notb.test"), ("b.test",)) == 0
    assert trusted_from((), ("b.test",)) == 0


def claim(method: AuthMethod, domain: str, outcome: AuthOutcome = AuthOutcome.PASS) -> AuthResult:
    return AuthResult(method, outcome, domain)


def test_an_aligned_identifier_vouches_where_nothing_is_said_of_dmarc() -> None:
    spf, dkim, dmarc = AuthMethod.SPF, AuthMethod.DKIM, AuthMethod.DMARC
    assert vouching_for("news.a.test", [claim(spf, "evil.test"), claim(dkim, "mail.a.test")]) == claim(
        dkim, "mail.a.test"
    )
    assert vouching_for("a.test", [claim(dkim, "a.test", AuthOutcome.FAIL)]) is None
    assert vouching_for("a.test", [claim(dkim, "a.test"), claim(dmarc, "a.test", AuthOutcome.FAIL)]) is None
    both = [claim(dmarc, "a.test", AuthOutcome.FAIL), claim(dmarc, "a.test")]
    assert vouching_for("a.test", both) == both[1]
