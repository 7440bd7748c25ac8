"""An asyncio client of rspamd's HTTP protocol: POST /checkv2, one connection a message.

https://rspamd.com/doc/developers/protocol.html
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

import h11

from mailguard.net.engine import SYMBOL_LIMIT, EngineReport, EngineSymbol, EngineUnavailable, Handover, exchange, plain

ANSWER_LIMIT = 1 << 20
"""Octets of an answer."""
RECIPIENT_LIMIT = 100
"""Recipients that rspamd is told of."""

_HEADER_SAFE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")


class RspamdClient:
    """Asks the rspamd at `address` (its normal worker or proxy): `host:port` or the path of a socket.

    `timeout` in seconds for the whole of a scan. `password` is that of its controller, if that is asked.
    """

    def __init__(self, address: str, *, timeout: float = 8.0, password: str = "") -> None:
        self.address = address
        self._timeout = timeout
        self._password = password

    async def scan(self, content: bytes, handover: Handover) -> EngineReport:
        """What rspamd makes of a whole mail. Raises EngineUnavailable."""
        request = h11.Connection(h11.CLIENT)
        head = request.send(h11.Request(method="POST", target="/checkv2", headers=self._headers(content, handover)))
        answer = await exchange(
            self.address, [head or b"", content], seconds=self._timeout, limit=ANSWER_LIMIT, half_close=False
        )
        request.send(h11.Data(content))
        request.send(h11.EndOfMessage())
        return _report(_body(request, answer, self.address), self.address)

    def _headers(self, content: bytes, handover: Handover) -> list[tuple[str, str]]:
        told = [
            ("Ip", handover.client_ip),
            ("Helo", handover.helo),
            ("From", handover.mail_from),
            *(("Rcpt", recipient) for recipient in handover.recipients[:RECIPIENT_LIMIT]),
            ("Queue-Id", handover.message_id),
            ("Password", self._password),
        ]
        return [
            ("Host", "rspamd"),
            ("Connection", "close"),
            ("Content-Length", str(len(content))),
            *((name, value) for name, value in told if _HEADER_SAFE.fullmatch(value)),
        ]


def _body(connection: h11.Connection, answer: bytes, address: str) -> bytes:
    """The body of the HTTP answer. Raises EngineUnavailable unless it is a whole one with status 200."""
    body = bytearray()
    try:
        connection.receive_data(answer)
        connection.receive_data(b"")
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Response) and event.status_code != 200:
                raise EngineUnavailable(f"rspamd at {address} answers with status {event.status_code}")
            if isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                return bytes(body)
            elif event is h11.NEED_DATA or event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
                raise EngineUnavailable(f"rspamd at {address} closed the connection in the midst of its answer")
    except h11.RemoteProtocolError as error:
        raise EngineUnavailable(f"rspamd at {address} does not speak HTTP: {error}") from error


def _report(body: bytes, address: str) -> EngineReport:
    try:
        told = json.loads(body)
        if not isinstance(told, dict):
            raise ValueError("no object")
        if "error" in told:
            raise EngineUnavailable(f"rspamd at {address} could not scan: {plain(str(told['error']))}")
        symbols = told.get("symbols", {})
        return EngineReport(
            _number(told["score"]),
            _number(told["required_score"]),
            tuple(_symbol(name, one) for name, one in list(symbols.items())[:SYMBOL_LIMIT]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise EngineUnavailable(f"rspamd at {address} gave an answer that cannot be read: {error!r}") from error


def _symbol(name: str, told: Any) -> EngineSymbol:
    options = told.get("options") or []
    return EngineSymbol(plain(str(name)), _number(told.get("score", 0.0)), plain(", ".join(map(str, options[:3]))))


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{value!r} is no score")
    return float(value)
