"""Addresses, paths, and the parameters of MAIL and RCPT: what is taken can be said again, and means the same."""

from __future__ import annotations

import re

from mailguard.core import address as addresses
from mailguard.core.envelope import MailOptions, RcptOptions, Recipient
from mailguard.core.mailbox import mailbox_key, mailboxes, moved, original_recipient
from mailguard.core.reply import Reply
from mailguard.net.dns import lookup_name
from mailguard.net.smtp_commands import mail_command, rcpt_command
from mailguard.net.smtp_values import Capabilities, Transaction
from mailguard.smtp.params import ENVID_LIMIT, ORCPT_LIMIT, mail_options, rcpt_options
from tests.fuzz.target import Input, Target

_ALL = Capabilities(True, True, 0, True, True, True, True, True, True)
_CONTROL = re.compile("[\x00-\x1f\x7f]")
SIZE = 10_000_000


def addresses_and_paths(data: bytes) -> None:
    """An address by itself, and in a path."""
    source = Input(data)
    text = lengthened(source)
    path = addresses.split_path(text)
    if path is not None:
        assert path[0] in text
        assert path[1] == path[1].strip(" ")
    for address in {text, path[0] if path else text}:
        _address(address)
    name = lookup_name(text)
    if name is not None:
        assert lookup_name(name) == name
        assert name.isascii()
        assert len(name) <= 253
        assert not _CONTROL.search(name)


def lengthened(source: Input) -> str:
    """The rest as the text that a command line may hold."""
    return source.long_rest().decode("utf-8", "replace")


def _address(address: str) -> None:
    domain, local = addresses.domain_of(address), addresses.local_part_of(address)
    assert "@" not in domain
    normal = addresses.normalise(address)
    assert addresses.normalise(normal) == normal or not address.isascii()
    addresses.is_special(address)
    mailbox_key(local, domain)
    if not addresses.is_mailbox(address):
        return
    assert not _CONTROL.search(address)
    assert len(address.encode()) <= addresses.ADDRESS_LIMIT
    assert len(local.encode()) <= addresses.LOCAL_PART_LIMIT
    assert addresses.split_path(f"<{address}> X=1") == (address, "X=1")
    meant = mailboxes(address, domain="d.test", separators="+-")
    assert 1 <= len(meant) <= 2
    for box in meant:
        assert not _CONTROL.search(box.address)
        assert addresses.split_path(f"<{box.address}>") == (box.address, "")
    assert addresses.domain_of(moved(address, domain="d.test")) == "d.test"
    original = original_recipient(address)
    if original:
        octets = re.sub(r"\+([0-9A-F]{2})", lambda match: chr(int(match[1], 16)), original.partition(";")[2])
        assert octets == address
        if len(original) <= ORCPT_LIMIT:
            assert rcpt_options(f"ORCPT={original}", esmtp=True, dsn=True) == RcptOptions(orcpt=original)
    _said_again(address)


def _said_again(address: str) -> None:
    """What we took from a client we can say to a server, as one command that means the same."""
    job = Transaction(address, (Recipient(address, 1, "d"),), (b"x\r\n",), MailOptions(smtputf8=True))
    for line, before in (
        (mail_command(job, _ALL), "MAIL FROM:"),
        (rcpt_command(job.recipients[0], _ALL), "RCPT TO:"),
    ):
        text = line.decode()
        assert text.count("\r\n") == text.count("\n") == text.count("\r") == 1
        path = addresses.split_path(text.removeprefix(before).removesuffix("\r\n"))
        assert path is not None
        assert path[0] == address


def parameters(data: bytes) -> None:
    """The parameters of MAIL and of RCPT."""
    source = Input(data)
    esmtp, dsn = not source.flag(), not source.flag()
    text = lengthened(source)
    mail = mail_options(text, esmtp=esmtp, size_limit=SIZE, dsn=dsn)
    if isinstance(mail, Reply):
        assert mail.permanent
        assert len(str(mail)) <= 510
    else:
        assert _is_each_once(text)
        _check_mail(mail, dsn=dsn)
    rcpt = rcpt_options(text, esmtp=esmtp, dsn=dsn)
    if isinstance(rcpt, Reply):
        assert rcpt.permanent
        assert len(str(rcpt)) <= 510
    else:
        assert _is_each_once(text)
        _check_rcpt(rcpt, dsn=dsn)


def _is_each_once(text: str) -> bool:
    names = [word.partition("=")[0].upper() for word in text.split()]
    return len(set(names)) == len(names)


def _check_mail(options: MailOptions, *, dsn: bool) -> None:
    assert 0 <= options.size <= SIZE
    assert options.ret in ("", "FULL", "HDRS")
    assert len(options.envid) <= ENVID_LIMIT
    assert dsn or not (options.ret or options.envid)
    job = Transaction("a@b.test", (Recipient("a@b.test", 1, "b.test"),), (b"x" * min(options.size, 10),), options)
    line = mail_command(job, _ALL).decode().removesuffix("\r\n")
    again = mail_options(line.partition("> ")[2], esmtp=True, size_limit=SIZE, dsn=True)
    assert isinstance(again, MailOptions)
    assert (again.ret, again.envid, again.eight_bit, again.smtputf8) == (
        options.ret,
        options.envid,
        options.eight_bit,
        options.smtputf8,
    )


def _check_rcpt(options: RcptOptions, *, dsn: bool) -> None:
    assert len(options.orcpt) <= ORCPT_LIMIT
    assert dsn or options == RcptOptions()
    assert set(options.notify) <= {"NEVER", "SUCCESS", "FAILURE", "DELAY"}
    assert "NEVER" not in options.notify or len(options.notify) == 1
    line = rcpt_command(Recipient("a@b.test", 1, "b.test", options), _ALL).decode().removesuffix("\r\n")
    assert rcpt_options(line.partition("> ")[2], esmtp=True, dsn=True) == options


TARGETS = (
    Target(
        "address",
        addresses_and_paths,
        (
            b"<joe@example.com> SIZE=10",
            b'<"joe > \\" x"@example.com> A',
            b"<@a.test,@b.test:joe@example.com>",
            b"<>",
            b"joe+tag@example.com",
            b'"jo.e"@example.com.',
            "jö@exämple.test".encode(),
            b"joe@[192.0.2.1]",
            b"joe@[IPv6:2001:db8::1]",
            b"\xfda.\xfe\x10@\xfdb.\xfe\x20c",
            b'"\xfd\\a\xfe\x05"@x.test',
            b"<\xfd@a,\xfe\x40:x@y>",
            "x@\u3002\uff0e.ＡＢ.test".encode(),
        ),
        tokens=(b"<", b">", b'"', b"\\", b"@", b".", b"postmaster", b"[IPv6:", b"]", b"+", b"\xfd", b"\xfe\x29"),
    ),
    Target(
        "parameters",
        parameters,
        (
            b"\x00\x00SIZE=1000 BODY=8BITMIME SMTPUTF8 RET=FULL ENVID=QQ314159",
            b"\x00\x00NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;joe+2Bx@example.com",
            b"\x00\x00NOTIFY=NEVER",
            b"\x00\x01BODY=7BIT  size=0",
            b"\x01\x00SIZE=99999999999999999999",
            b"\x00\x00BODY=BINARYMIME",
            b"\x00\x00ORCPT=rfc822;\xfda+00\xfe\x10",
        ),
        tokens=(
            b"SIZE=",
            b"BODY=8BITMIME",
            b"SMTPUTF8",
            b"RET=HDRS",
            b"ENVID=",
            b"NOTIFY=",
            b"ORCPT=",
            b"rfc822;",
            b" ",
        ),
    ),
)
