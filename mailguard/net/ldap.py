"""A small LDAP client (RFC 4511): bind, and ask whether a search finds anything. One connection, kept open, one question at a time.

Of an entry no more is read than one attribute, where that is asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from mailguard.core.reply import sanitise
from mailguard.net.ber import BerError, element, elements, header, integer, octets, read_integer

MESSAGE_LIMIT = 1 << 20
"""Octets of one message from the server."""
_BIND, _BIND_DONE, _UNBIND = 0x60, 0x61, 0x42
_SEARCH, _ENTRY, _SEARCH_DONE = 0x63, 0x64, 0x65
_EXTENDED, _EXTENDED_DONE = 0x77, 0x78
_START_TLS = b"1.3.6.1.4.1.1466.20037"
_SUCCESS, _SIZE_LIMIT_EXCEEDED = 0, 4


class LdapError(Exception):
    """The directory could not be asked; the text says why."""


@dataclass(frozen=True, slots=True)
class LdapServer:
    """A directory server, and as whom we ask it. `starttls` on a plain connection (RFC 4511 §4.14); `password` in clear."""

    host: str
    port: int
    tls: bool = False
    starttls: bool = False
    bind_dn: str = ""
    password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found: the values of the attribute that was asked for, none when `several` entries were found."""

    values: tuple[str, ...] = ()
    several: bool = False


def parse_url(url: str) -> tuple[str, int, bool]:
    """Host, port and whether TLS of `ldap://HOST[:PORT]` or `ldaps://HOST[:PORT]`. Raises ValueError saying what is allowed."""
    parts = urlsplit(url)
    if parts.scheme not in ("ldap", "ldaps") or not parts.hostname or parts.path not in ("", "/") or parts.query:
        raise ValueError("must be ldap://HOST[:PORT] or ldaps://HOST[:PORT]")
    if parts.username is not None:
        raise ValueError("must name no user: that goes by itself")
    tls = parts.scheme == "ldaps"
    return unquote(parts.hostname), parts.port or (636 if tls else 389), tls


