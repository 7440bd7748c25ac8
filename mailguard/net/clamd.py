"""An asyncio client of clamd: IDSESSION connections that stay open, zINSTREAM scans, and what its answers mean.

A connection carries one scan at a time and its request ids are checked, so that no answer can be taken for another's. It
works on sockets rather than on asyncio's streams: these lose an answer that clamd sent just before it closed, which is how
it says that a stream is too long.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from mailguard.core.errors import UnavailableError

CHUNK = 1 << 20
"""Octets of one INSTREAM chunk."""
ANSWER_LIMIT = 4_096
"""Octets of an answer."""
IDLE_LIMIT = 20.0
"""Seconds after which an idle connection is not used again; clamd closes it after CommandReadTimeout (30 s)."""


class ClamdUnavailable(UnavailableError):
    """clamd cannot be reached, did not answer in time, or could not scan (`ERROR`): nothing is known of the mail."""


class ScanKind(StrEnum):
    """What clamd's answer to one scan means."""

    CLEAN = "clean"
    FOUND = "found"
    LIMIT = "limit"
    """Not scanned to the end: one of clamd's limits (`Heuristics.Limits.Exceeded.*`, with AlertExceedsMax)."""
    ENCRYPTED = "encrypted"
    HEURISTIC = "heuristic"
    PUA = "pua"
    """A potentially unwanted application."""
    TOO_LARGE = "too_large"
    """Longer than StreamMaxLength: not scanned."""


@dataclass(frozen=True, slots=True)
class ScanResult:
    """One scan. `name` is the signature, as clamd says it; empty for CLEAN and TOO_LARGE."""

    kind: ScanKind
    name: str = ""


@dataclass(frozen=True, slots=True)
class ClamdVersion:
    """The answer to VERSION: `engine` such as `1.4.3`; the signature database's number and time when it has one."""

    engine: str
    database: int | None = None
    database_at: datetime | None = None


_KINDS = (
    ("heuristics.limits.exceeded", ScanKind.LIMIT),
    ("heuristics.encrypted", ScanKind.ENCRYPTED),
    ("heuristics.", ScanKind.HEURISTIC),
    ("pua.", ScanKind.PUA),
)
_HASH = re.compile(r"\([0-9a-f]{32,64}:\d+\)$")  # ExtendedDetectionInfo
_VERSION = re.compile(r"^ClamAV ([^/\s]+)(?:/(\d+)/(.+))?$")


def interpret(answer: str) -> ScanResult:
    """The meaning of `stream: …`. Raises ClamdUnavailable for an error."""
    status = answer.removeprefix("stream: ")
    if status == "OK":
        return ScanResult(ScanKind.CLEAN)
    if status.endswith(" FOUND"):
        name = _HASH.sub("", status.removesuffix(" FOUND"))
        lower = name.lower()
        kind = next((kind for prefix, kind in _KINDS if lower.startswith(prefix)), ScanKind.FOUND)
        return ScanResult(kind, name)
    if "size limit exceeded" in status.lower():
        return ScanResult(ScanKind.TOO_LARGE)
    raise ClamdUnavailable(f"clamd could not scan: {answer[:200]!r}")


class _Lost(Exception):
    """The connection broke before the answer came."""


