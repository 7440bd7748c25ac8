"""An SMTP or LMTP client connection to a next hop: one pipelined conversation (RFC 2920), reusable for the next message.

The content goes out byte for byte, with dots stuffed and nothing else, or as one chunk (RFC 3030): signatures must survive.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import inf

from mailguard.core.reply import Reply
from mailguard.core.transport import TlsMode
from mailguard.net.dot_stuffing import WINDOW, stuff, stuff_small
from mailguard.net.smtp_auth import Credentials
from mailguard.net.smtp_commands import bdat_command, data_command, mail_command, rcpt_command
from mailguard.net.smtp_handshake import Greeted, Handshake, Target
from mailguard.net.smtp_reply import ServerReply
from mailguard.net.smtp_values import (
    Answer,
    Capabilities,
    GoAhead,
    HopError,
    Sent,
    Stage,
    Timeouts,
    Transaction,
)
from mailguard.net.smtp_wire import WireError, WireTimeout

__all__ = [
    "Answer",
    "Capabilities",
    "Credentials",
    "GoAhead",
    "Handshake",
    "HopError",
    "Sent",
    "SmtpConnection",
    "Stage",
    "Target",
    "Timeouts",
    "TlsMode",
    "Transaction",
]

SMALL = 256 * 1024
"""Octets of content up to which a message is written at once, without flow control."""
STALE_PATIENCE = 20.0
"""Seconds to wait for the first reply on a connection that was used before: the path to the server may have died silently."""
CHUNKED_FROM = SMALL
"""Octets of content above which BDAT takes the place of DATA where CHUNKING is offered."""
LONE_DOT_PATIENCE = 10.0
"""Seconds to wait for the answer to a dot that ends nothing; its outcome matters to nobody."""


@dataclass(slots=True)
class _Envelope:
    """The replies to MAIL, each RCPT and DATA as far as they came; `broken` says why there are no more.

    `farewell` is a 421, to whichever command: RFC 5321 §3.8 lets a server close at any time.
    """

    mail: ServerReply | None = None
    rcpts: list[ServerReply] = field(default_factory=list)
    data: ServerReply | None = None
    broken: str = ""
    farewell: Reply | None = None

    def heard(self, reply: ServerReply) -> ServerReply:
        """Note `reply` if it is the server's farewell."""
        if reply.code == 421:
            self.farewell = reply.reply
            self.broken = self.broken or str(reply.reply)
        return reply


