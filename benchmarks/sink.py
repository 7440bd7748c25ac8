"""The next hop: a process that accepts all mail and tells how much. `python -m benchmarks.sink PORT [CERTIFICATE KEY]`.

It writes a line with the number of mails to its standard output for each line it reads.
"""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Self, cast

import uvloop

from benchmarks.host import cpu_seconds

ROOT = Path(__file__).resolve().parents[1]


class Sink:
    """The process, from outside. Context manager. Raises OSError when the port is taken."""

    def __init__(self, port: int, *, certificate: tuple[Path, Path] | None = None) -> None:
        self._port = port
        self._certificate = certificate
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "benchmarks.sink", str(self._port), *map(str, self._certificate or ())]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        if self._process.stdout.readline() != b"ready\n":
            raise OSError(f"port {self._port} on 127.0.0.1 is taken, by a sink perhaps: stop it")
        return self

    def __exit__(self, *exc: object) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.communicate()

    @property
    def count(self) -> int:
        """Mails taken so far."""
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
        return int(process.stdout.readline())

    @property
    def cpu(self) -> float:
        """CPU seconds spent so far."""
        assert self._process is not None
        return cpu_seconds([self._process.pid])


class _Server:
    """What the sessions share."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self.tls = tls
        self.mails = 0


class _Session(asyncio.Protocol):
    """One connection: everything is welcome."""

    def __init__(self, server: _Server, *, secure: bool = False) -> None:
        self._server = server
        self._secure = secure
        self._buffer = b""
        self._in_data = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if not self._secure:
            self._transport.write(b"220 sink.test ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        replies: list[bytes] = []
        while self._in_data or b"\n" in self._buffer:
            if self._in_data:
                if not self._ends_data():
                    break
                replies.append(b"250 2.0.0 taken\r\n")
                continue
            line, _, self._buffer = self._buffer.partition(b"\n")
            reply = self._command(line[:4].upper())
            if reply:
                replies.append(reply)
        if replies:
            self._transport.write(b"".join(replies))

    def _ends_data(self) -> bool:
        end = self._buffer.find(b"\r\n.\r\n")
        if end < 0:
            self._buffer = self._buffer[-4:]
            return False
        self._server.mails += 1
        self._buffer, self._in_data = self._buffer[end + 5 :], False
        return True

    def _command(self, verb: bytes) -> bytes:
        match verb:
            case b"EHLO":
                tls = b"250-STARTTLS\r\n" if self._server.tls and not self._secure else b""
                return b"250-sink.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n" + tls + b"250 SIZE 104857600\r\n"
            case b"DATA":
                self._in_data = True
                return b"354 go on\r\n"
            case b"STAR":
                self._transport.write(b"220 go on\r\n")
                self._switch = asyncio.ensure_future(self._start_tls())  # kept: a task nobody holds may vanish
                return b""
            case b"QUIT":
                self._transport.write(b"221 bye\r\n")
                self._transport.close()
                return b""
        return b"250 ok\r\n"

    async def _start_tls(self) -> None:
        assert self._server.tls is not None
        inner = _Session(self._server, secure=True)
        loop = asyncio.get_running_loop()
        transport = await loop.start_tls(self._transport, inner, self._server.tls, server_side=True)
        if transport is not None:
            inner.connection_made(transport)


async def _serve(port: int, certificate: list[str]) -> None:
    tls = None
    if certificate:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(*certificate)
    server = _Server(tls)
    loop = asyncio.get_running_loop()
    await loop.create_server(lambda: _Session(server), "127.0.0.1", port, backlog=1000)
    print("ready", flush=True)
    while await loop.run_in_executor(None, sys.stdin.readline):
        print(server.mails, flush=True)


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), sys.argv[2:4]))
