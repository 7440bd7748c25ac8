"""What other people's servers say: SMTP replies, what EHLO offers, clamd's answers, MTA-STS policies."""

from __future__ import annotations

import re

from mailguard.core.reply import Reply, parse_reply
from mailguard.net.clamd import ClamdUnavailable, ScanKind, interpret
from mailguard.net.dns import Lookups, StaticResolver
from mailguard.net.mta_sts import MAX_AGE_LIMIT, MX_LIMIT, MtaSts, StsMode, parse_policy
from mailguard.net.smtp_reply import LINE_LIMIT, LINES_LIMIT, ReplyError, ReplyParser, ServerReply
from mailguard.net.smtp_values import Capabilities
from mailguard.net.tls_contexts import TlsContexts
from tests.fuzz.step_loop import run as answer
from tests.fuzz.target import Input, Target

_LINE = re.compile(rb"[2-5][0-9]{2}(?:[ -][^\n]*|\r*)")


def smtp(data: bytes) -> None:
    """A stream, read in pieces of any size, and line by line: the same replies, however it is cut."""
    source = Input(data)
    size = 1 + source.octet()
    stream = source.long_rest()
    lines, line_error = _read(stream.splitlines(keepends=True))
    pieces, error = _read([stream[at : at + size] for at in range(0, len(stream), size)])
    assert pieces == lines
    assert bool(error) == bool(line_error)
    assert len(lines) == _reference(stream)
    for reply in lines:
        _check(reply)


def _read(pieces: list[bytes]) -> tuple[list[ServerReply], str]:
    parser, found = ReplyParser(), []
    try:
        for piece in pieces:
            found += parser.feed(piece)
            assert len(parser._rest) <= LINE_LIMIT
            assert len(parser._lines) < LINES_LIMIT
    except ReplyError as error:
        return found + list(error.before), str(error)
    return found, ""


def _reference(stream: bytes) -> int:
    """How many replies come before the first line that is none."""
    count = lines = 0
    for line in stream.split(b"\n")[:-1]:
        text = line.rstrip(b"\r")
        if len(line) > LINE_LIMIT or not _LINE.fullmatch(text):
            return count
        lines += 1
        if text[3:4] == b"-":
            if lines >= LINES_LIMIT:
                return count
        else:
            count += 1
            lines = 0
    return count


def _check(reply: ServerReply) -> None:
    assert 200 <= reply.code <= 599
    value = reply.reply
    assert value.code == reply.code
    line = str(value)
    assert line.isascii()
    assert line.isprintable()
    assert len(line) <= 510
    again = parse_reply([line])
    assert (again.code, again.enhanced) == (value.code, value.enhanced) or not value.enhanced
    offered = Capabilities.of(reply)
    assert 0 <= offered.size < 10**20
    assert not offered.size or offered.declares_size
    problem = offered.shortfall(size=1000, eight_bit=True, smtputf8=True)
    assert problem is None or isinstance(problem, Reply)


def scanner(data: bytes) -> None:
    """An answer of clamd's: it is clean only when it says just that."""
    text = Input(data).long_rest().decode("utf-8", "replace").strip()
    try:
        result = interpret(text)
    except ClamdUnavailable as error:
        assert len(str(error)) < 4000
        return
    assert (result.kind is ScanKind.CLEAN) == (text.removeprefix("stream: ") == "OK")
    assert result.name == "" or result.name in text


def policies(data: bytes) -> None:
    """A policy as it is fetched, and as it says itself again."""
    text = Input(data).long_rest()
    try:
        policy = parse_policy(text)
    except ValueError as error:
        assert str(error).startswith("its ") or str(error) == "it names no mx", f"not our word: {error}"
        return
    assert 0 <= policy.max_age <= MAX_AGE_LIMIT
    assert len(policy.mx) <= MX_LIMIT
    assert policy.mx or policy.mode is StsMode.NONE
    lines = [
        "version: STSv1",
        f"mode: {policy.mode}",
        f"max_age: {policy.max_age}",
        *(f"mx: {one}" for one in policy.mx),
    ]
    assert parse_policy("\r\n".join(lines).encode()) == policy
    for pattern in policy.mx:
        assert pattern.isascii()
        assert pattern.isprintable()
        assert " " not in pattern
        host = pattern.replace("*", "label", 1)
        assert policy.allows(host)
        assert policy.allows(host.upper() + ".")
    assert not policy.allows("evil.invalid") or any(one in ("evil.invalid", "*.invalid") for one in policy.mx)


