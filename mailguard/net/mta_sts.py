"""MTA-STS policies (RFC 8461): found by DNS, fetched by HTTPS, kept for their time. Whoever we write to says what is fetched, so
everything is bounded: size, time, no redirects, no private addresses."""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address

import h11

from mailguard.net.dns import DnsError, Resolver, lookup_name
from mailguard.net.tls_contexts import TlsContexts, TlsSetupError

PATH = "/.well-known/mta-sts.txt"
SIZE_LIMIT = 64 * 1024
"""Octets of a policy (RFC 8461 §3.3 suggests 64 kilobytes)."""
MX_LIMIT = 1000
MAX_AGE_LIMIT = 31_557_600
"""Seconds in a year: the longest that a policy may say (RFC 8461 §3.2)."""
REFRESHED = 86_400.0
"""Seconds after which a policy is fetched anew though its id is the same (RFC 8461 §3.3): it must not run out unseen."""
AGAIN_AFTER = 300.0
"""Seconds after which a policy that could not be fetched is asked for again (RFC 8461 §3.3)."""
READ_AT_A_TIME = 16_384

_RECORD = re.compile(
    rb"^v=STSv1[ \t]*;(?:.*;)?[ \t]*id[ \t]*=[ \t]*(?P<id>[A-Za-z0-9]{1,32})[ \t]*(?:;.*)?$", re.DOTALL
)
_PATTERN = re.compile(r"^(?:\*\.)?[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9])?$")


class StsMode(StrEnum):
    """What a policy asks for."""

    ENFORCE = "enforce"
    TESTING = "testing"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class StsPolicy:
    """A domain's policy. `mx` are patterns in lower case; `max_age` in seconds."""

    mode: StsMode
    mx: tuple[str, ...]
    max_age: int

    def allows(self, host: str) -> bool:
        """Whether a mail exchanger is one that the policy names (RFC 8461 §4.1): `*.` stands for one label."""
        name = host.rstrip(".").lower()
        return any(name == one or (one.startswith("*.") and name.partition(".")[2] == one[2:]) for one in self.mx)


def parse_policy(text: bytes) -> StsPolicy:
    """A policy from what was fetched (RFC 8461 §3.2). Raises ValueError with what is wrong."""
    fields: dict[str, str] = {}
    mx: list[str] = []
    for line in text.decode("utf-8", "replace").replace("\r\n", "\n").split("\n"):
        key, colon, value = line.partition(":")
        key, value = key.strip().lower(), value.strip()
        if not colon:
            continue
        if key == "mx":
            mx.append(value.lower().rstrip("."))
        else:
            fields.setdefault(key, value)
    if fields.get("version") != "STSv1":
        raise ValueError("its version is not STSv1")
    if fields.get("mode") not in list(StsMode):
        raise ValueError("its mode is none that there is")
    age = fields.get("max_age", "")
    if not (age.isascii() and age.isdigit() and len(age) <= 10):
        raise ValueError("its max_age is no number of seconds")
    mode = StsMode(fields["mode"])
    if mode is not StsMode.NONE and not mx:
        raise ValueError("it names no mx")
    if len(mx) > MX_LIMIT or not all(map(_PATTERN.match, mx)):
        raise ValueError("its mx are not host names")
    return StsPolicy(mode, tuple(mx), min(int(age), MAX_AGE_LIMIT))


@dataclass(slots=True)
class _Kept:
    """What is known of a domain: its last good policy, and when its next fetch is due."""

    id: str = ""
    policy: StsPolicy | None = None
    until: float = 0.0
    refresh_at: float = 0.0
    again_at: float = 0.0


