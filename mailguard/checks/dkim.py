"""The DKIM check: every signature's result, and one symbol for the best of them."""

from __future__ import annotations

from collections.abc import Mapping

from mailguard.checks.base import CheckContext
from mailguard.checks.dkim_verify import SIGNATURE_LIMIT, DkimResult, verify_dkim
from mailguard.core.clock import SECOND, Clock, system_clock
from mailguard.core.verdict import AuthMethod, AuthOutcome, AuthResult, CheckResult, CheckStatus, Symbol

__all__ = ["DkimCheck", "DkimResult", "auth_result", "verify_dkim"]

_BEST_FIRST = (
    AuthOutcome.PASS,
    AuthOutcome.TEMPERROR,
    AuthOutcome.FAIL,
    AuthOutcome.POLICY,
    AuthOutcome.PERMERROR,
    AuthOutcome.NEUTRAL,
)
SYMBOLS: Mapping[AuthOutcome, tuple[str, float, str]] = {
    AuthOutcome.PASS: ("DKIM_VALID", -0.1, "a DKIM signature verifies"),
    AuthOutcome.TEMPERROR: ("DKIM_TEMPERROR", 0.0, "a DKIM key could not be looked up"),
    AuthOutcome.FAIL: ("DKIM_INVALID", 0.5, "no DKIM signature verifies"),
    AuthOutcome.POLICY: ("DKIM_POLICY", 0.3, "the DKIM signatures are not acceptable"),
    AuthOutcome.PERMERROR: ("DKIM_PERMERROR", 0.3, "the DKIM signatures or their keys are malformed or missing"),
    AuthOutcome.NEUTRAL: ("DKIM_TESTING", 0.0, "a DKIM signature of a key under test does not verify"),
}


class DkimCheck:
    """Reports DKIM_VALID, DKIM_INVALID, DKIM_POLICY, DKIM_PERMERROR, DKIM_TEMPERROR, DKIM_TESTING or DKIM_NONE; beside it
    DKIM_PARTIAL_BODY (l= leaves text unsigned), DKIM_BODY_LENGTH (l= at all) and DKIM_MANY (more signatures than we verify).
    """

    name = "dkim"
    needs: tuple[str, ...] = ()

    def __init__(self, *, signature_limit: int = SIGNATURE_LIMIT, clock: Clock = system_clock) -> None:
        self._limit = signature_limit
        self._clock = clock

    async def run(self, context: CheckContext, results: Mapping[str, CheckResult]) -> CheckResult:
        """See Check. It is a TEMPERROR when no signature verifies and a key could not be looked up."""
        raw = context.message.raw
        found = await verify_dkim(context.resolver, raw, now=self._clock() // SECOND, limit=self._limit + 1)
        verified, more = found[: self._limit], found[self._limit :]
        if not verified:
            none = AuthResult(AuthMethod.DKIM, AuthOutcome.NONE)
            return CheckResult(self.name, symbols=(Symbol("DKIM_NONE", 0.1, "no DKIM signature"),), auth=(none,))
        symbols = _symbols(verified)
        if more:
            symbols.append(Symbol("DKIM_MANY", 0.5, f"more than {self._limit} DKIM signatures"))
        best = min((result.outcome for result in verified), key=_BEST_FIRST.index)
        return CheckResult(
            self.name,
            CheckStatus.TEMPERROR if best is AuthOutcome.TEMPERROR else CheckStatus.OK,
            tuple(symbols),
            tuple(auth_result(result) for result in verified),
            detail="; ".join(f"{result.domain}: {result.reason or result.outcome}" for result in verified),
        )


def _symbols(results: tuple[DkimResult, ...]) -> list[Symbol]:
    best = min((result.outcome for result in results), key=_BEST_FIRST.index)
    name, score, description = SYMBOLS[best]
    domains = tuple(dict.fromkeys(result.domain for result in results if result.outcome is best and result.domain))
    symbols = [Symbol(name, score, description, domains)]
    if partial := tuple(result.domain for result in results if result.partial):
        symbols.append(Symbol("DKIM_PARTIAL_BODY", 1.0, "a DKIM signature leaves a part of the body unsigned", partial))
    elif limited := tuple(result.domain for result in results if result.limited):
        symbols.append(Symbol("DKIM_BODY_LENGTH", 0.2, "a DKIM signature has a body length limit", limited))
    return symbols


def auth_result(result: DkimResult) -> AuthResult:
    """The result as a part of Authentication-Results (RFC 8601 §2.7.1, RFC 6008)."""
    properties = (
        ("header.d", result.domain),
        ("header.i", result.identity),
        ("header.s", result.selector),
        ("header.a", result.algorithm),
        ("header.b", result.tag),
    )
    return AuthResult(
        AuthMethod.DKIM,
        result.outcome,
        result.domain,
        result.reason,
        tuple((name, value) for name, value in properties if value),
    )
