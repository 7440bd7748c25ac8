"""The DSN rule: whether a failure may be told to MAIL FROM. Pure: a bounce to a forged sender is backscatter."""

from __future__ import annotations

from collections.abc import Iterable

from mailguard.core.address import domain_of
from mailguard.core.envelope import RcptOptions
from mailguard.core.verdict import AuthMethod, AuthOutcome, AuthResult
from mailguard.net.dns import lookup_name
from mailguard.net.suffixes import aligned


def may_bounce(mail_from: str, auth: Iterable[AuthResult]) -> bool:
    """Whether MAIL FROM's domain is authenticated: SPF passed for it, or a valid DKIM signature's d= is aligned with it.

    Never for the null sender (RFC 5321 §4.5.5). SPF of HELO does not count, nor does alignment with the From field.
    """
    domain = lookup_name(domain_of(mail_from))
    if domain is None:
        return False
    return any(
        _authenticates(result, domain) for result in auth if result.outcome is AuthOutcome.PASS and result.domain
    )


def wants_failure(options: RcptOptions) -> bool:
    """Whether the sender wants to hear of a failure of this recipient (RFC 3461 §4.1): by default, yes."""
    return not options.notify or "FAILURE" in {word.upper() for word in options.notify}


def wants_delay(options: RcptOptions) -> bool:
    """Whether the sender may be told that this recipient's mail is late: unless it asked for other notices alone."""
    return not options.notify or "DELAY" in {word.upper() for word in options.notify}


def wants_success(options: RcptOptions) -> bool:
    """Whether the sender asked to hear of success: never by default."""
    return "SUCCESS" in {word.upper() for word in options.notify}


def _authenticates(result: AuthResult, domain: str) -> bool:
    authenticated = lookup_name(result.domain)
    if authenticated is None:
        return False
    if result.method is AuthMethod.SPF:
        of_helo = any(name == "smtp.helo" for name, _ in result.properties) and not any(
            name == "smtp.mailfrom" for name, _ in result.properties
        )
        return authenticated == domain and not of_helo
    return result.method is AuthMethod.DKIM and aligned(authenticated, domain)