class _Hostile(Lookups):
    """Gives everybody these TXT records, and no addresses."""

    def __init__(self, texts: tuple[bytes, ...]) -> None:
        self._static = StaticResolver({"_mta-sts.a.test": {"TXT": texts}})
        self.query = self._static.query  # type: ignore[method-assign]


def records(data: bytes) -> None:
    """The TXT records that announce a policy. There is no address to fetch it from: it ends without one, and soon."""
    source = Input(data)
    texts = [source.part() for _ in range(source.below(4))]
    sts = MtaSts(_Hostile((*texts, source.long_rest())), TlsContexts())
    assert answer(sts.policy("a.test")) is None
    assert not sts._fetching


TARGETS = (
    Target(
        "smtp_replies",
        smtp,
        (
            b"\x00220 mx.test ESMTP\r\n250-mx.test\r\n250-SIZE 1000\r\n250-8BITMIME\r\n250 AUTH PLAIN\r\n",
            b"\x05550 5.1.1 No such user\r\n450-4.2.0 a\r\n450 4.2.0 b\r\n",
            b"\x01250\r\n250-\n250 x\n",
            b"\x02250 2.\xd9\xa1.1 x\r\n",
            b"\x10\xfd250-x\r\n\xfe\x10250 x\r\n",
            b"\x20250 \xfdx\xfe\x40\r\n",
            b"\x03no reply\r\n",
            b"\x03250-SIZE \xb2\r\n250 SIZE 99999999999999999999999\r\n",
            "\x07550 5.1.1 \u2028größe\0\r\r\n".encode(),
        ),
        tokens=(b"250-", b"250 ", b"550 5.1.1 ", b"SIZE ", b"STARTTLS", b"\r\n", b"\n", b"\xfe\x21"),
    ),
    Target(
        "clamd_answers",
        scanner,
        (
            b"stream: OK",
            b"stream: Eicar-Test-Signature FOUND",
            b"stream: Heuristics.Limits.Exceeded.MaxFileSize FOUND",
            b"INSTREAM size limit exceeded. ERROR",
            b"stream: X(44d88612fea8a8f36de82e1278abb02f:68) FOUND",
            b"stream: \xfd(\xfe\x80 FOUND",
        ),
        tokens=(b"stream: ", b" FOUND", b"OK", b"ERROR", b"PUA.", b"Heuristics."),
    ),
    Target(
        "sts_policies",
        policies,
        (
            b"version: STSv1\r\nmode: enforce\r\nmx: mail.a.test\r\nmx: *.a.test\r\nmax_age: 604800\r\n",
            b"version: STSv1\nmode: none\nmax_age: 1\n",
            b"version:STSv1\nmode:testing\nmax_age:31557600\nmx:a\n\xfdmx: b.test\n\xfe\x20",
            b"version: STSv1\nmode: enforce\nmax_age: \xd9\xa1\nmx: *.\n",
            b"version: STSv1\nmode: enforce\nmax_age: 9\nmx: a.test\n\rmx: b\rc\n",
        ),
        tokens=(b"version: STSv1\n", b"mode: enforce\n", b"mode: none\n", b"max_age: ", b"mx: ", b"*."),
    ),
    Target(
        "sts_records",
        records,
        (
            b"\x00v=STSv1; id=20160831085700Z;",
            b"\x01v=spf1 -all\0\0v=STSv1; id=x",
            b"\x01v=STSv1; id=a\0\0v=STSv1; id=b",
            b"\x00v=STSv1;\xfd;\xfe\x80id",
            b"\x00v=STSv1;\xfd id=\xfe\x80",
            b"\x00v=STSv1;\xfd \xfe\x80;id=a",
        ),
        tokens=(b"v=STSv1", b"; id=", b";", b" "),
    ),
)
