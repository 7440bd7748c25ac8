"""Verifies DKIM signatures (RFC 6376, 8301, 8463, 8616): all of a message, up to a cap, keys looked up side by side."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace

from mailguard.checks.dkim_key import key_for, signs
from mailguard.checks.dkim_message import BodyHash, Canonicalisation, SignedMessage, canonical_field, may_have
from mailguard.checks.dkim_tags import Signature, SignatureError, dkim_signature, parse_tags, permerror, without_b
from mailguard.checks.eager import together
from mailguard.core.reply import sanitise
from mailguard.core.values import value
from mailguard.core.verdict import AuthOutcome
from mailguard.net.dns import DnsTemporaryError, Resolver
from mailguard.ops.aside import compute_aside_if

SIGNATURE_LIMIT = 10
"""Signatures of one message that are verified, from the top; RFC 6376 §8.4 advises a limit."""
BIG = 256 * 1024
"""Octets from which a body is hashed in a thread, so that the event loop goes on."""

Keys = Mapping[str, tuple[bytes, ...] | DnsTemporaryError]
"""TXT records by name; an empty tuple when there are none."""
BodyForm = tuple[Canonicalisation, int | None]


@value
class DkimResult:
    """One signature's result. `domain` is d=, `identity` is i= (empty: not given), `tag` the first 8 characters of b=.

    `partial`: l= leaves a part of the body unsigned. `limited`: there is an l= at all.
    """

    outcome: AuthOutcome
    domain: str = ""
    selector: str = ""
    identity: str = ""
    algorithm: str = ""
    tag: str = ""
    reason: str = ""
    limited: bool = False
    partial: bool = False
    testing: bool = False


async def verify_dkim(
    resolver: Resolver, raw: bytes, *, now: int, limit: int = SIGNATURE_LIMIT
) -> tuple[DkimResult, ...]:
    """A result for each of the first `limit` signatures, from the top. `now` in seconds since 1970. Never raises."""
    if not may_have(raw, b"dkim-signature"):
        return ()
    message = SignedMessage.of(raw)
    parsed: list[Signature | DkimResult] = []
    for item in message.named(b"dkim-signature")[:limit]:
        tags: dict[bytes, bytes] = {}
        try:
            tags = parse_tags(item.value)
            parsed.append(dkim_signature(item, tags, now=now))
        except SignatureError as error:
            parsed.append(_failed(tags, error))
    signatures = [item for item in parsed if isinstance(item, Signature)]
    keys = await fetch_keys(resolver, signatures)
    usable = [item for item in signatures if keys[item.key_name]]
    hashes = await body_hashes(message, usable)
    return tuple(verify_one(message, item, keys, hashes) if isinstance(item, Signature) else item for item in parsed)


def verify_one(
    message: SignedMessage, signature: Signature, keys: Keys, hashes: Mapping[BodyForm, BodyHash]
) -> DkimResult:
    """The result of one signature with its key and body hash at hand."""
    result = DkimResult(
        AuthOutcome.PASS,
        signature.domain,
        signature.selector,
        signature.identity,
        str(signature.algorithm),
        _tag(signature.tag),
        limited=signature.limit is not None,
    )
    try:
        key = key_for(signature, records_of(signature, keys))
    except SignatureError as error:
        return replace(result, outcome=error.outcome, reason=error.reason)
    if key.testing:
        result = replace(result, testing=True)
    try:
        partial = check_body(signature, hashes)
        selected = (canonical_field(item, signature.header_form) for item in message.select(signature.headers))
        if not signs(signature, key, header_digest(signature, selected)):
            raise SignatureError(AuthOutcome.FAIL, "the signature is not of this header")
    except SignatureError as error:
        if key.testing:  # §3.6.1, t=y: as if it were not signed
            return replace(result, outcome=AuthOutcome.NEUTRAL, reason=f"{error.reason}; the key is for testing")
        return replace(result, outcome=error.outcome, reason=error.reason)
    if partial:  # §8.2: what was added is the attacker's to choose
        return replace(
            result, outcome=AuthOutcome.POLICY, partial=True, reason="only a part of the body is signed (l=)"
        )
    return result


def records_of(signature: Signature, keys: Keys) -> tuple[bytes, ...]:
    """The records at the signature's key name. SignatureError when there are none, or not for now."""
    records = keys[signature.key_name]
    if isinstance(records, DnsTemporaryError):
        raise SignatureError(AuthOutcome.TEMPERROR, "the key cannot be looked up for now")
    if not records:
        raise permerror("there is no key")
    return records


def check_body(signature: Signature, hashes: Mapping[BodyForm, BodyHash]) -> bool:
    """Compare the body hash; whether a part of the body is unsigned. SignatureError when it differs."""
    body = hashes[signature.body_form, signature.limit]
    if signature.limit is not None and signature.limit > body.length:
        raise permerror("l= is more than the body has")
    if body.digest != signature.body_hash:
        raise SignatureError(AuthOutcome.FAIL, "the body has been changed")
    return signature.limit is not None and signature.limit < body.length


def header_digest(signature: Signature, fields: Iterable[bytes]) -> bytes:
    """What is signed (§3.7): the canonical fields, then the signature's own with an empty b= and no CRLF."""
    hasher = hashlib.sha256()
    for item in fields:
        hasher.update(item)
    hasher.update(canonical_field(without_b(signature.field), signature.header_form).removesuffix(b"\r\n"))
    return hasher.digest()


async def fetch_keys(resolver: Resolver, signatures: Iterable[Signature]) -> Keys:
    """The TXT records at all key names, each asked for once."""
    names = list(dict.fromkeys(signature.key_name for signature in signatures))

    async def fetch(name: str) -> tuple[bytes, ...] | DnsTemporaryError:
        try:
            return await resolver.txt(name)
        except DnsTemporaryError as error:
            return error

    if len(names) == 1:
        return {names[0]: await fetch(names[0])}
    return dict(zip(names, await together(*map(fetch, names)), strict=True))


async def body_hashes(message: SignedMessage, signatures: Iterable[Signature]) -> Mapping[BodyForm, BodyHash]:
    """The body hashes that the signatures need, each computed once."""
    forms = dict.fromkeys((item.body_form, item.limit) for item in signatures)

    def compute() -> dict[BodyForm, BodyHash]:
        return {form: message.body_hash(*form) for form in forms}

    return await compute_aside_if(len(message.raw) > BIG and bool(forms), compute)


def _failed(tags: Mapping[bytes, bytes], error: SignatureError) -> DkimResult:
    """The result of a signature that was not even looked up."""

    def text(name: bytes) -> str:
        return sanitise(tags.get(name, b"").decode("ascii", "replace"))[:253]

    return DkimResult(
        error.outcome,
        text(b"d").lower(),
        text(b"s"),
        algorithm=text(b"a"),
        tag=_tag(tags.get(b"b", b"")),
        reason=error.reason,
    )


def _tag(signature: bytes) -> str:
    """The start of b=, which tells signatures of one domain apart (RFC 6008)."""
    joined = b"".join(signature.split())
    return sanitise(joined[:8].decode("ascii", "replace"))
