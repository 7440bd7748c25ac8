"""Values of header fields, charsets and transfer encodings."""

from __future__ import annotations

import base64
import binascii
import email.utils

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailguard.message import transfer
from mailguard.message.charset import decode_text, is_known
from mailguard.message.fields import decode_words, parse_mailboxes, parse_parameterised, unfold


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"=?utf-8?q?H=C3=A9llo_w=C3=B6rld?=", "Héllo wörld"),
        (b"=?utf-8?B?w4k=?= =?utf-8?b?dMOp?=", "Été"),  # white space between encoded words is nothing
        (b"=?utf-8?b?ww==?=\r\n =?utf-8?b?iQ==?=", "É"),  # a character split over two words
        (b"=?utf-8?q?a?= b =?utf-8?q?c?=", "a b c"),
        (b"=?iso-8859-1?q?=E9?= =?koi8-r?b?8NLJ18XU?=", "éПривет"),
        (b"=?utf-8*en?q?x?=", "x"),  # RFC 2231 language
        (b"=?klingon?q?x=E9?=", "xé"),
        (b"=?utf-8?b?!!!?= end", " end"),
        (b"=?utf-8?x?a?= =?utf-8?q?", "=?utf-8?x?a?= =?utf-8?q?"),
        (b'"=?utf-8?q?quoted?="', '"quoted"'),
        ("plain ütf".encode(), "plain ütf"),
        (b"latin \xe9", "latin é"),
        (b" folded\r\n\t value ", "folded\t value"),
    ],
)
def test_encoded_words(raw: bytes, text: str) -> None:
    assert decode_words(unfold(raw)) == text


@pytest.mark.parametrize(
    ("raw", "value", "name", "expected"),
    [
        (b'text/plain; charset="utf-8"', "text/plain", "charset", "utf-8"),
        (b" Text/HTML ;\r\n\tCharset=UTF-8;", "text/html", "charset", "UTF-8"),
        (b'attachment; filename="a;b\\"c.txt"', "attachment", "filename", 'a;b"c.txt'),
        (b'attachment; filename="C:\\dir\\x.doc"', "attachment", "filename", "C:\\dir\\x.doc"),
        (b"attachment; filename=my file (1).pdf; x=y", "attachment", "filename", "my file (1).pdf"),
        (b'attachment; filename="=?utf-8?b?w6k=?=.pdf"', "attachment", "filename", "é.pdf"),
        (b"attachment; filename*=utf-8'de'%C3%A9.pdf", "attachment", "filename", "é.pdf"),
        (b"attachment; filename*0*=utf-8''%C3; filename*1*=%A9; filename*2=.pdf", "attachment", "filename", "é.pdf"),
        (b"attachment; filename*1=b; filename*0=a", "attachment", "filename", "ab"),
        (b"attachment; filename=plain; filename*=utf-8''ext", "attachment", "filename", "ext"),
        (b'attachment; filename="open', "attachment", "filename", "open"),
        (b"attachment; ; ;filename = spaced", "attachment", "filename", "spaced"),
        (b"text/plain (comment); charset=x", "text/plain", "charset", "x"),
        (b"", "", "x", ""),
        (b';;;=;=x;""', "", "x", ""),
    ],
)
def test_parameters(raw: bytes, value: str, name: str, expected: str) -> None:
    parsed = parse_parameterised(raw)
    assert (parsed.value, parsed.get(name)) == (value, expected)


def test_all_values_of_a_repeated_parameter_are_kept() -> None:
    assert parse_parameterised(b"a; name=x.txt; name=y.exe").parameters["name"] == ["x.txt", "y.exe"]


