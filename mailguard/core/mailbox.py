"""Which mailbox a recipient's address means: case, quotes, what the sender adds (`joe+news`), and the domain behind an alias."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from mailguard.core.address import local_part_of

_DOT_STRING = re.compile(r"[^\s\"\\(),:;<>@\[\].]+(?:\.[^\s\"\\(),:;<>@\[\].]+)*")
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A mailbox that may be meant. `address` is how its server is asked, in the sender's case; `key` how it is looked up."""

    key: str
    address: str


def mailbox_key(local: str, domain: str) -> str:
    """The form in which mailboxes are stored and compared. No server worth the name tells `Joe` from `joe`.

    `domain` is in look-up form.
    """
    return f"{unicodedata.normalize('NFC', local).lower()}@{domain}"


def mailboxes(address: str, *, domain: str, separators: str) -> tuple[Mailbox, ...]:
    """The mailboxes that `address` may mean at `domain`, the likeliest first: without what the sender added, then whole.

    The first of `separators` after the first character parts the two. Quotes that need not be are no part of an address
    (RFC 5321 §4.1.2). At most two; never none.
    """
    local = _unquoted(local_part_of(address))
    found = [local]
    if not local.startswith('"'):
        cut = next((at for at, character in enumerate(local) if at and character in separators), 0)
        if cut and _DOT_STRING.fullmatch(local[:cut]):
            found.insert(0, local[:cut])
    return tuple(Mailbox(mailbox_key(one, domain), f"{one}@{domain}") for one in found)


def moved(address: str, *, domain: str) -> str:
    """`address` with another domain: what a recipient of an alias is at the domain behind it."""
    return f"{local_part_of(address)}@{domain}"


def original_recipient(address: str) -> str:
    """`address` as ORCPT gives it (RFC 3461 §4.2): its type and xtext; empty when it is not ASCII (RFC 6533 has another type)."""
    if not address.isascii():
        return ""
    return "rfc822;" + "".join(c if "!" <= c <= "~" and c not in "+=" else f"+{ord(c):02X}" for c in address)


def _unquoted(local: str) -> str:
    if len(local) > 2 and local.startswith('"') and local.endswith('"'):
        text = _QUOTED_PAIR.sub(r"\1", local[1:-1])
        if _DOT_STRING.fullmatch(text):
            return text
    return local
