"""Adds ARC sets to mails: a sealer of the tests' own, which shares no code with the check."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

from tests.unit.checks.signing import RAW, rsa_signer

SIGNED_NAMES = (b"from", b"to", b"subject", b"date", b"message-id")


def sealed(
    raw: bytes = RAW,
    *,
    domain: str = "hop.test",
    instance: int = 1,
    status: str = "none",
    selector: str = "s1",
    says: str = "spf=pass smtp.mailfrom=ann@a.test",
) -> bytes:
    """The mail with one more ARC set on top, its chain status as given; `says` are the results that the sealer found."""
    head, _, body = raw.partition(b"\r\n\r\n")
    fields = re.split(rb"\r\n(?![ \t])", head)
    results = f"ARC-Authentication-Results: i={instance}; {domain}; {says}".encode()
    common = f"i={instance}; a=rsa-sha256; d={domain}; s={selector}; t=1700000000"
    body_hash = base64.b64encode(hashlib.sha256(_body(body)).digest()).decode()
    names = ":".join(name.decode() for name in SIGNED_NAMES)
    message = f"ARC-Message-Signature: {common}; c=relaxed/relaxed; h={names}; bh={body_hash}; b=".encode()
    picked = [_field(field) for name in SIGNED_NAMES for field in fields if field.lower().startswith(name + b":")]
    message += _sign(b"".join(picked) + _field(message).removesuffix(b"\r\n"))
    seal = f"ARC-Seal: {common}; cv={status}; b=".encode()
    earlier = [
        _field(field)
        for number in range(1, instance)
        for name in (b"arc-authentication-results", b"arc-message-signature", b"arc-seal")
        for field in fields
        if field.lower().startswith(name + b": i=%d;" % number)
    ]
    seal += _sign(b"".join(earlier) + _field(results) + _field(message) + _field(seal).removesuffix(b"\r\n"))
    return b"\r\n".join((seal, message, results)) + b"\r\n" + raw


@cache
def chain(length: int, raw: bytes = RAW) -> bytes:
    """The mail after so many hops, hop1.test and on, each sealing what it found."""
    for number in range(1, length + 1):
        raw = sealed(raw, domain=f"hop{number}.test", instance=number, status="none" if number == 1 else "pass")
    return raw


def _field(raw: bytes) -> bytes:
    name, _, value = raw.partition(b":")
    return name.strip().lower() + b":" + b" ".join(value.split()) + b"\r\n"


def _body(body: bytes) -> bytes:
    lines = [re.sub(rb"[ \t]+", b" ", line).rstrip(b" ") for line in body.split(b"\r\n")]
    text = b"\r\n".join(lines).rstrip(b"\r\n")
    return text + b"\r\n" if text else b""


def _sign(octets: bytes) -> bytes:
    key = serialization.load_pem_private_key(rsa_signer().private, None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return base64.b64encode(key.sign(octets, PKCS1v15(), hashes.SHA256()))
