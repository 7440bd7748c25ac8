"""Archives: each kind that is opened, those made to mislead, encrypted ones, and one job in a process of the sandbox."""

from __future__ import annotations

import gzip
import hashlib
import io
import subprocess
import tarfile
import time
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailguard.sandbox.fork_server import Order
from mailguard.sandbox.pool import Pool
from mailguard.sandbox.unpack.work import Bounds
from mailguard.sandbox.values import Limits, Outcome
from tests.further_wrappings import in_arj, in_lzh
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
    assert {"ATTACHMENT_ARCHIVED_EXECUTABLE", "ATTACHMENT_TYPE_MISMATCH"} <= symbols(root).keys()


@pytest.mark.parametrize(
    ("name", "raw", "mismatch"),
    [
        ("invoice.pdf", PROGRAM, True),
        ("photo.jpg", zipped(("a.txt", b"a")), True),
        ("photo.jpg", b"\xff\xd8\xff\xe0" + bytes(20), False),
        ("notes.txt", b"notes", False),
        ("letter.docx", zipped(("a.txt", b"a")), False),
        ("logo.gif", b"<!doctype html><html><p>404 Not Found</html>", False),
        ("setup.exe", PROGRAM, False),
    ],
)
def test_what_a_name_in_an_archive_claims_is_compared_with_its_content(name: str, raw: bytes, mismatch: bool) -> None:
    found = symbols(apart(zipped((name, raw), ("b.txt", b"b")), "a.zip"))
    assert ("ATTACHMENT_TYPE_MISMATCH" in found) == mismatch
    inner = symbols(apart(in_7z("inner.zip", zipped((name, raw)))[1], "a.7z"))
    assert ("ATTACHMENT_TYPE_MISMATCH" in inner) == mismatch


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
    assert "UNPACK_TOO_MANY" in symbols(apart(many, "a.zip", bounds=Bounds(files=29)))
    assert "UNPACK_TOO_MANY" not in symbols(apart(many, "a.zip", bounds=Bounds(files=30)))
    name, raw = "x.txt", b"text"
    for _ in range(4):
        name, raw = in_zip(name, raw)
    assert "UNPACK_TOO_DEEP" in symbols(apart(raw, name, bounds=Bounds(depth=2)))
    assert "UNPACK_TOO_DEEP" not in symbols(apart(raw, name, bounds=Bounds(depth=4)))


def _by_7z(folder: Path, name: str, *options: str) -> None:
    """Add a file, of PROGRAM and its name, to `made.zip`."""
    (folder / name).write_bytes(PROGRAM + name.encode())
    command = ["7z", "a", "-bso0", "-bsp0", "-tzip", *options, "made.zip", name]
    subprocess.run(command, check=True, capture_output=True, cwd=folder, timeout=60)


@pytest.mark.parametrize("method", ["AES256", "ZipCrypto"])
def test_members_with_passwords_of_their_own(tmp_path: Path, method: str) -> None:
    """Each opens with that which the mail tells of it; that one stays shut of which nobody tells is told, with its name."""
    _by_7z(tmp_path, "plain.exe")
    for number, password in enumerate(("first-1", "nobody-knows-7", "second-2", "first-1")):
        _by_7z(tmp_path, f"{number}.exe", f"-mem={method}", f"-p{password}")
    root = apart((tmp_path / "made.zip").read_bytes(), "made.zip", passwords=["wrong", "second-2", "first-1"])
    assert {one.name: one.raw for one in root.children} == {
        "plain.exe": PROGRAM + b"plain.exe",
        **{f"{number}.exe": PROGRAM + b"%d.exe" % number for number in (0, 2, 3)},
        "1.exe": b"",
    }
    found = symbols(root)
    assert (found["ARCHIVE_PASSWORD"], found["ARCHIVE_ENCRYPTED"]) == (["second-2", "first-1"], ["1.exe"])
    assert "UNPACK_BROKEN" not in found


