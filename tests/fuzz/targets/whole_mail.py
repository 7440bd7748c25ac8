"""A hostile mail through what the relay does with it: content rules, all checks, the header it goes out with."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from mailguard.checks.arc import ArcCheck
from mailguard.checks.attachments import AttachmentsCheck
from mailguard.checks.base import Check, CheckContext
from mailguard.checks.dkim import DkimCheck
from mailguard.checks.dmarc import DmarcCheck
from mailguard.checks.rules import EVIDENCE_LIMIT, PLACES, TEXT_LIMIT, Rules, RulesCheck, text_of
from mailguard.checks.rules_file import load_rules
from mailguard.checks.spf import SpfCheck
from mailguard.core.envelope import Envelope, Session
from mailguard.core.verdict import CheckResult, CheckStatus
from mailguard.message.headers import authentication_results
from mailguard.message.parse import parse
from tests.fuzz.step_loop import run as answer
from tests.fuzz.target import Input, Target
from tests.fuzz.targets.authentication import HostileDns, _signed
from tests.fuzz.targets.mime import MAILS, TOKENS
from tests.fuzz.targets.stamps import _fields

_RULES = Path(__file__).parents[3] / "policies" / "rules"


@cache
def _rules() -> Rules:
    return load_rules(_RULES)


@cache
def _checks() -> tuple[Check, ...]:
    return (SpfCheck(), DkimCheck(), ArcCheck(), DmarcCheck(), AttachmentsCheck(), RulesCheck(_rules))


def _context(source: Input) -> CheckContext:
    helo, mail_from = source.text()[:255], source.text()[:254]
    texts = [source.part() for _ in range(source.below(3))]
    return CheckContext(
        session=Session("s", "192.0.2.65", helo=helo, esmtp=True),
        envelope=Envelope("01JDF00000000000000000000X", mail_from),
        message=parse(source.long_rest()),
        resolver=HostileDns(texts),
        hostname="mx.relay.test",
        authserv_id="mx.relay.test",
    )


def rules(data: bytes) -> None:
    """The rules as they are shipped, over a mail."""
    context = _context(Input(data))
    for place in (*(place for place in PLACES if place != "header"), "header:list-id", "header:received"):
        text = text_of(place, context)
        assert isinstance(text, bytes)
        assert len(text) <= 4 * TEXT_LIMIT + 4096
    found = _rules().match(context)
    known = {rule.name: rule for rule in _rules().rules}
    for name, evidence in found.items():
        assert name in known
        assert len(evidence) <= 3
        assert all(len(one) <= EVIDENCE_LIMIT for one in evidence)
    for symbol in _rules().symbols(context):
        assert symbol.name in found
        assert not symbol.name.startswith("_")


def checks(data: bytes) -> None:
    """Every check that needs no server, one after the other, and the field that tells of them."""
    context = _context(Input(data))
    results: dict[str, CheckResult] = {}
    for check in _checks():
        results[check.name] = answer(check.run(context, results))
        assert results[check.name].check == check.name
        assert results[check.name].status in CheckStatus
    auth = [result for name in results for result in results[name].auth]
    assert auth
    block = authentication_results("mx.relay.test", auth)
    fields, rest = _fields(block)
    assert len(fields) == 1
    assert not rest
    assert block.isascii()
    assert max(map(len, block.split(b"\r\n"))) <= 998


_START = b"mx.a.test\0\0a@a.test\0\0\x01v=spf1 a mx -all\0\0"
_SEEDS = (*(_START + mail for mail in MAILS), _START + _signed(), "ä\0\0\0\0\x00Subject: Виагра\r\n\r\nx".encode())
_TOKENS = (*TOKENS, b"Authentication-Results: ", b"DKIM-Signature: ", b"List-Id: ", b"Received: ", b"http://", b"\0\0")
TARGETS = (
    Target("rules", rules, _SEEDS, _TOKENS, max_length=8192),
    Target("checks", checks, _SEEDS, _TOKENS, max_length=8192),
)
