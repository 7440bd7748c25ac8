"""SPF, DKIM and DMARC as an earlier receiver recorded them, for mail whose records cannot be looked up (any more).

The results bear the names of the real checks, so that whatever builds on these sees them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType

from mailguard.checks import dkim, dmarc, spf
from mailguard.checks.base import Check, CheckContext
from mailguard.checks.dkim_tags import SignatureError, parse_tags
from mailguard.checks.dmarc_evaluate import DmarcResult
from mailguard.checks.spf_query import SpfResult
from mailguard.core.address import domain_of
from mailguard.core.verdict import AuthMethod, AuthOutcome, AuthResult, CheckResult, CheckStatus, DmarcPolicy, Symbol
from mailguard.message.message import Message
from mailguard.net.dns import lookup_name
from mailguard.net.suffixes import aligned


@dataclass(frozen=True, slots=True)
class RecordedResults:
    """What was recorded of one mail; None: unknown.

    `mail_from` is the sender that SPF was evaluated for (empty: unknown, or the null sender), `spf_domain` its domain, or
    that of HELO. `dmarc_policy` is what the domain's owner asks for when DMARC failed.
    """

    spf: AuthOutcome | None = None
    dkim: AuthOutcome | None = None
    dmarc: AuthOutcome | None = None
    mail_from: str = ""
    spf_domain: str = ""
    dmarc_policy: DmarcPolicy = DmarcPolicy.NONE


class Recordings:
    """Where the checks find what was recorded of the mails that are being scanned, by our id of each."""

    def __init__(self) -> None:
        self._of: dict[str, RecordedResults] = {}

    @contextmanager
    def of(self, message_id: str, results: RecordedResults | None) -> Iterator[None]:
        """Let the checks of this mail see `results` for as long as the context lasts."""
        if results is not None:
            self._of[message_id] = results
        try:
            yield
        finally:
            self._of.pop(message_id, None)

    def get(self, message_id: str) -> RecordedResults | None:
        """What was recorded of a mail."""
        return self._of.get(message_id)


class RecordedAuth:
    """Stands for the check `name` (spf, dkim or dmarc): reports what was recorded, and nothing (SKIPPED) where it is unknown.

    With `live`, that check runs, and what was recorded counts only where it could not be done.
    """

    def __init__(self, name: str, recordings: Recordings, *, live: Check | None = None) -> None:
        self.name = name
        self.needs: tuple[str, ...] = live.needs if live else ()
        self._recordings = recordings
        self._live = live
        self._report = _REPORTS[name]

    async def run(self, context: CheckContext, results: Mapping[str, CheckResult]) -> CheckResult:
        """See Check."""
        found = CheckResult(self.name, CheckStatus.SKIPPED)
        # Without a client's address SPF cannot be looked up.
        if self._live and not (self.name == "spf" and context.session.address.is_loopback):
            found = await self._live.run(context, results)
        if found.status is CheckStatus.OK:
            return found
        recorded = self._recordings.get(context.envelope.message_id)
        return (self._report(context, recorded) if recorded else None) or found


def _spf(context: CheckContext, recorded: RecordedResults) -> CheckResult | None:
    if recorded.spf is None:
        return None
    identity = "mailfrom" if recorded.mail_from else "helo"
    result = SpfResult(identity, recorded.spf_domain, recorded.spf)
    symbol = Symbol(
        f"SPF_{recorded.spf.upper()}",
        spf.SCORES.get(recorded.spf, 0.0),
        f"SPF as recorded: {recorded.spf}",
        (recorded.spf_domain,) if recorded.spf_domain else (),
    )
    return _result("spf", recorded.spf, symbol, spf.auth_result(result, recorded.mail_from))


def _dkim(context: CheckContext, recorded: RecordedResults) -> CheckResult | None:
    outcome = recorded.dkim
    if outcome is None:
        return None
    if outcome not in dkim.SYMBOLS:
        symbol = Symbol("DKIM_NONE", 0.1, "no DKIM signature, as recorded")
        return _result("dkim", AuthOutcome.NONE, symbol, AuthResult(AuthMethod.DKIM, AuthOutcome.NONE))
    domain = signer(context.message, recorded)
    name, score, description = dkim.SYMBOLS[outcome]
    symbol = Symbol(name, score, f"{description}, as recorded", (domain,) if domain else ())
    properties = (("header.d", domain),) if domain else ()
    return _result("dkim", outcome, symbol, AuthResult(AuthMethod.DKIM, outcome, domain, "recorded", properties))


def _dmarc(context: CheckContext, recorded: RecordedResults) -> CheckResult | None:
    outcome = recorded.dmarc
    if outcome is None:
        return None
    domains = dmarc.author_domains(context.message)
    domain = domains[0] if len(domains) == 1 else ""
    policy = recorded.dmarc_policy if outcome is AuthOutcome.FAIL else None
    word, score = str(outcome).upper(), 0.0
    if policy is not None:
        word, score = f"FAIL_{policy.upper()}", dmarc.FAIL_SCORES[policy]
    symbol = Symbol(f"DMARC_{word}", score, f"DMARC as recorded: {outcome}", domains)
    auth = dmarc.auth_result(DmarcResult(outcome, domain, policy, reason="recorded"))
    return _result("dmarc", outcome, symbol, auth, policy)


_REPORTS = MappingProxyType({"spf": _spf, "dkim": _dkim, "dmarc": _dmarc})


def _result(
    check: str, outcome: AuthOutcome, symbol: Symbol, auth: AuthResult, policy: DmarcPolicy | None = None
) -> CheckResult:
    status = CheckStatus.TEMPERROR if outcome is AuthOutcome.TEMPERROR else CheckStatus.OK
    return CheckResult(check, status, (symbol,), (auth,), dmarc_policy=policy, detail="recorded")


def signer(message: Message, recorded: RecordedResults) -> str:
    """The d= (as A-labels) that a recorded result of DKIM most likely means; empty when it cannot be told.

    A record says `pass`, not of which signature. One that is aligned with From is what receivers look at first; but when
    DKIM passed and DMARC failed, an aligned one cannot have.
    """
    authors = dmarc.author_domains(message)
    found = tuple(_signing_domains(message))
    of_author = [domain for domain in found if any(aligned(domain, author) for author in authors)]
    if recorded.dkim is AuthOutcome.PASS and recorded.dmarc is AuthOutcome.FAIL:
        return next((domain for domain in found if domain not in of_author), "")
    if of_author or found:
        return (of_author or found)[0]
    # The signature is lost, but an author's domain that passed DMARC without SPF's help can only have signed.
    by_spf = recorded.spf is AuthOutcome.PASS and any(aligned(recorded.spf_domain, author) for author in authors)
    vouched = recorded.dkim is AuthOutcome.PASS and recorded.dmarc is AuthOutcome.PASS and len(authors) == 1
    return authors[0] if vouched and not by_spf else ""


def _signing_domains(message: Message) -> Iterator[str]:
    for field in message.fields("dkim-signature"):
        try:
            tags = parse_tags(field.value)
        except SignatureError:
            continue
        domain = lookup_name(tags.get(b"d", b"").decode("utf-8", "replace"))
        if domain and "." in domain:
            yield domain


def domain_in(mail_from: str) -> str:
    """The domain of an envelope sender in look-up form; empty when there is none."""
    return lookup_name(domain_of(mail_from)) or ""
