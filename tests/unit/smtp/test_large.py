"""Large messages while others are carried out: they wait, in turn, for a time; small ones do not."""

from __future__ import annotations

import asyncio
import socket
import struct
from pathlib import Path
from typing import Any

import pytest

from .conftest import Client, Connect, HeldDoor, Serve, Watcher, eventually

LARGE = "x" * 3000
LIMITS: dict[str, Any] = {"memory_limit": 1000, "memory_budget": 4000}


async def offer(client: Client, content: str) -> None:
    """Send a message up to its final dot."""
    await client.ready()
    client.writer.write(f"{content}\r\n.\r\n".encode())


@pytest.fixture
def held(door: HeldDoor) -> asyncio.Event:
    """The door holds messages until this is set."""
    door.hold_data = asyncio.Event()
    return door.hold_data


async def test_large_message_waits_for_another_and_a_small_one_does_not(
    serve: Serve, connect: Connect, door: HeldDoor, watcher: Watcher, held: asyncio.Event
) -> None:
    server = await serve(**LIMITS)
    first, second, small = [await connect(server) for _ in range(3)]
    await offer(first, LARGE)
    await door.in_data.wait()
    await offer(second, LARGE)
    await eventually(lambda: watcher.waiting == 1)
    door.in_data.clear()
    await offer(small, "small")
    await door.in_data.wait()  # beside the one that waits
    held.set()
    for client in (first, second, small):
        assert (await client.hear())[:3] == "250"
    assert len(door.messages) == 3
    assert watcher.waiting == 0


async def test_who_waits_too_long_hears_452_and_may_come_again(
    serve: Serve, connect: Connect, door: HeldDoor, held: asyncio.Event
) -> None:
    server = await serve(memory_wait=0.1, **LIMITS)
    first, second = await connect(server), await connect(server)
    await offer(first, LARGE)
    await door.in_data.wait()
    await offer(second, LARGE)
    assert (await second.hear())[:9] == "452 4.3.1"
    held.set()
    assert (await first.hear())[:3] == "250"
    assert (await second.say("MAIL FROM:<a@sender.test>", "RCPT TO:<u@client.test>", "DATA"))[:3] == "354"
    assert (await second.say(LARGE + "\r\n."))[:3] == "250"


async def test_who_goes_while_it_waits_leaves_the_room_to_others(
    serve: Serve, connect: Connect, door: HeldDoor, watcher: Watcher, held: asyncio.Event
) -> None:
    server = await serve(**LIMITS)
    first, gone, third = [await connect(server) for _ in range(3)]
    await offer(first, LARGE)
    await door.in_data.wait()
    await offer(gone, LARGE)
    await eventually(lambda: watcher.waiting == 1)
    await offer(third, LARGE)
    await eventually(lambda: watcher.waiting == 2)
    # Reset, not closed: a client that only ends its side may still read its reply.
    gone.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    gone.writer.transport.abort()
    await eventually(lambda: watcher.waiting == 1)
    held.set()
    assert (await first.hear())[:3] == "250"
    assert (await third.hear())[:3] == "250"
    assert len(door.messages) == 2


async def test_draining_sends_those_away_that_wait(
    serve: Serve, connect: Connect, door: HeldDoor, watcher: Watcher, held: asyncio.Event
) -> None:
    server = await serve(**LIMITS)
    first, second = await connect(server), await connect(server)
    await offer(first, LARGE)
    await door.in_data.wait()
    await offer(second, LARGE)
    await eventually(lambda: watcher.waiting == 1)
    draining = asyncio.create_task(server.drain(0.2))
    assert (await second.hear())[:9] == "421 4.3.2"
    held.set()
    assert (await first.hear())[:3] == "250"
    await draining
    assert len(door.messages) == 1


async def test_slow_large_message_leaves_no_file_behind(
    serve: Serve, connect: Connect, door: HeldDoor, tmp_path: Path
) -> None:
    server = await serve(spool_directory=tmp_path, **LIMITS)
    client = await connect(server)
    await client.ready()
    client.writer.write(LARGE.encode())
    await client.writer.drain()
    await eventually(lambda: server.open_sessions == 1)
    assert list(tmp_path.iterdir()) == []
    client.writer.transport.abort()
    await eventually(lambda: server.open_sessions == 0)
    assert door.messages == []


async def test_disk_that_fails_at_the_last_octet_is_a_452_and_gives_the_room_back(
    serve: Serve, connect: Connect, door: HeldDoor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a file still holds back is written when it is read: with no room left it fails only then."""
    server = await serve(spool_directory=tmp_path, **LIMITS)
    client = await connect(server)
    with monkeypatch.context() as full:
        full.setattr("mailguard.smtp.intake._open", lambda _: Path("/dev/full").open("wb"))  # noqa: SIM115 - the intake closes it
        await offer(client, LARGE)
        assert (await client.hear())[:9] == "452 4.3.1"
    assert door.messages == []
    # Were the room still taken, a message as large as all of it would wait.
    assert (await client.say("MAIL FROM:<a@sender.test>", "RCPT TO:<u@client.test>", "DATA"))[:3] == "354"
    assert (await client.say("x" * 3900 + "\r\n."))[:3] == "250"
    assert [len(content) for _session, _envelope, content in door.messages] == [3902]
    assert list(tmp_path.iterdir()) == []
