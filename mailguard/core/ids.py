"""Identifiers: of messages (time-ordered, unique over nodes) and of ledger units (a message and one of its recipients)."""

from __future__ import annotations

import re
import secrets
import time

MESSAGE_ID_LENGTH = 26
"""Characters of a message id; a unit's id begins with its message's."""

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford base 32: no I, L, O, U to misread
_PAIRS = tuple(first + second for first in _ALPHABET for second in _ALPHABET)
_MESSAGE_ID = re.compile(r"^[0-9A-HJKMNP-TV-Z]{26}$")
_UNIT_ID = re.compile(r"^[0-9A-HJKMNP-TV-Z]{26}-[1-9][0-9]{0,4}$")


def new_message_id(now_ms: int | None = None) -> str:
    """A new message id: 48 bits of milliseconds and 80 random bits as 26 characters (the ULID layout)."""
    value = ((now_ms if now_ms is not None else time.time_ns() // 1_000_000) << 80) | secrets.randbits(80)
    return "".join([_PAIRS[value >> shift & 1023] for shift in range(120, -1, -10)])


def received_ms(message_id: str) -> int:
    """When a message id was made, in milliseconds since 1970 UTC: its first ten characters."""
    value = 0
    for character in message_id[:10]:
        value = value << 5 | _ALPHABET.index(character)
    return value


ORIGINAL = 50_000
"""How far the number of a unit that keeps an original is above that of the one that was delivered stripped."""


def unit_id(message_id: str, number: int) -> str:
    """The ledger unit of recipient `number` (from 1) of a message, such as `01J…XK-2`."""
    return f"{message_id}-{number}"


def is_message_id(text: str) -> bool:
    """Whether `text` has the form of a message id. Ids from outside are looked up, never joined into paths."""
    return bool(_MESSAGE_ID.match(text))


def is_unit_id(text: str) -> bool:
    """Whether `text` has the form of a ledger unit's id."""
    return bool(_UNIT_ID.match(text))
