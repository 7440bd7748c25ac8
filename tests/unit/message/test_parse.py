"""Octets to a Message: what honest mail means, what hostile mail cannot do."""

from __future__ import annotations

import base64
import binascii
import email
import email.message
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailguard.message.parse import Defect, Limits, Message, header_section_end, parse

MIXED = b"""\
From: Alice <alice@example.com>
Subject: =?utf-8?q?H=C3=A9llo?=
Content-Type: multipart/mixed; boundary="outer"

preamble
--outer
Content-Type: multipart/alternative; boundary=inner

--inner
Content-Type: text/plain; charset=iso-8859-1
Content-Transfer-Encoding: quoted-printable

caf=E9 http://plain.example/a
--inner
Content-Type: text/html; charset=utf-8

<p>caf\xc3\xa9 <a href="https://html.example/b?x=1&amp;y=2">he<b>re</b></a></p>
--inner--
--outer
Content-Type: application/pdf; name="a.pdf"
Content-Disposition: attachment; filename*=utf-8''%C3%A9t%C3%A9.pdf
Content-Transfer-Encoding: base64

JVBERi0x
LjQK
--outer--
epilogue
""".replace(b"\n", b"\r\n")


def test_a_mail_with_alternatives_and_an_attachment() -> None:
    message = parse(MIXED)
    assert [(part.content_type, part.depth, part.parent, part.container) for part in message.parts] == [
        ("multipart/mixed", 0, -1, True),
        ("multipart/alternative", 1, 0, True),
        ("text/plain", 2, 1, False),
        ("text/html", 2, 1, False),
        ("application/pdf", 1, 0, False),
    ]
    assert message.defects == ()
    assert message.subject == "Héllo"
    assert message.from_addresses == ("alice@example.com",)
    assert message.plain == "café http://plain.example/a"
    assert message.body_text == "café http://plain.example/a\ncafé here"
    assert {link.url for link in message.links} == {"http://plain.example/a", "https://html.example/b?x=1&y=2"}
    assert message.link_hosts == ("plain.example", "html.example")
    pdf = message.parts[4]
    assert pdf.names == ("été.pdf", "a.pdf")
    assert pdf.decoded() == b"%PDF-1.4\n"
    assert [part.filename for part in message.attachments] == ["été.pdf"]


def test_offsets_are_those_of_the_octets() -> None:
    message = parse(MIXED)
    assert message.raw[message.body :].startswith(b"preamble")
    for header in message.headers:
        assert message.raw[header.offset : header.end].startswith(header.name.encode() + b":")
    plain = message.parts[2]
    assert plain.buffer[plain.body : plain.end] == b"caf=E9 http://plain.example/a"


def test_line_feeds_alone_give_the_same() -> None:
    unix = parse(MIXED.replace(b"\r\n", b"\n"))
    assert (unix.body_text, [p.content_type for p in unix.parts]) == (
        parse(MIXED).body_text,
        [p.content_type for p in parse(MIXED).parts],
    )


def multipart(*parts: bytes, boundary: bytes = b"b", close: bool = True, kind: bytes = b"mixed") -> bytes:
    body = b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts)
    end = b"--" + boundary + b"--\r\n" if close else b""
    return b"Content-Type: multipart/" + kind + b"; boundary=" + boundary + b"\r\n\r\n" + body + end


TEXT = b"Content-Type: text/plain\r\n\r\n"