class LdapClient:
    """Asks one server. A connection that broke is made anew; questions wait for each other."""

    def __init__(self, server: LdapServer, *, timeout: float, context: Callable[[], ssl.SSLContext]) -> None:
        """`timeout` in seconds, for one question with all it needs. `context` verifies the server's certificate."""
        self._server = server
        self._timeout = timeout
        self._context = context
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._turn = asyncio.Lock()
        self._last_id = 0

    async def finds(self, base: str, query: bytes) -> bool:
        """Whether a search below `base` with the encoded filter `query` finds an entry. Raises LdapError."""
        return await self.find(base, query) is not None

    async def find(self, base: str, query: bytes, attribute: str = "") -> Found | None:
        """What a search below `base` with the encoded filter `query` finds, with the values of an attribute if one is named.

        None when there is no entry. Values that are no text are given in hexadecimal digits. Raises LdapError.
        """
        try:
            async with asyncio.timeout(self._timeout), self._turn:
                return await self._find(base, query, attribute)
        except TimeoutError as error:
            raise LdapError(f"no answer within {self._timeout:g} s") from error
        except (OSError, EOFError, BerError) as error:  # ssl.SSLError is an OSError
            raise LdapError(sanitise(str(error)) or type(error).__name__) from error

    def close(self) -> None:
        """Close the connection."""
        if self._streams is not None:
            _, writer = self._streams
            self._streams = None
            with contextlib.suppress(OSError, RuntimeError):
                writer.write(self._message(element(_UNBIND, b"")))
                writer.close()

    async def _find(self, base: str, query: bytes, attribute: str) -> Found | None:
        """Search; after any failure the connection is dropped: it may be out of step, or nobody's for want of a bind."""
        kept = self._streams is not None
        try:
            return await self._search(base, query, attribute)
        except (OSError, EOFError):
            self._drop()
            if not kept:
                raise
        except BaseException:
            self._drop()
            raise
        try:  # it was kept open, and the server has closed it meanwhile
            return await self._search(base, query, attribute)
        except BaseException:
            self._drop()
            raise

    async def _search(self, base: str, query: bytes, attribute: str) -> Found | None:
        reader, _ = self._streams or await self._connect()
        # Subtree, never dereference. No attributes (RFC 4511 §4.5.1.8: "1.1") and one entry at most, or the one attribute, and
        # two entries to see whether it is that of one alone.
        request = b"".join(
            (
                octets(base.encode()),
                integer(2, tag=0x0A),
                integer(0, tag=0x0A),
                integer(2 if attribute else 1),
                integer(max(1, round(self._timeout))),
                element(0x01, b"\x00"),
                query,
                element(0x30, octets(attribute.encode() or b"1.1")),
            )
        )
        number = self._send(element(_SEARCH, request))
        found: list[tuple[str, ...]] = []
        while True:
            tag, content = await self._answer(reader, number)
            if tag == _ENTRY:
                found.append(_values(content) if attribute else ())
            elif tag == _SEARCH_DONE:
                code, text = _result(content)
                if code not in (_SUCCESS, _SIZE_LIMIT_EXCEEDED):
                    raise LdapError(f"the search failed with result {code} {text}".rstrip())
                several = len(found) > 1 or code == _SIZE_LIMIT_EXCEEDED
                return Found(() if several else found[0], several) if found or several else None

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        server = self._server
        self._streams = await asyncio.open_connection(
            server.host, server.port, ssl=self._context() if server.tls else None, limit=MESSAGE_LIMIT
        )
        reader, writer = self._streams
        if server.starttls and not server.tls:
            number = self._send(element(_EXTENDED, element(0x80, _START_TLS)))
            await self._expect(reader, number, _EXTENDED_DONE, "STARTTLS")
            await writer.start_tls(self._context(), server_hostname=server.host)
        if server.bind_dn:
            bind = integer(3) + octets(server.bind_dn.encode()) + element(0x80, server.password.encode())
            await self._expect(reader, self._send(element(_BIND, bind)), _BIND_DONE, "the bind")
        return self._streams

    async def _expect(self, reader: asyncio.StreamReader, number: int, wanted: int, what: str) -> None:
        tag, content = await self._answer(reader, number)
        code, text = _result(content) if tag == wanted else (-1, "another answer")
        if code != _SUCCESS:
            raise LdapError(f"{what} failed with result {code} {text}".rstrip())

    def _message(self, operation: bytes) -> bytes:
        self._last_id += 1
        return element(0x30, integer(self._last_id) + operation)

    def _send(self, operation: bytes) -> int:
        assert self._streams is not None
        self._streams[1].write(self._message(operation))
        return self._last_id

    async def _answer(self, reader: asyncio.StreamReader, number: int) -> tuple[int, bytes]:
        """Tag and content of the next message about the request `number`. Raises BerError, EOFError and OSError."""
        start = await reader.readexactly(2)
        while (found := header(start, MESSAGE_LIMIT)) is None:
            start += await reader.readexactly(1)
        parts = list(elements(await reader.readexactly(found[2])))
        if found[0] != 0x30 or len(parts) < 2 or parts[0][0] != 0x02:
            raise BerError("not an LDAP message")
        if read_integer(parts[0][1]) == 0:  # RFC 4511 §4.4.1: it is about to close
            raise EOFError("the server said goodbye")
        if read_integer(parts[0][1]) != number:
            raise BerError("an answer to another question")
        return parts[1]

    def _drop(self) -> None:
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None


def _result(content: bytes) -> tuple[int, str]:
    """Code and text of an LDAPResult (RFC 4511 §4.1.9)."""
    parts = list(elements(content))
    if len(parts) < 3 or parts[0][0] != 0x0A:
        raise BerError("not an LDAP result")
    return read_integer(parts[0][1]), sanitise(parts[2][1].decode("utf-8", "replace"))


def _values(content: bytes) -> tuple[str, ...]:
    """The values of all attributes of a SearchResultEntry (RFC 4511 §4.5.2), in order."""
    found = []
    for tag, attributes in list(elements(content))[1:2]:
        if tag != 0x30:
            raise BerError("not an LDAP entry")
        for _, attribute in elements(attributes):
            parts = list(elements(attribute))
            if len(parts) != 2:
                raise BerError("not an LDAP attribute")
            found += [value for _, value in elements(parts[1][1])]
    return tuple(sorted(map(_text, found)))


def _text(value: bytes) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return value.hex()
    return text if text.isprintable() else value.hex()
