"""Who may be told of a failure: table of senders and what was authenticated."""

from __future__ import annotations

import pytest

from mailguard.core.envelope import RcptOptions
from mailguard.core.verdict import AuthMethod, AuthOutcome, AuthResult
from mailguard.delivery.bounce_rule import may_bounce, wants_failure
from mailguard.net.suffixes import aligned

PASS = AuthOutcome.PASS


def spf(domain: str, outcome: AuthOutcome = PASS, name: str = "smtp.mailfrom") -> AuthResult:
    return AuthResult(AuthMethod.SPF, outcome, domain, properties=((name, domain),))


def dkim(domain: str, outcome: AuthOutcome = PASS) -> AuthResult:
    return AuthResult(AuthMethod.DKIM, outcome, domain)


CASES = [
    # mail_from, auth, may it be told
    ("a@remote.test", [], False),
    ("", [spf("remote.test")], False),
    ("postmaster", [spf("remote.test")], False),
    ("a@remote.test", [spf("remote.test")], True),
    ("A@Remote.Test.", [spf("remote.test")], True),
    ("a@remote.test", [spf("remote.test", AuthOutcome.SOFTFAIL)], False),
    ("a@remote.test", [spf("remote.test", AuthOutcome.FAIL)], False),
    ("a@remote.test", [spf("remote.test", AuthOutcome.TEMPERROR)], False),
    ("a@remote.test", [spf("remote.test", name="smtp.helo")], False),
    ("a@remote.test", [spf("other.test")], False),
    ("a@sub.remote.test", [spf("remote.test")], False),
    ("a@remote.test", [dkim("remote.test")], True),
    ("a@bounce.remote.test", [dkim("remote.test")], True),
    ("a@remote.test", [dkim("mail.remote.test")], True),
    ("a@bounce.remote.co.uk", [dkim("mail.remote.co.uk")], True),
    ("a@victim.co.uk", [dkim("attacker.co.uk")], False),
    ("a@victim.co.uk", [dkim("co.uk")], False),
    ("a@remote.test", [dkim("remote.test", AuthOutcome.FAIL)], False),
    ("a@remote.test", [dkim("notremote.test")], False),
    ("a@remote.test", [dkim("other.test"), spf("remote.test", AuthOutcome.FAIL), dkim("remote.test")], True),
    ("a@remote.test", [AuthResult(AuthMethod.DMARC, PASS, "remote.test")], False),
    ("a@remote.test", [AuthResult(AuthMethod.ARC, PASS, "remote.test")], False),
    ("a@bücher.test", [spf("xn--bcher-kva.test")], True),
    ("a@[192.0.2.1]", [spf("")], False),
]


@pytest.mark.parametrize(("mail_from", "auth", "told"), CASES)
def test_may_bounce(mail_from: str, auth: list[AuthResult], told: bool) -> None:
    assert may_bounce(mail_from, auth) is told


@pytest.mark.parametrize(
    ("notify", "wanted"),
    [((), True), (("FAILURE",), True), (("DELAY", "failure"), True), (("NEVER",), False), (("SUCCESS",), False)],
)
def test_notify(notify: tuple[str, ...], wanted: bool) -> None:
    assert wants_failure(RcptOptions(notify)) is wanted


def test_alignment_is_symmetric() -> None:
    assert aligned("a.remote.test", "b.remote.test")
    assert not aligned("a.test", "b.test")
    assert not aligned("test", "a.test")
