"""DANE for SMTP (RFC 7672): which TLSA records count, and whether a server's certificate chain is what they name."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    Policy,
    PolicyBuilder,
    Store,
    VerificationError,
)

TRUST_ANCHOR, END_ENTITY = 2, 3
"""Usages DANE-TA and DANE-EE; those of the Web's authorities (0 and 1) are of no use to SMTP (RFC 7672 §3.1.3)."""
_DIGESTS = {1: ("sha256", 32), 2: ("sha512", 64)}


class DaneError(Exception):
    """The server's certificate is not what its TLSA records name."""


@dataclass(frozen=True, slots=True)
class TlsaRecord:
    """One TLSA record (RFC 6698 §2.1). `selector` 0: the whole certificate, 1: its key; `matching` 0: as it is, 1: SHA-256,
    2: SHA-512."""

    usage: int
    selector: int
    matching: int
    data: bytes

    @property
    def usable(self) -> bool:
        """Whether SMTP can do something with it (RFC 7672 §3.1)."""
        if self.usage not in (TRUST_ANCHOR, END_ENTITY) or self.selector not in (0, 1):
            return False
        return bool(self.data) if self.matching == 0 else len(self.data) == _DIGESTS.get(self.matching, ("", -1))[1]

    def matches(self, certificate: x509.Certificate) -> bool:
        """Whether it names this certificate."""
        if self.selector == 0:
            chosen = certificate.public_bytes(Encoding.DER)
        else:
            chosen = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return self.data == (hashlib.new(_DIGESTS[self.matching][0], chosen).digest() if self.matching else chosen)


@dataclass(frozen=True, slots=True)
class Tlsa:
    """The secure TLSA records of a server. `names` are those that its certificate may bear under usage 2; the first is
    the TLSA base domain, to be asked for by SNI (RFC 7672 §8.1)."""

    names: tuple[str, ...] = ()
    records: tuple[TlsaRecord, ...] = ()

    @property
    def usable(self) -> bool:
        """Whether there is a record to authenticate by; if all are unusable, encryption alone is due (RFC 7672 §2.2)."""
        return any(record.usable for record in self.records)

    def check(self, chain: Sequence[bytes], *, now: datetime | None = None) -> None:
        """Raises DaneError unless `chain` (DER, the server's own certificate first) is what a record names."""
        try:
            certificates = [x509.load_der_x509_certificate(der) for der in chain]
            records = _strongest([record for record in self.records if record.usable])
            # The key alone counts under usage 3, neither names nor dates (RFC 7672 §3.1.1).
            if certificates and any(one.usage == END_ENTITY and one.matches(certificates[0]) for one in records):
                return
            anchors = _anchors([record for record in records if record.usage == TRUST_ANCHOR], certificates)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise DaneError("the certificate cannot be read") from error
        if not anchors:
            raise DaneError("no TLSA record names the certificate")
        self._check_path(certificates, anchors, now or datetime.now(UTC))

    def _check_path(self, chain: list[x509.Certificate], anchors: list[x509.Certificate], now: datetime) -> None:
        builder = PolicyBuilder().store(Store(anchors)).time(now.replace(tzinfo=None)).max_chain_depth(8)
        builder = builder.extension_policies(ca_policy=_authority(), ee_policy=_server())
        why = ""
        for name in self.names:
            try:
                builder.build_server_verifier(x509.DNSName(name)).verify(chain[0], chain[1:])
            except (VerificationError, ValueError) as error:
                why = why or str(error)
            else:
                return
        raise DaneError(f"no valid path from the certificate of {self.names[0]} to the TLSA record's authority: {why}")


def _strongest(records: Sequence[TlsaRecord]) -> list[TlsaRecord]:
    """Without digests that a stronger one of the same usage and selector stands beside (RFC 7671 §9)."""
    best: dict[tuple[int, int], int] = {}
    for record in records:
        key = record.usage, record.selector
        best[key] = max(best.get(key, 0), record.matching)
    return [one for one in records if one.matching in (0, best[one.usage, one.selector])]


def _anchors(records: Sequence[TlsaRecord], chain: Sequence[x509.Certificate]) -> list[x509.Certificate]:
    """The authorities that records name: certificates of the chain, and those that stand in DNS as a whole."""
    found = [issuer for issuer in chain[1:] if any(record.matches(issuer) for record in records)]
    whole = [record.data for record in records if (record.selector, record.matching) == (0, 0)]
    return found + [x509.load_der_x509_certificate(data) for data in whole]


def _authority() -> ExtensionPolicy:
    """Signs certificates: that must stand in it. Whatever else the Web asks of its authorities is not asked here."""

    def is_ca(_: Policy, __: x509.Certificate, constraints: x509.BasicConstraints) -> None:
        if not constraints.ca:
            raise ValueError("an issuer that is no authority")

    def may_sign(_: Policy, __: x509.Certificate, usage: x509.KeyUsage | None) -> None:
        if usage is not None and not usage.key_cert_sign:
            raise ValueError("an issuer that may not sign certificates")

    policy = ExtensionPolicy.permit_all()
    policy = policy.require_present(x509.BasicConstraints, Criticality.AGNOSTIC, is_ca)
    return policy.may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, may_sign)


def _server() -> ExtensionPolicy:
    return ExtensionPolicy.permit_all().require_present(x509.SubjectAlternativeName, Criticality.AGNOSTIC, None)
