"""The SPF check: the MAIL FROM identity, and HELO beside it (RFC 7208 §2.3, §2.4)."""

from __future__ import annotations

from collections.abc import Mapping

from mailguard.checks.base import CheckContext
from mailguard.checks.eager import together
from mailguard.checks.spf_memory import SpfMemory
from mailguard.checks.spf_query import SpfResult, check_spf
from mailguard.core.verdict import AuthMethod, AuthOutcome, AuthResult, CheckResult, CheckStatus, Symbol

__all__ = ["SpfCheck", "SpfResult", "auth_result", "check_spf"]

SCORES: Mapping[AuthOutcome, float] = {
    AuthOutcome.PASS: 0.0,
    AuthOutcome.FAIL: 2.5,
    AuthOutcome.SOFTFAIL: 1.0,
    AuthOutcome.NEUTRAL: 0.3,
    AuthOutcome.NONE: 0.2,
    AuthOutcome.PERMERROR: 0.5,
    AuthOutcome.TEMPERROR: 0.0,
}
"""Default points of SPF_PASS and so on. A fail alone never condemns: forwarders break SPF."""
HELO_SCORES: Mapping[AuthOutcome, float] = {AuthOutcome.FAIL: 1.5, AuthOutcome.SOFTFAIL: 0.5}
"""Default points of SPF_HELO_FAIL and so on; no forwarder changes whom a client says it is."""


class SpfCheck:
    """Reports SPF_<RESULT> for MAIL FROM, or HELO when the sender is null; SPF_HELO_<RESULT> when HELO has a result of its own."""

    name = "spf"
    needs: tuple[str, ...] = ()

    def __init__(self) -> None:
        self._memory = SpfMemory()

    async def run(self, context: CheckContext, results: Mapping[str, CheckResult]) -> CheckResult:
        """See Check. A temperror of MAIL FROM makes the check one."""
        ip, helo = str(context.session.address), context.session.helo
        sender = context.envelope.mail_from
        # The null sender's result is of HELO already.
        senders = (sender, "") if sender and helo else (sender,)
        main, *others = await together(
            *(
                check_spf(
                    context.resolver, ip=ip, helo=helo, mail_from=one, hostname=context.hostname, memory=self._memory
                )
                for one in senders
            )
        )
        symbols = [_symbol("SPF", main, SCORES)]
        auth = [auth_result(main, sender)]
        for of_helo in others:
            if of_helo.outcome is not AuthOutcome.NONE and of_helo.domain != main.domain:
                symbols.append(_symbol("SPF_HELO", of_helo, HELO_SCORES))
                auth.append(auth_result(of_helo, ""))
        failed = main.outcome is AuthOutcome.TEMPERROR
        return CheckResult(
            self.name,
            CheckStatus.TEMPERROR if failed else CheckStatus.OK,
            tuple(symbols),
            tuple(auth),
            detail=main.reason or main.mechanism,
        )


def auth_result(result: SpfResult, mail_from: str) -> AuthResult:
    """The result as a part of Authentication-Results (RFC 8601 §2.7.2)."""
    if result.identity == "helo":
        properties = (("smtp.helo", result.domain),) if result.domain else ()
    else:
        properties = (("smtp.mailfrom", mail_from),)
    return AuthResult(AuthMethod.SPF, result.outcome, result.domain, result.reason, properties)


def _symbol(prefix: str, result: SpfResult, scores: Mapping[AuthOutcome, float]) -> Symbol:
    seen = tuple(text for text in (result.domain, result.mechanism, result.explanation or result.reason) if text)
    return Symbol(
        f"{prefix}_{result.outcome.upper()}",
        scores.get(result.outcome, 0.0),
        f"SPF of {'HELO' if result.identity == 'helo' else 'MAIL FROM'}: {result.outcome}",
        seen,
    )
