"""The transaction's content: DATA and BDAT (RFC 3030) up to its end, watched, cleaned, and handed to the Door once."""

from __future__ import annotations

import asyncio
import re
from functools import partial

from mailguard.core.decision import Reason
from mailguard.core.envelope import Envelope
from mailguard.core.reply import Reply
from mailguard.smtp import replies
from mailguard.smtp.connection import Connection
from mailguard.smtp.data import OVERRUN, OverrunError, Progress, read_data, read_octets
from mailguard.smtp.intake import Intake

_BDAT = re.compile(r"([0-9]{1,20})(?: +(LAST))?", re.IGNORECASE)  # RFC 3030 §2


class ContentReceiver(Connection):
    """One connection's transaction: the Envelope, from MAIL to the reply to its content. A subclass gives the commands."""

    _envelope: Envelope | None = None
    _rcpt_commands = 0
    _accepted: frozenset[str] = frozenset()
    _chunks: Intake | None = None
    """What BDAT has brought so far; None outside a chunked message."""
    _chunks_end = 0.0

    def _end_transaction(self) -> None:
        """Forget the transaction, whatever became of it (RFC 5321 §4.1.1.5)."""
        self._envelope = None
        self._rcpt_commands = 0
        self._accepted = frozenset()
        self._drop_chunks()
        self.in_transaction = False

    def _drop_chunks(self) -> None:
        if self._chunks is not None:
            self._chunks.close()
            self._chunks = None

    def _leave(self) -> None:
        super()._leave()
        self._drop_chunks()

    def _refused(self, envelope: Envelope | None, address: str, reply: Reply, reason: Reason) -> Reply:
        """Let the Door record a refusal that is the protocol's own."""
        self.shared.door.refused(self.client, envelope, address, reply, reason)
        return reply

    def _intake(self, *, dots: bool) -> Intake:
        settings = self.settings
        return Intake(
            limit=settings.message_size, memory=settings.memory_limit, directory=settings.spool_directory, dots=dots
        )

    # --- DATA

    async def _data(self, argument: str) -> Reply | None:
        problem = replies.CHUNKS_BEGUN if self._chunks is not None else self._not_ready(argument)
        if self.pipelined and (problem is not None or self.settings.strict_pipelining):
            # What follows may be a message: as commands it must never be read (RFC 2920 §3.1).
            self.say(problem or replies.OUT_OF_SYNC)
            self.close()
            return None
        envelope = self._envelope
        if problem is not None or envelope is None:
            return problem
        self.say(replies.SEND_DATA)
        await self.flush()
        intake = self._intake(dots=True)
        try:
            if not await self._receive(intake):
                return None
            return await self._finish(envelope, intake)
        finally:
            intake.close()

    def _not_ready(self, argument: str = "") -> Reply | None:
        """Why content cannot come now."""
        if argument:
            return replies.NO_ARGUMENT
        if self._envelope is None:
            return replies.NEED_MAIL if self.client.helo else replies.NEED_HELO
        if not self._envelope.recipients:
            return replies.NO_VALID_RECIPIENTS if self._rcpt_commands else replies.NEED_RCPT
        return None

    async def _receive(self, intake: Intake) -> bool:
        """Take in the data up to its final dot. False: it does not end, and the connection is closing."""
        progress = Progress()
        self._watch_data(progress, self.loop.time() + self.settings.data_time, seen=0)
        self._waiting = True
        try:
            await read_data(self._reader, intake.add, limit=self.settings.message_size, progress=progress)
        except OverrunError:
            self.close(replies.MESSAGE_TOO_LARGE)
        finally:
            self._waiting = False
            self._watch.rest()
        return not self._closing

    # --- BDAT

    async def _bdat(self, argument: str) -> Reply | None:
        """One chunk. Its octets follow unasked: they are read whatever the answer, or the connection ends."""
        command = _BDAT.fullmatch(argument) if self.settings.chunking else None
        if command is None:
            self.say(replies.BDAT_SYNTAX if self.settings.chunking else replies.NO_CHUNKING)
            self.close()
            return None
        count, last = int(command[1]), bool(command[2])
        problem = self._not_ready()
        if count > OVERRUN * self.settings.message_size:
            self._refuse_content(replies.MESSAGE_TOO_LARGE, Reason.TOO_LARGE)
            self.close(replies.MESSAGE_TOO_LARGE)
            return None
        if problem is None and self._chunks is None:
            self._chunks = self._intake(dots=False)
            self._chunks_end = self.loop.time() + self.settings.data_time
        chunks = None if problem else self._chunks
        if not await self._receive_chunk(chunks, count):
            return None
        envelope = self._envelope
        if chunks is None or envelope is None:
            return problem
        if last:
            return await self._finish(envelope, chunks)
        # RFC 3030 §2: a chunk that fails ends the transaction; what was pipelined behind it is read and refused.
        return self._refusal(chunks) or Reply(250, "2.0.0", f"{count} octets received")

    async def _receive_chunk(self, chunks: Intake | None, count: int) -> bool:
        """Take in a chunk's octets, or only read them; False when the connection is closing."""
        if self.loop.time() >= self._chunks_end and chunks is not None:
            self.close(replies.DATA_TIMEOUT)
            return False
        if len(self._reader._buffer) < count:  # type: ignore[attr-defined]
            await self.flush()  # the client may wait for replies to what it pipelined before
        end = self._chunks_end if chunks is not None else self.loop.time() + self.settings.data_time
        progress = Progress()
        self._watch_data(progress, end, seen=0)
        self._waiting = True
        try:
            await read_octets(self._reader, chunks.add if chunks else _ignore, count, progress=progress)
        finally:
            self._waiting = False
            self._watch.rest()
        return not self._closing

    # --- both

    async def _finish(self, envelope: Envelope, intake: Intake) -> Reply:
        """The content is whole: refuse it, or let the Door decide. Either way the transaction ends."""
        await intake.end()
        reply = self._refusal(intake)
        if reply is None:
            reply = await self._carry_out(envelope, intake)
            self._end_transaction()
        if reply.positive:
            self._budget.accepted()
        return reply

    def _refusal(self, intake: Intake) -> Reply | None:
        """Why the content is refused as far as it has come, recorded, and the transaction ended; None: go on."""
        if intake.too_large:
            reply, reason = replies.MESSAGE_TOO_LARGE, Reason.TOO_LARGE
        elif intake.failed:
            reply, reason = replies.NO_ROOM, Reason.LOCAL_ERROR
        elif intake.bare and self.settings.bare_newline == "refuse":
            reply, reason = replies.BARE_NEWLINE, Reason.BAD_SYNTAX
        else:
            return None
        self._refuse_content(reply, reason)
        self._end_transaction()
        return reply

    def _refuse_content(self, reply: Reply, reason: Reason) -> None:
        for recipient in self._envelope.recipients if self._envelope else ():
            self._refused(self._envelope, recipient.address, reply, reason)

    async def _carry_out(self, envelope: Envelope, intake: Intake) -> Reply:
        """Hand the message to the Door in a task of its own: if the client goes away, only the waiting ends.

        A large one waits first until there is room for it, and is told to come again when there is none in time.
        """
        room = self.shared.room if intake.in_file else None
        size = intake.size
        if room is not None and not await self._await_room(size):
            self._refuse_content(replies.TOO_BUSY, Reason.LOCAL_ERROR)
            return replies.TOO_BUSY
        try:
            content = await intake.content()
        except BaseException as error:
            if room is not None:
                room.leave(size)
            if not isinstance(error, OSError):
                raise
            self._refuse_content(replies.NO_ROOM, Reason.LOCAL_ERROR)
            return replies.NO_ROOM
        task = self.loop.create_task(self._hand_over(envelope, content))
        del content
        self.shared.transactions.add(task)
        task.add_done_callback(self.shared.transaction_done)
        if room is not None:
            task.add_done_callback(lambda _: room.leave(size))
        return await asyncio.shield(task)

    async def _await_room(self, octets: int) -> bool:
        self._waiting = True  # the message is still the client's: nothing is lost if the connection ends now
        self.shared.observer.large_waits(1)
        try:
            async with asyncio.timeout(self.settings.memory_wait):
                await self.shared.room.enter(octets)
        except TimeoutError:
            return False
        finally:
            self.shared.observer.large_waits(-1)
            self._waiting = False
        return True

    async def _hand_over(self, envelope: Envelope, content: bytes) -> Reply:
        reply = await self.ask(self.shared.door.data(self.client, envelope, content))
        if reply is replies.UNFORESEEN:
            for recipient in envelope.recipients:
                self._refused(envelope, recipient.address, reply, Reason.LOCAL_ERROR)
        return reply

    # --- the pace of what comes in

    def _watch_data(self, progress: Progress, end: float, *, seen: int) -> None:
        now = self.loop.time()
        if now >= end:
            self._end(replies.DATA_TIMEOUT)
            return
        window_end = now + self.settings.data_window
        self._watch.expect(min(window_end, end), partial(self._judge_pace, progress, end, window_end, seen))

    def _judge_pace(self, progress: Progress, end: float, window_end: float, seen: int) -> None:
        """A window of the data's time is over, or all of it: too slow a client holds its place no longer."""
        octets = progress.octets + len(self._reader._buffer)  # type: ignore[attr-defined]
        if window_end <= end and octets - seen < self.settings.data_window * self.settings.data_min_rate:
            self._end(replies.DATA_TOO_SLOW)
        else:
            self._watch_data(progress, end, seen=octets)


async def _ignore(_octets: bytes) -> None:
    """Octets of a chunk that is refused."""
