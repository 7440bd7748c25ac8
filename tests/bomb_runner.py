"""Judges one bomb after the other as the relay does, in a process of its own and a real sandbox; tells what each took.

    python -m tests.bomb_runner CLAMD [NAME…]

A line of JSON for each: `symbols`, `failed` (checks), CPU seconds of this process and of the sandbox's (`cpu`), the most memory
that one of the sandbox's held (`peak`), and by how much this one grew at most (`grown`), in KiB; the CPU seconds for which the event
loop did nothing else at the longest (`stall`).
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from mailguard.app.filter import build_filter
from mailguard.config.settings import Settings
from mailguard.core.envelope import Envelope, Recipient, Session
from mailguard.core.ids import new_message_id
from mailguard.core.tenant import Directory, Domain, Tenant
from mailguard.core.verdict import CheckStatus
from mailguard.net.dns import StaticResolver
from mailguard.pipeline.reading import read_message
from tests import bombs
from tests.conftest import ROOT
from tests.e2e.mails import with_attachment

CHECKS = ("attachments", "unpack", "html", "qr", "hashes", "rules", "classifier", "dkim", "arc")
TICK = os.sysconf("SC_CLK_TCK")


def sandbox(below: int | str = "self") -> list[int]:
    """The processes of the sandbox: what we started, and what that forked."""
    out: list[int] = []
    for task in Path(f"/proc/{below}/task").glob("*/children"):
        with suppress(OSError):
            for pid in map(int, task.read_text().split()):
                out += [pid, *sandbox(pid)]
    return out


def cpu_of(pid: int) -> float:
    """CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def peak_of(pid: int | str) -> int:
    """The most memory that a process held, in KiB."""
    return int(Path(f"/proc/{pid}/status").read_text().partition("VmHWM:")[2].split()[0])


class Watch:
    """Follows the sandbox's processes while they live."""

    def __init__(self) -> None:
        self.begun = {pid: cpu_of(pid) for pid in sandbox()}
        self.used: dict[int, float] = {}
        self.peak = 0

    def look(self) -> None:
        """Note what they have used."""
        for pid in sandbox():
            with suppress(OSError, IndexError, ValueError):
                self.begun.setdefault(
                    pid, cpu_of(pid)
                )  # a new one is first seen while it starts, which is no file's doing
                self.used[pid] = cpu_of(pid)
                self.peak = max(self.peak, peak_of(pid))

    @property
    def cpu(self) -> float:
        """CPU seconds that they used since."""
        return sum(used - self.begun[pid] for pid, used in self.used.items())


class Stalls:
    """The most CPU seconds that one callback of the event loop took since `longest` was set to 0."""

    def __init__(self) -> None:
        self.longest = 0.0

    def watch(self) -> None:
        """From now on, in this process."""
        run = asyncio.events.Handle._run

        def timed(handle: asyncio.events.Handle) -> None:
            begun = time.thread_time()
            run(handle)
            self.longest = max(self.longest, time.thread_time() - begun)

        asyncio.events.Handle._run = timed  # type: ignore[method-assign, assignment]


async def main(clamd: str, names: list[str]) -> None:
    """Judge those named, or all. `clamd`: the scanner's address."""
    settings = Settings.model_validate(
        {
            "clamav": {"address": clamd, "timeout": 60},
            "policies": {"path": str(ROOT / "policies")},
            "sandbox": {"time": 60, "wait": 60, "processes": 1},
            "checks": {"budget": 120},
        }
    )
    directory = Directory.of([Tenant(2, "client")], [Domain("client.test", 2)])
    made = build_filter(settings, directory=lambda: directory, resolver=StaticResolver({}), checks=CHECKS)
    session = Session("s", "127.0.0.1", helo="mail.sender.test", esmtp=True)

    async def judge(mail: bytes) -> Mapping[str, object]:
        envelope = Envelope(
            new_message_id(), "a@sender.test", recipients=(Recipient("u@client.test", 2, "client.test"),)
        )
        findings = await made.judge.find(session, envelope, await read_message(mail))
        return {
            "symbols": sorted({symbol.name for result in findings.results for symbol in result.symbols}),
            "failed": [
                f"{result.check}: {result.detail}"
                for result in findings.results
                if result.status is CheckStatus.TEMPERROR
            ],
        }

    async def measured(name: str, mail: bytes) -> None:
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")  # forgets the peak of before
        watch = Watch()
        before = peak_of("self")
        own = time.process_time()
        await asyncio.sleep(0)
        stalls.longest = 0.0
        task = asyncio.create_task(judge(mail))
        looked = 0.0
        while not task.done():
            begun = time.process_time()
            watch.look()
            looked += time.process_time() - begun
            await asyncio.wait([task], timeout=0.02)
        watch.look()
        cpu = time.process_time() - own - looked + watch.cpu
        taken = {
            "cpu": round(cpu, 2),
            "peak": watch.peak,
            "grown": peak_of("self") - before,
            "stall": round(stalls.longest, 3),
        }
        print(json.dumps({"name": name, **taken, **task.result()}), flush=True)

    stalls = Stalls()
    stalls.watch()
    title, raw = bombs.small_zip()
    await judge(with_attachment(raw, title))
    await measured("small_zip", with_attachment(raw, title))
    for name, made_file in bombs.FILES.items():
        if not names or name in names:
            title, raw = made_file()
            await measured(name, with_attachment(raw, title))
    for name, made_mail in bombs.MAILS.items():
        if not names or name in names:
            await measured(name, made_mail())
    await made.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2:]))
