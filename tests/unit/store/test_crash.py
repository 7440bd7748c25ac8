"""A process that is killed while it records: what it said was done is done, and the ledger holds."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mailguard.core.events import State
from mailguard.store.blobs import FileBlobStore
from mailguard.store.consistency import Kind, check_in
from mailguard.store.db import Database
from mailguard.store.journal import Journal, settle_left_behind
from mailguard.store.ledger import Ledger
from tests.unit.store.mail import a_message, a_move, a_unit
from tests.unit.store.test_ledger import state_of

TASKS = 20
SAID = 60


async def record(url: str, root: Path) -> None:
    """Run by the process that is killed: says each unit and its state once that is durable."""
    db = Database.open(url)
    ledger, blobs, journal = Ledger(db), FileBlobStore(root / "blobs"), Journal(root / "journal" / "killed.jsonl")

    async def one() -> None:
        while True:
            message = a_message()
            unit = f"{message.id}-1"
            await ledger.begin(message, [a_unit()])
            print(unit, State.FORWARDING, flush=True)
            await asyncio.to_thread(blobs.put, message.id, [b"Subject: x\r\n\r\n"])
            await ledger.move([a_move(unit, State.SPOOLED)])
            print(unit, State.SPOOLED, flush=True)
            await asyncio.to_thread(journal.append, [a_move(unit, State.DELIVERED)])
            print(unit, State.DELIVERED, flush=True)

    await asyncio.gather(*(one() for _ in range(TASKS)))


@pytest.mark.parametrize("attempt", range(2))
async def test_what_was_said_to_be_durable_is(url: str, tmp_path: Path, attempt: int) -> None:
    code = "import asyncio, pathlib, sys; from tests.unit.store.test_crash import record; "
    code += "asyncio.run(record(sys.argv[1], pathlib.Path(sys.argv[2])))"
    process = subprocess.Popen([sys.executable, "-c", code, url, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(SAID + 37 * attempt)]
    process.send_signal(signal.SIGKILL)
    lines += process.stdout.readlines()
    process.wait()
    said = dict(line.split() for line in lines if line.endswith("\n"))  # the last thing said of each unit
    assert "delivered" in said.values()

    db = Database.open(url)
    blobs = FileBlobStore(tmp_path / "blobs")
    for unit, state in said.items():
        reached = await state_of(db, unit)
        assert reached is State.SPOOLED if state != State.FORWARDING else reached in (State.FORWARDING, State.SPOOLED)
    replayed = await settle_left_behind(tmp_path / "journal", db)
    assert replayed.applied >= sum(state == State.DELIVERED for state in said.values())
    for unit, state in said.items():
        if state == State.DELIVERED:
            assert await state_of(db, unit) is State.DELIVERED
    found = await db.read(lambda connection: check_in(connection, blobs))
    assert {item.kind for item in found} <= {Kind.BODY_ORPHANED}
    await db.close()
