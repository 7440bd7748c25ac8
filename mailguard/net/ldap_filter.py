"""LDAP search filters (RFC 4515) as BER (RFC 4511): parsed once from what an admin wrote, filled in for each recipient.

Placeholders are filled in after the parsing: nothing in an address can change a filter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from mailguard.net.ber import element, octets

PLACEHOLDERS = frozenset({"address", "local", "domain"})
DEPTH = 20
_ATTRIBUTE = re.compile(r"[A-Za-z][A-Za-z0-9-]*(?:;[A-Za-z0-9-]+)*|\d+(?:\.\d+)+")
_TYPES = {"=": 0xA3, ">=": 0xA5, "<=": 0xA6, "~=": 0xA8}
_PARTS = re.compile(r"\\([0-9A-Fa-f]{2})|\{([a-z]+)\}|([^\\{}()*\0])")


class FilterError(ValueError):
    """Not a filter; the text says what is wrong."""


@dataclass(frozen=True, slots=True)
class _Value:
    """An assertion value: octets and names of placeholders."""

    parts: tuple[bytes | str, ...]

    def fill(self, values: Mapping[str, str]) -> bytes:
        return b"".join(
            part if isinstance(part, bytes) else values[part].encode("utf-8", "replace") for part in self.parts
        )


@dataclass(frozen=True, slots=True)
class Filter:
    """A parsed filter. `attribute` of a leaf, `values` of its assertion (several: the parts of a substring), or `inner`."""

    tag: int
    inner: tuple[Filter, ...] = ()
    attribute: str = ""
    values: tuple[_Value | None, ...] = ()

    def encode(self, values: Mapping[str, str]) -> bytes:
        """As BER, the placeholders filled in."""
        if self.inner:
            return element(self.tag, b"".join(one.encode(values) for one in self.inner))
        name = self.attribute.encode()
        if self.tag == 0x87:
            return element(self.tag, name)
        if self.tag != 0xA4:
            assert self.values[0] is not None
            return element(self.tag, octets(name) + octets(self.values[0].fill(values)))
        last = len(self.values) - 1
        pieces = b"".join(
            element(0x80 if at == 0 else 0x82 if at == last else 0x81, value.fill(values))
            for at, value in enumerate(self.values)
            if value is not None
        )
        return element(self.tag, octets(name) + element(0x30, pieces))


def parse_filter(text: str) -> Filter:
    """A filter such as `(|(mail={address})(proxyAddresses=smtp:{address}))`. Raises FilterError."""
    found, end = _parse(text.strip(), 0, 0)
    if end != len(text.strip()):
        raise FilterError(f"something follows the filter: {text.strip()[end : end + 20]!r}")
    return found


def _parse(text: str, at: int, depth: int) -> tuple[Filter, int]:
    if depth > DEPTH:
        raise FilterError("nested too deeply")
    if text[at : at + 1] != "(":
        raise FilterError(f"'(' is missing at {text[at : at + 20]!r}")
    sign = text[at + 1 : at + 2]
    if sign in ("&", "|", "!"):
        at += 2
        inner: list[Filter] = []
        while text[at : at + 1] == "(":
            one, at = _parse(text, at, depth + 1)
            inner.append(one)
        if text[at : at + 1] != ")" or not inner or (sign == "!" and len(inner) != 1):
            raise FilterError(f"'{sign}' is not followed by filters in parentheses and ')'")
        return Filter({"&": 0xA0, "|": 0xA1, "!": 0xA2}[sign], tuple(inner)), at + 1
    end = text.find(")", at)
    if end < 0:
        raise FilterError("')' is missing")
    return _leaf(text[at + 1 : end]), end + 1


def _leaf(text: str) -> Filter:
    match = re.fullmatch(r"(.*?)(>=|<=|~=|=)(.*)", text, re.DOTALL)
    if match is None or not _ATTRIBUTE.fullmatch(match[1]):
        raise FilterError(f"{text!r} is not attribute=value")
    attribute, operator, value = match.groups()
    if operator == "=" and value == "*":
        return Filter(0x87, attribute=attribute)
    pieces = value.split("*") if operator == "=" else [value]
    values = tuple(_value(piece) if piece or len(pieces) == 1 else None for piece in pieces)
    return Filter(0xA4 if len(pieces) > 1 else _TYPES[operator], attribute=attribute, values=values)


def _value(text: str) -> _Value:
    parts: list[bytes | str] = []
    at = 0
    while at < len(text):
        match = _PARTS.match(text, at)
        if match is None:
            raise FilterError(f"{text!r}: {text[at]!r} must be written as \\{ord(text[at]):02x}")
        escaped, name, plain = match.groups()
        if name is not None and name not in PLACEHOLDERS:
            raise FilterError(f"{{{name}}} is none of {', '.join(sorted(PLACEHOLDERS))}")
        parts.append(name if name is not None else bytes.fromhex(escaped) if escaped else plain.encode())
        at = match.end()
    return _Value(tuple(parts))