class SmtpConnection:
    """A connection that has said EHLO. One transaction at a time; `usable` says whether another may follow."""

    def __init__(self, greeted: Greeted, *, timeouts: Timeouts) -> None:
        self._wire = greeted.wire
        self._timeouts = timeouts
        self._loop = asyncio.get_running_loop()
        self._open_transaction = False
        self._closing = False
        self._lmtp = greeted.lmtp
        self.capabilities = greeted.capabilities
        self.tls = greeted.tls
        self.address = greeted.wire.peer
        self.uses = 0

    @classmethod
    async def connect(cls, target: Target, handshake: Handshake, *, deadline: float = inf) -> SmtpConnection:
        """Connect, hear the banner, say EHLO (else HELO), change to TLS as `target.tls` says, by the loop's time `deadline`.

        When opportunistic TLS fails the conversation starts anew in plaintext. Raises HopError.
        """
        try:
            return cls(await handshake.perform(target, deadline=deadline), timeouts=handshake.timeouts)
        except HopError as error:
            if error.stage is not Stage.STARTTLS or target.tls is not TlsMode.OPPORTUNISTIC:
                raise
        plain = replace(target, tls=TlsMode.OFF)
        return cls(await handshake.perform(plain, deadline=deadline), timeouts=handshake.timeouts)

    @property
    def usable(self) -> bool:
        """Whether another transaction may follow."""
        return not self._closing and self._wire.in_step

    def close(self) -> None:
        """Say QUIT and close. Nobody waits for its reply: the last message's outcome is known."""
        self._closing = True
        if self._wire.in_step:
            self._wire.close(b"QUIT\r\n")
        else:
            self._wire.abort()

    def abort(self) -> None:
        """Close at once."""
        self._closing = True
        self._wire.abort()

    async def send(self, job: Transaction, *, deadline: float = inf, go_ahead: GoAhead | None = None) -> Sent:
        """One transaction, by the loop's time `deadline`. What goes wrong on the wire is in the answers, not raised.

        What `go_ahead` raises is raised, and so is cancellation: the content was then not sent, unless cancelled later.
        """
        lacking = self.capabilities.shortfall(size=job.size, eight_bit=job.needs_eight_bit, smtputf8=job.needs_smtputf8)
        if lacking:
            return Sent((Answer(Stage.MAIL, lacking, local=True),) * len(job.recipients))
        first = self.uses == 0
        self.uses += 1
        chunked = self.capabilities.chunking and not self._lmtp and job.size > CHUNKED_FROM
        try:
            envelope = await self._envelope(job, deadline, chunked=chunked)
            answers = _envelope_answers(envelope, len(job.recipients))
            if envelope.broken:
                self.abort()
                dead = envelope.mail is None or envelope.mail.code == 421
                rest = Answer(Stage.DATA, envelope.farewell, envelope.broken)
                return Sent(_filled(answers, [rest]), stale=dead and not first)
            if job.asking:
                self._open_transaction = True  # whatever it came to: RSET does no harm
                return Sent(_asked(answers, envelope.rcpts))
            refused = await self._refused(envelope, answers)
            if refused is not None:
                return Sent(_filled(answers, [refused]))
            if go_ahead is not None:
                await go_ahead()
            return await self._content(job, answers, deadline, chunked=chunked)
        except BaseException:
            self.abort()
            raise

    async def _refused(self, envelope: _Envelope, answers: Sequence[Answer | None]) -> Answer | None:
        """What recipients without an answer of their own hear when the content is not to be sent; None when it is."""
        assert envelope.mail
        if envelope.data is None:  # it will be a chunk
            if None not in answers:
                self._open_transaction = envelope.mail.code < 400
                return Answer(Stage.DATA)
        elif envelope.data.code != 354:
            self._open_transaction = envelope.mail.code < 400
            if envelope.data.code < 400:
                self.abort()
            return Answer(Stage.DATA, envelope.data.reply)
        elif None not in answers:
            await self._lone_dot(envelope)
            return Answer(Stage.DATA)
        if self._wire.answered:
            self.abort()
            return Answer(Stage.DATA, None, "a reply to the content before it was sent")
        return None

    # MAIL, RCPT, DATA

    async def _envelope(self, job: Transaction, deadline: float, *, chunked: bool) -> _Envelope:
        commands = [mail_command(job, self.capabilities)]
        commands += [rcpt_command(recipient, self.capabilities) for recipient in job.recipients]
        if not (chunked or job.asking):
            commands.append(data_command())
        reset, self._open_transaction = self._open_transaction, False
        named = len(job.recipients)
        if self.capabilities.pipelining:
            return await self._in_one_flight(commands, named=named, reset=reset, deadline=deadline)
        return await self._step_by_step(commands, named=named, reset=reset, deadline=deadline)

    async def _in_one_flight(self, commands: Sequence[bytes], *, named: int, reset: bool, deadline: float) -> _Envelope:
        wire, envelope = self._wire, _Envelope()
        wire.write((b"RSET\r\n" if reset else b"") + b"".join(commands))
        try:
            if self.uses > 1:
                await wire.received(1, STALE_PATIENCE, deadline)
            await wire.received(len(commands) + reset, self._timeouts.rcpt, deadline)
        except WireError as error:
            envelope.broken = str(error)
        if reset:
            wire.take()
        for position in range(len(commands)):
            reply = wire.take()
            if reply is None:
                break
            if position == 0:
                envelope.mail = reply
            elif position <= named:
                envelope.rcpts.append(reply)
            else:
                envelope.data = reply
            envelope.heard(reply)
            if envelope.farewell:  # what follows is not to be relied on
                break
        return envelope

    async def _step_by_step(self, commands: Sequence[bytes], *, named: int, reset: bool, deadline: float) -> _Envelope:
        wire, times, envelope = self._wire, self._timeouts, _Envelope()

        async def ask(command: bytes, patience: float) -> ServerReply:
            wire.write(command)
            return envelope.heard(await wire.reply(patience, deadline))

        first = times.mail if self.uses == 1 else STALE_PATIENCE
        try:
            if reset:
                await ask(b"RSET\r\n", first)
            envelope.mail = await ask(commands[0], first)
            for command in commands[1 : 1 + named]:
                if envelope.broken or envelope.mail.code >= 300:
                    break
                envelope.rcpts.append(await ask(command, times.rcpt))
            for command in commands[1 + named :]:
                if any(reply.code < 300 for reply in envelope.rcpts) and not envelope.broken:
                    envelope.data = await ask(command, times.data)
                else:  # what a server would say to DATA now
                    envelope.data = ServerReply(503, ("503 5.5.1 No valid recipients",))
        except WireError as error:
            envelope.broken = str(error)
        return envelope

    async def _lone_dot(self, envelope: _Envelope) -> None:
        """Nobody is to get the content, but the server said 354: end it empty (RFC 2920 §3.1).

        Not when a recipient stands after all (after a MAIL that was refused): it would get an empty message.
        """
        if self._lmtp or any(reply.code < 300 for reply in envelope.rcpts):  # LMTP would answer with no reply at all
            self.abort()
            return
        self._wire.write(b".\r\n")
        try:
            await self._wire.reply(LONE_DOT_PATIENCE)
        except WireError:
            self.abort()

    # the content

    async def _content(self, job: Transaction, answers: list[Answer | None], deadline: float, *, chunked: bool) -> Sent:
        waiting = tuple(i for i, answer in enumerate(answers) if answer is None)
        expected = len(waiting) if self._lmtp else 1  # RFC 2033 §4.2: a reply for each recipient
        if job.size <= SMALL:
            self._wire.write(_in_one_piece(job, chunked=chunked))
            finals = await self._finals(expected, deadline, chunked=chunked)
            if len(finals) == expected:
                return Sent(_filled(answers, finals))
            task = self._loop.create_task(self._finals(expected - len(finals), chunked=chunked))
        else:
            finals = []
            task = self._loop.create_task(self._large_content(job, expected, chunked=chunked))
            try:
                await asyncio.wait((task,), timeout=max(0.0, min(deadline - self._loop.time(), 1e9)))
            except asyncio.CancelledError:
                task.cancel()
                raise
            if task.done():
                return Sent(_filled(answers, task.result()))
        self._closing = True  # it will answer, but to nobody else's message
        task.add_done_callback(lambda _: self.abort())
        unknown = waiting[len(finals) :]
        silent = [Answer(Stage.CONTENT, None, "no reply to the content yet")] * (expected - len(finals))
        return Sent(_filled(answers, finals + silent), unknown, self._loop.create_task(_each(task, len(unknown))))

    async def _large_content(self, job: Transaction, expected: int, *, chunked: bool) -> list[Answer]:
        wire, pieces = self._wire, _in_pieces(job, chunked=chunked)
        try:
            piece = next(pieces)
            for following in pieces:
                await self._write_piece(piece)
                if wire.answered:
                    break
                piece = following
            else:
                if chunked:  # the end of the chunk is its end: whatever is said from here on answers all of it
                    wire.write(piece)
                    return await self._finals(expected, chunked=True)
                await self._write_piece(piece)
        except WireError as error:
            early = wire.take()  # a server that refuses a large message in its midst says why, and hangs up
            self.abort()
            return [_early(early) if early else Answer(Stage.DATA, None, f"{error} in the midst of the content")]
        early = wire.take()
        if early is not None:
            self.abort()
            return [_early(early)]
        wire.write(b".\r\n")
        return await self._finals(expected, chunked=False)

    async def _write_piece(self, piece: bytes) -> None:
        self._wire.write(piece)
        await self._wire.drained(self._timeouts.block)

    async def _finals(self, count: int, deadline: float = inf, *, chunked: bool) -> list[Answer]:
        """The replies to the content; fewer than `count` when the loop's time passes `deadline` first."""
        finals: list[Answer] = []
        while len(finals) < count:
            remaining = deadline - self._loop.time()
            try:
                reply = await self._wire.reply(min(remaining, self._timeouts.final))
            except WireError as error:
                if isinstance(error, WireTimeout) and remaining < self._timeouts.final:
                    break
                finals += [self._lost(error)] * (count - len(finals))
            else:
                finals.append(self._final(reply, chunked=chunked))
        return finals

    def _final(self, reply: ServerReply, *, chunked: bool) -> Answer:
        if reply.code == 421 or reply.code // 100 == 3:
            self.abort()
        if chunked and reply.code >= 400:
            self._open_transaction = True  # only RSET ends a transaction whose chunk failed (RFC 3030 §2)
        return Answer(Stage.CONTENT, reply.reply)

    def _lost(self, error: WireError) -> Answer:
        self.abort()
        return Answer(Stage.CONTENT, None, f"{error} after the final dot")