def test_many_files_behind_a_password_that_nobody_gives_take_little(tmp_path: Path) -> None:
    for number in range(60):
        (tmp_path / f"{number}.txt").write_bytes(b"text")
    command = ["7z", "a", "-bso0", "-bsp0", "-tzip", "-mem=AES256", "-pnobody-knows", "made.zip", "."]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path, timeout=60)
    started = time.process_time()
    found = symbols(
        apart((tmp_path / "made.zip").read_bytes(), "a.zip", passwords=[f"wrong-{one}" for one in range(30)])
    )
    assert found.keys() == {"ARCHIVE_ENCRYPTED"}
    assert time.process_time() - started < 1.0


def test_deflate64_is_opened_as_windows_does(tmp_path: Path) -> None:
    _by_7z(tmp_path, "first.txt")
    _by_7z(tmp_path, "second.exe", "-mm=Deflate64")
    _by_7z(tmp_path, "third.txt")
    raw = (tmp_path / "made.zip").read_bytes()
    root = apart(raw, "a.zip")
    assert [one.raw for one in root.children] == [
        PROGRAM + name for name in (b"first.txt", b"second.exe", b"third.txt")
    ]
    assert not symbols(root).keys() & {"ARCHIVE_UNOPENED", "UNPACK_BROKEN", "ARCHIVE_DISAGREES"}
    place = raw.index(b"second.exe") + 30
    broken = apart(raw[:place] + b"\xff\xff" + raw[place + 2 :], "a.zip")
    assert symbols(broken).keys() & {"UNPACK_BROKEN"}
    assert [one.raw for one in broken.children] == [PROGRAM + b"first.txt", PROGRAM + b"third.txt"]


def test_what_deflate64_swells_to_is_bounded(tmp_path: Path) -> None:
    (tmp_path / "zeros").write_bytes(bytes(5_000_000))
    command = ["7z", "a", "-bso0", "-bsp0", "-tzip", "-mm=Deflate64", "made.zip", "zeros"]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path, timeout=60)
    root = apart((tmp_path / "made.zip").read_bytes(), "a.zip", bounds=Bounds(ratio_from=1_000_000))
    assert "UNPACK_BOMB" in symbols(root)
    assert not root.children


@pytest.mark.parametrize("method", [6, 8])
def test_files_behind_one_that_cannot_be_read_are_opened(method: int) -> None:
    """By a method that nobody knows, or broken: who opens the archive by hand passes it over."""
    raw = bytearray(zipped(("first.txt", bytes(range(256))), ("second.exe", PROGRAM)))
    directory = raw.index(b"PK\1\2")
    raw[8] = raw[directory + 10] = method
    raw[40:60] = b"\xff" * 20
    root = apart(bytes(raw), "a.zip")
    assert [one.raw for one in root.children] == [PROGRAM]
    assert symbols(root).keys() == {
        "ATTACHMENT_ARCHIVED_EXECUTABLE",
        "ARCHIVE_UNOPENED" if method == 6 else "UNPACK_BROKEN",
    }


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


def _arj(folder: Path, *options: str) -> bytes:
    (folder / "run.js").write_bytes(TEXT)
    subprocess.run(
        ["arj", "a", *options, "made.arj", "run.js"], check=True, capture_output=True, cwd=folder, timeout=60
    )
    return (folder / "made.arj").read_bytes()


TEXT = b"".join(b"%d\n" % number for number in range(9_000))


@pytest.mark.parametrize("method", ["-m0", "-m1", "-m2", "-m3"])
def test_arj_is_opened(tmp_path: Path, method: str) -> None:
    root = apart(_arj(tmp_path, method), "a.arj")
    assert [(one.name, one.raw) for one in root.children] == [("run.js", TEXT)]
    assert symbols(root).keys() == {"ARCHIVE_UNUSUAL", "ATTACHMENT_ARCHIVED_EXECUTABLE"}


