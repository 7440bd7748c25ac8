"""BER as LDAP uses it (RFC 4511 §5.1): definite lengths, low tag numbers. Reading is bounded and raises BerError."""

from __future__ import annotations

from collections.abc import Iterator

_HEADER_LIMIT = 6
"""Octets of an element's header: its tag, and a length of four octets with their count."""


class BerError(ValueError):
    """Not BER as LDAP uses it."""


def element(tag: int, content: bytes) -> bytes:
    """One element."""
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def octets(content: bytes) -> bytes:
    """An OCTET STRING."""
    return element(0x04, content)


def integer(value: int, *, tag: int = 0x02) -> bytes:
    """An INTEGER, or with another tag an ENUMERATED."""
    return element(tag, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def read_integer(content: bytes) -> int:
    """The value of an INTEGER or ENUMERATED."""
    if not 0 < len(content) <= 8:
        raise BerError("an integer of no sensible length")
    return int.from_bytes(content, "big", signed=True)


def header(data: bytes, limit: int) -> tuple[int, int, int] | None:
    """Tag, length of the header, and of the content of the element that `data` begins with; None when more is needed.

    Raises BerError when it is longer than `limit`, or not definite.
    """
    if len(data) < 2:
        return None
    first = data[1]
    if data[0] & 0x1F == 0x1F or first == 0x80 or first > 0x84:
        raise BerError("not BER as LDAP uses it")
    if first < 0x80:
        return data[0], 2, first
    count = first & 0x7F
    if len(data) < 2 + count:
        return None
    size = int.from_bytes(data[2 : 2 + count], "big")
    if size > limit:
        raise BerError(f"an element of {size} octets")
    return data[0], 2 + count, size


def elements(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Tags and contents of the elements within a constructed one."""
    at = 0
    while at < len(content):
        found = header(content[at : at + _HEADER_LIMIT], len(content))
        if found is None or at + found[1] + found[2] > len(content):
            raise BerError("an element is cut off")
        tag, before, size = found
        yield tag, content[at + before : at + before + size]
        at += before + size
