"""Plays dialogues: against the door in this process, or against any running relay.

    python -m tests.chat.runner --port 2525 [--host 127.0.0.1] [FILE...]

plays those that need no settings of their own, and prints what failed; it ends with 1 if any did.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import ssl
import sys
import tempfile
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from mailguard.smtp.door import SmtpSettings
from mailguard.smtp.server import Listener, SmtpServer
from mailguard.smtp.tls import TlsCertificate, self_made

from .dialogue import Dialogue, Step, octets, parse
from .fake_door import FakeDoor

DIALOGUES = Path(__file__).parent / "dialogues"
PATIENCE = 8.0
"""Seconds that a reply may take."""
HOSTNAME = "mx.mailguard.test"


class DialogueError(AssertionError):
    """The server did not answer as it should."""


@dataclass
class Client:
    """The client's side of one connection."""

    host: str
    port: int
    heard: list[str] = field(default_factory=list)
    _unsent: bytearray = field(default_factory=bytearray)

    async def play(self, dialogue: Dialogue) -> None:
        """Say and expect all of it. Raises DialogueError."""
        self._reader, self._writer = await asyncio.open_connection(self.host, self.port, limit=1 << 20)
        try:
            for step in dialogue.steps:
                try:
                    await asyncio.wait_for(self._step(step), PATIENCE)
                except (
                    TimeoutError,
                    ConnectionError,
                    asyncio.IncompleteReadError,
                    DialogueError,
                    ssl.SSLError,
                ) as error:
                    heard = "\n    ".join(self.heard)
                    raise DialogueError(
                        f"{dialogue.name}:{step.line}: {step.kind} {step.text}: {error or type(error).__name__}\n"
                        f"  heard:\n    {heard}"
                    ) from error
            self._send()
        finally:
            self._writer.close()

    async def _step(self, step: Step) -> None:
        if step.kind in ("C:", "C>"):
            self._unsent += octets(step.text) + (b"\r\n" if step.kind == "C:" else b"")
            return
        self._send()
        if step.kind == "PAUSE":
            await self._writer.drain()
            await asyncio.sleep(0.03)
        elif step.kind == "END":
            self._writer.write_eof()
        elif step.kind == "TLS":
            await self._start_tls()
        elif step.text == "<closed>":
            rest = await self._reader.read()
            if rest:
                raise DialogueError(f"not closed, but said {rest[:200]!r}")
        else:
            reply = await self._reply()
            ok = reply[-1].startswith(step.text) if step.kind == "S:" else re.search(step.text, "\n".join(reply))
            if not ok:
                raise DialogueError("another reply came")

    def _send(self) -> None:
        if self._unsent:
            self._writer.write(bytes(self._unsent))
            self._unsent.clear()

    async def _reply(self) -> list[str]:
        lines: list[str] = []
        while not lines or lines[-1][3:4] == "-":
            raw = await self._reader.readuntil(b"\n")
            if not raw.endswith(b"\r\n") or len(raw) > 512 or not re.match(rb"[2-5][0-9]{2}[ -][\x20-\x7e]*\r\n", raw):
                raise DialogueError(f"not a reply line (RFC 5321 §4.2, §4.5.3.1.5): {raw!r}")
            lines.append(raw[:-2].decode("ascii"))
            self.heard.append(lines[-1])
        _check_enhanced(lines)
        return lines

    async def _start_tls(self) -> None:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        transport = self._writer.transport
        protocol = transport.get_protocol()
        loop = asyncio.get_running_loop()
        secure = await loop.start_tls(transport, protocol, context, server_hostname=HOSTNAME)
        assert secure is not None
        self._reader._transport = secure  # type: ignore[attr-defined]
        self._writer = asyncio.StreamWriter(secure, protocol, self._reader, loop)
        protocol._replace_writer(self._writer)  # type: ignore[attr-defined]


def _check_enhanced(lines: list[str]) -> None:
    """Every reply but the greeting, EHLO's and HELO's, and 354 carries an enhanced code of its class (RFC 2034)."""
    code = lines[-1][:3]
    if code in ("220", "354") or lines[-1][4:].startswith(HOSTNAME) or len(lines) > 1:
        return
    if code == "250" and not re.match(r"250 2\.", lines[-1]):
        return  # HELO's answer of a running relay, whose name is not known here
    if not re.match(rf"{code} {code[0]}\.[0-9]+\.[0-9]+ ", lines[-1]):
        raise DialogueError(f"no enhanced status code in {lines[-1]!r}")


@lru_cache(maxsize=1)
def _certificate() -> TlsCertificate:
    with tempfile.TemporaryDirectory() as directory:
        return TlsCertificate(*self_made(Path(directory), hostname=HOSTNAME))


async def play_here(dialogue: Dialogue) -> None:
    """Play against a door of its own in this process, with a FakeDoor behind it. Raises DialogueError."""
    given = {key: value for key, value in dialogue.settings.items() if key not in ("listener", "tls", "door")}
    settings = SmtpSettings(hostname=HOSTNAME, **{"proxy_networks": ("127.0.0.0/8",), **given})  # type: ignore[arg-type]
    door = FakeDoor()
    server = SmtpServer(
        door,
        settings,
        [Listener("127.0.0.1", 0, proxy=dialogue.settings.get("listener") == "proxy")],
        certificate=_certificate() if dialogue.settings.get("tls", True) else None,
    )
    await server.start()
    try:
        await Client(*server.addresses[0]).play(dialogue)
    finally:
        await server.close()
    _check_door(dialogue, door)


def _check_door(dialogue: Dialogue, door: FakeDoor) -> None:
    if dialogue.messages is not None:
        got = [(e.mail_from, [r.address for r in e.recipients], content) for _session, e, content in door.messages]
        if len(got) != len(dialogue.messages):
            raise DialogueError(f"{dialogue.name}: {len(dialogue.messages)} messages expected, the door got {got}")
        for (sender, recipients, content), expected in zip(got, dialogue.messages, strict=True):
            if (sender, recipients) != expected[:2]:
                raise DialogueError(f"{dialogue.name}: {expected[:2]} expected, the door got {(sender, recipients)}")
            if expected[2] is not None and content != expected[2]:
                raise DialogueError(f"{dialogue.name}: {expected[2]!r} expected, the door got {content!r}")
    refusals = [f"{reason} {address}".strip() for reason, address in door.refusals]
    if dialogue.refusals is not None and refusals != dialogue.refusals:
        raise DialogueError(f"{dialogue.name}: refusals {dialogue.refusals} expected, the door heard {refusals}")


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Play SMTP dialogues against a running relay.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("files", nargs="*", type=Path)
    arguments = parser.parse_args()
    played, failed = 0, 0
    for path in arguments.files or sorted(DIALOGUES.glob("*.chat")):
        dialogue = parse(path)
        if not dialogue.portable:
            continue
        played += 1
        try:
            asyncio.run(Client(arguments.host, arguments.port).play(dialogue))
        except DialogueError as error:
            failed += 1
            print(error)
    print(f"{played} dialogues played, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