@pytest.mark.parametrize(("option", "symbol"), [("-m4", "ARCHIVE_UNOPENED"), ("-gsecret", "ARCHIVE_ENCRYPTED")])
def test_what_of_arj_is_not_opened_is_named_and_told(tmp_path: Path, option: str, symbol: str) -> None:
    root = apart(_arj(tmp_path, option), "a.arj")
    assert [(one.name, one.size, one.raw) for one in root.children] == [("run.js", len(TEXT), b"")]
    assert {symbol, "ATTACHMENT_ARCHIVED_EXECUTABLE"} <= symbols(root).keys()


def test_a_wrong_checksum_keeps_nothing_from_being_read() -> None:
    for wrapping, kind in ((in_arj, "arj"), (in_lzh, "lzh")):
        name, raw = wrapping("run.js", b"content")
        at = raw.rindex(b"run.js") - 10 if kind == "arj" else raw.index(b"run.js") + 6
        changed = bytearray(raw[:at] + b"\1\2" + raw[at + 2 :])
        if kind == "lzh":
            changed[1] = sum(changed[2 : 2 + changed[0]]) & 0xFF
        root = apart(bytes(changed), name)
        assert [one.raw for one in root.children] == [b"content"]


@given(st.integers(0, 120), st.binary(max_size=4))
def test_a_broken_arj_ends(at: int, change: bytes) -> None:
    _, raw = in_arj("run.js", b"content")
    apart(raw[:at] + change + raw[at + len(change) :], "a.arj")


def test_scripts_in_an_archive_of_source_code_are_no_programs() -> None:
    sources = [("a/setup.py", b"import a"), *((f"a/{number}.c", b"int %d;" % number) for number in range(4))]
    assert symbols(apart(zipped(*sources), "a.zip")) == {"ATTACHMENT_ARCHIVED_SOURCE": ["a/setup.py"]}
    for others in ([("run.js", b"x")], [("build.exe", PROGRAM)], [("trick.py", PROGRAM)]):
        found = symbols(apart(zipped(*sources, *others), "a.zip"))
        assert found["ATTACHMENT_ARCHIVED_EXECUTABLE"] == [others[0][0]]
    alone = symbols(apart(zipped(("setup.py", b"import a"), ("a.txt", b"a")), "a.zip"))
    assert alone == {"ATTACHMENT_ARCHIVED_EXECUTABLE": ["setup.py"]}


@pytest.mark.parametrize(
    "disguise",
    [
        ("[Content_Types].xml", "xl/workbook.xml"),
        ("[Content_Types].xml", "word/document.xml"),
        ("content.xml",),
        ("META-INF/MANIFEST.MF",),
        ("AndroidManifest.xml",),
        ("[Content_Types].xml", "AppxManifest.xml"),
        ("mimetype", "META-INF/container.xml"),
    ],
)
@pytest.mark.parametrize("program", ["run.com", "run.bat", "run.scr", "a/run.wsf"])
def test_a_zip_is_not_made_a_document_by_a_name_in_it(disguise: tuple[str, ...], program: str) -> None:
    root = apart(zipped(*((name, b"<a/>") for name in disguise), (program, PROGRAM)), "invoice.zip")
    assert PROGRAM in [one.raw for one in root.children]
    assert "ATTACHMENT_ARCHIVED_EXECUTABLE" in symbols(root)


@pytest.mark.parametrize(("method", "unseen"), [(8, False), (12, False), (14, True)])
def test_what_a_scanner_does_not_unpack_is_given_to_it(method: int, unseen: bool) -> None:
    for names in ((), ("[Content_Types].xml", "xl/workbook.xml")):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", method) as archive:
            for name in (*names, "run.exe"):
                archive.writestr(name, PROGRAM)
        (inner,) = (one for one in apart(out.getvalue(), "a.zip").children if one.name == "run.exe")
        assert inner.unseen == unseen
