"""Signs mails with dkimpy, an implementation that is not ours, and publishes the keys in a Zone."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from functools import cache

import dkim
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from mailguard.net.dns import Zone

BODY = b"Hello  Bob,\r\n\r\n\tthis is \t a test. \r\nBye\r\n\r\n\r\n"
RAW = (
    b"Received: from x by y; Tue, 24 Nov 2026 10:00:00 +0000\r\n"
    b"From: Ann <ann@a.test>\r\n"
    b"To: bob@client.test,\r\n\tcarol@client.test\r\n"
    b"Subject:  Hello \t there\r\n"
    b"Date: Tue, 24 Nov 2026 10:00:00 +0000\r\n"
    b"Message-ID: <1@a.test>\r\n"
    b"\r\n"
) + BODY


@dataclass(frozen=True, slots=True)
class Signer:
    """A private key in dkimpy's form, and the record of its public one."""

    algorithm: bytes
    private: bytes
    record: str


@cache
def rsa_signer(bits: int = 1024) -> Signer:
    """An RSA key; made once for all tests."""
    key = rsa.generate_private_key(65537, bits)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return Signer(b"rsa-sha256", private, f"v=DKIM1; k=rsa; p={base64.b64encode(public).decode()}")


@cache
def ed25519_signer() -> Signer:
    """An Ed25519 key (RFC 8463)."""
    key = ed25519.Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.Raw, serialization.PrivateFormat.Raw, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return Signer(
        b"ed25519-sha256", base64.b64encode(private), f"v=DKIM1; k=ed25519; p={base64.b64encode(public).decode()}"
    )


def signed(
    raw: bytes = RAW,
    *,
    signer: Signer | None = None,
    domain: str = "a.test",
    selector: str = "s1",
    canonicalise: tuple[bytes, bytes] = (b"relaxed", b"relaxed"),
    length: bool = False,
    identity: bytes | None = None,
) -> bytes:
    """The mail with a signature on top."""
    signer = signer or rsa_signer()
    field = dkim.sign(
        raw,
        selector.encode(),
        domain.encode(),
        signer.private,
        identity=identity,
        canonicalize=canonicalise,
        signature_algorithm=signer.algorithm,
        length=length,
    )
    return bytes(field) + raw


def zone(signer: Signer | None = None, *, domain: str = "a.test", selector: str = "s1", record: str = "") -> Zone:
    """The zone with the key; `record` in place of the signer's own."""
    return {f"{selector}._domainkey.{domain}": {"TXT": [record or (signer or rsa_signer()).record]}}
