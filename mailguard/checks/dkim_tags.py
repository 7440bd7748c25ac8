"""Tag lists (RFC 6376 §3.2), and the signatures and keys written in them: DKIM-Signature, ARC-Message-Signature, ARC-Seal,
key records. Parses and validates; computes nothing."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Mapping
from enum import StrEnum

from mailguard.checks.dkim_message import Canonicalisation, RawField
from mailguard.core.values import value
from mailguard.core.verdict import AuthOutcome
from mailguard.net.dns import lookup_name

_TAG_NAME = re.compile(rb"^[A-Za-z][A-Za-z0-9_]*$")
_WHITE = b" \t\r\n"
_BASE64 = re.compile(rb"^[A-Za-z0-9+/]+={0,2}$")
_NUMBER = re.compile(rb"^[0-9]{1,76}$")
_SELECTOR = re.compile(r"^[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?$")
_QP_ESCAPE = re.compile(rb"=([0-9A-F]{2})")
FIELD_LIMIT = 32_768
"""Octets of one signature field or key record that are looked at."""
CLOCK_LEEWAY = 300
"""Seconds that a signer's clock may be off: t= in the future, x= just past."""


class SignatureError(Exception):
    """A signature that does not verify, with the result it gets."""

    def __init__(self, outcome: AuthOutcome, reason: str) -> None:
        self.outcome = outcome
        self.reason = reason
        super().__init__(reason)


def permerror(reason: str) -> SignatureError:
    """A signature or key that breaks the format, or lacks what must be there."""
    return SignatureError(AuthOutcome.PERMERROR, reason)


class Algorithm(StrEnum):
    """Signing algorithms that verify (RFC 8301 §3.1 forbids rsa-sha1; RFC 8463)."""

    RSA_SHA256 = "rsa-sha256"
    ED25519_SHA256 = "ed25519-sha256"

    @property
    def key_type(self) -> bytes:
        """The k= of the keys it takes."""
        return self.encode().partition(b"-")[0]


def parse_tags(text: bytes) -> dict[bytes, bytes]:
    """The tags of a list, values stripped of white space around them. SignatureError when it is no tag list."""
    if len(text) > FIELD_LIMIT:
        raise permerror("the field is too long")
    tags: dict[bytes, bytes] = {}
    specs = text.split(b";")
    if not specs[-1].strip():
        specs.pop()
    for spec in specs:
        name, equals, written = spec.partition(b"=")
        name = name.strip()
        if not equals or not _TAG_NAME.match(name):
            raise permerror("syntax error in the tag list")
        if name in tags:
            raise permerror(f"tag {name.decode()}= appears twice")
        tags[name] = written.strip()
    return tags


def without_b(item: RawField) -> RawField:
    """The field with the value of its b= tag emptied, as it was signed (§3.5, b=)."""
    name, _, written = item.raw.partition(b":")
    specs = written.split(b";")
    for i, spec in enumerate(specs):
        tag, equals, _ = spec.partition(b"=")
        if equals and tag.strip() == b"b":
            specs[i] = tag + b"="
    return RawField(item.name, name + b":" + b";".join(specs))


@value
class Signature:
    """A signature field, validated as far as it can be without its key.

    `limit` is l=; `identity` is i= of a DKIM-Signature, decoded; `instance` is i= of an ARC field. `body_hash` is empty for
    an ARC-Seal, which signs no body.
    """

    field: RawField
    algorithm: Algorithm
    domain: str
    selector: str
    signature: bytes
    headers: tuple[bytes, ...] = ()
    header_form: Canonicalisation = Canonicalisation.RELAXED
    body_form: Canonicalisation = Canonicalisation.RELAXED
    body_hash: bytes = b""
    limit: int | None = None
    identity: str = ""
    identity_domain: str = ""
    instance: int = 0
    tag: bytes = b""
    """b= as it was written, of a DKIM-Signature."""

    @property
    def key_name(self) -> str:
        """Where its key is (§3.6.2.1)."""
        return f"{self.selector}._domainkey.{self.domain}"


def dkim_signature(item: RawField, tags: Mapping[bytes, bytes], *, now: int) -> Signature:
    """The DKIM-Signature of these tags; `now` in seconds since 1970. SignatureError when it is none, or has expired."""
    _require(tags, (b"v", b"a", b"b", b"bh", b"d", b"h", b"s"))
    if tags[b"v"] != b"1":
        raise permerror("unknown version in v=")
    if b"dns/txt" not in _list(tags.get(b"q", b"dns/txt")):
        raise permerror("no known query method in q=")
    domain = _domain(tags)
    identity, identity_domain = _identity(tags, domain)
    signature = Signature(
        item,
        _algorithm(tags),
        domain,
        _selector(tags),
        _base64(tags, b"b"),
        _headers(tags),
        *_forms(tags),
        _base64(tags, b"bh"),
        _number(tags, b"l"),
        identity,
        identity_domain,
        tag=tags[b"b"],
    )
    if b"from" not in signature.headers:
        raise permerror("From is not signed")
    _check_times(tags, now)
    return signature


