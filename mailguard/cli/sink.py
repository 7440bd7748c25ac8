"""`mailguard sink`: a small mail server for trying things out. It takes every mail and keeps it in a Maildir."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mailguard.cli.terminal import say

if TYPE_CHECKING:
    from aiosmtpd.smtp import SMTP, Envelope, Session

SIZE_LIMIT = 64 << 20


class Maildir:
    """Writes mails as files, each whole or not at all: into tmp, then renamed into new."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._numbers = count(1)
        for name in ("tmp", "new", "cur"):
            (directory / name).mkdir(parents=True, exist_ok=True)

    def add(self, content: bytes, *, mail_from: str, recipients: Sequence[str]) -> Path:
        """Keep one mail, with the envelope on top as a final delivery shows it (RFC 5321 §4.4)."""
        name = f"{time.time():.6f}.{os.getpid()}_{next(self._numbers)}.mailguard"
        top = [f"Return-Path: <{mail_from}>", *(f"Delivered-To: {recipient}" for recipient in recipients)]
        file = self.directory / "tmp" / name
        file.write_bytes("\r\n".join([*top, ""]).encode("utf-8", "surrogateescape") + content)
        return file.rename(self.directory / "new" / name)

    def find(self, text: bytes) -> list[Path]:
        """The mails that contain `text`."""
        files = (file for name in ("new", "cur") for file in (self.directory / name).iterdir())
        return sorted(file for file in files if text in file.read_bytes())


class Sink:
    """The server: every recipient and every mail is taken. `on_mail` is told the file and its recipients."""

    def __init__(self, maildir: Maildir, *, on_mail: Callable[[Path, Sequence[str]], None]) -> None:
        self._maildir = maildir
        self._on_mail = on_mail
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port. Raises OSError when it is taken."""
        from aiosmtpd.smtp import SMTP

        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: SMTP(self, hostname="sink.client.test", data_size_limit=SIZE_LIMIT, enable_SMTPUTF8=True),
            host,
            port,
        )
        number: int = self._server.sockets[0].getsockname()[1]
        return number

    async def stop(self) -> None:
        """Close the listener."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 (aiosmtpd's name)
        """aiosmtpd's hook: a mail is complete."""
        content = envelope.content if isinstance(envelope.content, bytes) else b""
        file = self._maildir.add(content, mail_from=envelope.mail_from or "", recipients=envelope.rcpt_tos)
        self._on_mail(file, envelope.rcpt_tos)
        return "250 2.0.0 Ok"


def announce(file: Path, recipients: Sequence[str]) -> None:
    """One line for each mail."""
    say(f"sink: mail for {', '.join(recipients)} → {file}", style="green")


def sink(
    *,
    listen: Annotated[str, typer.Option("--listen", metavar="HOST:PORT", help="Where it listens.")] = "127.0.0.1:2526",
    directory: Annotated[Path, typer.Option("--directory", help="The Maildir, made when it is not there.")] = Path(
        "var/demo/mailbox"
    ),
) -> None:
    """Run a mail server that takes everything and keeps it in a Maildir: a next hop to try the relay with."""
    from mailguard.config.values import split_host_port
    from mailguard.core.errors import ConfigError, Problem

    try:
        host, port = split_host_port(listen)
    except ValueError as error:
        raise ConfigError([Problem("--listen", str(error))]) from error

    async def run() -> None:
        await Sink(Maildir(directory), on_mail=announce).start(host, port)
        say(f"sink: listening on {listen}, mail goes to {directory}/new; Ctrl-C ends it")
        await asyncio.Event().wait()

    try:
        asyncio.run(run())
    except KeyboardInterrupt:
        say("sink: stopped")
    except OSError as error:
        raise ConfigError([Problem("--listen", f"cannot listen on {listen}: {error.strerror or error}")]) from error