class _Connection:
    """One socket in IDSESSION mode."""

    def __init__(self, sock: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        self._sock = sock
        self._loop = loop
        self._buffer = b""
        self.requests = 0
        self.idle_since = 0.0

    def close(self) -> None:
        self._sock.close()

    async def scan(self, content: bytes | memoryview) -> ScanResult:
        """Send one INSTREAM and read its answer. Raises _Lost when the connection breaks first."""
        self.requests += 1
        view = memoryview(content)
        start = b"zINSTREAM\0" if self.requests > 1 else b"zIDSESSION\0zINSTREAM\0"
        try:
            if len(view) <= 65_536:
                await self._send(b"".join((start, struct.pack(">I", len(view)), view, b"\0\0\0\0" if view else b"")))
            else:
                await self._send(start)
                for at in range(0, len(view), CHUNK):
                    chunk = view[at : at + CHUNK]
                    await self._send(struct.pack(">I", len(chunk)))
                    await self._send(chunk)
                await self._send(b"\0\0\0\0")
        except OSError:
            pass  # clamd closed while we sent: it may have said why
        line = await self._answer()
        number, _, answer = line.partition(": ")
        if not number.isdigit():
            raise _Lost(line[:200])  # about the connection: `COMMAND READ TIMED OUT` before it closes an idle one
        if number != str(self.requests):
            raise ClamdUnavailable(f"clamd answered request {number} to request {self.requests}")
        return interpret(answer)

    async def _send(self, data: bytes | memoryview) -> None:
        await self._loop.sock_sendall(self._sock, data)

    async def _answer(self) -> str:
        while b"\0" not in self._buffer:
            try:
                received = await self._loop.sock_recv(self._sock, ANSWER_LIMIT)
            except OSError as error:
                raise _Lost(str(error)) from error
            if not received:
                raise _Lost("closed by clamd")
            self._buffer += received
            if len(self._buffer) > ANSWER_LIMIT:
                raise ClamdUnavailable("clamd answers without end")
        answer, _, self._buffer = self._buffer.partition(b"\0")
        return answer.decode("utf-8", "replace").strip()


class ClamdClient:
    """Scans by one clamd, at `address`: `host:port`, `[v6]:port`, or the path of its socket.

    At most `connections` scans run at a time (clamd's MaxThreads bounds what it does at once); others wait within their
    `timeout`, in seconds, which counts for the whole of a scan. `max_size` in octets is clamd's StreamMaxLength: more is
    not sent and TOO_LARGE; 0: let clamd say.
    """

    def __init__(
        self,
        address: str,
        *,
        timeout: float = 30.0,
        connections: int = 10,
        connect_timeout: float = 5.0,
        max_size: int = 0,
    ) -> None:
        self.address = address
        self._timeout = timeout
        self._connect_timeout = connect_timeout
        self._max_size = max_size
        self._slots = asyncio.Semaphore(connections)
        self._idle: list[_Connection] = []

    async def scan(self, content: bytes | memoryview) -> ScanResult:
        """Scan a whole mail. Raises ClamdUnavailable when that could not be done."""
        if self._max_size and len(content) > self._max_size:
            return ScanResult(ScanKind.TOO_LARGE)
        try:
            async with asyncio.timeout(self._timeout), self._slots:
                connection = self._take()
                if connection:
                    try:
                        return await self._scan_on(connection, content)
                    except _Lost:  # clamd closed an idle connection, or was restarted
                        self._drop_idle()
                return await self._scan_on(await self._connect(), content)
        except (OSError, _Lost) as error:
            raise self._unavailable(error) from error

    async def _scan_on(self, connection: _Connection, content: bytes | memoryview) -> ScanResult:
        reusable = False
        try:
            result = await connection.scan(content)
            reusable = result.kind is not ScanKind.TOO_LARGE  # clamd closes after that
            return result
        finally:
            if reusable:
                connection.idle_since = asyncio.get_running_loop().time()
                self._idle.append(connection)
            else:
                connection.close()

    def _take(self) -> _Connection | None:
        """The idle connection used last, if it is fresh enough."""
        if not self._idle:
            return None
        connection = self._idle.pop()
        if asyncio.get_running_loop().time() - connection.idle_since <= IDLE_LIMIT:
            return connection
        connection.close()
        self._drop_idle()
        return None

    def _drop_idle(self) -> None:
        while self._idle:
            self._idle.pop().close()

    async def ping(self) -> bool:
        """Whether clamd answers; never raises ClamdUnavailable."""
        try:
            return await self._command("PING") == "PONG"
        except ClamdUnavailable:
            return False

    async def version(self) -> ClamdVersion:
        """The engine's and the signatures' version. Raises ClamdUnavailable."""
        answer = await self._command("VERSION")
        match = _VERSION.match(answer)
        if not match:
            raise ClamdUnavailable(f"clamd's version is not one: {answer[:100]!r}")
        if match[2] is None:
            return ClamdVersion(match[1])
        try:
            # ctime in clamd's local time, which is UTC in its container
            at = datetime.strptime(match[3].strip(), "%a %b %d %H:%M:%S %Y").replace(tzinfo=UTC)
        except ValueError:
            at = None
        return ClamdVersion(match[1], int(match[2]), at)

    async def _command(self, command: str) -> str:
        """One command on a connection of its own."""
        try:
            async with asyncio.timeout(self._connect_timeout):
                connection = await self._connect()
                try:
                    await connection._send(f"z{command}\0".encode())
                    return await connection._answer()
                finally:
                    connection.close()
        except (OSError, _Lost) as error:
            raise self._unavailable(error) from error

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(self._connect_timeout):
            if "/" in self.address:
                targets: list[tuple[int, Any]] = [(socket.AF_UNIX, self.address)]
            else:
                host, _, port = self.address.rpartition(":")
                found = await loop.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
                targets = [(family, target) for family, _, _, _, target in found]
            failure: OSError = OSError("no address")
            for family, target in targets:
                sock = socket.socket(family, socket.SOCK_STREAM)
                sock.setblocking(False)
                try:
                    if family != socket.AF_UNIX:
                        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    await loop.sock_connect(sock, target)
                    return _Connection(sock, loop)
                except OSError as error:
                    sock.close()
                    failure = error
                except BaseException:
                    sock.close()
                    raise
            raise failure

    def _unavailable(self, error: Exception) -> ClamdUnavailable:
        """What goes wrong with a connection, as what it means for a mail. TimeoutError is an OSError."""
        if isinstance(error, TimeoutError):
            return ClamdUnavailable(f"clamd at {self.address} did not answer in time")
        return ClamdUnavailable(f"clamd at {self.address} cannot be reached: {error}")

    async def close(self) -> None:
        """Close idle connections."""
        self._drop_idle()