def message_signature(item: RawField, tags: Mapping[bytes, bytes], *, now: int) -> Signature:
    """The ARC-Message-Signature of these tags (RFC 8617 §4.1.2). SignatureError when it is none.

    Without c= it is relaxed/relaxed, and h= may be empty: so do the signers and verifiers in use, and the ARC test suite.
    """
    _require(tags, (b"i", b"a", b"b", b"bh", b"d", b"s"))
    if b"h" not in tags:
        raise permerror("no h=")
    headers = _headers(tags)
    if b"arc-seal" in headers:
        raise permerror("ARC-Seal is signed")
    header_form, body_form = _forms(tags, default=b"relaxed/relaxed")
    signature = Signature(
        item,
        _algorithm(tags),
        _domain(tags),
        _selector(tags),
        _base64(tags, b"b"),
        headers,
        header_form,
        body_form,
        _base64(tags, b"bh"),
        _number(tags, b"l"),
        instance=instance_of(tags),
    )
    _check_times(tags, now)
    return signature


def seal_signature(item: RawField, tags: Mapping[bytes, bytes]) -> Signature:
    """The ARC-Seal of these tags (RFC 8617 §4.1.3): relaxed, without h= and bh=. SignatureError when it is none."""
    _require(tags, (b"i", b"a", b"b", b"d", b"s", b"cv"))
    if b"h" in tags or b"bh" in tags:
        raise permerror("h= or bh= in an ARC-Seal")
    return Signature(
        item, _algorithm(tags), _domain(tags), _selector(tags), _base64(tags, b"b"), instance=instance_of(tags)
    )


def instance_of(tags: Mapping[bytes, bytes]) -> int:
    """The instance of an ARC field, 1 to 50 (RFC 8617 §4.2.1). SignatureError when there is none."""
    written = tags.get(b"i", b"")
    if not re.match(rb"^[0-9]{1,2}$", written) or not 1 <= int(written) <= 50:
        raise permerror("no instance from 1 to 50 in i=")
    return int(written)


def _require(tags: Mapping[bytes, bytes], names: tuple[bytes, ...]) -> None:
    for name in names:
        if not tags.get(name):
            raise permerror(f"no {name.decode()}=")


def _list(written: bytes) -> list[bytes]:
    return [item.strip() for item in written.split(b":")]


def _algorithm(tags: Mapping[bytes, bytes]) -> Algorithm:
    word = tags[b"a"].lower()
    if word == b"rsa-sha1":
        raise permerror("rsa-sha1 is not accepted any more (RFC 8301)")
    try:
        return Algorithm(word.decode("ascii", "replace"))
    except ValueError:
        raise permerror("unknown algorithm in a=") from None


def _domain(tags: Mapping[bytes, bytes]) -> str:
    domain = lookup_name(tags[b"d"].decode("utf-8", "replace"))
    if domain is None or "." not in domain or not re.match(r"^[a-z0-9_.-]+$", domain):
        raise permerror("no domain name in d=")
    return domain


def _selector(tags: Mapping[bytes, bytes]) -> str:
    text = tags[b"s"].decode("utf-8", "replace")
    selector = lookup_name(text)
    if selector is None or not _SELECTOR.match(selector):
        raise permerror("no selector in s=")
    return selector


def _base64(tags: Mapping[bytes, bytes], name: bytes) -> bytes:
    written = tags[name].translate(None, _WHITE)
    try:
        if not _BASE64.match(written):
            raise ValueError
        return b64decode(written)
    except (ValueError, binascii.Error):
        raise permerror(f"{name.decode()}= is not base64") from None


def _headers(tags: Mapping[bytes, bytes]) -> tuple[bytes, ...]:
    return tuple(name.lower() for name in _list(tags[b"h"]) if name)


def _forms(tags: Mapping[bytes, bytes], default: bytes = b"simple/simple") -> tuple[Canonicalisation, Canonicalisation]:
    header, slash, body = tags.get(b"c", default).lower().partition(b"/")
    try:
        return (
            Canonicalisation(header.decode("ascii", "replace")),
            Canonicalisation(body.decode("ascii", "replace") if slash else "simple"),
        )
    except ValueError:
        raise permerror("unknown canonicalisation in c=") from None


def _number(tags: Mapping[bytes, bytes], name: bytes) -> int | None:
    if name not in tags:
        return None
    if not _NUMBER.match(tags[name]):
        raise permerror(f"{name.decode()}= is not a number")
    return int(tags[name])


def _identity(tags: Mapping[bytes, bytes], domain: str) -> tuple[str, str]:
    """i= and its domain, which is d= or below it (§3.5)."""
    if b"i" not in tags:
        return "", domain
    written = tags[b"i"].translate(None, _WHITE)
    text = _QP_ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), written).decode("utf-8", "replace")
    local, at, name = text.rpartition("@")
    found = lookup_name(name)
    if not at or found is None or not (found == domain or found.endswith(f".{domain}")):
        raise permerror("i= is not in the domain of d=")
    return f"{local}@{found}", found


def _check_times(tags: Mapping[bytes, bytes], now: int) -> None:
    signed, expires = _number(tags, b"t"), _number(tags, b"x")
    if expires is not None and signed is not None and expires < signed:
        raise permerror("x= is before t=")
    if signed is not None and signed > now + CLOCK_LEEWAY:
        raise SignatureError(AuthOutcome.POLICY, "signed in the future")
    if expires is not None and expires < now - CLOCK_LEEWAY:
        raise SignatureError(AuthOutcome.POLICY, "the signature has expired")
