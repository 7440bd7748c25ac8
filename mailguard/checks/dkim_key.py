"""Key records (RFC 6376 §3.6.1, RFC 8463), and the one place where signatures are verified by them."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from mailguard.checks.dkim_tags import Signature, SignatureError, parse_tags, permerror
from mailguard.core.verdict import AuthOutcome

RSA_MINIMUM = 1024
"""Bits of the shortest RSA key that counts (RFC 8301 §3.2)."""
RSA_MAXIMUM = 8192
"""Bits of the longest one: verifying with longer ones is a way to keep us busy. RFC 8301 §3.2 asks for 4096."""

KEPT_RECORD = 2_048
"""Octets of the longest key record that is kept parsed."""

_WHITE = re.compile(rb"[ \t\r\n]+")


@dataclass(frozen=True, slots=True)
class Key:
    """A public key for one signature. `testing` is t=y: a failure counts as no signature (§3.6.1)."""

    public: RSAPublicKey | Ed25519PublicKey
    bits: int
    testing: bool


def key_for(signature: Signature, records: tuple[bytes, ...]) -> Key:
    """The key that a name's TXT records hold for the signature. SignatureError when there is none that fits."""
    problem = permerror("no key for the signature")
    for record in records[:3]:  # several are an error that §3.6.2.2 leaves to us: the first one that fits
        try:
            return _key(signature, record)
        except SignatureError as error:
            problem = error
    raise problem


def _key(signature: Signature, record: bytes) -> Key:
    tags: Mapping[bytes, bytes] = _tags(record) if len(record) <= KEPT_RECORD else parse_tags(record)
    if b"v" in tags and (tags[b"v"] != b"DKIM1" or next(iter(tags)) != b"v"):
        raise permerror("unknown version of the key record")
    if b"p" not in tags:
        raise permerror("no p= in the key record")
    if not tags[b"p"]:
        raise permerror("the key is revoked")
    if tags.get(b"k", b"rsa").lower() != signature.algorithm.key_type:
        raise permerror("the key is of another type")
    if b"h" in tags and b"sha256" not in _words(tags[b"h"]):
        raise permerror("the key is not for sha256")
    if not {b"*", b"email"} & set(_words(tags.get(b"s", b"*"))):
        raise permerror("the key is not for email")
    flags = _words(tags.get(b"t", b""))
    if b"s" in flags and signature.identity_domain not in ("", signature.domain):
        raise permerror("the key is not for subdomains in i=")
    public = _public_key(tags[b"p"], signature.algorithm.key_type)
    bits = public.key_size if isinstance(public, RSAPublicKey) else 256
    if isinstance(public, RSAPublicKey) and not RSA_MINIMUM <= bits <= RSA_MAXIMUM:
        raise SignatureError(AuthOutcome.POLICY, f"an RSA key of {bits} bits is not accepted")
    return Key(public, bits, b"y" in flags)


@lru_cache(maxsize=512)
def _tags(record: bytes) -> Mapping[bytes, bytes]:
    return parse_tags(record)


def _words(value: bytes) -> list[bytes]:
    return [word.strip().lower() for word in value.split(b":")]


@lru_cache(maxsize=512)
def _public_key(text: bytes, key_type: bytes) -> RSAPublicKey | Ed25519PublicKey:
    try:
        octets = b64decode(_WHITE.sub(b"", text), validate=True)
        if key_type == b"ed25519":
            return Ed25519PublicKey.from_public_bytes(octets)
        public = load_der_public_key(octets)
    except (ValueError, binascii.Error, UnsupportedAlgorithm):
        raise permerror("p= is not a key") from None
    if not isinstance(public, RSAPublicKey):
        raise permerror("p= is not an RSA key")
    return public


def signs(signature: Signature, key: Key, digest: bytes) -> bool:
    """Whether the signature is the key's over that SHA-256 digest. Ed25519 signs the digest itself (RFC 8463 §3)."""
    try:
        if isinstance(key.public, Ed25519PublicKey):
            key.public.verify(signature.signature, digest)
        else:
            key.public.verify(signature.signature, digest, PKCS1v15(), Prehashed(SHA256()))
    except (InvalidSignature, ValueError):
        return False
    return True
