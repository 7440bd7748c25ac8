"""Mails and authentication results for the tests of the identity check."""

from __future__ import annotations

from collections.abc import Mapping

from mailguard.checks.identity import IdentityCheck
from mailguard.core.verdict import AuthMethod, AuthOutcome, AuthResult, CheckResult
from tests.unit.checks.contexts import context

FAILED = {
    "spf": CheckResult("spf", auth=(AuthResult(AuthMethod.SPF, AuthOutcome.FAIL, "b.example"),)),
    "dkim": CheckResult("dkim", auth=(AuthResult(AuthMethod.DKIM, AuthOutcome.NONE),)),
}
"""Both SPF and DKIM gave a result, and neither passes."""


def PASSED(*domains: str) -> dict[str, CheckResult]:  # noqa: N802 - stands beside FAILED
    """DKIM signatures of these domains verify; SPF has no result of use."""
    auth = tuple(AuthResult(AuthMethod.DKIM, AuthOutcome.PASS, domain) for domain in domains)
    spf = CheckResult("spf", auth=(AuthResult(AuthMethod.SPF, AuthOutcome.NONE),))
    return {"spf": spf, "dkim": CheckResult("dkim", auth=auth)}


def mail(author: str, subject: str, html: str = "", *fields: str, plain: str = "") -> bytes:
    """A mail with one HTML text, or a plain one. `fields` are further lines of its header."""
    kind, body = ("plain", plain) if plain else ("html", f"<html><body>{html}</body></html>")
    lines = [f"From: {author}", f"Subject: {subject}", *fields]
    if not any(field.lower().startswith("to:") for field in fields):
        lines.append("To: you@client.test")
    lines += [f"Content-Type: text/{kind}; charset=utf-8", "", body, ""]
    return "\r\n".join(lines).encode()


async def symbols(
    raw: bytes, results: Mapping[str, CheckResult] | None = None, *, mail_from: str = ""
) -> dict[str, tuple[str, ...]]:
    """The symbols that the check reports, each with its evidence."""
    result = await IdentityCheck().run(context(raw, mail_from=mail_from), results or {})
    return {symbol.name: symbol.evidence for symbol in result.symbols}


async def names(raw: bytes, results: Mapping[str, CheckResult] | None = None, *, mail_from: str = "") -> set[str]:
    """Their names."""
    return set(await symbols(raw, results, mail_from=mail_from))
