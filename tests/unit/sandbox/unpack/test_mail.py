"""Mails, TNEF, cards and S/MIME within files: what they hold becomes files, and their own parsers bear anything."""

from __future__ import annotations

import base64
import contextlib
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailguard.message.parse import parse
from mailguard.message.secured import secured
from mailguard.sandbox.unpack.cards import open_card
from mailguard.sandbox.unpack.pkcs7 import open_pkcs7
from mailguard.sandbox.unpack.tnef import SIGNATURE, TnefError, read_tnef
from mailguard.sandbox.unpack.work import ExhaustedError, File, Work
from tests.unit.sandbox.unpack.taken import apart, contents, paths, symbols

PROGRAM = b"MZ\0\0" + bytes(100)
MAIL = (
    b"From: a@b.example\r\nSubject: x\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=q\r\n\r\n"
    b"--q\r\n\r\nsee https://c.example/d\r\n--q\r\nContent-Type: image/png; name=a.exe\r\n"
    b"Content-Transfer-Encoding: base64\r\n\r\n" + base64.encodebytes(PROGRAM) + b"--q--\r\n"
)


def test_the_parts_of_a_mail_are_files_with_their_names_and_types() -> None:
    for raw in (MAIL, b"From a@b.example Mon Jan  1 00:00:00 2024\n" + MAIL):
        root = apart(raw, "a.eml")
        assert [(one.name, one.declared, one.raw) for one in root.children] == [("a.exe", "image/png", PROGRAM)]
        assert root.links == [("https://c.example/d", "")]


def test_mails_within_mails_are_opened() -> None:
    outer = b"From: a@b.example\r\nSubject: y\r\nContent-Type: message/rfc822\r\n\r\n" + MAIL
    assert paths(apart(outer, "a.eml")) == ["a.exe"]
    hidden = b"From: a@b.example\r\nSubject: y\r\nContent-Type: application/x-thing; name=b.bin\r\n\r\n" + MAIL
    assert paths(apart(hidden, "a.eml")) == ["b.bin", "b.bin/a.exe"]


def test_nested_multiparts_beyond_the_limit_are_told() -> None:
    raw = b"From: a@b.example\nSubject: x\n" + b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (number, number) for number in range(2_000)
    )
    assert "UNPACK_TOO_DEEP" in symbols(apart(raw, "a.eml"))


def _attribute(level: int, identity: int, data: bytes) -> bytes:
    return struct.pack("<BII", level, identity, len(data)) + data + struct.pack("<H", sum(data) & 0xFFFF)


def _property(identity: int, kind: int, value: bytes) -> bytes:
    return struct.pack("<HHII", kind, identity, 1, len(value)) + value + bytes(-len(value) % 4)


def tnef(*attributes: bytes) -> bytes:
    return SIGNATURE + b"\1\0" + b"".join(attributes)


def test_tnef_gives_its_attachments_under_their_long_names_and_its_text() -> None:
    named = struct.pack("<I", 2) + struct.pack("<HHHH", 0x03, 0x0E20, 9, 0)
    named += _property(0x3707, 0x1F, "längerer Name.exe\0".encode("utf-16-le"))
    html = struct.pack("<I", 1) + _property(0x1013, 0x102, b"<html><a href='https://a.example'>b</a>")
    raw = tnef(
        _attribute(1, 0x00069003, html),
        _attribute(2, 0x00069002, bytes(14)),
        _attribute(2, 0x00018010, b"LNGERE~1.EXE\0"),
        _attribute(2, 0x0006800F, PROGRAM),
        _attribute(2, 0x00069005, named),
    )
    root = apart(raw, "winmail.dat")
    assert contents(root) == {"text.html": b"<html><a href='https://a.example'>b</a>", "längerer Name.exe": PROGRAM}
    assert "UNPACK_BROKEN" in symbols(apart(raw[:-10]))


def test_a_mail_within_tnef_is_tnef_again() -> None:
    inner = tnef(_attribute(2, 0x00069002, bytes(14)), _attribute(2, 0x0006800F, PROGRAM))
    within = struct.pack("<I", 1) + _property(0x3701, 0x0D, bytes(16) + inner)
    root = apart(tnef(_attribute(2, 0x00069002, bytes(14)), _attribute(2, 0x00069005, within)))
    assert PROGRAM in contents(root).values()


