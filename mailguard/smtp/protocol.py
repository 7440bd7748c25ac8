"""The commands of SMTP (RFC 5321) and the order they come in: one transaction at a time, each question put to the Door."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial

from mailguard.core.address import ADDRESS_LIMIT, LOCAL_PART_LIMIT, is_mailbox, local_part_of, split_path
from mailguard.core.decision import Reason
from mailguard.core.envelope import Envelope, Recipient
from mailguard.core.ids import new_message_id
from mailguard.core.reply import Reply
from mailguard.smtp import replies
from mailguard.smtp.connection import Connection
from mailguard.smtp.data import OverrunError, Progress, has_bare_newline, normalise, read_data, unstuff
from mailguard.smtp.params import mail_options, rcpt_options

_HELO = re.compile(r"[A-Za-z0-9_.:\-\[\]+/~#=%!*?&$^{}|']{1,255}")
"""What HELO may name: laxer than RFC 5321 §4.1.2, since many honest clients do not know their name; no spaces or quotes."""
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")

Command = Callable[["SmtpProtocol", str], Awaitable[Reply | None]]
"""Takes the argument; gives the reply, or None when it has answered by itself."""


class SmtpProtocol(Connection):
    """One connection's commands. The transaction is the Envelope, from MAIL to the reply to its data."""

    _envelope: Envelope | None = None
    _rcpt_commands = 0
    _accepted: frozenset[str] = frozenset()

    async def _command(self, line: bytes) -> None:
        """Take one command line, and answer it."""
        text = line[:-2] if line.endswith(b"\r\n") else line[:-1]
        verb, _, argument = text.partition(b" ")
        verb = verb.upper()
        end = self._budget.command(verb)
        if end is not None:
            self.close(end)
        elif len(line) > (self.settings.path_line if verb in (b"MAIL", b"RCPT") else self.settings.command_line):
            self.say(replies.LINE_TOO_LONG)
        elif not line.endswith(b"\r\n") and self.settings.bare_newline == "refuse":
            self.say(replies.BARE_NEWLINE_COMMAND)
        elif self._turned_away and verb != b"QUIT":
            self.say(replies.TURNED_AWAY)
        else:
            decoded = _decode(argument)
            command = COMMANDS.get(verb)
            if command is None:
                reply: Reply | None = replies.UNKNOWN_COMMAND
            elif decoded is None:
                reply = replies.BAD_LINE
            else:
                reply = await command(self, decoded.strip(" "))
            if reply is not None:
                self.say(reply)

    def _end_transaction(self) -> None:
        """Forget the transaction, whatever became of it (RFC 5321 §4.1.1.5)."""
        self._envelope = None
        self._rcpt_commands = 0
        self._accepted = frozenset()
        self.in_transaction = False

    def _refused(self, envelope: Envelope | None, address: str, reply: Reply, reason: Reason) -> Reply:
        """Let the Door record a refusal that is the protocol's own."""
        self.shared.door.refused(self.client, envelope, address, reply, reason)
        return reply

    # --- HELO, EHLO, STARTTLS

    def _hello(self, argument: str, *, esmtp: bool) -> Reply | None:
        if not _HELO.fullmatch(argument):
            return replies.HELO_SYNTAX
        if self.settings.strict_pipelining and self.pipelined:
            self.close(replies.OUT_OF_SYNC)  # RFC 2920 §3.1: the client cannot know yet what it may pipeline
            return None
        self._end_transaction()
        self.client = replace(self.client, helo=argument, esmtp=esmtp)
        return None

    async def _ehlo(self, argument: str) -> Reply | None:
        reply = self._hello(argument, esmtp=True)
        if reply is None and not self._closing:
            self._out.append(self.shared.ehlo_with_tls if self.client.tls else self.shared.ehlo)
        return reply

    async def _helo(self, argument: str) -> Reply | None:
        reply = self._hello(argument, esmtp=False)
        return Reply(250, "", self.settings.hostname) if reply is None and not self._closing else reply

    async def _starttls(self, argument: str) -> Reply | None:
        if argument:
            return replies.NO_ARGUMENT
        if self.client.tls:
            return replies.TLS_ACTIVE
        if self.shared.certificate is None:
            return replies.NOT_IMPLEMENTED
        if not self.client.esmtp:
            return replies.NEED_HELO
        self.say(replies.START_TLS)
        await self.flush()
        self._end_transaction()  # RFC 3207 §4.2: nothing said before counts
        await self.start_tls()
        return None

    # --- a transaction

    async def _mail(self, argument: str) -> Reply | None:
        if not self.client.helo:
            return replies.NEED_HELO
        if self._envelope is not None:
            return replies.NESTED_MAIL  # RFC 5321 §4.1.4
        end = self._budget.transaction()
        if end is not None:
            return end
        path = split_path(argument[5:]) if argument[:5].upper() == "FROM:" else None
        if path is None:
            return replies.MAIL_SYNTAX
        address, parameters = path
        options = mail_options(
            parameters, esmtp=self.client.esmtp, size_limit=self.settings.message_size, dsn=self.settings.dsn
        )
        envelope = Envelope(message_id=new_message_id(self.shared.clock()), mail_from=address)
        if isinstance(options, Reply):
            if options is replies.MESSAGE_TOO_LARGE:
                self._refused(envelope, "", options, Reason.TOO_LARGE)
            return options
        if address:
            problem = _problem(address, smtputf8=options.smtputf8, sender=True)
            if problem is not None:
                return problem
        reply = await self.ask(self.shared.door.mail(self.client, address, options))
        if reply.positive:
            self._envelope = replace(envelope, options=options)
            self.in_transaction = True
        return reply

    async def _rcpt(self, argument: str) -> Reply | None:
        envelope = self._envelope
        if envelope is None:
            return replies.NEED_MAIL if self.client.helo else replies.NEED_HELO
        self._rcpt_commands += 1
        path = split_path(argument[3:]) if argument[:3].upper() == "TO:" else None
        if path is None:
            return replies.RCPT_SYNTAX
        address, parameters = path
        options = rcpt_options(parameters, esmtp=self.client.esmtp, dsn=self.settings.dsn)
        if isinstance(options, Reply):
            return options
        if address.lower() != "postmaster":  # RFC 5321 §4.1.1.3: it needs no domain
            problem = _problem(address, smtputf8=envelope.options.smtputf8, sender=False)
            if problem is not None:
                return self._refused(envelope, address, problem, Reason.BAD_SYNTAX)
        if address in self._accepted:
            return replies.RECIPIENT_OK  # once is enough
        if len(envelope.recipients) >= self.settings.recipients_per_message:
            return self._too_many_recipients(envelope, address)
        answer = await self.ask(self.shared.door.rcpt(self.client, envelope, address, options))
        if isinstance(answer, Reply):
            if answer is replies.UNFORESEEN:
                self._refused(envelope, address, answer, Reason.LOCAL_ERROR)
            return answer
        reply, recipient = answer
        if recipient is not None and reply.positive:
            self._accept(envelope, address, recipient)
        elif reply.permanent and envelope.recipients and self._rcpt_commands <= self.settings.recipients_per_message:
            # A list with many dead addresses must get through to the living: only guessing counts as errors.
            self.say(reply, counts=False)
            return None
        return reply

    def _accept(self, envelope: Envelope, address: str, recipient: Recipient) -> None:
        number = len(envelope.recipients) + 1
        if recipient.number != number:
            recipient = replace(recipient, number=number)
        self._envelope = replace(envelope, recipients=(*envelope.recipients, recipient))
        self._accepted |= {address}

    def _too_many_recipients(self, envelope: Envelope, address: str) -> Reply:
        beyond = self._rcpt_commands - self.settings.recipients_per_message
        if beyond > self.settings.recipient_overshoot:
            end = self._budget.error()
            if end is not None:
                return end
        return self._refused(envelope, address, replies.TOO_MANY_RECIPIENTS, Reason.TOO_MANY_RECIPIENTS)

    async def _data(self, argument: str) -> Reply | None:
        problem = self._not_ready(argument)
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
        raw = await self._receive()
        if self._closing:
            return None
        content, refusal, reason = self._clean(raw)
        if refusal is not None:
            for recipient in envelope.recipients:
                self._refused(envelope, recipient.address, refusal, reason)
            self._end_transaction()
            return refusal
        reply = await self._carry_out(envelope, content)
        self._end_transaction()
        if reply.positive:
            self._budget.accepted()
        return reply

    def _not_ready(self, argument: str) -> Reply | None:
        """Why DATA cannot come now."""
        if argument:
            return replies.NO_ARGUMENT
        if self._envelope is None:
            return replies.NEED_MAIL if self.client.helo else replies.NEED_HELO
        if not self._envelope.recipients:
            return replies.NO_VALID_RECIPIENTS if self._rcpt_commands else replies.NEED_RCPT
        return None

    async def _receive(self) -> bytes | None:
        """The data as it came; None when it is too large, or does not end (and the connection is closing)."""
        progress = Progress()
        end = self.loop.time() + self.settings.data_time
        self._watch_data(progress, end, seen=0)
        self._waiting = True
        try:
            return await read_data(self._reader, limit=self.settings.message_size, progress=progress)
        except OverrunError:
            self.close(replies.MESSAGE_TOO_LARGE)
            return None
        finally:
            self._waiting = False
            self._watch.rest()

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

    def _clean(self, raw: bytes | None) -> tuple[bytes, Reply | None, Reason]:
        """The message without dots and bare newlines; or why it is refused, and the reason to record."""
        if raw is None:
            return b"", replies.MESSAGE_TOO_LARGE, Reason.TOO_LARGE
        if self.settings.bare_newline == "refuse" and has_bare_newline(raw):
            return b"", replies.BARE_NEWLINE, Reason.BAD_SYNTAX
        content = unstuff(normalise(raw))
        if len(content) > self.settings.message_size:
            return b"", replies.MESSAGE_TOO_LARGE, Reason.TOO_LARGE
        return content, None, Reason.CLEAN

    async def _carry_out(self, envelope: Envelope, content: bytes) -> Reply:
        """Hand the message to the Door in a task of its own: if the client goes away, only the waiting ends."""
        task = self.loop.create_task(self._hand_over(envelope, content))
        self.shared.transactions.add(task)
        task.add_done_callback(self.shared.transaction_done)
        return await asyncio.shield(task)

    async def _hand_over(self, envelope: Envelope, content: bytes) -> Reply:
        reply = await self.ask(self.shared.door.data(self.client, envelope, content))
        if reply is replies.UNFORESEEN:
            for recipient in envelope.recipients:
                self._refused(envelope, recipient.address, reply, Reason.LOCAL_ERROR)
        return reply

    # --- the rest

    async def _rset(self, argument: str) -> Reply | None:
        if argument:
            return replies.NO_ARGUMENT
        self._end_transaction()
        return replies.OK

    async def _noop(self, _argument: str) -> Reply | None:
        return replies.OK

    async def _help(self, _argument: str) -> Reply | None:
        return replies.HELP

    async def _vrfy(self, argument: str) -> Reply | None:
        return replies.CANNOT_VRFY if argument else replies.VRFY_SYNTAX

    async def _quit(self, argument: str) -> Reply | None:
        if argument:
            return replies.NO_ARGUMENT
        self.close(replies.BYE)
        return None

    async def _not_implemented(self, _argument: str) -> Reply | None:
        return replies.NOT_IMPLEMENTED

    async def _bdat(self, _argument: str) -> Reply | None:
        self.close(replies.NO_CHUNKING)  # RFC 3030: its octets follow unasked, and must not be read as commands
        return None

    async def _foreign(self, _argument: str) -> Reply | None:
        self.close(replies.NOT_SMTP)  # a web request that a browser or server was tricked into sending
        return None


