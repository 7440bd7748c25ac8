"""Zips that show other files to programs that read them from the front, and zips whose entries share their octets."""

from __future__ import annotations

import io
import zipfile

import pytest

from tests import bombs
from tests.unit.sandbox.unpack.taken import apart, contents, symbols


def packed(*names: str, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name in names:
            archive.writestr(name, name.encode() * 9)
    return out.getvalue()


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_of_two_zips_in_a_row_both_are_opened(method: int) -> None:
    root = apart(packed("bad.js", method=method) + packed("good.txt", method=method), "a.zip")
    assert symbols(root)["ARCHIVE_DISAGREES"] == ["bad.js is not in the directory"]
    assert {"bad.js", "good.txt"} <= contents(root).keys()


def test_a_file_that_the_directory_leaves_out_is_opened() -> None:
    raw = packed("bad.js", "good.txt")
    start = raw.index(b"PK\1\2")
    second = raw.index(b"PK\1\2", start + 4)
    end = bytearray(raw[raw.index(b"PK\5\6") :])
    end[8:12] = b"\1\0\1\0"
    end[12:16] = (len(raw) - 22 - second).to_bytes(4, "little")
    root = apart(raw[:start] + raw[second : len(raw) - 22] + bytes(end), "a.zip")
    assert symbols(root)["ARCHIVE_DISAGREES"] == ["bad.js is not in the directory"]
    assert {"bad.js", "good.txt"} <= contents(root).keys()


def test_a_file_of_two_names() -> None:
    raw = packed("good.txt").replace(b"good.txt", b"evil.exe", 1)
    assert symbols(apart(raw, "a.zip"))["ARCHIVE_DISAGREES"] == ["evil.exe is good.txt"]


def test_a_file_of_two_sizes_or_two_methods() -> None:
    raw = bytearray(packed("good.txt"))
    raw[22:26] = (5).to_bytes(4, "little")
    (told,) = symbols(apart(bytes(raw), "a.zip"))["ARCHIVE_DISAGREES"]
    assert told.startswith("good.txt has 5 or 72 octets")
    raw = bytearray(packed("good.txt"))
    raw[8] = 0
    (told,) = symbols(apart(bytes(raw), "a.zip"))["ARCHIVE_DISAGREES"]
    assert told == "good.txt is packed by method 0 or 8"


def test_shared_octets() -> None:
    name, raw = bombs.overlapping_zip()
    assert "ARCHIVE_OVERLAPS" in symbols(apart(raw, name))


def test_ordinary_zips_are_not_suspected() -> None:
    out = io.BytesIO()
    for name in ("a.txt", "b/c.txt", "größe.txt"):  # one after the other, each with a new directory over the old one
        with zipfile.ZipFile(out, "a", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(name, name * 9)
    unseekable = io.BytesIO()
    unseekable.seekable = lambda: False  # type: ignore[method-assign]
    with zipfile.ZipFile(unseekable, "w") as archive:  # sizes behind the content
        archive.writestr("a.zip", packed("x.txt", method=zipfile.ZIP_STORED))
        archive.writestr("b.txt", "b")
    for raw in (out.getvalue(), unseekable.getvalue(), packed("a", "b"), packed("a", "b") + b"behind"):
        assert not symbols(apart(raw, "a.zip")).keys() & {"ARCHIVE_DISAGREES", "ARCHIVE_OVERLAPS"}
    with zipfile.ZipFile(out := io.BytesIO(), "w") as archive, archive.open("a", "w", force_zip64=True) as member:
        member.write(b"a")
    assert not symbols(apart(out.getvalue(), "a.zip"))
