"""Other filters as checks: rspamd and SpamAssassin. What one of them says is one symbol of ours; theirs are its evidence."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from mailguard.checks.base import CheckContext
from mailguard.core.clock import Clock, system_clock
from mailguard.core.verdict import CheckResult, CheckStatus, Symbol
from mailguard.message.headers import received
from mailguard.net.engine import EngineReport, Handover
from mailguard.net.rspamd import RspamdClient
from mailguard.net.spamd import SpamdClient

EVIDENCE_LIMIT = 12
"""Symbols of the other filter that ours shows, those with the most points first."""

Ask = Callable[[CheckContext], Awaitable[EngineReport]]
"""Has another filter scan a mail. Raises UnavailableError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreMapping:
    """How another filter's score becomes points of ours: times `scale`, at most `limit`, at least minus `credit`."""

    scale: float
    limit: float
    credit: float

    def points(self, score: float) -> float:
        """Our points for its score, to a hundredth."""
        return round(max(-self.credit, min(self.limit, score * self.scale)), 2)


class EngineCheck:
    """Reports <NAME>_SCORE. A mail of more than `max_size` octets is not handed over: SKIPPED.

    At most `concurrency` mails are with the filter at a time; others wait within the time that all checks have.
    """

    needs: tuple[str, ...] = ()

    def __init__(self, name: str, ask: Ask, *, mapping: ScoreMapping, max_size: int, concurrency: int = 10) -> None:
        self.name = name
        self._ask = ask
        self._mapping = mapping
        self._max_size = max_size
        self._slots = asyncio.Semaphore(concurrency)

    async def run(self, context: CheckContext, results: Mapping[str, CheckResult]) -> CheckResult:
        """See Check."""
        if len(context.message.raw) > self._max_size:
            return CheckResult(self.name, CheckStatus.SKIPPED, detail=f"more than {self._max_size} octets")
        async with self._slots:
            report = await self._ask(context)
        summary = f"{self.name} gives {report.score:g} points, and takes mail for spam from {report.threshold:g} on"
        graded = sorted(report.symbols, key=lambda symbol: -abs(symbol.score or 0.0))
        symbol = Symbol(
            f"{self.name.upper()}_SCORE",
            self._mapping.points(report.score),
            summary,
            tuple(map(str, graded[:EVIDENCE_LIMIT])),
        )
        return CheckResult(self.name, symbols=(symbol,), detail=summary)


def rspamd(client: RspamdClient) -> Ask:
    """Asks rspamd, and tells it the envelope."""

    def ask(context: CheckContext) -> Awaitable[EngineReport]:
        session, envelope = context.session, context.envelope
        handover = Handover(
            client_ip=str(session.address),
            helo=session.helo,
            mail_from=envelope.mail_from,
            recipients=tuple(recipient.address for recipient in envelope.recipients),
            message_id=envelope.message_id,
        )
        return client.scan(context.message.raw, handover)

    return ask


def spamd(client: SpamdClient, *, clock: Clock = system_clock) -> Ask:
    """Asks spamd. It knows of the envelope what the message says: our trace fields are put on top."""

    def ask(context: CheckContext) -> Awaitable[EngineReport]:
        envelope = context.envelope
        trace = received(context.session, hostname=context.hostname, message_id=envelope.message_id, at_ms=clock())
        sender = envelope.mail_from if envelope.mail_from.isprintable() else ""
        return client.scan((f"Return-Path: <{sender}>\r\n".encode(), trace, context.message.raw))

    return ask
