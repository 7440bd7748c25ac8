"""A database with a tenant and mail in any state, for tests of what reads or moves the ledger."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mailguard.core.clock import DAY
from mailguard.core.correspondent import AUTHENTICATED
from mailguard.core.decision import Action, Decision, Reason
from mailguard.core.envelope import MailOptions, NextHop, Recipient, Session
from mailguard.core.events import State
from mailguard.core.ids import new_message_id, unit_id
from mailguard.core.reply import OK
from mailguard.core.verdict import (
    Attachment,
    AuthMethod,
    AuthOutcome,
    AuthResult,
    CheckResult,
    Findings,
    ScoredSymbol,
    Symbol,
)
from mailguard.store import migrations, tenants
from mailguard.store.blobs import FileBlobStore
from mailguard.store.db import Database
from mailguard.store.ledger import Move, NewMessage, NewUnit, QueueEntry, begin_in, move_in

START = 1_795_500_000_000
"""2026-11-24 06:00 UTC, when the tests' clock starts."""
RAW = b"From: Eve <eve@evil.test>\r\nTo: joe@acme.test\r\nSubject: Hello\r\n\r\nHello Joe\r\n"


@dataclass
class Clock:
    """A clock that a test sets."""

    now: int = START

    def __call__(self) -> int:
        return self.now


def findings(*, malware: Sequence[str] = ()) -> Findings:
    """What the checks found, hostile strings among it."""
    symbols = (Symbol("SUSPICIOUS_LINK", 4.0, "a link", ("http://evil.test/\x1b[31m",)),)
    return Findings(
        results=(
            CheckResult("clamav", malware=tuple(malware)),
            CheckResult("spf", auth=(AuthResult(AuthMethod.SPF, AuthOutcome.FAIL, "evil.test"),)),
            CheckResult("rules", symbols=symbols),
        ),
        attachments=(Attachment("in\u202evoice.exe", "text/plain", "application/x-dosexec", 99, "ab" * 32),),
        link_hosts=("evil.test",),
        from_address="eve@evil.test",
    )


def seen_by_tenant(author: str) -> CheckResult:
    """What a check that looks with the tenant's eyes found, of an author who was authenticated."""
    evidence = (author, author.rpartition("@")[2], "Eve Evil")
    return CheckResult("history", symbols=(Symbol(AUTHENTICATED, evidence=evidence),))


@functools.cache
def _migrated() -> bytes:
    """A migrated SQLite database: made once, since that takes longer than most tests."""
    with tempfile.TemporaryDirectory() as folder:
        migrations.upgrade(f"sqlite:///{folder}/mailguard.db")
        return (Path(folder) / "mailguard.db").read_bytes()


class World:
    """One database, blob store and tenant `acme` of `acme.test`, and the means to put mail into them."""

    def __init__(self, folder: Path, *, url: str = "", clock: Clock | None = None) -> None:
        self.clock = clock
        self.url = url or f"sqlite:///{folder}/var/mailguard.db"
        if not url:
            (folder / "var").mkdir(exist_ok=True)
            (folder / "var" / "mailguard.db").write_bytes(_migrated())
        self.db = Database.open(self.url, readers=1, clock=clock)
        self.blobs = FileBlobStore(folder / "var")
        self.tenant = self.db.write_sync(
            lambda conn: tenants.add_tenant(
                conn, name="acme", now=self.db.now(conn), domains=["acme.test"], next_hops=[NextHop("mx.acme.test")]
            )
        )

    def close(self) -> None:
        """Close the database."""
        self.db.close_sync()

    def mail(
        self,
        state: State = State.QUARANTINED,
        *,
        recipients: Sequence[str] = ("joe@acme.test",),
        mail_from: str = "eve@evil.test",
        subject: str = "Hello",
        reason: Reason = Reason.SPAM_SCORE,
        action: Action = Action.QUARANTINE,
        malware: Sequence[str] = (),
        purpose: str = "",
        received_at: int = 0,
        tenant: int = 0,
        raw: bytes = RAW,
        probe: bool = False,
    ) -> list[str]:
        """Put a message into the ledger, a unit in `state` for each recipient; their ids."""
        at = received_at or self.db.read_sync(self.db.now)
        message = new_message_id(at)
        self.blobs.put(message, [raw])
        queue = None
        if state in (State.SPOOLED, State.HELD):
            queue = QueueEntry(
                purpose or ("rescan" if state is State.HELD else "forward"), due_at=at, expires_at=at + 5 * DAY
            )
        new = NewMessage(
            id=message,
            received_at=at,
            session=Session("s1", "192.0.2.1", helo="mail.evil.test", esmtp=True),
            mail_from=mail_from,
            options=MailOptions(),
            size=len(raw),
            sha256="0" * 64,
            header_message_id="<1@evil.test>",
            header_from="eve@evil.test",
            subject=subject,
            findings=findings(malware=malware),
            blob=True,
        )
        units = [
            NewUnit(
                number=number,
                recipient=Recipient(address, tenant or self.tenant, address.rpartition("@")[2].lower(), number=number),
                state=state,
                reason=reason,
                decision=Decision(number, action, reason, "score 8.2 ≥ quarantine at 8.0", "default", "f" * 64, OK),
                score=8.2,
                symbols=(ScoredSymbol("SUSPICIOUS_LINK", 4.0), ScoredSymbol("SPF_FAIL", 4.2)),
                headers="X-MailGuard-Id: x\r\n",
                queue=queue,
                probe=probe,
                found=(seen_by_tenant(mail_from.lower()),),
            )
            for number, address in enumerate(recipients, 1)
        ]
        self.db.write_sync(lambda conn: begin_in(conn, new, units))
        return [unit_id(message, unit.number) for unit in units]

    def move(self, unit: str, *states: State, reason: Reason = Reason.NEXT_HOP_ACCEPTED) -> None:
        """Move a unit through states, each with the queue row it takes."""
        for state in states:
            at = self.db.read_sync(self.db.now)
            entry = QueueEntry("release", at, at + DAY) if state in (State.SPOOLED, State.HELD) else None
            move = Move(unit, state, reason, queue=entry)
            self.db.write_sync(lambda conn, move=move: move_in(conn, [move]))
