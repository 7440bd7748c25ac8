"""What the clients of other filters share: the report of a filter, and one exchange with it, bounded in time and size."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass

from mailguard.core.errors import UnavailableError

SYMBOL_LIMIT = 200
"""Symbols of one report that are kept."""
TEXT_LIMIT = 120
"""Characters of a symbol's name, and of what it was seen in."""

_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


class EngineUnavailable(UnavailableError):
    """The filter cannot be reached, did not answer in time, or its answer cannot be read: nothing is known of the mail."""


@dataclass(frozen=True, slots=True)
class EngineSymbol:
    """One of the filter's own symbols. `score` is None when it does not say; `seen` is what it was seen in."""

    name: str
    score: float | None = None
    seen: str = ""

    def __str__(self) -> str:
        score = "" if self.score is None else f" {self.score:g}"
        return f"{self.name}{score} ({self.seen})" if self.seen else f"{self.name}{score}"


@dataclass(frozen=True, slots=True)
class EngineReport:
    """What the filter makes of a mail: its score, and the score from which on it takes it for spam, in its own points."""

    score: float
    threshold: float
    symbols: tuple[EngineSymbol, ...] = ()


@dataclass(frozen=True, slots=True)
class Handover:
    """What the filter is told beside the message. `recipients` are the envelope's."""

    client_ip: str
    helo: str
    mail_from: str
    recipients: tuple[str, ...] = ()
    message_id: str = ""


async def exchange(address: str, pieces: Sequence[bytes], *, seconds: float, limit: int, half_close: bool) -> bytes:
    """Send `pieces` to `address` (`host:port`, `[v6]:port` or a socket's path) and read all it answers until it closes.

    `seconds` for all of it, `limit` in octets of the answer; `half_close`: say by a closed stream that this was
    all. Raises EngineUnavailable.
    """
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await _connect(address)
            try:
                writer.writelines(pieces)
                await writer.drain()
                if half_close:
                    writer.write_eof()
            except ConnectionError:
                pass  # it closed while we sent: it may have said why
            answer = bytearray()
            while octets := await reader.read(65_536):
                answer += octets
                if len(answer) > limit:
                    raise EngineUnavailable(f"{address} answers without end")
            return bytes(answer)
    except TimeoutError as error:
        raise EngineUnavailable(f"{address} did not answer in time") from error
    except OSError as error:
        raise EngineUnavailable(f"{address} cannot be reached: {error}") from error
    finally:
        if writer is not None:
            writer.transport.abort()


async def _connect(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if address.startswith("/"):
        return await asyncio.open_unix_connection(address)
    host, _, port = address.rpartition(":")
    return await asyncio.open_connection(host.strip("[]"), int(port))


def plain(text: str) -> str:
    """One line of a foreign text, within TEXT_LIMIT."""
    return _UNSAFE.sub(" ", text[:TEXT_LIMIT]).strip()
