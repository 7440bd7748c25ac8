"""What the relay itself does about codes: sizes of pictures, drawings in text and HTML, what codes say, what the sandbox answers."""

from __future__ import annotations

from mailguard.checks.link_facts import carries_address
from mailguard.checks.qr_drawn import DARK, DRAWINGS, HEIGHT, LIGHT, SIDE, WIDTH, drawings
from mailguard.checks.qr_links import EVIDENCE_LIMIT, SYMBOLS, Code, code_symbols, links_of
from mailguard.checks.qr_pictures import choose
from mailguard.message.parse import parse
from mailguard.message.pictures import OCTETS, PDFS, PICTURES, PIXELS, picture_size
from mailguard.sandbox.frames import HEAD, HEADER_LIMIT, FrameError, lengths, pack, unpack
from tests.fuzz.target import Input, Target
from tests.fuzz.targets.mime import MAILS, TOKENS

_BLOCKS = "█▀▄▌▐▛▜■⬛⬜ "


def picture(data: bytes) -> None:
    """The first octets of a file."""
    size = picture_size(Input(data).long_rest())
    if size is not None:
        assert size.width >= 0
        assert size.height >= 0
        assert size.pixels < 2**64


def drawn(data: bytes) -> None:
    """A text of block characters, or HTML."""
    source = Input(data)
    if source.flag():
        text = "\n".join(
            "".join(_BLOCKS[octet % len(_BLOCKS)] for octet in line) for line in source.long_rest().split(b"\n")
        )
        raw = b"Content-Type: text/plain; charset=utf-8\r\n\r\n" + text.encode()
    else:
        raw = b"Content-Type: text/html; charset=utf-8\r\n\r\n" + source.long_rest() * (1 + source.octet() % 8)
    found = drawings(parse(raw))
    assert len(found) <= DRAWINGS
    for one in found:
        assert one.width >= 1
        assert len(one.cells) % one.width == 0
        assert one.width <= 4 * WIDTH
        assert SIDE <= len(one.cells) // one.width <= HEIGHT
        assert set(one.cells) <= {DARK, LIGHT}


def chosen(data: bytes) -> None:
    """A mail whose files may be looked into."""
    message = parse(Input(data).long_rest())
    choice = choose(message)
    assert len(choice.chosen) <= PICTURES + PDFS
    for candidate in choice.chosen:
        assert candidate.size is None or candidate.size.pixels <= PIXELS
        assert len(candidate.read()) <= OCTETS


def said(data: bytes) -> None:
    """What a code says."""
    text = Input(data).long_rest().decode("utf-8", "replace")[:4096]
    for link in links_of(Code(text, "a.png")):
        assert link.host
        carries_address(link.url)
    for symbol in code_symbols([Code(text, "a.png")], (), parse(MAILS[0])):
        assert symbol.name in SYMBOLS
        assert len(symbol.evidence) <= EVIDENCE_LIMIT


def answer(data: bytes) -> None:
    """What a process of the sandbox sends."""
    frame = Input(data).long_rest()
    try:
        size, raw = lengths(frame[: HEAD.size], raw_limit=0)
        value = unpack(frame[HEAD.size : HEAD.size + size])
    except FrameError:
        return
    assert size <= HEADER_LIMIT
    assert not raw
    assert unpack(pack(value)[HEAD.size :]) == value or "NaN" in repr(value) or "nan" in repr(value)


TARGETS = (
    Target(
        "picture_sizes",
        picture,
        (
            b"\x89PNG\r\n\x1a\n" + bytes(8) + b"\0\0\1\0\0\0\1\0",
            b"\xff\xd8\xff\xe0\0\4ab\xff\xc0\0\x0b\x08\0\x40\0\x40",
            b"GIF89a\x01\0\x01\0\x80\0\0abcdef,\0\0\0\0\x09\0\x09\0",
            b"RIFF\0\0\0\0WEBPVP8X" + bytes(14),
            b"RIFF\0\0\0\0WEBPVP8L" + bytes(9),
            b"RIFF\0\0\0\0WEBPVP8 " + bytes(14),
            b"BM" + bytes(12) + b"\x28\0\0\0\x10\0\0\0\xf0\xff\xff\xff",
        ),
        tokens=(b"\xff\xc0", b"\xff\xda", b"\xff\xe1\xff\xff", b"VP8X", b"VP8L", b"VP8 ", b"GIF87a"),
    ),
    Target(
        "drawn_codes",
        drawn,
        (
            b"\x01" + (b"\0\1\2\3\4" * 5 + b"\n") * 25,
            b"\x00" + b"<table>" + (b"<tr>" + b"<td bgcolor=#000><td style='background:#fff' colspan=2>" * 12) * 22,
            b"\x00<pre>" + "█▀▄ ".encode() * 30,
        ),
        tokens=(
            b"<table>",
            b"</table>",
            b"<tr>",
            b"<td bgcolor=black>",
            b"colspan=400",
            b"<br>",
            b"<pre>",
            "█".encode(),
        ),
    ),
    Target(
        "chosen_files",
        chosen,
        (
            b"Content-Type: image/png\r\n\r\n\x89PNG\r\n\x1a\n" + bytes(8) + b"\0\0\1\0\0\0\1\0" + bytes(60),
            b"Content-Type: application/pdf\r\n\r\n%PDF-1.4" + bytes(80),
            b"Content-Type: text/html\r\n\r\n<img src='data:image/gif;base64," + b"R0lGODlh" * 20 + b"'>",
            *MAILS,
        ),
        tokens=(*TOKENS, b"data:image/png;base64,", b"%PDF-", b"GIF89a"),
    ),
    Target(
        "said_by_codes",
        said,
        (
            b"https://a.example/?e=Ym9iQGNsaWVudC50ZXN0",
            b"BEGIN:VCARD\nURL:https://a.example/\nEND:VCARD",
            b"bitcoin:bc1q",
            b"a.example/x@b.example",
            b"WIFI:S:net;P:pass;;",
        ),
        tokens=(b"https://", b"@", b"%40", b"www.", b"0x7f.1", b"\n"),
    ),
    Target(
        "sandbox_answers",
        answer,
        (
            b'\0\0\0\x0c\0\0\0\0{"value": 1}',
            b"\0\0\0\2\0\0\0\0{}",
            b"\xff\xff\xff\xff\0\0\0\0",
            b'\0\0\0\x14\0\0\0\0{"value":{"texts":[]}',
        ),
        tokens=(b"{", b"[", b"NaN", b"1e999", b"\\ud800", b"null"),
    ),
)
