"""DNS as every other room sees it: the Resolver protocol, its answers and errors, and the StaticResolver that needs no network.

The running relay's resolver, which asks real name servers, is in `net.dns_aio`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Protocol

import idna

Record = str | bytes | tuple[int, str]
"""A, AAAA, PTR, NS, CNAME: str, without the trailing dot · TXT: bytes, its strings joined · MX: (preference, host)."""

RDTYPES = ("A", "AAAA", "MX", "TXT", "PTR", "NS", "CNAME")
CNAME_LIMIT = 8
"""Longest chain of aliases that is followed."""


class DnsError(Exception):
    """A look-up did not end in an answer."""


class DnsTemporaryError(DnsError):
    """No answer for now: a timeout, SERVFAIL, REFUSED or no server that can be reached. It may work later."""


class Rcode(StrEnum):
    """How an answer ended. NOERROR without records says that the name exists, but not with this type (NODATA)."""

    NOERROR = "noerror"
    NXDOMAIN = "nxdomain"


@dataclass(frozen=True, slots=True)
class Answer:
    """The records of one name and type, aliases followed. `ttl` is in seconds, the least of all records."""

    rcode: Rcode
    records: tuple[Record, ...] = ()
    ttl: int = 0

    @property
    def exists(self) -> bool:
        """Whether the name exists, with whatever type."""
        return self.rcode is Rcode.NOERROR


class Resolver(Protocol):
    """Looks names up. Every method raises DnsTemporaryError when there is no answer for now; a name that does not exist,
    or cannot (too long, not a domain name), gives an empty tuple, and NXDOMAIN from `query`."""

    async def query(self, name: str, rdtype: str) -> Answer:
        """The records of `name`; `rdtype` is one of RDTYPES. Tells NXDOMAIN from NODATA."""

    async def txt(self, name: str) -> tuple[bytes, ...]:
        """TXT records, each with its strings joined."""

    async def a(self, name: str) -> tuple[str, ...]:
        """IPv4 addresses."""

    async def aaaa(self, name: str) -> tuple[str, ...]:
        """IPv6 addresses."""

    async def a_and_aaaa(self, name: str) -> tuple[str, ...]:
        """Both at once: IPv6 addresses, then IPv4 ones."""

    async def mx(self, name: str) -> tuple[tuple[int, str], ...]:
        """(preference, host) by preference. A null MX (RFC 7505) is `((0, ""),)`."""

    async def ptr(self, ip: str) -> tuple[str, ...]:
        """Names of an address (not checked to lead back to it)."""


class Lookups:
    """The typed look-ups of a Resolver, on top of `query`."""

    async def query(self, name: str, rdtype: str) -> Answer:
        """See Resolver."""
        raise NotImplementedError

    async def txt(self, name: str) -> tuple[bytes, ...]:
        """See Resolver."""
        return tuple(record for record in (await self.query(name, "TXT")).records if isinstance(record, bytes))

    async def a(self, name: str) -> tuple[str, ...]:
        """See Resolver."""
        return await self._names(name, "A")

    async def aaaa(self, name: str) -> tuple[str, ...]:
        """See Resolver."""
        return await self._names(name, "AAAA")

    async def a_and_aaaa(self, name: str) -> tuple[str, ...]:
        """See Resolver."""
        six, four = await asyncio.gather(self.aaaa(name), self.a(name))
        return six + four

    async def mx(self, name: str) -> tuple[tuple[int, str], ...]:
        """See Resolver."""
        records = (await self.query(name, "MX")).records
        return tuple(sorted(record for record in records if isinstance(record, tuple)))

    async def ptr(self, ip: str) -> tuple[str, ...]:
        """See Resolver."""
        return await self._names(reverse_name(ip), "PTR")

    async def _names(self, name: str, rdtype: str) -> tuple[str, ...]:
        return tuple(record for record in (await self.query(name, rdtype)).records if isinstance(record, str))


_DOTS = re.compile("[.\u3002\uff0e\uff61]")  # RFC 3490 §3.1
_LABEL = re.compile(r"[ -\[\]-~]{1,63}")


def lookup_name(name: str) -> str | None:
    """`name` as it is asked for: lower case, A-labels, no trailing dot; None when it cannot be a domain name.

    RFC 1035 §2.3.4: labels of up to 63 octets, 253 characters in all. They may hold any printable ASCII (but the backslash,
    which would start an escape): SPF's macros make names of local parts.
    """
    return _lookup_name(name) if len(name) <= _KEPT_NAME else _worked_out(name)


_KEPT_NAME = 255
_KEPT_NAMES = 8_192


def _worked_out(name: str) -> str | None:
    name = name.removesuffix(".").lower()
    if not name.isascii():
        try:
            name = ".".join(label if label.isascii() else _a_label(label) for label in _DOTS.split(name))
        except (idna.IDNAError, UnicodeError):
            return None
    if not name or len(name) > 253 or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        return None
    return name


# Each mail asks for the same few names twenty times over: 0.2 ms of CPU when each is worked out anew. Longer ones are no names.
_lookup_name = lru_cache(maxsize=_KEPT_NAMES)(_worked_out)


def _a_label(label: str) -> str:
    """One label as an A-label (RFC 5890); by itself, so that an underscore elsewhere in the name does no harm."""
    return idna.encode(label, uts46=True, transitional=False).decode("ascii").lower()


def reverse_name(ip: str | IPv4Address | IPv6Address) -> str:
    """The name under in-addr.arpa or ip6.arpa (RFC 1035 §3.5, RFC 3596 §2.5)."""
    return ip_address(ip).reverse_pointer


ZoneValue = str | Sequence[str | bytes | tuple[int, str] | Sequence[str | int]]
Zone = Mapping[str, Mapping[str, ZoneValue]]
"""name → type → records, such as `{"a.test": {"A": ["192.0.2.1"], "MX": [(10, "mx.a.test")], "TXT": ["v=spf1 -all"]}}`.

