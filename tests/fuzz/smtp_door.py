"""A conversation with the door without sockets: the Door's answers are known, all it is asked is kept, nothing waits."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import cast

from mailguard.core.decision import Reason
from mailguard.core.envelope import Envelope, MailOptions, RcptOptions, Recipient, Session
from mailguard.core.reply import Reply
from mailguard.smtp.door import NullObserver, SmtpSettings
from mailguard.smtp.limits import ConnectionLimits
from mailguard.smtp.protocol import SmtpProtocol
from mailguard.smtp.shared import Shared
from mailguard.smtp.tls import TlsCertificate
from tests.chat.fake_door import FakeDoor
from tests.fuzz.step_loop import StepLoop, Wire, step_loop


class CountingObserver(NullObserver):
    """Counts what should be rare."""

    def __init__(self) -> None:
        self.errors = 0
        self.open = 0

    def session_opened(self) -> None:
        """See Observer."""
        self.open += 1

    def session_closed(self, seconds: float) -> None:
        """See Observer."""
        assert seconds >= 0
        self.open -= 1

    def unforeseen(self) -> None:
        """See Observer."""
        self.errors += 1


@dataclass
class KnownDoor(FakeDoor):
    """A FakeDoor that keeps count of its own failures, and of the recipients it took."""

    taken: list[str] = field(default_factory=list)
    """Recipients since the last MAIL that it said yes to."""
    bugs: int = 0
    calls: int = 0
    """Of `data`."""

    async def mail(self, session: Session, mail_from: str, options: MailOptions) -> Reply:
        """See Door."""
        self.taken = []
        return await super().mail(session, mail_from, options)

    async def rcpt(
        self, session: Session, envelope: Envelope, address: str, options: RcptOptions
    ) -> tuple[Reply, Recipient | None]:
        """See Door."""
        try:
            answer = await super().rcpt(session, envelope, address, options)
        except ZeroDivisionError:
            self.bugs += 1
            raise
        if answer[1] is not None:
            self.taken.append(address)
        return answer

    async def data(self, session: Session, envelope: Envelope, content: bytes) -> Reply:
        """See Door."""
        self.calls += 1
        assert [one.address for one in envelope.recipients] == self.taken
        assert len(set(self.taken)) == len(self.taken), "a recipient twice"
        assert [one.number for one in envelope.recipients] == list(range(1, len(self.taken) + 1))
        try:
            return await super().data(session, envelope, content)
        except ZeroDivisionError:
            self.bugs += 1
            raise

    def refused(self, session: Session, envelope: Envelope | None, address: str, reply: Reply, reason: Reason) -> None:
        """See Door."""
        assert not reply.positive
        super().refused(session, envelope, address, reply, reason)


class Conversation:
    """One connection to the door."""

    def __init__(self, settings: SmtpSettings, *, tls: bool, proxied: bool = False, handshake: bool = True) -> None:
        self.loop: StepLoop = step_loop()
        self._others = asyncio.all_tasks(self.loop)
        self.door = KnownDoor()
        self.observer = CountingObserver()
        self.said = bytearray()
        """All that the door has said."""
        certificate = cast(TlsCertificate, SimpleNamespace(context=None)) if tls else None
        self.shared = Shared(
            self.door, settings, ConnectionLimits(settings), self.observer, lambda: 1_700_000_000_000, certificate
        )
        self.protocol = SmtpProtocol(self.shared, proxied=proxied, loop=self.loop)
        self.wire = Wire(self.loop, self.protocol, self.said)
        self.loop.tls = self._secure if handshake else None
        self.protocol.connection_made(self.wire)
        self.loop.settle()

    def _secure(self, protocol: asyncio.BaseProtocol) -> asyncio.Transport:
        assert protocol is self.protocol
        self.wire = Wire(self.loop, self.protocol, self.said)
        return self.wire

    @property
    def ended(self) -> bool:
        """Whether the door says no more."""
        return self.wire.ended

    def say(self, data: bytes) -> bytes:
        """Send it in one piece; what the door answers."""
        return self._hear(lambda: self.protocol.data_received(data))

    def wait(self, seconds: float) -> bytes:
        """Let time pass; what the door says meanwhile."""
        before = len(self.said)
        self.loop.pass_time(seconds)
        return bytes(self.said[before:])

    def end(self) -> bytes:
        """End our side; what the door still says. Nothing of the connection must be left."""
        last = b"" if self.wire.lost else self._hear(self.protocol.eof_received)
        last += self.wait(30)
        self.hang_up()
        return last

    def hang_up(self) -> None:
        """Be gone."""
        self.wire.lose()
        self.loop.settle()
        assert asyncio.all_tasks(self.loop) <= self._others, "a task is left"
        assert self.shared.limits.open == 0
        assert not self.shared.connections
        assert not self.shared.transactions
        assert self.shared.room.taken == 0
        assert self.observer.open == 0
        assert self.observer.errors == self.door.bugs, "an unforeseen error"

    def _hear(self, act: object) -> bytes:
        before = len(self.said)
        assert callable(act)
        if not self.wire.lost:
            act()
        self.loop.settle()
        return bytes(self.said[before:])