@pytest.mark.parametrize(
    ("raw", "texts", "defects"),
    [
        (multipart(TEXT + b"one", close=False), ["one\r\n"], {Defect.UNCLOSED_BOUNDARY}),
        (multipart(TEXT + b"one").replace(b"boundary=b", b"x=y"), ["one"], {Defect.NO_BOUNDARY}),
        (multipart(TEXT + b"one").replace(b"--b", b"--c"), None, {Defect.BOUNDARY_NOT_FOUND, Defect.UNCLOSED_BOUNDARY}),
        (multipart(b"\r\nno header"), ["no header"], set()),
        (multipart(b"no header at all"), ["no header at all"], {Defect.MISSING_SEPARATOR}),
        (multipart(TEXT + b"--bb\r\n-- \r\n--b-"), ["--bb\r\n-- \r\n--b-"], set()),
        (multipart(TEXT + b"one").replace(b"--b\r\n", b"--b \t\r\n"), ["one"], set()),
        (
            multipart(multipart(TEXT + b"in", boundary=b"i", close=False), TEXT + b"out"),
            ["in\r\n", "out"],
            {Defect.UNCLOSED_BOUNDARY},
        ),
        (multipart(multipart(TEXT + b"in"), TEXT + b"out"), ["in", "out"], set()),  # one boundary for both
        (multipart(b"Content-Type: text/plain", TEXT + b"two"), ["", "two"], {Defect.MISSING_SEPARATOR}),
        (
            b"Subject: x\r\nnot a field\r\nMore: y\r\n\r\ntext",
            ["not a field\r\nMore: y\r\n\r\ntext"],
            {Defect.MISSING_SEPARATOR},
        ),
        (b"just text", ["just text"], {Defect.MISSING_SEPARATOR, Defect.NO_HEADERS}),
        (b"", [""], {Defect.NO_HEADERS}),
        (b"\r\n", [""], {Defect.NO_HEADERS}),
        (b"From alice Mon Nov 24\r\nSubject: x\r\n\r\nt", ["t"], set()),
        (b"Content-Type: text/plain; charset=klingon\r\n\r\nt", ["t"], {Defect.UNKNOWN_CHARSET}),
        (b"Content-Transfer-Encoding: rot13\r\n\r\nt", ["t"], {Defect.UNKNOWN_ENCODING}),
        (b"Content-Type: text/plain\r\nContent-Type: text/html\r\n\r\nt", ["t"], {Defect.DUPLICATE_MIME_HEADER}),
        (b"Subject: a\0b\r\n\r\nt", ["t"], {Defect.NUL_OCTET}),
        (b"A: b\r\n\r\nt\0", ["t\0"], {Defect.NUL_OCTET}),
    ],
)
def test_what_is_odd_is_read_and_named(raw: bytes, texts: list[str] | None, defects: set[Defect]) -> None:
    message = parse(raw)
    if texts is not None:
        assert [part.text for part in message.leaves] == texts
    assert set(message.defects) == defects


def test_without_its_boundary_a_multipart_is_text() -> None:
    message = parse(multipart(TEXT + b"hidden words").replace(b"--b", b"--c"))
    assert "hidden words" in message.body_text
    assert not list(message.attachments)


def test_a_message_within_is_walked_into() -> None:
    inner = b"Subject: inner\r\nContent-Type: text/plain; name=x.txt\r\n\r\nwords within"
    message = parse(multipart(b"Content-Type: message/rfc822\r\n\r\n" + inner))
    assert [part.content_type for part in message.parts] == ["multipart/mixed", "message/rfc822", "text/plain"]
    assert message.parts[2].headers[0].text == "inner"
    assert message.subject == ""


@pytest.mark.parametrize("encoding", ["base64", "quoted-printable"])
def test_an_encoded_message_within_is_walked_into_too(encoding: str) -> None:
    inner = multipart(b"Content-Type: application/x; name=evil.exe\r\n\r\nMZ", boundary=b"inner")
    coded = base64.encodebytes(inner) if encoding == "base64" else binascii.b2a_qp(inner)
    part = b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: " + encoding.encode() + b"\r\n\r\n" + coded
    message = parse(multipart(TEXT + b"t", part, TEXT + b"u"))
    assert [part.filename for part in message.attachments] == ["evil.exe"]
    assert message.defects == (Defect.ENCODED_MULTIPART,)


def test_parts_of_a_digest_are_messages() -> None:
    message = parse(multipart(b"\r\nSubject: one\r\n\r\nfirst", b"\r\nSubject: two\r\n\r\nsecond", kind=b"digest"))
    assert [part.content_type for part in message.parts[1:]] == ["message/rfc822", "text/plain"] * 2
    assert [part.text for part in message.leaves] == ["first", "second"]


def test_uuencoded_files_in_a_text_are_attachments() -> None:
    raw = (
        b"Subject: x\r\n\r\nsee\r\nbegin 644 cat.txt\r\n#0V%T\r\n`\r\nend\r\nbye\r\nbegin 600 b.exe\r\n#0V%T\r\nend\r\n"
    )
    message = parse(raw)
    assert [(part.filename, part.decoded()) for part in message.attachments] == [("cat.txt", b"Cat"), ("b.exe", b"Cat")]