@pytest.mark.parametrize("name", ["a.vcf", "a.ics"])
def test_files_that_cards_and_entries_carry_are_taken_out(name: str) -> None:
    kind, field = (
        ("VCARD", b"PHOTO;ENCODING=b;TYPE=X:")
        if name == "a.vcf"
        else ("VCALENDAR", b"ATTACH;ENCODING=BASE64;VALUE=BINARY;X-FILENAME=a.exe:")
    )
    folded = b"\r\n ".join(base64.encodebytes(PROGRAM).split())
    raw = b"BEGIN:%b\r\nURL:https://a.example/\r\n%b%b\r\nEND:%b\r\n" % (kind.encode(), field, folded, kind.encode())
    assert [one.raw for one in apart(raw, name).children] == [PROGRAM]
    within = File(name, raw, "text/vcard", depth=1)
    open_card(within, Work(within))
    assert within.links == [("https://a.example/", "")]


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("smime")
    _openssl(folder, "req -x509 -newkey rsa:2048 -nodes -keyout k.pem -out c.pem -subj /CN=a -days 2")
    (folder / "in").write_bytes(b"Content-Type: text/plain\r\n\r\nsigned\r\n")
    return folder


def _openssl(folder: Path, arguments: str) -> bytes:
    return subprocess.run(["openssl", *arguments.split()], cwd=folder, check=True, capture_output=True).stdout


@pytest.mark.parametrize(
    "form", ["smime -sign -nodetach", "cms -sign -nodetach -stream", "smime -sign -nodetach -outform PEM"]
)
def test_what_is_signed_is_taken_out(key: Path, form: str) -> None:
    raw = _openssl(
        key, f"{form.split(maxsplit=1)[0]} -outform DER {' '.join(form.split()[1:])} -in in -signer c.pem -inkey k.pem"
    )
    root = apart(raw, "smime.p7m")
    assert [one.raw for one in root.children] == [(key / "in").read_bytes()]
    assert symbols(root).keys() == {"SIGNED_SMIME"}


def test_what_is_encrypted_for_its_reader_is_a_neutral_fact(key: Path) -> None:
    assert symbols(apart(_openssl(key, "smime -encrypt -outform DER -in in c.pem"), "smime.p7m")).keys() == {
        "ENCRYPTED_SMIME"
    }
    armoured = b"-----BEGIN PGP MESSAGE-----\n\nhQEMA\n=abcd\n-----END PGP MESSAGE-----\n"
    assert symbols(apart(armoured, "a.asc")).keys() == {"ENCRYPTED_PGP"}


@pytest.mark.parametrize(
    ("content", "symbol"),
    [
        (b'multipart/signed; protocol="application/pkcs7-signature"; boundary=a', "SIGNED_SMIME"),
        (b'multipart/signed; protocol="application/pgp-signature"; boundary=a', "SIGNED_PGP"),
        (b'multipart/encrypted; protocol="application/pgp-encrypted"; boundary=a', "ENCRYPTED_PGP"),
        (b"application/pkcs7-mime; smime-type=enveloped-data", "ENCRYPTED_SMIME"),
        (b"application/x-pkcs7-mime; smime-type=signed-data", "SIGNED_SMIME"),
    ],
)
def test_mail_that_is_signed_or_encrypted_is_told_by_its_form(content: bytes, symbol: str) -> None:
    assert [name for name, _ in secured(parse(b"Content-Type: " + content + b"\n\n--a\n\nx\n--a--\n"))] == [symbol]


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=300))
def test_tnef_bears_anything(rest: bytes) -> None:
    for raw in (rest, tnef(rest), tnef(_attribute(2, 0x00069005, rest), _attribute(1, 0x00069003, rest))):
        with contextlib.suppress(TnefError):
            read_tnef(raw)


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=300), st.integers(min_value=0, max_value=200))
def test_ber_bears_anything(rest: bytes, deep: int) -> None:
    start = bytes.fromhex("308006092a864886f70d010702a080")
    for raw in (rest, start + rest, start + b"\x30\x80" * deep + rest, b"\x30\x80" * 5_000):
        file = File("a.p7m", raw, "application/pkcs7-mime")
        with contextlib.suppress(ValueError, ExhaustedError):
            open_pkcs7(file, Work(file))