COMMANDS: Mapping[bytes, Command] = {
    b"EHLO": SmtpProtocol._ehlo,
    b"HELO": SmtpProtocol._helo,
    b"STARTTLS": SmtpProtocol._starttls,
    b"MAIL": SmtpProtocol._mail,
    b"RCPT": SmtpProtocol._rcpt,
    b"DATA": SmtpProtocol._data,
    b"RSET": SmtpProtocol._rset,
    b"NOOP": SmtpProtocol._noop,
    b"HELP": SmtpProtocol._help,
    b"VRFY": SmtpProtocol._vrfy,
    b"QUIT": SmtpProtocol._quit,
    b"BDAT": SmtpProtocol._bdat,
    **dict.fromkeys(
        (b"AUTH", b"EXPN", b"ETRN", b"TURN", b"ATRN", b"SEND", b"SOML", b"SAML", b"XCLIENT", b"XFORWARD", b"BURL"),
        SmtpProtocol._not_implemented,
    ),
    **dict.fromkeys((b"GET", b"POST", b"PUT", b"HEAD", b"OPTIONS", b"CONNECT", b"DELETE"), SmtpProtocol._foreign),
}


def _decode(argument: bytes) -> str | None:
    """The argument as text; None when it is not UTF-8 or has control characters (a bare CR or NUL among them)."""
    try:
        text = argument.decode()
    except UnicodeDecodeError:
        return None
    return text if text.isprintable() or not _CONTROL.search(text) else None


def _problem(address: str, *, smtputf8: bool, sender: bool) -> Reply | None:
    """Why an address is refused."""
    if not address.isascii() and not smtputf8:
        return replies.NEEDS_SMTPUTF8
    if is_mailbox(address):
        return None
    encoded = address.encode()
    if len(encoded) > ADDRESS_LIMIT or len(local_part_of(address).encode()) > LOCAL_PART_LIMIT:
        return replies.SENDER_TOO_LONG if sender else replies.RECIPIENT_TOO_LONG
    return replies.BAD_SENDER if sender else replies.BAD_RECIPIENT
