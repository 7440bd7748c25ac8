"""How well a conversation with a next hop is protected, and as whom we hold it. Only references to secrets, never secrets."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class TlsMode(StrEnum):
    """Whether a next hop is met with TLS. One that asks for more than the next hop has is a temporary failure."""

    OFF = "off"
    OPPORTUNISTIC = "opportunistic"
    """When it is offered, unverified; in plaintext when that fails (RFC 7435)."""
    REQUIRED = "required"
    """Encrypted, whoever it is: helps against those who only listen."""
    VERIFIED = "verified"
    """With a certificate of the next hop's host name from an authority that we trust."""
    DANE = "dane"
    """With a certificate that the next hop's secure TLSA records name (RFC 7672); without such records opportunistic."""

    @property
    def strength(self) -> int:
        """To compare modes by; DANE counts as what it does without TLSA records."""
        return _STRENGTH[self]


_STRENGTH = {
    TlsMode.OFF: 0,
    TlsMode.OPPORTUNISTIC: 1,
    TlsMode.DANE: 1,
    TlsMode.REQUIRED: 2,
    TlsMode.VERIFIED: 3,
}


@dataclass(frozen=True, slots=True)
class HopSecurity:
    """What is asked of the next hops of a route, and how we prove who we are.

    `tls` None: as it is set for all. `certificate` is the path of a PEM file with our certificate chain and its key.
    `username` and `password` are for SMTP AUTH; the password is a reference (`secret:file:…`, `secret:env:…`), resolved
    when it is used. `at_least`: what somebody else's policy asks for on top (MTA-STS).
    """

    tls: TlsMode | None = None
    certificate: str = ""
    username: str = ""
    password: str = field(default="", repr=False)
    at_least: TlsMode = TlsMode.OFF

    def mode(self, default: TlsMode) -> TlsMode:
        """The mode in force, `default` where the route has none of its own.

        Credentials are never sent without encryption (RFC 4954 §9), so they raise opportunistic to required. DANE stays:
        what holds without TLSA records is `floor`.
        """
        mode = default if self.tls is None else self.tls
        if mode is TlsMode.DANE:
            return mode
        return max(mode, self.floor(mode), key=lambda one: one.strength)

    def floor(self, mode: TlsMode) -> TlsMode:
        """The least that will do whatever the next hop publishes."""
        floors = [TlsMode.OPPORTUNISTIC if mode is TlsMode.DANE else TlsMode.OFF, self.at_least]
        if self.username and mode is not TlsMode.OFF:
            floors.append(TlsMode.REQUIRED)
        return max(floors, key=lambda one: one.strength)


AS_SET_FOR_ALL = HopSecurity()
"""Nothing of its own."""
