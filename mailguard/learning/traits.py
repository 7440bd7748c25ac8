"""By what the next mail of the same sender is known: its authenticated address and domain, and the list or shape of the mail.

Hashes only, and nothing of a sender that was not authenticated: who forges a newsletter shares none of its traits. Pure.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from mailguard.checks.identity_data import senders
from mailguard.core.address import domain_of, normalise
from mailguard.core.verdict import AuthMethod, AuthOutcome, AuthResult
from mailguard.message.message import Message
from mailguard.net.suffixes import aligned
from mailguard.store.forms import lookup_form

_REPLY = re.compile(r"^(?:(?:re|fwd?|aw|wg|sv|antw|tr)\s*:\s*)+", re.IGNORECASE)
_DIGITS = re.compile(r"\d+")
_SHAPE_WORDS = 4


class TraitKind(StrEnum):
    """What a trait is of."""

    ADDRESS = "address"
    """The authenticated address in From."""
    PERSON = "person"
    """The same, at a provider where anybody gets an address: its domain is no trait."""
    DOMAIN = "domain"
    """The authenticated domain in From."""
    LIST = "list"
    """That domain, or one that signed, with the List-Id."""
    SHAPE = "shape"
    """That domain (or address) with the first words of the Subject, numbers being alike."""


@dataclass(frozen=True, slots=True)
class Trait:
    """One trait: `key` is a hash of 32 bits, of the kind too."""

    kind: TraitKind
    key: int


def traits_of(message: Message, auth: Iterable[AuthResult]) -> tuple[Trait, ...]:
    """The traits of a mail with these authentication results: at most three; none of a sender that nothing vouches for."""
    results = tuple(auth)
    addresses = message.from_addresses
    address = normalise(addresses[0]) if len(addresses) == 1 else ""
    domain = lookup_form(domain_of(address)) or "" if address else ""
    found: list[Trait] = []
    vouched = bool(domain) and is_authenticated(domain, results)
    anybody = domain in senders().freemail
    if vouched:
        found.append(_trait(TraitKind.PERSON if anybody else TraitKind.ADDRESS, address))
        if not anybody:
            found.append(_trait(TraitKind.DOMAIN, domain))
    list_id = _list_id(message)
    signer = domain if vouched else _signer(list_id, results)
    if list_id and signer:
        found.append(_trait(TraitKind.LIST, signer, list_id))
    elif vouched:
        shape = _shape(message.subject)
        if shape:
            found.append(_trait(TraitKind.SHAPE, address if anybody else domain, shape))
    return tuple(found)


def is_authenticated(domain: str, auth: Iterable[AuthResult]) -> bool:
    """Whether a domain (in look-up form) passed DMARC, or SPF or DKIM in relaxed alignment where it has no policy."""
    for one in auth:
        if one.outcome is not AuthOutcome.PASS or not one.domain:
            continue
        if one.method is AuthMethod.DMARC and one.domain == domain:
            return True
        if one.method in (AuthMethod.DKIM, AuthMethod.SPF) and aligned(one.domain, domain):
            return True
    return False


def _list_id(message: Message) -> str:
    """The identifier of a List-Id field (RFC 2919), in lower case; empty when there is none."""
    text = message.get("list-id").strip()
    _, opened, rest = text.rpartition("<")
    return (rest.partition(">")[0] if opened else text).strip().lower()[:255]


def _signer(list_id: str, auth: Iterable[AuthResult]) -> str:
    """The domain of a valid signature that a List-Id lies below: the list vouches for itself, whoever wrote to it."""
    for one in auth:
        valid = one.method is AuthMethod.DKIM and one.outcome is AuthOutcome.PASS and one.domain
        if valid and (list_id == one.domain or list_id.endswith(f".{one.domain}")):
            return one.domain
    return ""


def _shape(subject: str) -> str:
    words = _REPLY.sub("", subject.strip()).lower().split()[:_SHAPE_WORDS]
    return " ".join(_DIGITS.sub("0", word) for word in words)


def _trait(kind: TraitKind, *parts: str) -> Trait:
    text = "\0".join((kind.value, *parts))
    return Trait(kind, zlib.crc32(text.encode("utf-8", "surrogatepass")))
