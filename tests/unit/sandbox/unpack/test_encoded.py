"""Texts that are encoded files: read however short or long they are, and no ordinary text taken for one."""

from __future__ import annotations

import base64
import binascii
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailguard.sandbox.unpack.kinds import kind_of
from mailguard.sandbox.unpack.tree import take_apart, walk
from mailguard.sandbox.unpack.work import File, Work

SHORT = b"X5O!P%@AP[4, a short text"
PROGRAM = b"MZ\x90\0" + b"\3\0\0\0" * 60
PROSE = b"The meeting begins at nine in the large hall; see the agenda.\n" * 20


def uu(raw: bytes, name: str = "a.exe") -> bytes:
    """In uuencode."""
    lines = b"".join(binascii.b2a_uu(raw[at : at + 45]) for at in range(0, len(raw), 45))
    return f"begin 644 {name}\n".encode() + lines + b"`\nend\n"


def binhex(raw: bytes, name: bytes = b"a.exe") -> bytes:
    """In BinHex 4.0, without checksums or runs."""
    head = bytes([len(name)]) + name + b"\0" + b"TEXTtext" + b"\0\0" + len(raw).to_bytes(4, "big") + b"\0" * 4
    packed = (head + b"\0\0" + raw + b"\0\0").replace(b"\x90", b"\x90\0")
    letters = b"!\"#$%&'()*+,-012345689@ABCDEFGHIJKLMNPQRSTUVXYZ[`abcdefhijklmpqr"
    table = bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", letters)
    encoded = base64.b64encode(packed).rstrip(b"=").translate(table)
    lines = b"\n".join(encoded[at : at + 64] for at in range(0, len(encoded), 64))
    return b"(This file must be converted with BinHex 4.0)\n\n:" + lines + b":\n"


def forms(raw: bytes) -> dict[str, bytes]:
    """A file in each form."""
    lines = base64.encodebytes(raw)
    return {
        "base64": lines,
        "base64 in one line": base64.b64encode(raw),
        "base64 for URLs": base64.urlsafe_b64encode(raw).rstrip(b"="),
        "UTF-16": lines.decode().encode("utf-16"),
        "certutil": b"-----BEGIN CERTIFICATE-----\r\n" + lines + b"-----END CERTIFICATE-----\r\n",
        "uuencode": uu(raw),
        "uuencode in a text": PROSE + uu(raw),
        "base64 of uuencode": b"begin-base64 644 a.exe\n" + lines + b"====\n",
        "BinHex": binhex(raw),
    }


def opened(raw: bytes, name: str = "a.txt") -> list[File]:
    """The tree of a file."""
    work = Work(File(name, raw, kind_of(raw, name)))
    take_apart(work)
    return list(walk(work.root))


@pytest.mark.parametrize("payload", [SHORT, PROGRAM], ids=["short", "program"])
@pytest.mark.parametrize("form", forms(b""))
def test_each_form_is_read(form: str, payload: bytes) -> None:
    files = opened(forms(payload)[form])
    inner = next(file for file in files if file.raw == payload)
    assert inner.unseen
    found = {symbol for file in files for symbol, _ in file.found}
    assert ("UNPACK_ENCODED_EXECUTABLE" in found) == (payload is PROGRAM)


def test_a_program_is_found_in_a_text() -> None:
    found = [symbol for file in opened(PROSE + base64.encodebytes(PROGRAM) + PROSE) for symbol, _ in file.found]
    assert "UNPACK_ENCODED_EXECUTABLE" in found


def test_several_in_one_text() -> None:
    files = opened(uu(PROGRAM, "1.exe") + PROSE + uu(SHORT, "2.txt"))
    assert [(file.name, file.raw) for file in files[1:]] == [("1.exe", PROGRAM), ("2.txt", SHORT)]


def test_more_than_are_read_are_told() -> None:
    files = opened(b"".join(uu(SHORT + b"%d" % number) for number in range(40)))
    assert len(files) == 31
    assert files[0].found == [("UNPACK_TOO_MANY", "more than 30 encoded files")]


@pytest.mark.parametrize(
    "text",
    [
        PROSE,
        b"supercalifragilisticexpialidocious\n",
        b"da39a3ee5e6b4b0d3255bfef95601890afd80709  notes.txt\n" * 30,
        b"begin 644 things tomorrow, and let us end it soon.\n",
        b"#![allow(dead_code)]\n" + PROSE,
        b"-----BEGIN CERTIFICATE-----\n"
        + base64.encodebytes(b"0\x82\1\0" + bytes(range(200)))
        + b"-----END CERTIFICATE-----\n",
    ],
)
def test_ordinary_texts_say_nothing(text: bytes) -> None:
    assert not [one for file in opened(text) for one in file.found]


@settings(deadline=None, max_examples=60)
@given(st.binary(min_size=20, max_size=400))
def test_any_content_survives(raw: bytes) -> None:
    assert raw in [file.raw for file in opened(uu(raw, "a.bin"))]
    assert raw in [file.raw for file in opened(binhex(raw))]


@pytest.mark.parametrize(
    "text",
    [
        b"begin 644 a\nM\n" * 100_000,
        b"A" * 16_000 + b"!",
        (b"Ab1+" * 19 + b"\n") * 50_000 + b"!",
        b"(This file must be converted with BinHex 4.0)\n:" + b"!" * 1_000_000,
        b"MMMM\n" * 400_000,
    ],
)
def test_hostile_texts_end_in_time(text: bytes) -> None:
    began = time.process_time()
    opened(text)
    assert time.process_time() - began < 2
