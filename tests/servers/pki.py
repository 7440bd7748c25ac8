"""Certificates for tests: an authority that issues for names and addresses, valid or not, and writes them as PEM files."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Issued:
    """A certificate with its key and those that lead from it to the authority, its own not included."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    chain: tuple[x509.Certificate, ...] = ()

    @property
    def der(self) -> list[bytes]:
        """As a server shows it."""
        return [one.public_bytes(Encoding.DER) for one in (self.certificate, *self.chain)]

    @property
    def pem(self) -> bytes:
        """The chain in PEM."""
        return b"".join(one.public_bytes(Encoding.PEM) for one in (self.certificate, *self.chain))

    def write(self, folder: Path, name: str = "server") -> tuple[Path, Path]:
        """Write chain and key as two files."""
        certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
        certificate.write_bytes(self.pem)
        key.write_bytes(self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return certificate, key

    def write_joined(self, path: Path) -> Path:
        """Write chain and key as one file."""
        key = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        path.write_bytes(self.pem + key)
        return path

    def issue(
        self,
        *names: str,
        days: tuple[int, int] = (-1, 2),
        ca: bool = False,
        common_name: str = "",
        show_issuer: bool = True,
    ) -> Issued:
        """A certificate for host names and addresses, valid from and until so many days from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name or (names[0] if names else "ca"))])
        builder = _builder(subject, self.certificate.subject, key, days).add_extension(
            x509.BasicConstraints(ca=ca, path_length=None), critical=True
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(_san(names)), critical=False)
        certificate = builder.sign(self.key, hashes.SHA256())
        return Issued(certificate, key, (self.certificate, *self.chain) if show_issuer else ())

    def tlsa(self, usage: int, selector: int = 1, matching: int = 1) -> str:
        """The TLSA record that names this certificate, as in a zone."""
        data = (
            self.certificate.public_bytes(Encoding.DER)
            if selector == 0
            else self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        )
        digest = {0: data, 1: hashlib.sha256(data).digest(), 2: hashlib.sha512(data).digest()}[matching]
        return f"{usage} {selector} {matching} {digest.hex()}"


def authority(name: str = "Test CA") -> Issued:
    """A self-signed authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = _builder(subject, subject, key, (-1, 3650))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return Issued(builder.sign(key, hashes.SHA256()), key)


def self_signed(*names: str, days: tuple[int, int] = (-1, 2)) -> Issued:
    """A certificate that no authority vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    builder = _builder(subject, subject, key, days)
    return Issued(
        builder.add_extension(x509.SubjectAlternativeName(_san(names)), critical=False).sign(key, hashes.SHA256()), key
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, days: tuple[int, int]
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=days[0]))
        .not_valid_after(now + timedelta(days=days[1]))
    )


def _san(names: Sequence[str]) -> list[x509.GeneralName]:
    found: list[x509.GeneralName] = []
    for name in names:
        try:
            found.append(x509.IPAddress(ip_address(name)))
        except ValueError:
            found.append(x509.DNSName(name))
    return found
