"""The canary's mailbox by IMAP: a server of three commands, over TLS, says what a real one would."""

from __future__ import annotations

import re
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mailguard.core.errors import UnavailableError
from mailguard.watch.probe_imap import ImapMailbox, fetch
from tests.servers.pki import authority

MAIL = b"X-Top: by the way\r\nMessage-ID: <1.clean@relay.test>\r\nSubject: x\r\n\r\nHello {3}\r\n.\r\n"


@dataclass
class Server:
    """One mailbox. `heard` are the commands."""

    port: int
    context: ssl.SSLContext
    mails: list[bytes]
    heard: list[str] = field(default_factory=list)

    def mailbox(self, **changes: object) -> ImapMailbox:
        """What finds it."""
        values = {
            "host": "127.0.0.1",
            "port": self.port,
            "user": 'a"b',
            "password": "secret",
            "folder": "INBOX",
            "timeout": 10.0,
        }
        return ImapMailbox(**{**values, "context": self.context, **changes})  # type: ignore[arg-type]

    def answer(self, line: str) -> list[bytes]:
        """The reply to a command, without its tag."""
        self.heard.append(line)
        command = re.sub(r"^UID ", "", line)
        if command.startswith("LOGIN"):
            return [b"OK in"] if "secret" in line else [b"NO [AUTHENTICATIONFAILED] Authentication failed."]
        if command.startswith("SELECT"):
            return [b"* 1 EXISTS", b"OK [READ-WRITE] selected"] if "INBOX" in line else [b"NO no such folder"]
        if command.startswith("SEARCH"):
            wanted = line.rpartition(' "')[2].rstrip('"').encode()
            numbers = [str(number).encode() for number, mail in enumerate(self.mails, 7) if wanted in mail]
            return [b"* SEARCH" + b"".join(b" " + number for number in numbers), b"OK done"]
        if command.startswith("FETCH"):
            mail = self.mails[int(command.split()[1]) - 7]
            return [b"* 1 FETCH (UID 7 BODY[] {%d}\r\n%s)" % (len(mail), mail), b"OK done"]
        if command.startswith("CAPABILITY"):
            return [b"* CAPABILITY IMAP4rev1", b"OK done"]
        return [b"OK done"]


@contextmanager
def running(tmp_path: Path, *mails: bytes) -> Iterator[Server]:
    root = authority()
    certificate, key = root.issue("127.0.0.1").write(tmp_path)
    listening = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    listening.load_cert_chain(certificate, key)
    ca = tmp_path / "ca.pem"
    ca.write_bytes(root.pem)
    with socket.create_server(("127.0.0.1", 0)) as door:
        server = Server(door.getsockname()[1], ssl.create_default_context(cafile=str(ca)), list(mails))

        def serve() -> None:
            with suppress(OSError):
                while True:
                    raw, _ = door.accept()
                    with suppress(OSError), listening.wrap_socket(raw, server_side=True) as client:
                        _talk(client, server)

        threading.Thread(target=serve, daemon=True).start()
        yield server
        door.shutdown(socket.SHUT_RDWR)


def _talk(client: ssl.SSLSocket, server: Server) -> None:
    client.sendall(b"* OK here\r\n")
    with client.makefile("rb") as lines:
        for line in lines:
            tag, _, command = line.decode().strip().partition(" ")
            *said, last = server.answer(command)
            client.sendall(b"".join(one + b"\r\n" for one in said) + tag.encode() + b" " + last + b"\r\n")


def test_what_is_there_is_fetched_and_removed(tmp_path: Path) -> None:
    with running(tmp_path, b"Message-ID: <other@x>\r\n\r\n", MAIL) as server:
        names = ["<1.clean@relay.test>", "<1.eicar@relay.test>"]
        assert fetch(server.mailbox(), names) == {"<1.clean@relay.test>": MAIL}
        assert any(line.startswith(r"UID STORE 8 +FLAGS.SILENT (\Deleted)") for line in server.heard)
        assert "EXPUNGE" in server.heard
        assert not any("STORE 7" in line for line in server.heard)


def test_nothing_is_touched_where_nothing_is(tmp_path: Path) -> None:
    with running(tmp_path, MAIL) as server:
        assert fetch(server.mailbox(), ["<2.clean@relay.test>"]) == {}
        assert not any("STORE" in line or "EXPUNGE" in line for line in server.heard)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"password": "wrong"}, "Authentication failed"),
        ({"folder": "Elsewhere"}, "no such folder"),
        ({"context": ssl.create_default_context()}, "certificate verify failed"),
        ({"port": 1}, "refused"),
    ],
)
def test_why_it_cannot_be_looked_into_is_told(tmp_path: Path, change: dict[str, object], words: str) -> None:
    with running(tmp_path, MAIL) as server, pytest.raises(UnavailableError, match=words) as error:
        fetch(server.mailbox(**change), ["<1.clean@relay.test>"])
    assert "secret" not in str(error.value)