def _in_one_piece(job: Transaction, *, chunked: bool) -> bytes:
    return bdat_command(job.size) + b"".join(job.content) if chunked else stuff_small(job.content)


def _in_pieces(job: Transaction, *, chunked: bool) -> Iterator[bytes]:
    """The content as it is written bit by bit, but for the final dot."""
    if not chunked:
        yield from stuff(job.content)
        return
    yield bdat_command(job.size)
    for chunk in job.content:
        yield from (chunk[offset : offset + WINDOW] for offset in range(0, len(chunk), WINDOW))


async def _each(task: asyncio.Task[list[Answer]], recipients: int) -> tuple[Answer, ...]:
    """An answer for each recipient, however many replies there were."""
    finals = await asyncio.shield(task)
    return tuple(finals * recipients if len(finals) == 1 else finals)


def _early(reply: ServerReply) -> Answer:
    """A reply before the final dot. Only a refusal can be meant; a 2xx for half a message must not count as delivered."""
    if reply.code >= 400:
        return Answer(Stage.CONTENT, reply.reply)
    return Answer(Stage.DATA, None, f"{reply.code} before the end of the content")


def _envelope_answers(envelope: _Envelope, count: int) -> list[Answer | None]:
    """The answers that the envelope decides; None for recipients that wait for the content's."""
    if envelope.mail is None:
        return [Answer(Stage.MAIL, envelope.farewell, envelope.broken)] * count
    if envelope.mail.code >= 300:
        return [Answer(Stage.MAIL, envelope.mail.reply)] * count
    answers: list[Answer | None] = [
        None if reply.code < 300 else Answer(Stage.RCPT, reply.reply) for reply in envelope.rcpts
    ]
    return answers + [Answer(Stage.RCPT, envelope.farewell, envelope.broken)] * (count - len(answers))


def _asked(answers: Sequence[Answer | None], rcpts: Sequence[ServerReply]) -> tuple[Answer, ...]:
    """The answers of a transaction that ends after RCPT: those that stand get the reply that they stand by."""
    return tuple(
        Answer(Stage.RCPT, rcpts[position].reply) if answer is None else answer
        for position, answer in enumerate(answers)
    )


def _filled(answers: Sequence[Answer | None], finals: Sequence[Answer]) -> tuple[Answer, ...]:
    """`answers` with the gaps filled: by the only final answer, or by one after the other (LMTP)."""
    rest = iter(finals if len(finals) > 1 else [*finals] * len(answers))
    return tuple(next(rest) if answer is None else answer for answer in answers)
