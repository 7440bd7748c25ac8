"""Listeners, the ends of connections, draining, and clients that go away."""

from __future__ import annotations

import asyncio
import socket
import struct

import pytest

from mailguard.core.errors import UnavailableError
from mailguard.core.reply import Reply
from mailguard.smtp.door import SmtpSettings
from mailguard.smtp.limits import Refusal
from mailguard.smtp.server import Listener, SmtpServer
from tests.chat.fake_door import FakeDoor

from .conftest import Connect, HeldDoor, Serve, Watcher, eventually


async def test_session_names_client_listener_and_helo(serve: Serve, connect: Connect, door: HeldDoor) -> None:
    server = await serve()
    client = await connect(server)
    await client.ready()
    await client.say("x\r\n.")
    session = door.messages[0][0]
    assert (session.client_ip, session.helo, session.esmtp, session.tls) == ("127.0.0.1", "client.example", True, "")
    assert session.client_port == client.writer.get_extra_info("sockname")[1]
    assert session.listener == f"127.0.0.1:{server.addresses[0][1]}"
    assert session.id == door.sessions[0].id != ""


async def test_proxied_client_is_the_one_the_header_names(serve: Serve, connect: Connect, door: HeldDoor) -> None:
    server = await serve(listener=Listener("127.0.0.1", 0, proxy=True), proxy_networks=("127.0.0.1/32",))
    client = await connect(server)
    client.writer.write(b"PROXY TCP6 ::ffff:192.0.2.9 ::1 77 25\r\n")
    await client.hear()
    assert (door.sessions[0].client_ip, door.sessions[0].client_port) == ("192.0.2.9", 77)


async def test_ipv6_listener(serve: Serve, connect: Connect, door: HeldDoor) -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    try:
        server = await serve(listener=Listener("::1", 0))
    except OSError:
        pytest.skip("no IPv6 loopback here")
    assert (await (await connect(server)).hear())[:3] == "220"
    assert door.sessions[0].client_ip == "::1"
    assert door.sessions[0].listener.startswith("[::1]:")


async def test_two_workers_share_a_port(serve: Serve) -> None:
    first = await serve()
    second = await serve(listener=Listener(*first.addresses[0]))
    assert second.addresses == first.addresses


async def test_a_port_that_cannot_be_opened_opens_none(door: HeldDoor) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listeners = [Listener("127.0.0.1", 0), Listener(*taken.getsockname())]
        server = SmtpServer(door, SmtpSettings(hostname="mx.test"), listeners)
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{listeners[1].port}"):
            await server.start()
        assert server.addresses == ()


async def test_counts_of_sessions_balance(serve: Serve, connect: Connect, watcher: Watcher) -> None:
    server = await serve()
    clients = [await connect(server) for _ in range(3)]
    for client in clients:
        await client.hear()
    assert server.open_sessions == watcher.opened == 3
    await clients[0].say("QUIT")
    clients[1].writer.close()
    clients[2].writer.transport.abort()
    await eventually(lambda: watcher.closed == 3)
    assert server.open_sessions == 0
    assert server._shared.limits.open == 0


# --- greetings other than 220


async def test_554_greeting_waits_for_quit(serve: Serve, connect: Connect, door: HeldDoor, watcher: Watcher) -> None:
    door.greeting = Reply(554, "5.7.1", "Not from there")
    client = await connect(await serve())
    assert await client.hear() == "554 5.7.1 Not from there"
    assert (await client.say("EHLO client.example"))[:9] == "503 5.5.1"
    assert (await client.say("QUIT"))[:9] == "221 2.0.0"
    assert watcher.refused == [Refusal.DOOR]


@pytest.mark.parametrize(
    "error", [UnavailableError("database is locked"), ZeroDivisionError("secret")], ids=["unavailable", "bug"]
)
async def test_door_that_fails_at_connect_is_421(
    serve: Serve, connect: Connect, door: HeldDoor, error: Exception
) -> None:
    door.connect_error = error
    client = await connect(await serve())
    reply = await client.hear()
    assert reply.startswith("421 4.3.0")
    assert "secret" not in reply
    assert "locked" not in reply
    assert await client.hear() == ""


async def test_early_talker_is_turned_away(serve: Serve, connect: Connect, door: HeldDoor, watcher: Watcher) -> None:
    door.hold_connect = asyncio.Event()
    server = await serve()
    client = await connect(server)
    client.writer.write(b"EHLO spam.example\r\n")
    await eventually(lambda: any(each.pipelined for each in server._shared.connections))  # type: ignore[attr-defined]
    door.hold_connect.set()
    assert (await client.hear())[:9] == "554 5.5.0"
    assert await client.hear() == ""
    assert watcher.refused == [Refusal.EARLY_TALKER]


# --- clients that go away


