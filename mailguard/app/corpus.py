"""Judges labelled mail offline as the door would, in whatever process it is opened: what training, fitting and evaluating use."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime

from mailguard.app.filter import build_scanner
from mailguard.app.scan import LOOPBACK, NEEDS_DNS, RECORDED, Scanner, as_sent, sender_of
from mailguard.config import Settings
from mailguard.core.tenant import Tenant
from mailguard.learning.envelopes import NOT_RECORDED
from mailguard.learning.leaks import ALL_LEAKS, LeakyFields
from mailguard.learning.scanning import CorpusMail, ScanMail, ScannedMail
from mailguard.learning.traits import traits_of
from mailguard.message.parse import parse

NOBODY = "recipient@client.test"
"""The recipient when none is recorded."""
NOT_OFFLINE = (NEEDS_DNS - frozenset(RECORDED)) | {"clamav", "rspamd", "spamd"}
"""Checks that cannot be done without a network or another daemon."""


@dataclass(frozen=True, slots=True)
class CorpusScanner:
    """Opens what judges a mail of a collection, for `learning.scanning.scan_corpus`. It can be sent to another process.

    `checks` by default are the enabled ones that need no network. `leaks` are dropped from a message before it is judged;
    None: nothing is. With `features` the classification keeps what the classifier saw, and the sender's traits are told.
    """

    settings: Settings
    profile: str = "default"
    checks: tuple[str, ...] | None = None
    leaks: LeakyFields | None = ALL_LEAKS
    features: bool = False
    fitted: bool = True
    """Whether symbols have their fitted points, or those that fitting begins with."""

    @contextmanager
    def __call__(self) -> Iterator[ScanMail]:
        """A ScanMail with an event loop of its own."""
        checks = offline_checks(self.settings) if self.checks is None else self.checks
        tenant = Tenant(0, "", profile=self.profile)
        opening = build_scanner(
            self.settings,
            checks=checks,
            tenant=tenant,
            budget=self.settings.checks.budget,
            recorded=True,
            offline=True,
            fitted=self.fitted,
        )
        with asyncio.Runner() as runner:
            scanner = runner.run(opening.__aenter__())
            try:
                yield lambda mail: self._scan(runner, scanner, mail)
            finally:
                runner.run(opening.__aexit__(None, None, None))

    def _scan(self, runner: asyncio.Runner, scanner: Scanner, mail: CorpusMail) -> ScannedMail:
        try:
            raw = mail.path.read_bytes()
        except OSError as error:
            return ScannedMail(mail, problem=f"cannot be read: {error.strerror}")
        raw = prepared(raw, self.leaks)
        recorded = mail.recorded or NOT_RECORDED
        began = time.process_time()
        report = runner.run(
            scanner.scan(
                raw,
                client_ip=recorded.client_ip or LOOPBACK,
                helo="",
                mail_from=(recorded.mail_from or sender_of(raw)).strip("<>"),
                recipient=recorded.rcpt_to or NOBODY,
                recorded=recorded.results,
            )
        )
        cpu = time.process_time() - began
        found = next((one.classification for one in report.findings.results if one.classification), None)
        if found is not None and not self.features:
            found = replace(found, features=b"")
        return ScannedMail(
            mail,
            score=report.verdict.score,
            action=report.decision.action,
            reason=report.decision.reason,
            symbols=report.verdict.symbols,
            auth=report.findings.auth,
            malware=report.verdict.malware,
            classification=found,
            traits=traits_of(parse(raw), report.findings.auth) if self.features else (),
            date=sent_at(raw),
            cpu=cpu,
        )


def offline_checks(settings: Settings) -> tuple[str, ...]:
    """The enabled checks that can be done without a network; SPF, DKIM and DMARC are, from what was recorded."""
    return tuple(check for check in settings.checks.enabled if check not in NOT_OFFLINE)


def prepared(raw: bytes, leaks: LeakyFields | None) -> bytes:
    """A file's content as the door would see it, without the fields that tell the answer."""
    sent = as_sent(raw)
    return leaks.strip(sent) if leaks is not None else sent


def sent_at(raw: bytes) -> int:
    """The Date field in seconds since 1970; 0 when there is none that can be read."""
    header = raw.partition(b"\r\n\r\n")[0]
    for line in header.split(b"\r\n"):
        if line[:5].lower() == b"date:":
            try:
                return round(parsedate_to_datetime(line[5:].decode("latin-1").strip()).timestamp())
            except (ValueError, OverflowError, TypeError, IndexError):
                return 0
    return 0
