"""Mail addresses and domain names: cheap parsing of paths (RFC 5321 §4.1.2) and one normal form for look-ups."""

from __future__ import annotations

import re

ADDRESS_LIMIT = 254
"""Octets in an address (RFC 5321 §4.5.3.1.3: a path of 256 with its angle brackets)."""
LOCAL_PART_LIMIT = 64
"""Octets in a local part (RFC 5321 §4.5.3.1.1)."""

# Letters beyond ASCII (RFC 6531) are what the sets do not exclude: named as a range of a million, they take 30 ms to compile.
_ATEXT = r"[^\x00-\x20\x22\x28\x29\x2c\x2e\x3a-\x3c\x3e\x40\x5b-\x5d\x7f]"  # of ASCII, A-Za-z0-9!#$%&'*+/=?^_`{|}~-
_DOT_STRING = rf"{_ATEXT}+(?:\.{_ATEXT}+)*"
_QUOTED = r'"(?:[^\x00-\x1f\x22\x5c\x7f]|\\[\x20-\x7e])*"'
_LETTER = r"[^\x00-\x2f\x3a-\x40\x5b-\x5e\x60\x7b-\x7f]"  # of ASCII, A-Za-z0-9_
_INNER = r"[^\x00-\x2c\x2e\x2f\x3a-\x40\x5b-\x5e\x60\x7b-\x7f]"  # and the hyphen
_LABEL = rf"{_LETTER}(?:{_INNER}*{_LETTER})?"
_DOMAIN = rf"{_LABEL}(?:\.{_LABEL})*\.?"
_LITERAL = r"\[[\x21\x23-\x3b\x3d\x3f-\x5a\x5e-\x7e]+\]"  # without <>", which RFC 5321 allows: in a path they mean else
_MAILBOX = re.compile(rf"(?P<local>{_DOT_STRING}|{_QUOTED})@(?P<domain>{_DOMAIN}|{_LITERAL})")
_SOURCE_ROUTE = re.compile(rf"^@{_DOMAIN}(?:,@{_DOMAIN})*:")


def is_mailbox(address: str) -> bool:
    """Whether `address` is a Mailbox of RFC 5321 §4.1.2 (RFC 6531 for non-ASCII) within its length limits."""
    if len(address.encode("utf-8", "surrogateescape")) > ADDRESS_LIMIT:
        return False
    match = _MAILBOX.fullmatch(address)
    return match is not None and len(match["local"].encode("utf-8", "surrogateescape")) <= LOCAL_PART_LIMIT


def split_path(argument: str) -> tuple[str, str] | None:
    """`<path> params` as (address, params), or None when it is not a path.

    The null path gives an empty address; a source route is dropped (RFC 5321 §4.1.1.3 says to ignore it). The address is
    not yet checked: see `is_mailbox`.
    """
    argument = argument.strip(" ")
    if not argument.startswith("<"):
        return None
    quoted = escaped = False
    for i, character in enumerate(argument):
        if escaped:
            escaped = False
        elif character == "\\" and quoted:
            escaped = True
        elif character == '"':
            quoted = not quoted
        elif character == ">" and not quoted:
            path, rest = argument[1:i], argument[i + 1 :]
            if rest and not rest.startswith(" "):
                return None
            return _SOURCE_ROUTE.sub("", path), rest.strip(" ")
    return None


def domain_of(address: str) -> str:
    """The domain of an address as it was written, without a trailing dot; empty for the null sender."""
    return address.rpartition("@")[2].rstrip(".") if "@" in address else ""


def local_part_of(address: str) -> str:
    """The local part of an address as it was written; all of it when there is no domain (bare `postmaster`)."""
    return address.rpartition("@")[0] if "@" in address else address


SPECIAL_LOCAL_PARTS = frozenset({"postmaster", "abuse"})
"""They must hear from everybody, about spam in particular (RFC 5321 §4.5.1, RFC 2142)."""


def is_special(address: str) -> bool:
    """Whether `address` is postmaster or abuse, of any domain or none."""
    return local_part_of(address).strip('"').lower() in SPECIAL_LOCAL_PARTS


def normalise(address: str) -> str:
    """The form in which addresses are compared and counted: lower case, no trailing dot in the domain."""
    local, at, domain = address.rpartition("@")
    return f"{local.lower()}{at}{domain.rstrip('.').lower()}" if at else address.lower()
