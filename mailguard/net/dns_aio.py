"""The running relay's resolver: aiodns (c-ares) under a cache of its own, with one query on the wire for all who ask at once."""

from __future__ import annotations

import asyncio
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from enum import StrEnum
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import aiodns
from aiodns import error as dns_error

from mailguard.core.errors import ConfigError, Problem
from mailguard.net.dns import Answer, DnsTemporaryError, Lookups, Rcode, Record, lookup_name
from mailguard.net.dns_unusual import UnusualNames

if TYPE_CHECKING:
    import pycares

MAX_TTL = 3600.0
"""Longest time in seconds that a positive answer is kept, whatever its TTL: a client's mended record is seen within the hour."""
NEGATIVE_TTL = 30.0
"""How long NXDOMAIN and NODATA are kept, in seconds. RFC 2308 §5 takes it from the SOA record, which c-ares does not hand on
with a negative answer; it caches by the SOA itself, below us, so this only saves the trip."""
FAILURE_TTL = 1.0
"""How long a failure is kept, in seconds (RFC 9520 §3.2 asks for at least 1): a dead server is not met by every message."""
TRIES = 2

_TYPE_NUMBERS = {"A": 1, "NS": 2, "CNAME": 5, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28}
_NEGATIVE = {
    dns_error.ARES_ENOTFOUND: Rcode.NXDOMAIN,
    dns_error.ARES_EBADNAME: Rcode.NXDOMAIN,  # what cannot be a name does not exist
    dns_error.ARES_ENODATA: Rcode.NOERROR,
}

_NAMESERVER = re.compile(
    r"^(?:\[(?P<six>[0-9A-Fa-f:]+)\]|(?P<four>[0-9.]+(?=:\d+$))|(?P<plain>[0-9A-Fa-f:.]+$))(?::(?P<port>\d{1,5}))?$"
)

_HOSTNAME = re.compile(r"^[A-Za-z0-9._/*-]+$")
"""The names that c-ares asks for (its ares_is_hostnamech); it refuses others, such as the `+` and `=` of local parts."""

_Outcome = Answer | DnsTemporaryError
_Key = tuple[str, str]


class QueryResult(StrEnum):
    """How a question was answered, for the metrics. Those that waited for another's answer are not counted."""

    CACHED = "cached"
    FOUND = "found"
    NOTHING = "nothing"
    """The name does not exist, or has no such records."""
    FAILED = "failed"


