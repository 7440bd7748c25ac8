"""The DMARC check: the Author Domains of a mail against what SPF and DKIM authenticated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from mailguard.checks.arc_trust import vouching_for
from mailguard.checks.base import CheckContext
from mailguard.checks.dmarc_evaluate import DmarcResult, evaluate
from mailguard.checks.eager import together
from mailguard.core.address import domain_of
from mailguard.core.verdict import AuthMethod, AuthOutcome, AuthResult, CheckResult, CheckStatus, DmarcPolicy, Symbol
from mailguard.message.parse import Message
from mailguard.net.dns import lookup_name

__all__ = ["DmarcCheck", "DmarcResult", "auth_result", "evaluate"]

DOMAIN_LIMIT = 4
"""Author Domains of one mail that are evaluated."""

FAIL_SCORES = {DmarcPolicy.NONE: 0.0, DmarcPolicy.QUARANTINE: 2.0, DmarcPolicy.REJECT: 3.0}
"""RFC 9989 §5.4: a policy of none must not change how mail is handled."""
_STRICTNESS = (DmarcPolicy.NONE, DmarcPolicy.QUARANTINE, DmarcPolicy.REJECT)


class DmarcCheck:
    """Reports DMARC_PASS, DMARC_FAIL_NONE, DMARC_FAIL_QUARANTINE, DMARC_FAIL_REJECT, DMARC_NONE, DMARC_TEMPERROR or
    DMARC_PERMERROR (no From, or several Author Domains: then DMARC_MULTIPLE_FROM as well).

    Several Author Domains cannot pass (RFC 9989 §5.3.1), and each is evaluated: adding a From of one's own must not switch
    off the policy of the other. The gravest failed policy is reported.

    DMARC_RESCUED instead of DMARC_FAIL_*: a sealer of the ARC chain that is trusted saw it pass. The result stays fail, but
    the owner's policy is not applied.
    """

    name = "dmarc"
    needs: tuple[str, ...] = ("spf", "dkim", "arc")

    async def run(self, context: CheckContext, results: Mapping[str, CheckResult]) -> CheckResult:
        """See Check."""
        fields = len(context.message.fields("from"))
        domains = author_domains(context.message)
        if not domains:
            reason = "no domain in From" if fields else "no From field"
            symbol = Symbol("DMARC_PERMERROR", 1.0, reason)
            auth = AuthResult(AuthMethod.DMARC, AuthOutcome.PERMERROR, "", reason)
            return CheckResult(self.name, symbols=(symbol,), auth=(auth,), detail=reason)
        identifiers = _identifiers(context, results)
        evaluated: Sequence[DmarcResult] = (
            [await evaluate(context.resolver, domains[0], identifiers)]
            if len(domains) == 1
            else await together(*(evaluate(context.resolver, domain, identifiers) for domain in domains[:DOMAIN_LIMIT]))
        )
        if lost := [name for name in ("spf", "dkim") if _lost(results.get(name))]:
            evaluated = [_undecided(result, lost) for result in evaluated]
        if len(domains) == 1 and fields == 1:
            return self._rescued(evaluated[0], results.get("arc")) or self._single(evaluated[0])
        return self._several(domains, evaluated, repeated=fields > 1)

    def _rescued(self, result: DmarcResult, arc: CheckResult | None) -> CheckResult | None:
        """The result when the policy is overridden for what a trusted sealer found (RFC 8617 §7.2.1); None: it is not."""
        if arc is None or result.outcome is not AuthOutcome.FAIL or result.policy is None:
            return None
        claim = vouching_for(result.domain, arc.vouched)
        if claim is None:
            return None
        override = f"local_policy: {arc.detail}"
        says = f"{claim.reason} says {claim.method}={claim.outcome} {claim.domain}"
        description = f"DMARC of {result.domain} failed on the way; a trusted sealer saw it authentic"
        return CheckResult(
            self.name,
            symbols=(Symbol("DMARC_RESCUED", 0.0, description, (result.domain, says)),),
            auth=(auth_result(replace(result, reason=override)),),
            dmarc_override=override,
            detail=f"{override}; {says}",
        )

    def _single(self, result: DmarcResult) -> CheckResult:
        word, score = str(result.outcome).upper(), 0.0
        if result.policy is not None:
            word, score = f"FAIL_{result.policy.upper()}", FAIL_SCORES[result.policy]
        symbol = Symbol(f"DMARC_{word}", score, f"DMARC of {result.domain}: {result.outcome}", (result.domain,))
        failed = result.outcome is AuthOutcome.TEMPERROR
        return CheckResult(
            self.name,
            CheckStatus.TEMPERROR if failed else CheckStatus.OK,
            (symbol,),
            (auth_result(result),),
            dmarc_policy=result.policy,
            detail=result.reason or result.aligned,
        )

    def _several(self, domains: Sequence[str], evaluated: Sequence[DmarcResult], *, repeated: bool) -> CheckResult:
        reason = "several From fields" if repeated else "several domains in From"
        policies = [result.policy for result in evaluated if result.policy is not None]
        symbols = (
            Symbol("DMARC_PERMERROR", 1.0, reason, tuple(domains)),
            Symbol("DMARC_MULTIPLE_FROM", 3.0 if repeated else 1.0, reason, tuple(domains)),
        )
        return CheckResult(
            self.name,
            symbols=symbols,
            auth=(AuthResult(AuthMethod.DMARC, AuthOutcome.PERMERROR, "", reason),),
            dmarc_policy=max(policies, key=_STRICTNESS.index) if policies else None,
            detail=reason,
        )


def _lost(result: CheckResult | None) -> bool:
    """Whether a check ended without any result (it ran out of time, or broke)."""
    return result is not None and result.status is CheckStatus.TEMPERROR and not result.auth


def _undecided(result: DmarcResult, lost: Sequence[str]) -> DmarcResult:
    """A failure becomes a temperror when it may be for want of a result (RFC 9989 §5.3.6)."""
    if result.outcome is not AuthOutcome.FAIL:
        return result
    return replace(result, outcome=AuthOutcome.TEMPERROR, policy=None, reason=f"no result of {' and '.join(lost)}")


def author_domains(message: Message) -> tuple[str, ...]:
    """The domains of all From addresses as A-labels, each once. Address literals and what is no domain are left out."""
    found = (lookup_name(domain_of(address)) for address in message.from_addresses)
    return tuple(dict.fromkeys(domain for domain in found if domain and not domain.startswith("[")))


def _identifiers(context: CheckContext, results: Mapping[str, CheckResult]) -> list[AuthResult]:
    """What may be aligned: SPF of MAIL FROM, or of HELO for the null sender (RFC 9989 §4.4.2), and DKIM's signatures."""
    wanted = "smtp.mailfrom" if context.envelope.mail_from else "smtp.helo"
    spf = [auth for auth in _auth(results, "spf") if any(name == wanted for name, _ in auth.properties)]
    return [*spf, *_auth(results, "dkim")]


def _auth(results: Mapping[str, CheckResult], check: str) -> tuple[AuthResult, ...]:
    result = results.get(check)
    return result.auth if result is not None else ()


def auth_result(result: DmarcResult) -> AuthResult:
    """The result as a part of Authentication-Results (RFC 9989 §9.1)."""
    properties: tuple[tuple[str, str], ...] = (("header.from", result.domain),)
    if result.policy is not None:
        properties = (*properties, ("policy.dmarc", str(result.policy)))
    return AuthResult(AuthMethod.DMARC, result.outcome, result.domain, result.reason, properties)
