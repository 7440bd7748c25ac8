"""The commands of SMTP (RFC 5321) and the order they come in: one transaction at a time, each question put to the Door."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

from mailguard.core.address import ADDRESS_LIMIT, LOCAL_PART_LIMIT, is_mailbox, local_part_of, split_path
from mailguard.core.decision import Reason
from mailguard.core.envelope import Envelope, Recipient
from mailguard.core.ids import new_message_id
from mailguard.core.reply import Reply
from mailguard.smtp import replies
from mailguard.smtp.content import ContentReceiver
from mailguard.smtp.params import mail_options, rcpt_options

_HELO = re.compile(r"[A-Za-z0-9_.:\-\[\]+/~#=%!*?&$^{}|']{1,255}")
"""What HELO may name: laxer than RFC 5321 §4.1.2, since many honest clients do not know their name; no spaces or quotes."""
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")

Command = Callable[["SmtpProtocol", str], Awaitable[Reply | None]]
"""Takes the argument; gives the reply, or None when it has answered by itself."""


class SmtpProtocol(ContentReceiver):
    """One connection's commands. The transaction is the Envelope, from MAIL to the reply to its data."""

    async def _command(self, line: bytes) -> None:
        """Take one command line, and answer it."""
        text = line[:-2] if line.endswith(b"\r\n") else line[:-1]
        verb, _, argument = text.partition(b" ")
        verb = verb.upper()
        end = self._budget.command(verb)
        if end is not None:
            self.close(end)
            return
        problem = self._problem_of(verb, line)
        decoded = _decode(argument) if problem is None else None
        if problem is not None or decoded is None:
            self.say(problem or replies.BAD_LINE)
            if verb.startswith(b"BDAT"):
                self.close()  # its octets follow unasked, and must not be read as commands
            return
        reply = await COMMANDS[verb](self, decoded.strip(" "))
        if reply is not None:
            self.say(reply)

    def _problem_of(self, verb: bytes, line: bytes) -> Reply | None:
        """Why a line is not even looked at."""
        if len(line) > (self.settings.path_line if verb in (b"MAIL", b"RCPT") else self.settings.command_line):
            return replies.LINE_TOO_LONG
        if not line.endswith(b"\r\n") and self.settings.bare_newline == "refuse":
            return replies.BARE_NEWLINE_COMMAND
        if self._turned_away and verb != b"QUIT":
            return replies.TURNED_AWAY
        return None if verb in COMMANDS else replies.UNKNOWN_COMMAND

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
        message_id = new_message_id(self.shared.clock())
        if isinstance(options, Reply):
            if options is replies.MESSAGE_TOO_LARGE:
                self._refused(Envelope(message_id, address), "", options, Reason.TOO_LARGE)
            return options
        if address:
            problem = _problem(address, smtputf8=options.smtputf8, sender=True)
            if problem is not None:
                return problem
        reply = await self.ask(self.shared.door.mail(self.client, address, options))
        if reply.positive:
            self._envelope = Envelope(message_id, address, options)
            self.in_transaction = True
        return reply

    async def _rcpt(self, argument: str) -> Reply | None:
        envelope = self._envelope
        if envelope is None:
            return replies.NEED_MAIL if self.client.helo else replies.NEED_HELO
        if self._chunks is not None:
            return replies.CHUNKS_BEGUN
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
        recipients = (*envelope.recipients, recipient)
        self._envelope = Envelope(envelope.message_id, envelope.mail_from, envelope.options, recipients)
        self._accepted |= {address}

    def _too_many_recipients(self, envelope: Envelope, address: str) -> Reply:
        beyond = self._rcpt_commands - self.settings.recipients_per_message
        if beyond > self.settings.recipient_overshoot:
            end = self._budget.error()
            if end is not None:
                return end
        return self._refused(envelope, address, replies.TOO_MANY_RECIPIENTS, Reason.TOO_MANY_RECIPIENTS)

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
