"""Validates ARC chains (RFC 8617 §5.2) with the signatures, keys and hashes of DKIM."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mailguard.checks.dkim_key import key_for, signs
from mailguard.checks.dkim_message import BodyHash, Canonicalisation, RawField, SignedMessage, canonical_field, may_have
from mailguard.checks.dkim_tags import (
    Signature,
    SignatureError,
    instance_of,
    message_signature,
    parse_tags,
    permerror,
    seal_signature,
)
from mailguard.checks.dkim_verify import (
    BodyForm,
    Keys,
    body_hashes,
    check_body,
    fetch_keys,
    header_digest,
    records_of,
)
from mailguard.core.verdict import AuthOutcome
from mailguard.net.dns import Resolver

RESULTS = b"arc-authentication-results"
MESSAGE = b"arc-message-signature"
SEAL = b"arc-seal"
INSTANCE_LIMIT = 50
"""Sets of a chain (RFC 8617 §4.2.1)."""


@dataclass(frozen=True, slots=True)
class ArcResult:
    """The chain's status: none, pass, fail, or temperror when a key could not be looked up.

    `sealers` are the d= of the seals, the first hop's first: those that sealed a valid chain when it passes. `oldest_pass`
    is the lowest instance from which on every message signature verifies, 0 when all do (RFC 8617 §5.2 step 5).
    """

    outcome: AuthOutcome
    sealers: tuple[str, ...] = ()
    oldest_pass: int = 0
    reason: str = ""
    selectors: tuple[str, ...] = ()
    """s= of the seals, in the order of `sealers`, when the chain passes."""
    results: tuple[bytes, ...] = ()
    """The values of the ARC-Authentication-Results, likewise."""


@dataclass(frozen=True, slots=True)
class _Set:
    """One instance's three fields."""

    results: RawField
    message: Signature
    seal: Signature
    status: bytes

    @property
    def raw(self) -> tuple[RawField, RawField, RawField]:
        return self.results, self.message.field, self.seal.field


@dataclass(slots=True)
class _Collected:
    """The fields of one instance as they are found."""

    fields: dict[bytes, RawField] = field(default_factory=dict)


async def verify_arc(resolver: Resolver, raw: bytes, *, now: int) -> ArcResult:
    """The status of the message's ARC chain. `now` in seconds since 1970. Never raises."""
    if not may_have(raw, b"arc-"):  # most mail has none
        return ArcResult(AuthOutcome.NONE)
    message = SignedMessage.of(raw)
    sealers: tuple[str, ...] = ()
    try:
        sets = _sets(message, now)
        if not sets:
            return ArcResult(AuthOutcome.NONE)
        sealers = tuple(item.seal.domain for item in sets)
        _check_statuses(sets)
        signatures = [signature for item in sets for signature in (item.message, item.seal)]
        keys = await fetch_keys(resolver, signatures)
        hashes = await body_hashes(message, [item.message for item in sets])
        oldest = _verify(message, sets, keys, hashes)
    except SignatureError as error:
        temporary = error.outcome is AuthOutcome.TEMPERROR
        return ArcResult(AuthOutcome.TEMPERROR if temporary else AuthOutcome.FAIL, sealers, reason=error.reason)
    return ArcResult(
        AuthOutcome.PASS,
        sealers,
        oldest,
        selectors=tuple(item.seal.selector for item in sets),
        results=tuple(item.results.value for item in sets),
    )


def _sets(message: SignedMessage, now: int) -> list[_Set]:
    """The sets in order of their instances. SignatureError when one is incomplete, doubled, missing or malformed."""
    collected: dict[int, _Collected] = {}
    for item in message.fields:
        if item.name not in (RESULTS, MESSAGE, SEAL):
            continue
        instance = _instance(item)
        found = collected.setdefault(instance, _Collected()).fields
        if item.name in found:
            raise permerror(f"instance {instance} has two {item.name.decode()} fields")
        found[item.name] = item
    if sorted(collected) != list(range(1, len(collected) + 1)):
        raise permerror("an instance is missing")
    return [_set(collected[instance].fields, instance, now) for instance in sorted(collected)]


def _set(found: Mapping[bytes, RawField], instance: int, now: int) -> _Set:
    if len(found) != 3:
        raise permerror(f"instance {instance} is incomplete")
    tags = parse_tags(found[SEAL].value)
    return _Set(
        found[RESULTS],
        message_signature(found[MESSAGE], parse_tags(found[MESSAGE].value), now=now),
        seal_signature(found[SEAL], tags),
        tags[b"cv"].lower(),
    )


def _instance(item: RawField) -> int:
    if item.name == RESULTS:  # i= and then what an Authentication-Results field has (RFC 8617 §4.1.1)
        return instance_of(parse_tags(item.value.partition(b";")[0]))
    return instance_of(parse_tags(item.value))


def _check_statuses(sets: list[_Set]) -> None:
    """What each seal says of the chain it found (RFC 8617 §5.2 steps 2 and 3)."""
    for i, item in enumerate(sets, start=1):
        if item.status == b"fail":
            raise permerror(f"the seal of instance {i} found the chain broken")
        if item.status != (b"none" if i == 1 else b"pass"):
            raise permerror(f"the seal of instance {i} has an impossible cv=")


def _verify(message: SignedMessage, sets: list[_Set], keys: Keys, hashes: Mapping[BodyForm, BodyHash]) -> int:
    """Verify what must hold: the newest message signature, all seals. The oldest instance up to which all hold, 0: all."""
    _verify_message(message, sets[-1], keys, hashes)
    for i in range(len(sets), 0, -1):
        _verify_seal(sets[:i], keys)
    for i in range(len(sets) - 1, 0, -1):
        try:
            _verify_message(message, sets[i - 1], keys, hashes)
        except SignatureError:
            return i + 1
    return 0


def _verify_message(message: SignedMessage, item: _Set, keys: Keys, hashes: Mapping[BodyForm, BodyHash]) -> None:
    signature = item.message
    key = key_for(signature, records_of(signature, keys))
    if check_body(signature, hashes):
        raise SignatureError(AuthOutcome.POLICY, "only a part of the body is signed (l=)")
    selected = (canonical_field(found, signature.header_form) for found in message.select(signature.headers))
    if not signs(signature, key, header_digest(signature, selected)):
        raise SignatureError(
            AuthOutcome.FAIL, f"the message signature of instance {signature.instance} does not verify"
        )


def _verify_seal(sets: list[_Set], keys: Keys) -> None:
    """The seal of the last of these sets, over all of them in order (RFC 8617 §5.1.1)."""
    signature = sets[-1].seal
    key = key_for(signature, records_of(signature, keys))
    sealed = [found for item in sets for found in item.raw][:-1]
    digest = header_digest(signature, (canonical_field(found, Canonicalisation.RELAXED) for found in sealed))
    if not signs(signature, key, digest):
        raise SignatureError(AuthOutcome.FAIL, f"the seal of instance {signature.instance} does not verify")