@pytest.mark.parametrize(
    ("raw", "boxes"),
    [
        (b"a@b.example", [("", "a@b.example")]),
        (b"Alice <a@b.example>", [("Alice", "a@b.example")]),
        (b'"Last, First" <a@b.example>, c@d.example', [("Last, First", "a@b.example"), ("", "c@d.example")]),
        (b'"ceo@bank.example" <evil@x.example>', [("ceo@bank.example", "evil@x.example")]),
        (b"ceo@bank.example <evil@x.example>", [("ceo@bank.example", "evil@x.example")]),
        (b"=?utf-8?q?ceo=40bank=2Eexample_=3Cceo=40bank=2Eexample=3E?= <e@x.example>", [("ceo@bank.example <ceo@bank.example>", "e@x.example")]),
        (b"=?utf-8?q?=3Cceo=40bank=2Eexample=3E?=", []),
        (b"a@b.example (Alice <x@y.example>)", [("", "a@b.example")]),
        (b"(a (nested) comment) a@b.example", [("", "a@b.example")]),
        (b"<a@b.example> <c@d.example>", [("", "a@b.example"), ("", "c@d.example")]),
        (b"Friends: a@b.example, Bob <c@d.example>;", [("", "a@b.example"), ("Bob", "c@d.example")]),
        (b"undisclosed-recipients:;", []),
        (b"<@relay.example,@other.example:a@b.example>", [("", "a@b.example")]),
        (b'"quoted local"@b.example', [("", '"quoted local"@b.example')]),
        (b"Alice a@b.example", [("", "a@b.example")]),
        (b"joe @ b.example", [("", "joe@b.example")]),
        (b"Alice <a@b.example", [("Alice", "a@b.example")]),
        ("Zoë <zoë@exämple.test>".encode(), [("Zoë", "zoë@exämple.test")]),
        (b"", []),
        (b"\"open <a@b.example>", [("open", "a@b.example")]),
    ],
)  # fmt: skip
def test_mailboxes(raw: bytes, boxes: list[tuple[str, str]]) -> None:
    assert [(box.name, box.address) for box in parse_mailboxes(raw)] == boxes


def test_a_quote_that_is_never_closed_costs_no_more_than_its_length() -> None:
    boxes = parse_mailboxes(b'"' + b'\\"' * 30_000 + b"<a@b.example>")
    assert [box.address for box in boxes] == ["a@b.example"]


ATOM = st.text("abcXYZ019-_", min_size=1, max_size=8)


@given(st.lists(st.tuples(st.text('ab ,;:<>()"\\é', max_size=10), ATOM, ATOM), min_size=1, max_size=5))
def test_mailboxes_as_the_standard_library_writes_them(boxes: list[tuple[str, str, str]]) -> None:
    written = ", ".join(
        email.utils.formataddr((name, f"{local}@{domain}.example"), "utf-8") for name, local, domain in boxes
    )
    assert [box.address for box in parse_mailboxes(written.encode())] == [f"{a}@{d}.example" for _, a, d in boxes]


@settings(max_examples=300)
@given(st.one_of(st.binary(max_size=200), st.text(max_size=100).map(lambda text: text.encode("utf-8", "replace"))))
def test_no_value_raises(raw: bytes) -> None:
    decode_words(unfold(raw))
    parse_parameterised(raw)
    parse_mailboxes(raw)


# charsets


@pytest.mark.parametrize(
    ("data", "charset", "text"),
    [
        (b"caf\xe9", "iso-8859-1", "café"),
        (b"\x93hi\x94", "ISO-8859-1", "“hi”"),  # what is said to be Latin-1 is Windows-1252
        ("日本".encode("iso-2022-jp"), "iso-2022-jp", "日本"),
        ("中文".encode("gb18030"), "gb2312", "中文"),
        ("한국".encode("cp949"), "ks_c_5601-1987", "한국"),
        (b"caf\xc3\xa9", "us-ascii", "café"),
        (b"caf\xe9", "us-ascii", "café"),
        (b"caf\xe9", "utf-8", "caf\ufffd"),
        (b"+AGE-", "utf-7", "a"),
        (b"x", "no-such-charset", "x"),
        (b"789c", "hex", "789c"),
        (b"x" * 100, "zlib", "x" * 100),
        (b"a-b", "punycode", "a-b"),
        (b"x", "../../etc/passwd", "x"),
        (b"x", "a" * 1000, "x"),
    ],
)
def test_charsets(data: bytes, charset: str, text: str) -> None:
    assert decode_text(data, charset) == text