class TtlCache:
    """The last `size` answers and failures, each until its time has run out. The least recently used one goes first."""

    def __init__(self, size: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._size = size
        self._clock = clock
        self._entries: OrderedDict[_Key, tuple[float, _Outcome]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: _Key) -> _Outcome | None:
        """What was learnt, if it still holds."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry[0] <= self._clock():
            del self._entries[key]
            return None
        self._entries.move_to_end(key)
        return entry[1]

    def put(self, key: _Key, outcome: _Outcome, seconds: float) -> None:
        """Keep an outcome for that long; nothing is kept for 0 seconds."""
        if seconds <= 0 or self._size <= 0:
            self._entries.pop(key, None)
            return
        self._entries[key] = (self._clock() + seconds, outcome)
        self._entries.move_to_end(key)
        while len(self._entries) > self._size:
            self._entries.popitem(last=False)

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()


class AiodnsResolver(Lookups):
    """A Resolver by aiodns. Belongs to the event loop it is first used in.

    `nameservers`: "192.0.2.53", "127.0.0.1:5300", "[::1]:53" or "::1"; empty means the system's. `timeout` in seconds is
    for a whole look-up, retries included. `cache_size` counts answers; 0 switches the cache off. `on_query` hears how each
    question was answered. ConfigError when a name server is none.
    """

    def __init__(
        self,
        nameservers: Sequence[str] = (),
        *,
        timeout: float = 5.0,
        cache_size: int = 20_000,
        max_ttl: float = MAX_TTL,
        negative_ttl: float = NEGATIVE_TTL,
        failure_ttl: float = FAILURE_TTL,
        on_query: Callable[[QueryResult], None] | None = None,
    ) -> None:
        if wrong := [server for server in nameservers if not is_nameserver(server)]:
            allowed = "allowed are addresses such as 192.0.2.53, 127.0.0.1:5300 or [::1]:53"
            raise ConfigError(
                [Problem("dns.nameservers", f"{server!r} is no name server; {allowed}") for server in wrong]
            )
        self._nameservers = tuple(nameservers)
        self._timeout = timeout
        self._max_ttl = max_ttl
        self._negative_ttl = negative_ttl
        self._failure_ttl = failure_ttl
        self._cache = TtlCache(cache_size)
        self._pending: dict[_Key, asyncio.Task[_Outcome]] = {}
        self._dns: aiodns.DNSResolver | None = None
        self._unusual = UnusualNames(self._nameservers, timeout=timeout)
        self._on_query = on_query
        self._lookups_left = 0
        self._renew_after = max(cache_size, 1_000)

    async def query(self, name: str, rdtype: str) -> Answer:
        """See Resolver."""
        asked = lookup_name(name)
        if asked is None:
            return Answer(Rcode.NXDOMAIN)
        key = (asked, rdtype)
        outcome = self._cache.get(key)
        if outcome is None:
            task = self._pending.get(key)
            if task is None:
                task = asyncio.create_task(self._look_up(key))
                self._pending[key] = task
                task.add_done_callback(lambda _: self._pending.pop(key, None))
            outcome = await asyncio.shield(task)  # one who gives up must not take the answer from the others
        elif self._on_query is not None:
            self._on_query(QueryResult.CACHED)
        if isinstance(outcome, DnsTemporaryError):
            raise DnsTemporaryError(str(outcome))
        return outcome

    async def close(self) -> None:
        """Give up what is under way and release the sockets."""
        dns, self._dns = self._dns, None
        if dns is not None:
            await dns.close()  # ends the look-ups under way: their callers see a DnsTemporaryError
        await asyncio.gather(*self._pending.values(), return_exceptions=True)
        self._cache.clear()

    async def _look_up(self, key: _Key) -> _Outcome:
        name, rdtype = key
        try:
            async with asyncio.timeout(self._timeout):
                if not _HOSTNAME.match(name):
                    return self._keep(key, await self._unusual.look_up(name, rdtype))
                result = await self._ask(name, rdtype)
        except TimeoutError:
            return self._keep(key, DnsTemporaryError(f"{name} {rdtype}: no answer within {self._timeout:g} s"))
        except dns_error.DNSError as error:
            code, text = (*error.args, "", "")[:2]
            rcode = _NEGATIVE.get(code)
            return self._keep(key, DnsTemporaryError(f"{name} {rdtype}: {text}") if rcode is None else Answer(rcode))
        return self._keep(key, _answer(result, rdtype))

    async def _ask(self, name: str, rdtype: str) -> pycares.DNSResult:
        """One question, again and again until it is answered. The caller sets the time.

        c-ares measures its servers: where one mostly answers from its cache, it gives up on a slow name after 0.6 s,
        whatever timeout it was told. By then the server may have the answer.
        """
        while True:
            try:
                return await self._channel().query_dns(name, rdtype)
            except dns_error.DNSError as error:
                if error.args[:1] != (dns_error.ARES_ETIMEOUT,):
                    raise

    def _keep(self, key: _Key, outcome: _Outcome) -> _Outcome:
        if isinstance(outcome, DnsTemporaryError):
            seconds = self._failure_ttl
        else:
            seconds = min(float(outcome.ttl), self._max_ttl) if outcome.records else self._negative_ttl
        self._cache.put(key, outcome, seconds)
        if self._on_query is not None:
            self._on_query(_result_of(outcome))
        return outcome

    def _channel(self) -> aiodns.DNSResolver:
        """The c-ares channel. It caches too, without a bound: a new one now and then bounds it. The old one lives on in
        the look-ups that still use it, and closes itself with the last of them."""
        if self._dns is None or self._lookups_left == 0:
            self._lookups_left = self._renew_after
            self._dns = aiodns.DNSResolver(
                self._nameservers or None,
                loop=asyncio.get_running_loop(),
                timeout=max(self._timeout / (TRIES + 1), 0.1),
                tries=TRIES,
            )
        self._lookups_left -= 1
        return self._dns


def _result_of(outcome: _Outcome) -> QueryResult:
    if isinstance(outcome, DnsTemporaryError):
        return QueryResult.FAILED
    return QueryResult.FOUND if outcome.records else QueryResult.NOTHING


def is_nameserver(text: str) -> bool:
    """Whether `text` names a DNS server: an address, with a port after IPv4 (`127.0.0.1:5300`) or brackets (`[::1]:53`)."""
    match = _NAMESERVER.match(text)
    if match is None:
        return False
    try:
        ip_address(match["six"] or match["plain"] or match["four"])
    except ValueError:
        return False
    return 0 < int(match["port"] or 53) < 65536


def _answer(result: pycares.DNSResult, rdtype: str) -> Answer:
    number = _TYPE_NUMBERS[rdtype]
    found = [record for record in result.answer if record.type == number]
    ttl = min((record.ttl for record in result.answer), default=0)  # an alias's TTL counts too
    return Answer(Rcode.NOERROR, tuple(_record(rdtype, record.data) for record in found), ttl)


def _record(rdtype: str, data: Any) -> Record:
    if rdtype in ("A", "AAAA"):
        return _text(data.addr)
    if rdtype == "TXT":
        return bytes(data.data)
    if rdtype == "MX":
        return int(data.priority), _text(data.exchange).lower()
    return _text(getattr(data, {"PTR": "dname", "NS": "nsdname", "CNAME": "cname"}[rdtype]))


def _text(value: str | bytes) -> str:
    """pycares gives bytes for names that are not ASCII."""
    text = value.decode("ascii", "backslashreplace") if isinstance(value, bytes) else value
    return text.removesuffix(".")