def nested(depth: int) -> bytes:
    levels = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (i, i) for i in range(depth))
    return levels + b"\r\nend"


HOSTILE: dict[str, Callable[[], bytes]] = {
    "2,000 nested multiparts": lambda: nested(2_000),
    "2,000 nested multiparts, one boundary": lambda: (
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" * 2_000
    ),
    "2,000 nested multiparts without boundary": lambda: b"Content-Type: multipart/mixed\r\n\r\n--x\r\n" * 2_000,
    "100,000 nested messages": lambda: b"Content-Type: message/rfc822\r\n\r\n" * 100_000,
    "a million parts": lambda: multipart(close=False) + b"--b\r\n\r\n" * 1_000_000,
    "a million headers": lambda: b"A: b\r\n" * 1_000_000 + b"\r\nx",
    "a million continuation lines": lambda: b"A: b\r\n" + b" b\r\n" * 1_000_000 + b"\r\nx",
    "a header of 16 MB": lambda: b"Subject: " + b"=?utf-8?b?YQ==?= " * 1_000_000 + b"\r\n\r\nx",
    "two million lines that look like boundaries": lambda: multipart(close=False) + b"--c\r\n" * 2_000_000,
    "a million uuencoded files": lambda: TEXT + b"begin 644 x\r\n" * 1_000_000,
    "open brackets in From": lambda: b"From: " + b"<" * 60_000 + b"\r\n\r\n",
    "open comments in From": lambda: b"From: " + b"(" * 60_000 + b"\r\n\r\n",
    "open quotes in From": lambda: b"From: " + b'<a "' * 15_000 + b"\r\n\r\n",
    "semicolons in Content-Type": lambda: b"Content-Type: text/plain" + b";" * 60_000 + b"\r\n\r\nx",
    "a long parameter": lambda: b"Content-Type: text/plain; " + b"a" * 60_000 + b"\r\n\r\nx",
    "many continued parameters": lambda: b"Content-Type: text/plain; " + b"n*0=a;" * 10_000 + b"\r\n\r\nx",
    "20,000 nested tags": lambda: b"Content-Type: text/html\r\n\r\n" + b"<div>" * 20_000,
    "80,000 attributes": lambda: (
        b"Content-Type: text/html\r\n\r\n<a " + b" ".join(b"a%d" % i for i in range(80_000)) + b">"
    ),
    "attributes with tags in them": lambda: (
        b"Content-Type: text/html\r\n\r\n<a " + b" ".join(b"a%d='<a>'" % i for i in range(40_000)) + b">"
    ),
    "open attributes": lambda: b"Content-Type: text/html\r\n\r\n" + b'<a b="' * 80_000,
    "a million links": lambda: b"Content-Type: text/html\r\n\r\n" + b"<a href='http://a/'>" * 1_000_000,
    "URLs without end": lambda: TEXT + b"http://a" * 200_000,
    "padding in base64": lambda: b"Content-Transfer-Encoding: base64\r\n\r\n" + b"A=" * 1_000_000,
    "soft line breaks": lambda: b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + b"=\r\n" * 1_000_000,
}


def read_all(message: Message) -> None:
    """Touch all that is worked out lazily."""
    assert isinstance(message.body_text, str)
    assert isinstance(message.link_hosts, tuple)
    assert isinstance(message.subject + message.message_id, str)
    assert isinstance(message.from_addresses, tuple)
    for part in message.parts:
        assert part.start <= part.body <= part.end <= len(part.buffer)
        assert -1 <= part.parent < len(message.parts)
        assert len(part.decoded(100_000)) <= 100_000
        assert all(isinstance(name, str) for name in part.names)
        assert isinstance(part.content_id + part.disposition + part.charset, str)
    for header in message.headers:
        assert isinstance(header.text, str)


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_mail_takes_less_than_a_second(what: str) -> None:
    raw = HOSTILE[what]()
    started = time.process_time()
    message = parse(raw)
    read_all(message)
    assert time.process_time() - started < 1.0
    assert len(message.parts) <= Limits().parts
    assert len(message.headers) <= Limits().headers


def test_beyond_the_limits_the_defect_says_so() -> None:
    assert Defect.TOO_DEEP in parse(nested(100)).defects
    assert Defect.TOO_MANY_PARTS in parse(multipart(close=False) + b"--b\r\n\r\n" * 2_000).defects
    assert Defect.TOO_MANY_HEADERS in parse(b"A: b\r\n" * 3_000 + b"\r\nx").defects
    assert parse(b"A: b\r\n" * 3_000 + b"\r\nx").parts[0].text == "x"