def test_which_charsets_are_known() -> None:
    assert all(map(is_known, ["", "UTF-8", "us-ascii", "windows-1251", "gb2312", "x-sjis", "iso-8859-8-i"]))
    assert not any(map(is_known, ["klingon", "zlib", "rot13", "unicode_escape", "idna", "x y", "\0"]))


@given(
    st.binary(max_size=100), st.sampled_from(["utf-7", "utf-16", "utf-32", "iso-2022-jp", "hz", "big5", "x", "utf-8"])
)
def test_no_text_raises(data: bytes, charset: str) -> None:
    assert isinstance(decode_text(data, charset), str)


# transfer encodings


def decoded(data: bytes, encoding: str) -> bytes:
    return b"".join(transfer.decode_chunks(data, 0, len(data), encoding))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"QUJD", b"ABC"),
        (b"QU\r\nJD\r\n", b"ABC"),
        (b"QUI=", b"AB"),
        (b"QUI", b"AB"),
        (b"QUJDR", b"ABC"),
        (b"QUI=QUI=", b"ABAB"),  # joined encodings
        (b"Q*U-J!D", b"ABC"),
        (b"=", b""),
        (b"", b""),
        (b"\xff\xfe", b""),
        (b"QUJD\r\n--=_sig", b"ABC\xb2\x28"),
    ],
)
def test_broken_base64_goes_as_far_as_it_can(data: bytes, expected: bytes) -> None:
    assert decoded(data, transfer.BASE64) == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"a=3Db", b"a=b"),
        (b"a=\r\nb", b"ab"),
        (b"a=\nb", b"ab"),
        (b"=C3=A9", b"\xc3\xa9"),
        (b"50=% =ZZ", b"50=% =ZZ"),
        (b"a=", b"a"),
    ],
)
def test_quoted_printable(data: bytes, expected: bytes) -> None:
    assert decoded(data, transfer.QUOTED_PRINTABLE) == expected


@settings(max_examples=30, deadline=None)
@given(st.binary(min_size=0, max_size=2_000), st.integers(1, 80), st.integers(1, 400))
def test_pieces_join_to_the_whole(data: bytes, width: int, repeat: int) -> None:
    content = data * repeat
    coded = binascii.b2a_base64(content, newline=False)
    lines = b"\r\n".join(coded[i : i + width * 4] for i in range(0, len(coded), width * 4))
    assert decoded(lines, transfer.BASE64) == content
    quoted = binascii.b2a_qp(content, istext=False)
    assert decoded(quoted, transfer.QUOTED_PRINTABLE) == binascii.a2b_qp(quoted)


def test_large_base64_is_decoded_in_pieces() -> None:
    content = bytes(range(256)) * 8_000
    coded = base64.encodebytes(content)
    pieces = list(transfer.decode_chunks(coded, 0, len(coded), transfer.BASE64))
    assert len(pieces) > 5
    assert b"".join(pieces) == content


def test_uuencode() -> None:
    content = bytes(range(256)) * 3
    lines = b"".join(binascii.b2a_uu(content[i : i + 45]) for i in range(0, len(content), 45))
    assert decoded(b"begin 644 x\n" + lines + b"`\nend\n", transfer.UUENCODE) == content


@given(st.binary(max_size=300), st.sampled_from([transfer.BASE64, transfer.QUOTED_PRINTABLE, transfer.UUENCODE, ""]))
def test_no_encoding_raises(data: bytes, encoding: str) -> None:
    decoded(data, encoding)


def test_names_of_encodings() -> None:
    assert transfer.canonical(" Base64 ") == transfer.BASE64
    assert transfer.canonical("8BIT") == transfer.canonical("") == transfer.IDENTITY
    assert transfer.canonical("quoted-printable; x") == transfer.QUOTED_PRINTABLE
    assert transfer.canonical("rot13") is None
