"""What fails on our side: before the point of no return the sender keeps the mail (451), after it nothing is sent twice."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sqlite3
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.dns_server import DnsServer
from tests.e2e.mails import infected, mail, spam
from tests.e2e.town import Client, Town, attempts, open_town, story
from tests.servers.clamd import Clamd
from tests.servers.ports import wait_until
from tests.servers.relay import Relay
from tests.servers.smtp_sink import Say

LOCK_TIMEOUT = 1.0
"""Seconds that the relay waits for the database's lock."""
LOCAL_ERROR = "4.3.0 Temporary failure on our side; please try again"


@pytest.fixture(scope="module")
def whole_town(tmp_path_factory: pytest.TempPathFactory, clamd: Clamd, dns_server: DnsServer) -> Iterator[Town]:
    relay = Relay(
        tmp_path_factory.mktemp("town"),
        clamd=clamd.address,
        dns=dns_server.address,
        environment={"MAILGUARD_DATABASE__LOCK_TIMEOUT": str(LOCK_TIMEOUT)},
    )
    with open_town(relay, spare=24) as town:
        yield town


@pytest.fixture
def town(whole_town: Town) -> Iterator[Town]:
    yield whole_town
    whole_town.run("ledger", "check")


@contextmanager
def locked(town: Town) -> Iterator[None]:
    """Hold the database's write lock, as a process that hangs in its midst would."""
    connection = sqlite3.connect(town.relay.root / "mailguard.db", isolation_level=None, check_same_thread=False)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


