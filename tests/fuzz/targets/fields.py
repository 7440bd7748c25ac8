"""Values of header fields: unfolding, encoded words, parameters, mailboxes; charsets; transfer encodings."""

from __future__ import annotations

import base64
import binascii

from mailguard.message import charset, transfer
from mailguard.message.fields import (
    MAILBOX_LIMIT,
    PARAMETER_LIMIT,
    decode_words,
    parse_mailboxes,
    parse_parameterised,
    unfold,
)
from tests.fuzz.target import Input, Target


def values(data: bytes) -> None:
    """One raw value, read in every way."""
    raw = Input(data).long_rest()
    text = unfold(raw)
    assert not set(text) & set("\r\n\0")
    decode_words(text)
    boxes = parse_mailboxes(raw)
    assert len(boxes) <= MAILBOX_LIMIT
    assert all("@" in box.address for box in boxes)
    read = parse_parameterised(raw)
    assert read.value == read.value.lower()
    assert sum(map(len, read.parameters.values())) <= PARAMETER_LIMIT
    for name, given in read.parameters.items():
        assert given
        assert read.get(name) == given[0]


def encoded_words(data: bytes) -> None:
    """A text in encoded words is what it was before it was encoded, however they are cut."""
    source = Input(data)
    how, size = source.below(4), 1 + source.below(40)
    text = source.rest().decode("utf-8", "ignore")
    octets = text.encode()
    pieces = [octets[at : at + size] for at in range(0, len(octets), size)]
    if how & 1:
        words = ["=?utf-8?B?" + base64.b64encode(piece).decode() + "?=" for piece in pieces]
    else:
        words = ["=?UTF-8*en?q?" + "".join(f"={octet:02X}" for octet in piece) + "?=" for piece in pieces]
    separator = "\r\n " if how & 2 else " "
    assert decode_words(unfold(separator.join(words).encode())) == text


def encodings(data: bytes) -> None:
    """A body in each transfer encoding, and octets in each charset."""
    source = Input(data)
    name = source.part()[:60].decode("latin-1")
    body = source.long_rest()
    charset.is_known(name)
    text = charset.decode_text(body, name)
    assert isinstance(text, str)
    for encoding in (transfer.BASE64, transfer.QUOTED_PRINTABLE, transfer.UUENCODE, transfer.IDENTITY):
        decoded = b"".join(transfer.decode_chunks(body, 0, len(body), encoding))
        # A line of uuencode that lost its blanks at the end says itself how many octets it had.
        assert len(decoded) <= (32 * len(body) if encoding == transfer.UUENCODE else len(body)) + 63
    assert b"".join(transfer.decode_chunks(body, 0, len(body), transfer.IDENTITY)) == body
    _round_trips(body)
    known = transfer.canonical(name)
    assert known is None or known in transfer._NAMES.values()


def _round_trips(body: bytes) -> None:
    encoded = base64.encodebytes(body)
    assert b"".join(transfer.decode_chunks(encoded, 0, len(encoded), transfer.BASE64)) == body
    assert transfer.base64_lenient(encoded.replace(b"\n", b"!\n-")) == body
    short = body[:4500]
    encoded = b"=\r\n".join(
        b"".join(b"=%02X" % octet for octet in short[at : at + 20]) for at in range(0, len(short), 20)
    )
    assert b"".join(transfer.decode_chunks(encoded, 0, len(encoded), transfer.QUOTED_PRINTABLE)) == short
    lines = b"".join(binascii.b2a_uu(short[at : at + 45]) for at in range(0, len(short), 45))
    encoded = b"begin 644 x\n" + lines + b"`\nend\n"
    assert b"".join(transfer.decode_chunks(encoded, 0, len(encoded), transfer.UUENCODE)) == short


TARGETS = (
    Target(
        "fields",
        values,
        (
            b' "Joe, Q." <joe@example.com>, Group: a@b.test, (x) "c" <c@d.test>;, =?utf-8?Q?J=C3=B6?= <j@o.test>',
            b' multipart/mixed; boundary="a\\"b"; name*0*=utf-8\'en\'%e2%82; name*1*=%ac; name*2=x',
            b' attachment; filename==?utf-8?B?4oKs?=; filename="unclosed',
            b" a\r\n\tb\r\n c\0d",
            b"\xfd(\xfe\x40a@b",
            b'\xfd"\\\xfe\x40<x@y>',
            b"\xfd<a@b>,\xfe\x40",
            b"x; \xfda*0=b;\xfe\x20",
            b"\xfd=?utf-8?q?=41?= \xfe\x40",
            b" joe @ example.com, <@a:b@c> d@e",
        ),
        tokens=(b"=?utf-8?B?", b"?=", b"=?iso-2022-jp?Q?", b"*0*=", b"''", b"<", b">", b"(", b")", b'"', b"\\", b";"),
    ),
    Target(
        "encoded_words",
        encoded_words,
        (b"\x00\x01abc", b"\x01\x03" + "größe €".encode(), b"\x02\x05 lead and trail ", b"\x03\x02=?utf-8?q?x?="),
        tokens=("€".encode(), b"=?", b"?=", b"_"),
    ),
    Target(
        "encodings",
        encodings,
        (
            b"utf-8\0\0aGVsbG8=\r\naGVsbG8=\r\n",
            b"iso-2022-jp\0\0\x1b$B$3$s\x1b(B",
            b"utf-7\0\0+AGEAYgBj-",
            b"hz\0\0~{<:Ky2;NpJ)~}",
            b"base64\0\0=41=\r\n=\r\nx =20\r\n",
            b"x-uue\0\0begin 644 a\n#86)C\n`\nend\n",
            b"punycode\0\0\xfda-\xfe\x40",
            b"quoted-printable\0\0\xfd=\xfe\x40\xfd= \r\n\xfe\x40",
            b"base64\0\0\xfd=a\xfe\x80",
            b"idna\0\0xn--a",
            b"cp1252\0\0\x81\x8d",
        ),
        tokens=(
            b"utf-16",
            b"utf-32",
            b"big5",
            b"gb18030",
            b"euc-jp",
            b"zlib",
            b"rot13",
            b"unicode_escape",
            b"=",
            b"\r\n",
        ),
    ),
)
