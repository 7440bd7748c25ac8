"""Scans files one after another or side by side: each has a time limit, and whatever is in it, the next one is scanned."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from mailguard.cli.terminal import complain

if TYPE_CHECKING:
    from mailguard.config import Settings
    from mailguard.core.decision import Decision
    from mailguard.core.tenant import Tenant
    from mailguard.core.verdict import Findings, Verdict
    from mailguard.learning.envelopes import Envelopes
    from mailguard.policy.profile import Policy
    from mailguard.store.db import Database

CHECK_SHARE = 0.8
"""Share of a file's time that its checks get, so that one that is late is told as such and does not take the file along."""


class Report(Protocol):
    """What the scanner says of one message."""

    @property
    def findings(self) -> Findings:
        """What the checks found."""
        ...

    @property
    def verdict(self) -> Verdict:
        """What that means for the tenant."""
        ...

    @property
    def policy(self) -> Policy:
        """By what it was decided."""
        ...

    @property
    def decision(self) -> Decision:
        """What would be done."""
        ...


@dataclass(frozen=True, slots=True)
class Transaction:
    """What the messages are taken to have come with, where `envelopes` say nothing else of one."""

    client_ip: str
    helo: str
    mail_from: str
    """`<>`: the null sender; empty: whoever the From field names."""
    recipient: str
    tenant: Tenant
    envelopes: Envelopes | None = None
    offline: bool = False
    """Whether recorded results alone count, and nothing is looked up."""


@dataclass(frozen=True, slots=True)
class Scanned:
    """One file: its report, or what went wrong with it; and how many seconds that took."""

    path: str
    report: Report | None = None
    problem: str = ""
    seconds: float = 0.0


ScanOne = Callable[[str, bytes], "asyncio.Task[Report]"]
"""Starts scanning the content of the file at a path."""


async def scan_all(
    settings: Settings,
    paths: Iterable[str],
    transaction: Transaction,
    *,
    checks: Sequence[str],
    seconds: float,
    jobs: int,
    show: Callable[[Scanned], None],
    db: Database | None = None,
) -> bool:
    """Scan and show every file in the order given; whether any failed. With `db` the tenant's own eyes count."""
    from mailguard.app.filter import build_scanner
    from mailguard.app.scan import LOOPBACK, sender_of
    from mailguard.learning.envelopes import NOT_RECORDED, Envelopes

    envelopes = transaction.envelopes or Envelopes()
    failed = False
    async with build_scanner(
        settings,
        checks=checks,
        tenant=transaction.tenant,
        budget=seconds * CHECK_SHARE,
        recorded=transaction.envelopes is not None,
        offline=transaction.offline,
        db=db,
    ) as scanner:

        def start(path: str, raw: bytes) -> asyncio.Task[Report]:
            recorded = envelopes.of(path) or NOT_RECORDED
            mail_from = (recorded.mail_from or transaction.mail_from or sender_of(raw)).strip("<>")
            return asyncio.create_task(
                scanner.scan(
                    raw,
                    client_ip=recorded.client_ip or transaction.client_ip or LOOPBACK,
                    helo=transaction.helo,
                    mail_from=mail_from,
                    recipient=recorded.rcpt_to or transaction.recipient,
                    recorded=recorded.results,
                )
            )

        async for scanned in scan_each(paths, start, seconds=seconds, jobs=jobs):
            if scanned.report is None:
                failed = True
                complain(f"error: {scanned.path}: {scanned.problem}")
            else:
                show(scanned)
    return failed


async def scan_each(paths: Iterable[str], start: ScanOne, *, seconds: float, jobs: int) -> AsyncIterator[Scanned]:
    """Scan `jobs` files at a time, `seconds` for each, and yield them in the order given."""
    running: deque[asyncio.Task[Scanned]] = deque()
    for path in paths:
        running.append(asyncio.create_task(_scan_one(path, start, seconds)))
        if len(running) >= jobs:
            yield await running.popleft()
    while running:
        yield await running.popleft()


async def _scan_one(path: str, start: ScanOne, seconds: float) -> Scanned:
    from mailguard.app.scan import as_sent

    try:
        raw = await asyncio.to_thread(Path(path).read_bytes)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        return Scanned(path, problem=f"cannot be read: {getattr(error, 'strerror', None) or error}")
    began = time.perf_counter()
    task = start(path, as_sent(raw))
    done, _ = await asyncio.wait({task}, timeout=seconds)
    if not done:
        task.cancel()
        await asyncio.wait({task}, timeout=1.0)
        return Scanned(path, problem=f"took longer than {seconds:g} s")
    bug = task.exception()
    if bug is not None:  # told with the file that shows it, and the others are still scanned
        return Scanned(path, problem=f"failed: {type(bug).__name__}: {bug}")
    return Scanned(path, task.result(), seconds=time.perf_counter() - began)
