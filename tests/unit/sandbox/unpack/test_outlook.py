"""Outlook's messages and Windows' installers: their texts, attached files, archives and programs; and pages saved by Word."""

from __future__ import annotations

import base64
import contextlib
import io
import zlib
from uuid import UUID

import olefile
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailguard.sandbox.unpack import outlook
from mailguard.sandbox.unpack.work import ExhaustedError, File, Work
from tests.unit.sandbox.unpack.compound import compound
from tests.unit.sandbox.unpack.taken import apart, contents, paths, symbols

PROGRAM = b"MZ\x90\0" + bytes(5_000)
INSTALLER = UUID("000C1084-0000-0000-C000-000000000046")
ATTACHED = "__attach_version1.0_#0000000"


def wide(text: str) -> bytes:
    return text.encode("utf-16-le")


def message(**more: bytes) -> bytes:
    """A message with a text, headers and two attached files, of which one lies in a message that is attached itself."""
    return compound(
        {
            "__properties_version1.0": bytes(32),
            "__substg1.0_1000001F": wide("see https://a.example/b"),
            "__substg1.0_007D001F": wide("From: a@b.example\r\n"),
            "__substg1.0_10130102": b"<p>see <a href='https://h.example/'>this</a></p>",
            f"{ATTACHED}0/__substg1.0_3707001F": wide("offer.pdf.exe"),
            f"{ATTACHED}0/__substg1.0_37010102": PROGRAM,
            f"{ATTACHED}1/__substg1.0_3701000D/{ATTACHED}0/__substg1.0_3704001E": b"notes.txt",
            f"{ATTACHED}1/__substg1.0_3701000D/{ATTACHED}0/__substg1.0_37010102": b"some notes",
            **more,
        }
    )


@settings(deadline=None, max_examples=25)
@given(st.dictionaries(st.from_regex(r"[a-z]{1,20}", fullmatch=True), st.binary(max_size=9_000), max_size=12))
def test_what_we_write_is_what_is_read(streams: dict[str, bytes]) -> None:
    with olefile.OleFileIO(io.BytesIO(compound(streams))) as ole:
        assert {path[0]: ole.openstream(path).read() for path in ole.listdir()} == streams


def test_texts_and_files_of_a_message_are_taken_out() -> None:
    root = apart(message(), "a.msg")
    assert root.kind == "application/vnd.ms-outlook"
    found = contents(root)
    assert found["offer.pdf.exe"] == PROGRAM
    assert found["notes.txt"] == b"some notes"
    assert found["body.txt"] == b"see https://a.example/b"
    assert found["body.html"].startswith(b"<p>see")
    assert {"ATTACHMENT_ARCHIVED_EXECUTABLE", "ATTACHMENT_DOUBLE_EXTENSION"} <= symbols(root).keys()
    (page,) = (child for child in root.children if child.name == "body.html")
    assert ("https://h.example/", "") in page.links


def test_a_file_without_a_name_is_there_all_the_same() -> None:
    root = apart(message(**{f"{ATTACHED}2/__substg1.0_37010102": b"PK\x05\x06" + bytes(18)}), "a.msg")
    assert "attachment" in paths(root)


def _letters(name: str) -> str:
    """A name as installers have it: two letters in each character."""
    codes = [outlook._LETTERS.index(one) for one in name]
    pairs = [codes[at : at + 2] for at in range(0, len(codes), 2)]
    return "".join(chr(0x3800 + pair[0] + (pair[1] << 6) if len(pair) == 2 else 0x4800 + pair[0]) for pair in pairs)


@pytest.mark.parametrize("name", ["Binary.Runner", "Binary.A", "a.cab", "Icon_0"])
def test_names_in_installers(name: str) -> None:
    assert outlook._decoded(_letters(name)) == name
    assert outlook._decoded("\u4840" + _letters(name)) == f"!{name}"


def test_what_installers_hold_and_run() -> None:
    tables = {
        "\u4840" + _letters("_Tables"): bytes(20),
        "\u4840" + _letters("_StringPool"): bytes(20),
        "\u4840" + _letters("_StringData"): b"CustomActionpowershell -enc AAAAAProperty",
    }
    root = apart(compound({**tables, _letters("Binary.Runner"): PROGRAM}, kind=INSTALLER), "a.msi")
    assert root.kind == "application/x-msi"
    found = symbols(root)
    assert found["INSTALLER"]
    assert {*found["INSTALLER_RUNS"]} == {"Binary.Runner is a program", "powershell"}
    assert contents(root) == {"Binary.Runner": PROGRAM}


def test_the_macros_of_a_page_that_word_saved_are_opened() -> None:
    document = compound({"Macros/VBA/dir": bytes(10), "WordDocument": bytes(5_000)})
    part = b"ActiveMime" + bytes(40) + zlib.compress(document)
    page = (
        b'MIME-Version: 1.0\r\nContent-Type: multipart/related; boundary="q"\r\n\r\n--q\r\nContent-Location: file:///C:/a.htm\r\n'
        b"Content-Type: text/html\r\n\r\n<html></html>\r\n--q\r\nContent-Location: file:///C:/a_files/editdata.mso\r\n"
        b"Content-Transfer-Encoding: base64\r\nContent-Type: application/x-mso\r\n\r\n"
        + base64.encodebytes(part)
        + b"\r\n--q--\r\n"
    )
    root = apart(page, "a.doc")
    assert document in contents(root).values()


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2_000), st.binary(min_size=1, max_size=40))
def test_broken_messages_are_borne(at: int, octets: bytes) -> None:
    raw = bytearray(message())
    raw[at : at + len(octets)] = octets
    file = File("a.msg", bytes(raw), "application/vnd.ms-outlook")
    with contextlib.suppress(OSError, ExhaustedError):  # as olefile tells of broken ones
        outlook.open_message(file, Work(file))