FRAGMENTS = st.sampled_from(
    [
        b"\r\n", b"\n", b"\r", b"\0", b" ", b"--b", b"--b--", b"--", b"\r\n\r\n", b"Content-Type: multipart/mixed; boundary=b",
        b"Content-Type: message/rfc822", b"Content-Transfer-Encoding: base64", b"From: a@b.example", b"Subject: =?utf-8?b?",
        b"?=", b"begin 644 x", b"end", b"=?x?q?=C3?=", b'name*0*=utf-8\'\'%C3; name*1="x"', b"<a href=http://x.example>", b"begin ",
        b"Content-Type: text/html; charset=utf-7", b"\xff\xfe", b"From ", b"=C3=", b"QUJD", b"=", b";", b'"', b"(", b"<", b">", b":",
    ]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=300), st.lists(FRAGMENTS, max_size=40).map(b"".join)))
def test_nothing_raises(raw: bytes) -> None:
    message = parse(raw)
    read_all(message)
    assert message.parts[0].start == 0
    assert 0 <= header_section_end(raw) <= len(raw)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.binary(max_size=200), st.sampled_from(["base64", "quoted-printable"]), st.text("abc.é", max_size=12)
        ),
        min_size=1,
        max_size=5,
    )
)
def test_what_the_standard_library_writes_is_read_back(files: list[tuple[bytes, str, str]]) -> None:
    written = email.message.EmailMessage()
    written.set_content("text")
    for content, encoding, name in files:
        written.add_attachment(content, "application", "x-test", cte=encoding, filename=name or "x")
    message = parse(written.as_bytes())
    found = [part for part in message.parts if part.content_type == "application/x-test"]
    assert message.defects == ()
    assert [part.filename for part in found] == [(name or "x").strip() for _, _, name in files]
    for part, (content, encoding, _) in zip(found, files, strict=True):
        # The standard library takes quoted-printable for text, and writes its lines with LF.
        assert part.decoded() == content or (encoding == "quoted-printable" and b"\n" in content + b"\n")


# the corpora


def corpus_files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


@pytest.mark.corpora
def test_mime_corpora_never_crash_nor_hang(corpora: Callable[[str], Path]) -> None:
    count = 0
    for path in corpus_files(corpora("mime_corpora")):
        raw = path.read_bytes()
        started = time.process_time()
        read_all(parse(raw))
        assert time.process_time() - started < 1.0, path
        count += 1
    assert count > 1_500


@pytest.mark.corpora
def test_well_formed_mail_reads_as_the_standard_library_does(corpora: Callable[[str], Path]) -> None:
    compared = 0
    differing: list[str] = []
    for path in corpus_files(corpora("mime_corpora")):
        raw = path.read_bytes()
        try:
            theirs = email.message_from_bytes(raw)
            walked = list(theirs.walk())
        except (RecursionError, ValueError):
            continue
        ours = parse(raw)
        if ours.defects or any(part.defects for part in walked) or not ours.headers or b"\nbegin " in raw:
            continue
        compared += 1
        if mismatch := _compare(ours, walked):
            differing.append(f"{path.name}: {mismatch}")
    assert compared > 600
    assert len(differing) <= compared * 0.01, differing


def _compare(ours: Message, walked: list[email.message.Message]) -> str:
    # The standard library also opens message/* that are no messages, such as delivery-status; we leave those whole.
    theirs = [part for part in walked if not part.is_multipart() and part.get_content_maintype() == "text"]
    texts = [part for part in ours.leaves if part.content_type.startswith("text/")]
    if len(theirs) < len(texts):
        return f"{len(texts)} texts instead of {len(theirs)}"
    expected = [part.get_payload(decode=True) for part in theirs]
    for part in texts:
        if part.decoded().strip() not in [content.strip() for content in expected if isinstance(content, bytes)]:
            return f"another text: {part.decoded()[:60]!r}"
    names = {
        str(name).strip()
        for part in walked
        if (name := part.get_filename()) and "=?" not in name and "\udcc3" not in name
    }
    missing = {name for name in names if name.isascii()} - {name for part in ours.parts for name in part.names}
    return f"missing names: {missing}" if missing else ""