A type's value may be "TIMEOUT" or "SERVFAIL" instead; the type "*" gives it for every type that is not listed.
"""


class StaticResolver(Lookups):
    """Answers from a Zone alone: for tests and for scanning offline. Any name not in it does not exist (NXDOMAIN).

    `queries` lists what was asked, for tests. With `offline`, names that are not in the zone fail temporarily instead.
    """

    def __init__(self, zone: Zone | None = None, *, offline: bool = False) -> None:
        self._zone: dict[str, Mapping[str, ZoneValue]] = {}
        self._offline = offline
        self.queries: list[tuple[str, str]] = []
        for name, types in (zone or {}).items():
            self._zone[name.removesuffix(".").lower()] = {rdtype.upper(): value for rdtype, value in types.items()}

    async def query(self, name: str, rdtype: str) -> Answer:
        """See Resolver."""
        key = lookup_name(name)
        self.queries.append((key or name, rdtype))
        for _ in range(CNAME_LIMIT):
            if key is None:
                return Answer(Rcode.NXDOMAIN)
            types = self._zone.get(key)
            if types is None:
                return self._missing(key, rdtype)
            value = types.get(rdtype, types.get("*", ()))
            if isinstance(value, str):
                raise DnsTemporaryError(f"{key} {rdtype}: {value}")
            aliases = types.get("CNAME")
            if not aliases or value or rdtype == "CNAME":
                return Answer(Rcode.NOERROR, tuple(_record(rdtype, item) for item in value), 300)
            key = lookup_name(str(aliases[0]))
        raise DnsTemporaryError(f"{name} {rdtype}: aliases without end")

    def _missing(self, key: str, rdtype: str) -> Answer:
        if self._offline:
            raise DnsTemporaryError(f"{key} {rdtype}: no network")
        if any(name.endswith(f".{key}") for name in self._zone):  # an empty non-terminal exists (RFC 8020)
            return Answer(Rcode.NOERROR)
        return Answer(Rcode.NXDOMAIN)


def _record(rdtype: str, item: str | bytes | tuple[int, str] | Sequence[str | int]) -> Record:
    if rdtype == "TXT":
        if isinstance(item, bytes):
            return item
        return (item if isinstance(item, str) else "".join(map(str, item))).encode()
    if rdtype == "MX":
        preference, host = item if not isinstance(item, str | bytes) else (0, item)
        return int(preference), str(host).removesuffix(".").lower()
    text = str(item)
    return text if rdtype in ("A", "AAAA") else text.removesuffix(".")
