"""The ARC check: whether the chain of intermediaries holds, and who they say they are. Whom to believe is policy's to say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mailguard.checks.arc_chain import ArcResult, verify_arc
from mailguard.checks.arc_trust import override_comment, trusted_from, vouched
from mailguard.checks.base import CheckContext
from mailguard.core.clock import SECOND, Clock, system_clock
from mailguard.core.verdict import AuthMethod, AuthOutcome, AuthResult, CheckResult, CheckStatus, Symbol

__all__ = ["ArcCheck", "ArcResult", "auth_result", "verify_arc"]

_DESCRIPTIONS: Mapping[AuthOutcome, str] = {
    AuthOutcome.NONE: "no ARC chain",
    AuthOutcome.PASS: "the ARC chain verifies",
    AuthOutcome.FAIL: "the ARC chain does not verify",
    AuthOutcome.TEMPERROR: "a key of the ARC chain could not be looked up",
}


class ArcCheck:
    """Reports ARC_PASS, ARC_FAIL, ARC_TEMPERROR or ARC_NONE, with the sealing domains as evidence, the last one first.

    All score nothing: a chain says who handled the mail, and an attacker can seal one as well. What sealers found counts for
    DMARC when they are among the `trusted` domains; then it reports ARC_TRUSTED too.
    """

    name = "arc"
    needs: tuple[str, ...] = ()

    def __init__(self, *, trusted: Sequence[str] = (), clock: Clock = system_clock) -> None:
        self._trusted = tuple(trusted)
        self._clock = clock

    async def run(self, context: CheckContext, results: Mapping[str, CheckResult]) -> CheckResult:
        """See Check."""
        result = await verify_arc(context.resolver, context.message.raw, now=self._clock() // SECOND)
        symbols = [
            Symbol(f"ARC_{result.outcome.upper()}", 0.0, _DESCRIPTIONS[result.outcome], tuple(reversed(result.sealers)))
        ]
        passed = result.outcome is AuthOutcome.PASS
        if passed and (lowest := trusted_from(result.sealers, self._trusted)):
            believed = tuple(reversed(result.sealers[lowest - 1 :]))
            symbols.append(Symbol("ARC_TRUSTED", 0.0, "what these sealers found is believed", believed))
        failed = result.outcome is AuthOutcome.TEMPERROR
        return CheckResult(
            self.name,
            CheckStatus.TEMPERROR if failed else CheckStatus.OK,
            tuple(symbols),
            (auth_result(result),),
            detail=override_comment(result.sealers, result.selectors) if passed else result.reason,
            vouched=vouched(result, self._trusted),
        )


def auth_result(result: ArcResult) -> AuthResult:
    """The result as a part of Authentication-Results (RFC 8617 §10.1); its domain is the last sealer's."""
    properties = (("header.oldest-pass", str(result.oldest_pass)),) if result.outcome is AuthOutcome.PASS else ()
    reason = result.reason or (f"i={len(result.sealers)}" if result.sealers else "")
    return AuthResult(AuthMethod.ARC, result.outcome, result.sealers[-1] if result.sealers else "", reason, properties)
