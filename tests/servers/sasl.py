"""Who may log in, for a Postfix that asks by Dovecot's authentication protocol (version 1.2): PLAIN and LOGIN alone."""

from __future__ import annotations

import base64
import socketserver
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

GREETING = (
    b"VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nMECH\tLOGIN\tplaintext\nSPID\t1\nCUID\t1\n"
    b"COOKIE\t00112233445566778899aabbccddeeff\nDONE\n"
)


class SaslServer(socketserver.ThreadingTCPServer):
    """Listens on a free port of loopback."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, users: Mapping[str, str]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.users = dict(users)

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class _Handler(socketserver.StreamRequestHandler):
    server: SaslServer

    def handle(self) -> None:
        self.wfile.write(GREETING)
        for line in self.rfile:
            verb, *fields = line.decode().rstrip("\n").split("\t")
            if verb == "AUTH" and fields[1] == "PLAIN":
                response = next(field.removeprefix("resp=") for field in fields if field.startswith("resp="))
                _, user, password = base64.b64decode(response).decode().split("\0")
                good = self.server.users.get(user) == password
                answer = f"OK\t{fields[0]}\tuser={user}" if good else f"FAIL\t{fields[0]}\tuser={user}"
                self.wfile.write(f"{answer}\n".encode())


@contextmanager
def running_sasl(users: Mapping[str, str]) -> Iterator[SaslServer]:
    """Answers until the end of the block."""
    with SaslServer(users) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()
