"""The certificate that STARTTLS shows: a configured one, or one made here and kept; loaded anew on demand."""

from __future__ import annotations

import os
import ssl
import tempfile
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mailguard.core.errors import ConfigError, Problem

SELF_MADE_DAYS = 3650
"""How long a self-made certificate lasts. Senders that use TLS opportunistically do not look (RFC 7435)."""


class TlsCertificate:
    """Gives the SSLContext for new handshakes.

    `certificate` and `key` are PEM files, the certificate with its chain. Raises ConfigError when they cannot be used.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self._certificate, self._key = certificate, key
        self.context = load(certificate, key)

    def reload(self) -> None:
        """Read the files again. On ConfigError the certificate in use stays; handshakes under way are not touched."""
        self.context = load(self._certificate, self._key)


def load(certificate: Path, key: Path) -> ssl.SSLContext:
    """A server context for mail: TLS 1.2 and later (RFC 8996), no compression, no renegotiation, no client certificates."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        why = error.strerror or str(error)
        raise ConfigError(
            [
                Problem(
                    "smtp.tls", f"cannot use {certificate} with {key}: {why}; a PEM certificate and its key are needed"
                )
            ]
        ) from error
    return context


def certificate_expiry(certificate: Path) -> float | None:
    """When the first certificate in the file ends to be valid, in seconds since 1970; None when it cannot be read."""
    try:
        return x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc.timestamp()
    except (OSError, ValueError):
        return None


def self_made(directory: Path, *, hostname: str) -> tuple[Path, Path]:
    """Certificate and key for `hostname` in one file of `directory`, made when there is none yet.

    Several workers may call it at once: whoever links the file first wins, and all use that one.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    target = directory / "self-made.pem"
    if not target.exists():
        descriptor, name = tempfile.mkstemp(dir=directory)  # readable by us alone
        with os.fdopen(descriptor, "wb") as file:
            file.write(_make(hostname))
            file.flush()
            os.fsync(file.fileno())
        try:
            target.hardlink_to(name)
        except FileExistsError:
            pass  # another worker was first
        finally:
            Path(name).unlink()
    return target, target


def _make(hostname: str) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hostname[:64])])
    try:
        alternative: x509.GeneralName = x509.IPAddress(ip_address(hostname.strip("[]")))
    except ValueError:
        alternative = x509.DNSName(hostname)
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=SELF_MADE_DAYS))
        .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ) + certificate.public_bytes(serialization.Encoding.PEM)
