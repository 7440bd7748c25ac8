"""Has rspamd or SpamAssassin judge labelled mail, for a comparison: the same messages, by what these make of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from mailguard.app.corpus import NOBODY, prepared, sent_at
from mailguard.app.scan import LOOPBACK, sender_of
from mailguard.core.decision import Action
from mailguard.core.errors import UnavailableError
from mailguard.core.verdict import ScoredSymbol
from mailguard.learning.envelopes import NOT_RECORDED
from mailguard.learning.evaluate import decided_anew
from mailguard.learning.leaks import ALL_LEAKS, LeakyFields
from mailguard.learning.scanning import CorpusMail, ScanMail, ScannedMail
from mailguard.net.engine import EngineReport, Handover
from mailguard.net.rspamd import RspamdClient
from mailguard.net.spamd import SpamdClient
from mailguard.policy.profile import Threshold


class Baseline(StrEnum):
    """What we compare with."""

    RSPAMD = "rspamd"
    SPAMD = "spamd"


ADDRESSES: Mapping[Baseline, str] = MappingProxyType(
    {Baseline.RSPAMD: "127.0.0.1:11333", Baseline.SPAMD: "127.0.0.1:783"}
)
"""Where they listen by default: rspamd's normal worker, spamd."""
THRESHOLDS: Mapping[Baseline, tuple[Threshold, ...]] = MappingProxyType(
    {
        Baseline.RSPAMD: (Threshold(6.0, Action.TAG), Threshold(15.0, Action.REJECT)),
        Baseline.SPAMD: (Threshold(5.0, Action.TAG),),
    }
)
"""Their own, as they come: rspamd adds a header from 6 on and rejects from 15 on; SpamAssassin takes for spam from 5 on."""


@dataclass(frozen=True, slots=True)
class BaselineScanner:
    """Opens what has `engine` at `address` judge a mail. It can be sent to another process. `seconds` for each mail.

    It is told the envelope as far as it is recorded; what it finds of SPF and the like it looks up itself.
    """

    engine: Baseline
    address: str
    leaks: LeakyFields | None = ALL_LEAKS
    seconds: float = 30.0

    @contextmanager
    def __call__(self) -> Iterator[ScanMail]:
        """A ScanMail with an event loop of its own."""
        with asyncio.Runner() as runner:
            yield lambda mail: self._scan(runner, mail)

    def _scan(self, runner: asyncio.Runner, mail: CorpusMail) -> ScannedMail:
        try:
            raw = prepared(mail.path.read_bytes(), self.leaks)
            report = runner.run(self._ask(raw, mail))
        except OSError as error:
            return ScannedMail(mail, problem=f"cannot be read: {error.strerror}")
        except UnavailableError as error:
            return ScannedMail(mail, problem=str(error))
        symbols = tuple(
            ScoredSymbol(symbol.name, symbol.score or 0.0, evidence=(symbol.seen,) if symbol.seen else ())
            for symbol in report.symbols
        )
        judged = decided_anew(ScannedMail(mail), report.score, THRESHOLDS[self.engine])
        return ScannedMail(mail, judged.score, judged.action, symbols=symbols, date=sent_at(raw))

    async def _ask(self, raw: bytes, mail: CorpusMail) -> EngineReport:
        recorded = mail.recorded or NOT_RECORDED
        sender = (recorded.mail_from or sender_of(raw)).strip("<>")
        if self.engine is Baseline.RSPAMD:
            handover = Handover(recorded.client_ip or LOOPBACK, "", sender, (recorded.rcpt_to or NOBODY,))
            return await RspamdClient(self.address, timeout=self.seconds).scan(raw, handover)
        path = f"Return-Path: <{sender}>\r\n".encode() if sender.isascii() and sender.isprintable() else b""
        return await SpamdClient(self.address, timeout=self.seconds).scan((path, raw))