@pytest.mark.parametrize("how", ["close", "reset", "half-close"])
async def test_message_is_carried_out_though_the_client_is_gone(
    serve: Serve, connect: Connect, door: HeldDoor, how: str
) -> None:
    door.hold_data = asyncio.Event()
    server = await serve()
    client = await connect(server)
    await client.ready()
    client.writer.write(b"text\r\n.\r\n")
    await door.in_data.wait()
    if how == "close":
        client.writer.close()
    elif how == "reset":
        linger = struct.pack("ii", 1, 0)  # close with RST, not FIN
        client.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        client.writer.transport.abort()
    else:
        client.writer.write_eof()
    if how == "reset":
        await eventually(lambda: server.open_sessions == 0)
    assert server.transactions == 1
    door.hold_data.set()
    await eventually(lambda: server.transactions == 0)
    assert [content for _session, _envelope, content in door.messages] == [b"text\r\n"]
    await eventually(lambda: server.open_sessions == 0)


async def test_client_that_never_reads_is_cut_off(serve: Serve, connect: Connect, watcher: Watcher) -> None:
    server = await serve(command_timeout=0.2, close_grace=0.2, junk_commands=10**9, commands_per_session=10**9)
    client = await connect(server)
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]
    client.writer.write(b"HELP\r\n" * 400_000)
    await eventually(lambda: watcher.closed == 1)


async def test_client_that_keeps_its_side_open_is_cut_off(serve: Serve, connect: Connect, watcher: Watcher) -> None:
    client = await connect(await serve(errors_per_session=1, close_grace=0.1))
    await client.hear()
    assert (await client.say("FOO"))[:3] == "500"
    assert (await client.hear())[:3] == "421"
    await eventually(lambda: watcher.closed == 1)


async def test_last_words_are_heard_though_input_was_unread(serve: Serve, connect: Connect) -> None:
    client = await connect(await serve(errors_per_session=1))
    await client.hear()
    client.writer.write(b"FOO\r\n" + b"NOOP\r\n" * 20_000)
    assert (await client.hear())[:3] == "500"
    assert (await client.hear())[:3] == "421"


# --- the unforeseen


async def test_unforeseen_error_is_logged_with_its_traceback(
    serve: Serve, connect: Connect, watcher: Watcher, caplog: pytest.LogCaptureFixture
) -> None:
    client = await connect(await serve())
    await client.ready()
    assert (await client.say("X-Bug: yes\r\n\r\n."))[:9] == "451 4.3.0"
    assert "ZeroDivisionError: secret detail of a bug" in caplog.text
    assert watcher.errors == 1


async def test_nothing_grows_with_each_ehlo(serve: Serve, connect: Connect) -> None:
    client = await connect(await serve())
    await client.hear()
    first = await client.say("EHLO client.example")
    for _ in range(50):
        assert await client.say("EHLO client.example") == first
    assert (await client.say(f"NOOP {'x' * 506}"))[:3] == "500"


# --- draining


async def test_drain_lets_transactions_end_and_idle_clients_go(serve: Serve, connect: Connect, door: HeldDoor) -> None:
    server = await serve()
    idle, busy = await connect(server), await connect(server)
    await idle.hear()
    await busy.ready()
    address = server.addresses[0]
    draining = asyncio.create_task(server.drain(5))
    assert (await idle.hear())[:9] == "421 4.3.2"
    assert await idle.hear() == ""
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*address)
    assert (await busy.say("text\r\n."))[:9] == "250 2.0.0"
    assert (await busy.hear())[:9] == "421 4.3.2"
    for client in (idle, busy):
        client.writer.close()
    assert await draining
    assert len(door.messages) == 1


async def test_drain_ends_in_time_and_cancels_no_message(serve: Serve, connect: Connect, door: HeldDoor) -> None:
    door.hold_data = asyncio.Event()
    server = await serve()
    stuck, carried = await connect(server), await connect(server)
    await stuck.ready()
    await carried.ready()
    carried.writer.write(b"text\r\n.\r\n")
    await door.in_data.wait()
    assert not await server.drain(0.1)
    assert (await stuck.hear())[:9] == "421 4.3.2"
    assert server.transactions == 1
    door.hold_data.set()
    assert (await carried.hear())[:9] == "250 2.0.0"
    assert (await carried.hear())[:9] == "421 4.3.2"
    assert len(door.messages) == 1


async def test_connection_that_comes_while_draining_is_turned_away(door: HeldDoor, watcher: Watcher) -> None:
    server = SmtpServer(FakeDoor(), SmtpSettings(hostname="mx.test"), [Listener("127.0.0.1", 0)], observer=watcher)
    await server.start()
    server._shared.draining = True  # accepted by the system before the listener closed
    reader, writer = await asyncio.open_connection(*server.addresses[0])
    assert (await reader.readline()).startswith(b"421 4.3.2")
    assert watcher.refused == [Refusal.SHUTDOWN]
    writer.close()
    await server.close()
