"""Archives: each kind that is opened, those made to mislead, encrypted ones, and one job in a process of the sandbox."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from mailguard.sandbox.pool import Pool
from mailguard.sandbox.process import Order
from mailguard.sandbox.unpack.work import Bounds
from mailguard.sandbox.values import Limits, Outcome
from tests.quine import gzip_quine
from tests.unit.sandbox.unpack.taken import apart, contents, symbols
from tests.wrappings import PASSWORD, WRAPPINGS, in_7z, in_tar, in_zip, in_zip_aes

PROGRAM = b"MZ\x90\0" + bytes(56) + b"\x80\0\0\0" + bytes(64) + b"PE\0\0" + bytes(100)
ARCHIVES = ("zip", "zip-aes", "zip-classic", "7z", "7z-encrypted", "rar", "tar", "gz", "bz2", "xz", "zst", "cab", "iso")


def zipped(*files: tuple[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, raw in files:
            archive.writestr(name, raw)
    return out.getvalue()


@pytest.mark.parametrize("kind", ARCHIVES)
def test_each_kind_is_opened_and_the_program_in_it_told(kind: str) -> None:
    name, raw = WRAPPINGS[kind]("invoice.exe", PROGRAM)
    root = apart(raw, name, passwords=["wrong", PASSWORD])
    assert PROGRAM in contents(root).values()
    found = symbols(root)
    assert "ATTACHMENT_ARCHIVED_EXECUTABLE" in found
    assert ("ARCHIVE_PASSWORD" in found) == (kind in ("zip-aes", "zip-classic", "7z-encrypted"))
    assert not found.keys() & {"UNPACK_BROKEN", "ARCHIVE_ENCRYPTED", "ARCHIVE_DISAGREES", "ARCHIVE_OVERLAPS"}


@pytest.mark.parametrize("kind", ["zip-aes", "zip-classic", "7z-encrypted"])
def test_without_its_password_an_archive_is_told_as_encrypted(kind: str) -> None:
    name, raw = WRAPPINGS[kind]("invoice.exe", PROGRAM)
    found = symbols(apart(raw, name, passwords=["wrong"]))
    assert "ARCHIVE_ENCRYPTED" in found
    assert "ARCHIVE_PASSWORD" not in found


@pytest.mark.parametrize("kind", ARCHIVES)
def test_broken_ones_end(kind: str) -> None:
    name, raw = WRAPPINGS[kind]("invoice.exe", PROGRAM)
    for end in range(0, len(raw), max(1, len(raw) // 8)):
        apart(raw[:end], name, passwords=[PASSWORD])


def test_types_within_archives_are_those_of_the_content() -> None:
    root = apart(zipped(("photo.jpg", PROGRAM)), "a.zip")
    (inner,) = root.children
    assert inner.kind == "application/x-dosexec"
    assert "ATTACHMENT_ARCHIVED_EXECUTABLE" in symbols(root)


def test_names_that_mislead() -> None:
    found = symbols(apart(zipped(("invoice.pdf.exe", PROGRAM), ("a\u202efdp.exe", PROGRAM)), "a.zip"))
    assert {"ATTACHMENT_DOUBLE_EXTENSION", "ATTACHMENT_HIDDEN_EXTENSION"} <= found.keys()


@pytest.mark.parametrize("name", ["../../x", "a/../../x", "..\\x", "C:\\x", "\\\\host\\x"])
def test_names_that_lead_out(name: str) -> None:
    _, raw = in_tar(name, b"text")
    assert symbols(apart(raw, "a.tar"))["ARCHIVE_PATH"]


@pytest.mark.parametrize("name", ["a/b/x.txt", "./x.txt", "a..b", "C/x"])
def test_names_that_stay_within(name: str) -> None:
    _, raw = in_tar(name, b"text")
    assert "ARCHIVE_PATH" not in symbols(apart(raw, "a.tar"))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_files_of_one_name() -> None:
    root = apart(zipped(("x.txt", b"one"), ("x.txt", b"other")), "a.zip")
    assert symbols(root)["ARCHIVE_SAME_NAMES"] == ["x.txt"]
    assert [child.raw for child in root.children] == [b"one", b"other"]
    assert "ARCHIVE_SAME_NAMES" not in symbols(apart(zipped(("x.txt", b"one"), ("x.txt", b"one")), "a.zip"))


def test_links_in_an_archive_lead_nowhere() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for kind, name in (
            (tarfile.SYMTYPE, "a"),
            (tarfile.LNKTYPE, "b"),
            (tarfile.DIRTYPE, "c"),
            (tarfile.CHRTYPE, "d"),
        ):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, "/etc/passwd"
            archive.addfile(entry)
    assert not any(contents(apart(out.getvalue(), "a.tar")).values())


def test_a_file_that_swells() -> None:
    bounds = Bounds(ratio_from=1_000_000)
    root = apart(zipped(("zeros", bytes(5_000_000))), "a.zip", bounds=bounds)
    assert "UNPACK_BOMB" in symbols(root)
    assert "UNPACK_BOMB" not in symbols(apart(zipped(("zeros", bytes(900_000))), "a.zip", bounds=bounds))


def test_too_many_and_too_deep() -> None:
    many = zipped(*((f"{number}.txt", b"%d" % number) for number in range(30)))
    assert "UNPACK_TOO_MANY" in symbols(apart(many, "a.zip", bounds=Bounds(files=20)))
    assert "UNPACK_TOO_MANY" not in symbols(apart(many, "a.zip", bounds=Bounds(files=31)))
    name, raw = "x.txt", b"text"
    for _ in range(4):
        name, raw = in_zip(name, raw)
    assert "UNPACK_TOO_DEEP" in symbols(apart(raw, name, bounds=Bounds(depth=2)))
    assert "UNPACK_TOO_DEEP" not in symbols(apart(raw, name, bounds=Bounds(depth=4)))


def test_members_with_passwords_of_their_own(tmp_path: Path) -> None:
    """The one that the mail tells opens its file; that the other stays shut is told."""
    import subprocess

    for name, password in (("first.exe", PASSWORD), ("second.exe", "nobody-knows-7")):
        (tmp_path / name).write_bytes(PROGRAM + name.encode())
        command = ["7z", "a", "-bso0", "-bsp0", "-tzip", "-mem=AES256", f"-p{password}", "two.zip", name]
        subprocess.run(command, check=True, capture_output=True, cwd=tmp_path, timeout=60)
    root = apart((tmp_path / "two.zip").read_bytes(), "two.zip", passwords=[PASSWORD])
    found = symbols(root)
    assert PROGRAM + b"first.exe" in contents(root).values()
    assert PROGRAM + b"second.exe" not in contents(root).values()
    assert "ARCHIVE_PASSWORD" in found
    assert found.keys() & {"ARCHIVE_ENCRYPTED", "UNPACK_BROKEN"}


def test_what_a_scanner_does_not_see_is_marked() -> None:
    _, plain = in_zip("x.exe", PROGRAM)
    assert not apart(plain, "a.zip").children[0].unseen
    _, seven = in_7z("x.exe", PROGRAM)
    assert apart(seven, "a.7z").children[0].unseen
    _, locked = in_zip_aes("x.exe", PROGRAM)
    opened = apart(locked, "a.zip", passwords=[PASSWORD]).children[0]
    assert (opened.via, opened.unseen) == ("password", True)
    assert opened.sha256 == hashlib.sha256(PROGRAM).hexdigest()


async def test_in_a_process_of_the_sandbox_with_all_that_holds_it() -> None:
    """Formats open within its confinement: no file, no socket, no executable memory."""
    order = Order(limits=Limits(seconds=60, cpu_seconds=30))
    pool = Pool(order, size=1, wait=60.0)
    try:
        for kind in ("zip-aes", "7z-encrypted", "xz", "rar"):
            name, raw = WRAPPINGS[kind]("invoice.exe", PROGRAM)
            answer = await pool.run("unpack.tree", raw, {"name": name, "passwords": [PASSWORD]})
            assert answer.outcome is Outcome.OK, (kind, answer)
            assert answer.raw == PROGRAM, kind
    finally:
        await pool.close()


def test_an_archive_of_itself_is_told() -> None:
    raw = gzip_quine()
    assert gzip.decompress(raw) == raw
    assert "ARCHIVE_ITSELF" in symbols(apart(raw, "loop.gz"))
