"""Reads Mail::DKIM's cases: its mails, its FAKE_DNS.dat, and the results that its names tell."""

from __future__ import annotations

import hashlib
import re
from base64 import b64decode
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import load_der_public_key

from mailguard.checks.dkim_message import Canonicalisation, RawField, SignedMessage, canonical_body, canonical_field
from mailguard.checks.dkim_tags import SignatureError, parse_tags, without_b
from mailguard.net.dns import Zone


def crlf(raw: bytes) -> bytes:
    """The mail with the line ends it had on the wire."""
    return re.sub(rb"\r?\n", b"\r\n", raw)


def fake_dns(path: Path) -> Zone:
    """`name record`, `name NXDOMAIN` or `name ~~failure~~` a line."""
    zone: dict[str, dict[str, Any]] = {}
    for line in path.read_text(encoding="latin-1").splitlines():
        name, _, value = line.strip().partition(" ")
        value = value.strip()
        if not name or name.startswith("#") or value == "NXDOMAIN":
            continue
        if value.startswith("~~"):
            zone[name] = {"*": "TIMEOUT" if "timed" in value else "SERVFAIL"}
        else:
            zone.setdefault(name, {}).setdefault("TXT", []).append(value.encode("latin-1"))
    return zone


def should_pass(name: str) -> bool:
    """Whether the file's name promises a signature that verifies."""
    return name.startswith(("good", "mine", "multiple", "no_body"))


def passes_with_sha1(raw: bytes, zone: Zone) -> bool:
    """Whether a version 1 rsa-sha1 signature of the mail verifies with the canonical forms of the product.

    The product refuses rsa-sha1 (RFC 8301), as almost all of this suite is; so only this tells whether the rest is right.
    """
    message = SignedMessage.of(raw)
    return any(_verifies(message, item, zone) for item in message.named(b"dkim-signature"))


def _verifies(message: SignedMessage, item: RawField, zone: Zone) -> bool:
    try:
        tags = parse_tags(item.value)
        record = zone[f"{tags[b's'].decode()}._domainkey.{tags[b'd'].decode()}"]["TXT"][0]
        header, _, body = tags.get(b"c", b"simple").decode().partition("/")
        form, body_form = Canonicalisation(header), Canonicalisation(body or "simple")
        octets = b"".join(canonical_body(message.raw, message.body_start, body_form))
        key = load_der_public_key(b64decode(parse_tags(record)[b"p"]))  # type: ignore[arg-type]
        if hashlib.sha1(octets[: int(tags.get(b"l", len(octets)))]).digest() != b64decode(tags[b"bh"]):
            return False
        hasher = hashlib.sha1()
        for field in message.select(name.strip() for name in tags[b"h"].split(b":")):
            hasher.update(canonical_field(field, form))
        hasher.update(canonical_field(without_b(item), form).removesuffix(b"\r\n"))
        assert isinstance(key, RSAPublicKey)
        key.verify(b64decode(tags[b"b"]), hasher.digest(), PKCS1v15(), Prehashed(SHA1()))
    except (SignatureError, InvalidSignature, UnsupportedAlgorithm, ValueError, KeyError):
        return False
    return True