class MtaSts:
    """The policies of the domains that we write to, for this process.

    A policy that was seen holds until its end, whatever DNS and HTTPS say meanwhile. `timeout` in seconds is for a whole
    fetch; `port` and `private` (whether private addresses may be asked) are for tests.
    """

    def __init__(
        self,
        resolver: Resolver,
        contexts: TlsContexts,
        *,
        timeout: float = 15.0,
        domains: int = 10_000,
        port: int = 443,
        private: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._resolver = resolver
        self._contexts = contexts
        self._timeout = timeout
        self._limit = domains
        self._port = port
        self._private = private
        self._clock = clock
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._fetching: dict[str, asyncio.Task[StsPolicy]] = {}

    async def policy(self, domain: str) -> StsPolicy | None:
        """The policy in force for a domain; None when it has none, or none that can be had."""
        name = lookup_name(domain)
        if name is None:
            return None
        kept = self._kept.get(name) or _Kept()
        wanted = await self._id(name)
        now = self._clock()
        if wanted and (wanted != kept.id or now >= kept.refresh_at) and now >= kept.again_at:
            try:
                policy = await self._fetch_once(name)
            except (OSError, ValueError, TlsSetupError, DnsError, h11.ProtocolError):
                kept.again_at = self._clock() + AGAIN_AFTER
            else:
                age = policy.max_age
                kept = _Kept(wanted, policy, now + age, now + min(age / 2, REFRESHED), now + AGAIN_AFTER)
            self._keep(name, kept)
        return kept.policy if kept.policy is not None and self._clock() < kept.until else None

    async def _id(self, name: str) -> str:
        """The id of the policy that the domain publishes now; empty when it publishes none (RFC 8461 §3.1)."""
        try:
            records = await self._resolver.txt(f"_mta-sts.{name}")
        except DnsError:
            return ""
        ours = [record for record in records if record.startswith(b"v=STSv1")]
        found = _RECORD.match(ours[0]) if len(ours) == 1 else None
        return found["id"].decode() if found else ""

    async def _fetch_once(self, name: str) -> StsPolicy:
        """Fetch the policy, once for all who wait for it."""
        task = self._fetching.get(name)
        if task is None:
            task = self._fetching[name] = asyncio.create_task(self._fetch(name))
            task.add_done_callback(lambda _: self._fetching.pop(name, None))
        return await asyncio.shield(task)

    async def _fetch(self, name: str) -> StsPolicy:
        host = f"mta-sts.{name}"
        addresses = [
            address
            for address in await self._resolver.a_and_aaaa(host)
            if self._private or ip_address(address).is_global
        ]
        if not addresses:
            raise ValueError(f"{host} has no address that we would ask")
        context = self._contexts.get(verified=True)
        try:
            async with asyncio.timeout(self._timeout):
                return parse_policy(await _get(host, addresses[0], self._port, context))
        except TimeoutError as error:
            raise OSError(f"{host} was too slow") from error

    def _keep(self, name: str, kept: _Kept) -> None:
        self._kept[name] = kept
        self._kept.move_to_end(name)
        if len(self._kept) > self._limit:
            self._kept.popitem(last=False)


async def _get(host: str, address: str, port: int, context: ssl.SSLContext) -> bytes:
    """The policy file as it is served. Raises OSError, ValueError and h11.ProtocolError."""
    reader, writer = await asyncio.open_connection(address, port, ssl=context, server_hostname=host)
    try:
        connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=READ_AT_A_TIME)
        headers = [("Host", host), ("Accept", "text/plain"), ("User-Agent", "MailGuard"), ("Connection", "close")]
        request = connection.send(h11.Request(method="GET", target=PATH, headers=headers))
        writer.write((request or b"") + (connection.send(h11.EndOfMessage()) or b""))
        body = bytearray()
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await reader.read(READ_AT_A_TIME))
            elif isinstance(event, h11.Response):
                _check_response(event)
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > SIZE_LIMIT:
                    raise ValueError(f"a policy of more than {SIZE_LIMIT} octets")
            elif isinstance(event, h11.EndOfMessage):
                return bytes(body)
            elif not isinstance(event, h11.InformationalResponse):
                raise ValueError("no whole answer")
    finally:
        writer.transport.abort()


def _check_response(response: h11.Response) -> None:
    """Only a plain text that is there counts; a redirection is not followed (RFC 8461 §3.3)."""
    if response.status_code != 200:
        raise ValueError(f"the answer is {response.status_code}")
    kinds = [value for key, value in response.headers if key == b"content-type"]
    if not kinds or kinds[0].split(b";")[0].strip().lower() != b"text/plain":
        raise ValueError("the answer is not text/plain")