@contextmanager
def broken(town: Town, table: str) -> Iterator[None]:
    """Take a table away: whatever writes to it fails in a way that nobody foresaw."""
    connection = sqlite3.connect(town.relay.root / "mailguard.db", isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA busy_timeout = 10000")
    connection.execute("PRAGMA legacy_alter_table = ON")
    connection.execute(f"ALTER TABLE {table} RENAME TO away")
    try:
        yield
    finally:
        connection.execute(f"ALTER TABLE away RENAME TO {table}")
        connection.close()


@contextmanager
def unwritable_storage(town: Town) -> Iterator[None]:
    """No body can be stored: where they are written first there is a file."""
    temporary = town.data / "tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.write_text("")
    try:
        yield
    finally:
        temporary.unlink()
        temporary.mkdir()


def during_the_delivery(client: Client, failure: object, *, reply: str = "250 2.0.0 Taken") -> Callable[[], None]:
    """Let the next hop take the mail, but answer only once `failure` (a context manager) has begun; call what is returned to
    end it: all is mended when that returns."""
    end, ended = threading.Event(), threading.Event()

    def content(_line: str) -> str:
        began = threading.Event()

        def hold() -> None:
            with failure:  # type: ignore[attr-defined]
                began.set()
                end.wait(30)
            ended.set()

        threading.Thread(target=hold, daemon=True).start()
        began.wait(10)
        return reply

    def mend() -> None:
        end.set()
        assert ended.wait(30)

    client.sink.sink.script["content"] = content
    return mend


# before the point of no return


@pytest.mark.parametrize("message", [mail(), infected(), spam()], ids=["clean", "infected", "spam"])
def test_locked_database_is_a_451_and_nothing_is_kept(town: Town, message: bytes) -> None:
    client = town.next_client()
    with locked(town):
        assert town.relay.send(message, [client.address()]) == (451, LOCAL_ERROR)
    assert client.got == [], "the intent is committed before the content is sent"
    assert town.units(client.address()) == []
    assert town.relay.metric('mailguard_errors_total{kind="database"}') > 0


@pytest.mark.parametrize("table", ["units", "addresses"])
def test_bug_is_a_451_that_says_nothing_of_it(town: Town, table: str) -> None:
    client = town.next_client()
    with broken(town, table):
        assert town.relay.send(mail(), [client.address()]) == (451, LOCAL_ERROR)
    assert client.got == []
    assert town.units(client.address()) == []
    assert town.logged("unforeseen", where="pipeline")


def test_it_goes_on_once_the_database_is_back(town: Town) -> None:
    client = town.next_client()
    assert town.relay.send(mail(), [client.address()])[0] == 250
    assert [unit["state"] for unit in town.units(client.address())] == ["delivered"]


def test_storage_that_takes_nothing_is_a_451(town: Town) -> None:
    client = town.next_client()
    kept = town.bodies()
    with unwritable_storage(town):
        assert town.relay.send(infected(), [client.address()]) == (451, LOCAL_ERROR)
    assert town.units(client.address()) == []
    assert town.bodies() == kept
    assert town.relay.send(infected(), [client.address()])[0] == 250
    assert story(town.unit(client.address())) == [("quarantined", "malware")]


def test_storage_that_takes_nothing_while_the_next_hop_is_away_is_a_451(town: Town) -> None:
    client = town.next_client()
    client.sink.stop()
    with unwritable_storage(town):
        assert town.relay.send(mail(), [client.address()]) == (451, LOCAL_ERROR)
    assert story(town.unit(client.address())) == [("forwarding", "clean"), ("deferred", "local_error")]


def test_mail_that_one_has_and_the_other_cannot_get_comes_again_and_is_told_as_it_was(town: Town) -> None:
    """A 250 would lose the one, so the sender tries again; what was delivered is recorded as delivered all the same."""
    reached, away = town.next_client(), town.next_client()
    away.sink.stop()
    with unwritable_storage(town):
        assert town.relay.send(mail(), [reached.address(), away.address()]) == (451, LOCAL_ERROR)
    assert len(reached.got) == 1
    assert story(town.unit(reached.address())) == [("forwarding", "clean"), ("delivered", "next_hop_accepted")]
    assert story(town.unit(away.address())) == [("forwarding", "clean"), ("deferred", "local_error")]


def test_full_disk_is_a_452_before_anything_is_sent(new_relay: type[Relay], sink: object) -> None:
    relay = new_relay(environment={"MAILGUARD_STORAGE__MIN_FREE_BYTES": str(2**60)})  # type: ignore[call-arg]
    relay.add_tenant("acme", "client.test", sink.port)  # type: ignore[attr-defined]
    relay.start(ready=False)
    code, text = relay.send(mail())
    assert (code, text[:5]) == (452, "4.3.1")
    assert relay.get("/readyz")[0] == 503


# after it


@pytest.mark.parametrize("failure", ["locked", "broken"])
def test_outcome_that_cannot_be_committed_is_journalled_and_replayed(town: Town, failure: str) -> None:
    client = town.next_client()
    mend = during_the_delivery(client, locked(town) if failure == "locked" else broken(town, "events"))
    assert town.relay.send(mail(), [client.address()])[0] == 250, "delivered is delivered"
    # Beside it there may be the part that is being replayed, with what earlier tests left to it.
    journalled = "".join(path.read_text() for path in (town.data / "journal").iterdir())
    mend()
    assert '"to_state":"delivered"' in journalled.replace(": ", ":")
    unit = town.reached(client.address(), "delivered")
    assert len(client.got) == 1
    (moved,) = [event for event in unit["events"] if event["to_state"] == "delivered"]
    assert moved["detail"]["replayed"] is True
    assert moved["detail"]["reply"] == "250 2.0.0 Taken"
    assert town.logged("journalled", units=[unit["id"]])


def test_mail_that_must_be_spooled_while_the_database_is_locked_is_journalled_too(town: Town) -> None:
    client = town.next_client()
    mend = during_the_delivery(client, locked(town), reply="451 4.3.0 Try again")
    assert town.relay.send(mail(), [client.address()])[0] == 250
    client.sink.sink.script.pop("content")
    mend()
    unit = town.reached(client.address(), "delivered")
    assert [state for state, _ in story(unit)] == ["forwarding", "spooled", "delivered"]
    assert len(client.got) == 2, "once refused, once taken"


def test_worker_that_dies_in_midst_leaves_the_mail_interrupted_and_the_sender_without_an_answer(town: Town) -> None:
    client = town.next_client()
    client.sink.sink.script["content"] = [Say("250 2.0.0 Too late", delay=30), "250 2.0.0 Taken"]
    with talk(town, client.address()) as sock:
        sock.sendall(mail() + b".\r\n")
        wait_until(lambda: client.got, what="the next hop having the content")
        (pid,) = town.relay.worker_pids()
        os.kill(pid, signal.SIGKILL)
        assert sock.recv(1000) == b"", "no reply at all"
    unit = town.reached(client.address(), "interrupted")
    assert story(unit) == [("forwarding", "clean"), ("interrupted", "worker_died")]
    wait_until(lambda: town.relay.get("/readyz")[0] == 200, what="the worker being replaced")
    assert town.relay.send(mail(), [client.address()])[0] == 250
    assert [one["state"] for one in town.units(client.address())] == ["interrupted", "delivered"]


def test_journal_of_a_worker_that_was_killed_is_replayed_by_the_next(town: Town) -> None:
    client = town.next_client()
    mend = during_the_delivery(client, locked(town))
    assert town.relay.send(mail(), [client.address()])[0] == 250
    (pid,) = town.relay.worker_pids()
    town.relay.stop(signal.SIGKILL)
    with pytest.raises(ProcessLookupError):
        wait_for_end(pid)
    assert town.unit(client.address())["state"] == "forwarding"
    mend()
    town.relay.start()
    unit = town.reached(client.address(), "delivered")
    assert [state for state, _ in story(unit)][-1] == "delivered"
    assert len(client.got) == 1


def wait_for_end(pid: int) -> None:
    """Raises ProcessLookupError once the process is no more."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        os.kill(pid, 0)
        time.sleep(0.02)


# the client goes away


def talk(town: Town, *recipients: str) -> socket.socket:
    """A connection that has come to 354."""
    sock = socket.create_connection(("127.0.0.1", town.relay.port), 60)
    commands = [
        "EHLO mail.sender.test",
        "MAIL FROM:<a@sender.test>",
        *(f"RCPT TO:<{one}>" for one in recipients),
        "DATA",
    ]
    heard(sock)
    for command in commands:
        sock.sendall(f"{command}\r\n".encode())
        heard(sock)
    return sock


def heard(sock: socket.socket) -> bytes:
    """One whole reply."""
    reply = b""
    while not reply.endswith(b"\r\n") or reply.splitlines()[-1][3:4] == b"-":
        data = sock.recv(1000)
        assert data, "the relay hung up"
        reply += data
    return reply


@pytest.mark.parametrize("how", ["half-closed", "closed", "reset"])
def test_client_that_goes_away_after_the_final_dot_cancels_nothing(town: Town, how: str) -> None:
    client, away = town.next_client(), town.next_client()
    client.sink.sink.script["content"] = Say("250 2.0.0 Taken", delay=0.5)
    away.sink.stop()
    sock = talk(town, client.address(), away.address())
    sock.sendall(mail() + b".\r\n")
    if how == "half-closed":
        sock.shutdown(socket.SHUT_WR)
    else:
        if how == "reset":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
    unit = town.reached(client.address(), "delivered")
    assert attempts(unit)[0]["outcome"] == "delivered"
    assert len(client.got) == 1
    assert town.reached(away.address(), "spooled")
    sock.close()


def test_client_that_goes_away_before_the_final_dot_leaves_nothing(town: Town) -> None:
    client = town.next_client()
    sock = talk(town, client.address())
    sock.sendall(mail())
    sock.close()
    assert town.relay.send(mail("another"), [client.address("other")])[0] == 250
    assert town.units(client.address()) == []
    assert len(client.got) == 1
