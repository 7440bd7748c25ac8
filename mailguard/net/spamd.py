"""An asyncio client of SpamAssassin's spamd: SYMBOLS in its SPAMC protocol, one connection a message.

https://svn.apache.org/repos/asf/spamassassin/trunk/spamd/PROTOCOL
"""

from __future__ import annotations

import re

from mailguard.net.engine import SYMBOL_LIMIT, EngineReport, EngineSymbol, EngineUnavailable, exchange, plain

ANSWER_LIMIT = 1 << 18
"""Octets of an answer."""

_STATUS = re.compile(r"^SPAMD/[0-9.]+ (\d+) (.*)$")
_SPAM = re.compile(r"^spam\s*:\s*(?:true|false|yes|no)\s*;\s*(-?[0-9.]+)\s*/\s*(-?[0-9.]+)\s*$", re.IGNORECASE)


class SpamdClient:
    """Asks the spamd at `address`: `host:port` or the path of a socket. `user` is whose preferences count; empty: its own.

    `timeout` in seconds for the whole of a scan.
    """

    def __init__(self, address: str, *, timeout: float = 15.0, user: str = "") -> None:
        self.address = address
        self._timeout = timeout
        self._user = user

    async def scan(self, pieces: tuple[bytes, ...]) -> EngineReport:
        """What SpamAssassin makes of a whole mail, given in pieces. Raises EngineUnavailable."""
        user = f"User: {self._user}\r\n" if self._user else ""
        size = sum(map(len, pieces))
        head = f"SYMBOLS SPAMC/1.5\r\nContent-length: {size}\r\n{user}\r\n".encode()
        answer = await exchange(
            self.address, [head, *pieces], seconds=self._timeout, limit=ANSWER_LIMIT, half_close=True
        )
        return self._report(answer.decode("utf-8", "replace"))

    def _report(self, answer: str) -> EngineReport:
        head, _, body = answer.partition("\r\n\r\n")
        lines = head.split("\r\n")
        status = _STATUS.match(lines[0])
        if status is None:
            raise EngineUnavailable(f"spamd at {self.address} gave an answer that cannot be read: {plain(answer)!r}")
        if status[1] != "0":
            raise EngineUnavailable(f"spamd at {self.address} could not scan: {plain(f'{status[1]} {status[2]}')}")
        found = next((match for line in lines[1:] if (match := _SPAM.match(line))), None)
        try:
            score, threshold = (float(found[1]), float(found[2])) if found else (None, 0.0)
        except ValueError:
            score = None
        if score is None:
            raise EngineUnavailable(f"spamd at {self.address} told no score: {plain(answer)!r}")
        names = [name.strip() for name in body.replace("\r", "").replace("\n", ",").split(",")]
        return EngineReport(score, threshold, tuple(EngineSymbol(plain(name)) for name in names if name)[:SYMBOL_LIMIT])
