"""BDAT (RFC 3030): chunks of any sizes, on a stream cut anywhere, one after the other or with RSET between."""

from __future__ import annotations

from mailguard.smtp.door import SmtpSettings
from tests.fuzz.smtp_door import Conversation
from tests.fuzz.target import Input, Target
from tests.fuzz.targets.smtp_session import clean, read_replies

SIZE = 60_000
_BEGIN = b"MAIL FROM:<a@sender.test>\r\nRCPT TO:<u@client.test>\r\n"


def run(data: bytes) -> None:
    """A session of transactions by BDAT; the Door must have each as it was sent, and every command one answer."""
    source = Input(data)
    memory_limit = (0, 50, 100_000)[source.below(3)]
    transactions, cut = 1 + source.below(3), 1 + source.octet()
    stream = b"EHLO x.test\r\n"
    expected = [b"250"]
    contents: list[bytes] = []
    for _ in range(transactions):
        stream += _BEGIN
        expected += [b"250", b"250"]
        content = _transaction(source, memory_limit, expected)
        stream += content[1]
        if content[0] is not None:
            contents.append(content[0])
    settings = SmtpSettings(
        hostname="mx.test",
        message_size=SIZE,
        memory_limit=memory_limit,
        strict_pipelining=False,
        errors_per_session=100,
    )
    talk = Conversation(settings, tls=False)
    step = max(cut, len(stream) // 400)
    said = b"".join(talk.say(stream[at : at + step]) for at in range(0, len(stream), step))
    heard = [reply.splitlines()[-1][:3] for reply in read_replies(said + talk.end())]
    assert heard == expected, f"{heard} instead of {expected}"
    assert [message[2] for message in talk.door.messages] == contents


def _transaction(source: Input, memory_limit: int, expected: list[bytes]) -> tuple[bytes | None, bytes]:
    """What the Door must have of one transaction (None: nothing), and what the client sends for it."""
    stream, whole = b"", b""
    count = 1 + source.below(5)
    for number in range(1, count + 1):
        how = source.below(16)
        chunk = source.part()
        if memory_limit:
            chunk = chunk * (1 + how // 4)
        if how == 0:  # the client thinks better of it
            expected.append(b"250")
            return None, stream + b"RSET\r\n"
        if how == 1 and number > 1:  # commands that have no place between chunks
            stream += b"RCPT TO:<v@client.test>\r\n"
            expected.append(b"503")
        last = number == count
        stream += b"BDAT %d%s\r\n" % (len(chunk), b" LAST" if last else b"") + chunk
        whole += chunk
        expected.append(b"250")
    return clean(whole, dots=False), stream


TARGET = Target(
    "bdat",
    run,
    (
        b"\x01\x00\x05\x02\x05Subject: x\r\n\r\n\0\0\x05line\r\n",
        b"\x02\x01\x01\x01\x05QUIT\r\n.\r\n\0\0\x06RSET\r\nBDAT 3 LAST\r\n\0\0\x02\x08\r\0\0\x09\n.\r\n",
        b"\x00\x02\x20\x03\x04a\r\0\0\x04\nb\n\0\0\x00\0\0\x04\x0f..\r\n",
        b"\x01\x00\xff\x04\x04\r\r\r\0\0\x01\r\n\0\0\x04\n\n\0\0\x04.\0\0\x04\r\n",
        b"\x02\x02\x03\x00\x04\0\0\x01\x04x\0\0\x04\0\0\x00\x0fno end",
    ),
    tokens=(b"\0\0", b"\r\n", b"\r\n.\r\n", b"BDAT 5 LAST\r\n", b"QUIT\r\n", b"\r\r\n"),
)
