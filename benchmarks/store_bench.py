"""What recording costs: `begin` and `move` of one mail each, alone and with 50 tasks at once.

    python benchmarks/store_bench.py [URL]

Without a URL: a new SQLite file in the current folder's file system, removed afterwards.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time

from mailguard.core.decision import Action, Decision, Reason
from mailguard.core.envelope import MailOptions, Recipient, Session
from mailguard.core.events import State
from mailguard.core.ids import new_message_id
from mailguard.core.reply import OK
from mailguard.core.tenant import SYSTEM_TENANT
from mailguard.core.verdict import AuthMethod, AuthOutcome, AuthResult, CheckResult, Findings, ScoredSymbol, Symbol
from mailguard.store import migrations
from mailguard.store.db import Database
from mailguard.store.ledger import Ledger, Move, NewMessage, NewUnit

MAILS = 5_000
CHECKS = ("spf", "dkim", "dmarc", "arc", "clamav", "rules", "attachments")
SPF = AuthResult(AuthMethod.SPF, AuthOutcome.PASS, "sender.example", "", (("smtp.mailfrom", "a@sender.example"),))
FINDINGS = Findings(
    tuple(CheckResult(name, symbols=(Symbol(f"{name}_OK".upper(), -0.1, "fine"),), auth=(SPF,)) for name in CHECKS)
)


async def record(ledger: Ledger, count: int) -> None:
    """Begin `count` mails and deliver them."""
    for number in range(count):
        message_id, now = new_message_id(), time.time_ns() // 1_000_000
        sender = f"user{number % 500}@sender.example"
        message = NewMessage(
            message_id, now, Session("s", "192.0.2.1"), sender, MailOptions(), 14_000, "0" * 64, findings=FINDINGS
        )
        unit = NewUnit(
            number=1,
            recipient=Recipient(f"user{number % 100}@client.test", SYSTEM_TENANT, "client.test"),
            state=State.FORWARDING,
            reason=Reason.CLEAN,
            decision=Decision(1, Action.DELIVER, Reason.CLEAN, "score -0.7", "default", "0" * 16, OK),
            symbols=[ScoredSymbol(f"{name}_OK".upper(), -0.1) for name in CHECKS],
            headers="X-MailGuard-Verdict: clean\r\n" * 8,
            holder="w1",
        )
        await ledger.begin(message, [unit])
        await ledger.move(
            [Move(f"{message_id}-1", State.DELIVERED, Reason.NEXT_HOP_ACCEPTED, detail={"ip": "192.0.2.9"})]
        )


async def measure(url: str) -> None:
    """Print a line for each number of tasks."""
    migrations.upgrade(url)
    commits: list[float] = []
    db = Database.open(url, on_commit=commits.append)
    await record(Ledger(db), 100)
    for tasks in (1, 50):
        commits.clear()
        started, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(record(Ledger(db), MAILS // tasks) for _ in range(tasks)))
        elapsed, cpu = time.perf_counter() - started, time.process_time() - cpu
        print(
            f"{db.dialect}, {tasks:2} tasks: {MAILS / elapsed:7,.0f} mails/s, {cpu / MAILS * 1000:.3f} ms CPU a mail, "
            f"{MAILS * 2 / len(commits):.1f} works a commit"
        )
    await db.close()


def main() -> None:
    """Measure the database given, or a new SQLite one."""
    if len(sys.argv) > 1:
        asyncio.run(measure(sys.argv[1]))
        return
    with tempfile.TemporaryDirectory(dir=".") as folder:
        asyncio.run(measure(f"sqlite:///{folder}/mailguard.db"))


if __name__ == "__main__":
    main()
