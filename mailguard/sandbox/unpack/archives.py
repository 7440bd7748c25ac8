"""Archives of all kinds that libarchive reads, from memory: zip, rar, 7z, tar, cab, iso9660, cpio, ar, lha, xar, warc, and what is only compressed."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import create_string_buffer
from dataclasses import dataclass
from types import ModuleType

from libarchive import ffi
from libarchive.entry import FileType
from libarchive.exception import ArchiveError
from libarchive.read import ArchiveRead, memory_reader

from mailguard.sandbox.unpack import deflate64, rar4, rar5, seven
from mailguard.sandbox.unpack.kinds import readings
from mailguard.sandbox.unpack.work import ExhaustedError, File, Work
from mailguard.sandbox.unpack.zip_views import Entry, is_odd

_BLOCK = 256 * 1024
_SUFFIX = re.compile(r"\.(?:gz|bz2?|xz|zst|lzma|lz4?|lzo|z|br)$", re.IGNORECASE)
_TAR_SUFFIX = re.compile(r"\.(?:tgz|tbz2?|txz|tzst|tlz)$", re.IGNORECASE)
_UNUSUAL = frozenset(
    {
        "application/x-cpio",
        "application/x-lzh",
        "application/x-xar",
        "application/warc",
        "application/x-archive",
        "application/x-compress",
        "application/x-lzip",
        "application/x-lzop",
        "application/x-lrzip",
        "application/x-lzma",
        "application/x-ace",
        "application/x-alz",
        "application/x-egg",
        "application/x-zoo",
        "application/x-stuffit",
        "application/x-ms-wim",
    }
)
"""Kinds that hardly anybody mails."""
_ENCRYPTED = re.compile(r"passphrase|password|encrypt|decrypt", re.IGNORECASE)

_DEFLATE64 = re.compile(r"method \(9:")
_UNSUPPORTED = re.compile(r"unsupported|not supported|unavailable", re.IGNORECASE)
"""What libarchive says of methods of compression that it does not know."""

_is_encrypted = ffi.ffi("entry_is_data_encrypted", [ffi.c_archive_entry_p], ffi.c_int)


_NO_PASSWORDS = frozenset({"application/x-7z-compressed", "application/x-rar"})
"""Kinds that libarchive opens with no password."""


_FORMATS = {
    "application/x-7z-compressed": "7zip",
    "application/x-tar": "tar",
    "application/vnd.ms-cab-compressed": "cab",
    "application/x-iso9660-image": "iso9660",
    "application/x-archive": "ar",
    "application/vnd.debian.binary-package": "ar",
}
"""By kind, of those that hold files as they are: else the one that is stored last, a zip, say, would be taken for the whole."""


_AGAIN = 20
"""Times that an archive is read on behind a file that stops its reader."""
_TRIES = 400
"""Wrong passwords for files of one archive together; each takes a millisecond at most."""
_BEFORE_THE_FIRST = 12
"""Files of an archive that a password is tried with which opens none of them."""
_RAR_SECONDS = 0.7
"""CPU that is spent on passwords of a RAR; each costs some 0.02 s by design of the format."""
_WARNINGS = 3
"""Warnings of libarchive about one file after which it counts as ended."""
_FAILED = -25
"""What libarchive says when it can go on with the next file."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """A file in an archive, by its place."""

    place: int
    name: str
    size: int
    secret: bool


def open_archive(file: File, work: Work) -> None:
    """Take all files out; encrypted ones with a password of the mail. Raises ArchiveError for a broken one."""
    if file.kind in _UNUSUAL:
        work.found(file, "ARCHIVE_UNUSUAL", file.kind)
    file.odd = file.kind not in _FORMATS and is_odd(file.raw)
    locked = _take(file, work)
    if not locked:
        return
    if file.kind == "application/x-7z-compressed" and seven.open_with_password(file, work):
        return
    if file.kind == "application/x-rar":
        _unlock_rar(file, work, locked)
    elif file.kind not in _NO_PASSWORDS:
        _unlock(file, work, locked)
    if locked:
        work.found(file, "ARCHIVE_ENCRYPTED", next(iter(locked.values())).name or file.name)
    for entry in locked.values():
        if entry.name:
            work.mention(file, entry.name, entry.size)


def open_compressed(file: File, work: Work) -> None:
    """What is only compressed, by however many methods, holds one file. Raises ArchiveError for a broken one."""
    if file.kind in _UNUSUAL:
        work.found(file, "ARCHIVE_UNUSUAL", file.kind)
    name = _TAR_SUFFIX.sub(".tar", file.name) if _TAR_SUFFIX.search(file.name) else _SUFFIX.sub("", file.name)
    try:
        with _reading(file.raw, format_name="raw") as archive:
            for entry in archive:
                raw = _content(archive, file, work, -1)
                work.add(file, name if name != file.name else entry.pathname or "data", raw)
    except ArchiveError as error:
        if "too many filters" not in str(error):
            raise
        if file.kind == "application/gzip" and _once(file.raw) == file.raw:
            work.found(file, "ARCHIVE_ITSELF", file.name)
        work.found(file, "UNPACK_TOO_DEEP", "compressed more than 25 times over")


def _once(raw: bytes) -> bytes:
    """One layer of gzip less, of as many octets at most as there are, and one."""
    try:
        return zlib.decompressobj(wbits=31).decompress(raw, len(raw) + 1)
    except zlib.error:
        return b""


def open_second_kind(file: File, work: Work) -> None:
    """A file that is of another kind too: an archive behind a picture, or behind what is read from its beginning."""
    for kind, at in readings(file.raw, file.kind):
        symbol = "UNPACK_TRAILING_DATA" if file.kind.startswith(("image/", "audio/")) else "UNPACK_TWO_KINDS"
        if file.kind not in ("application/x-dosexec", "application/octet-stream"):  # programs may extract themselves
            work.found(file, symbol, f"{file.kind} and {kind}")
        if kind == "application/zip":
            view = File(file.name, file.raw, kind, file.depth, found=file.found, children=file.children)
            open_archive(view, work)
        else:
            work.add(file, f"{file.name} from octet {at}", file.raw[at:], via="second kind")


def mark_unopened(file: File, work: Work) -> None:
    """A kind that nobody here opens."""
    work.found(file, "ARCHIVE_UNOPENED", f"{file.name}: {file.kind}")


def _format(file: File) -> str:
    if file.kind == "application/x-rar":
        return "rar5" if file.raw.startswith(b"Rar!\x1a\x07\x01") else "rar"
    return _FORMATS.get(file.kind, "all")


@contextmanager
def _reading(raw: bytes, *, format_name: str = "all", password: str = "") -> Iterator[ArchiveRead]:
    with memory_reader(raw, format_name=format_name, passphrase=password or None) as archive:
        yield archive


def _entries(archive: ArchiveRead, file: File, work: Work) -> Iterator[_Entry]:
    """The files of an archive; what is neither a file nor unknown counts, but is left out."""
    for place, entry in enumerate(archive):
        work.tick(file)
        if entry.filetype in (FileType.REGULAR_FILE, 0):
            name, size = entry.pathname or "", entry.size if entry.size is not None else -1
            name = name if isinstance(name, str) else name.decode("utf-8", "replace")
            yield _Entry(place, name, size, _is_encrypted(entry._entry_p) == 1)


def _take(file: File, work: Work) -> dict[int, _Entry]:
    """Add all that needs no password. By their places, the files that do; of an archive that does not even tell them, one without a name."""
    locked: dict[int, _Entry] = {}
    seen: dict[str, bytes] = {}
    deflated64: Iterator[Entry] | None = None
    after = -1
    known: frozenset[int] = frozenset()
    if file.kind == "application/x-rar":
        known = _rar(file).locked_places(file.raw, lambda: work.tick(file))
        if -1 in known:
            return {-1: _Entry(-1, "", -1, True)}
    for _ in range(_AGAIN):
        at = -1
        try:
            with _reading(file.raw, format_name=_format(file)) as archive:
                for entry in _entries(archive, file, work):
                    at = entry.place
                    if at <= after:
                        continue
                    if entry.secret or at in known:
                        locked[at] = entry
                        continue
                    try:
                        raw = _content(archive, file, work, entry.size)
                    except ArchiveError as error:
                        if _DEFLATE64.search(str(error)):
                            deflated64 = deflated64 or iter(deflate64.entries_packed_so(file.raw))
                            if (packed := next(deflated64, None)) is not None:
                                _inflate(entry, packed, file, work, seen)
                                continue
                        _report(error, entry.name, file, work)
                        if error.retcode != _FAILED:
                            raise
                        continue
                    _add(entry, raw, file, work, seen)
                return locked
        except ArchiveError as error:
            if _ENCRYPTED.search(str(error)):
                return locked or {-1: _Entry(-1, "", -1, True)}
            if at <= after:
                _report(error, file.name, file, work)
                break
            after = at
    return locked


def _inflate(entry: _Entry, packed: Entry, file: File, work: Work, seen: dict[str, bytes]) -> None:
    try:
        raw = deflate64.content_of(packed, file, work)
    except ValueError as error:
        work.found(file, "UNPACK_BROKEN", f"{entry.name}: {error}")
        return
    _add(entry, raw, file, work, seen)


def _report(error: ArchiveError, name: str, file: File, work: Work) -> None:
    symbol = "ARCHIVE_UNOPENED" if _UNSUPPORTED.search(str(error)) else "UNPACK_BROKEN"
    work.found(file, symbol, f"{name}: {str(error).partition(' (errno')[0]}")


def _add(entry: _Entry, raw: bytes, file: File, work: Work, seen: dict[str, bytes], *, via: str = "") -> None:
    if seen.setdefault(entry.name, raw) != raw:
        work.found(file, "ARCHIVE_SAME_NAMES", entry.name)
    judge_path(file, entry.name, work)
    work.add(file, entry.name, raw, via=via)


def _unlock(file: File, work: Work, locked: dict[int, _Entry]) -> None:
    """Add what opens with a password of the mail: each file with that which opens it. What opens leaves `locked`."""
    left = _TRIES
    seen: dict[str, bytes] = {}
    for password in work.passwords:
        failed: set[int] = set()
        opened = False
        while locked.keys() - failed and left > 0 and (opened or len(failed) < _BEFORE_THE_FIRST):
            try:
                with _reading(file.raw, format_name=_format(file), password=password) as archive:
                    for entry in _entries(archive, file, work):
                        if entry.place not in locked or entry.place in failed:
                            continue
                        if left <= 0 or not (opened or len(failed) < _BEFORE_THE_FIRST):
                            break
                        failed.add(entry.place)
                        left -= 1
                        try:
                            raw = _content(archive, file, work, entry.size)
                        except ArchiveError as error:
                            if error.retcode != _FAILED:
                                raise  # a password that fitted by its check alone: read on behind the file
                            continue
                        opened, left = True, left + 1
                        work.found(file, "ARCHIVE_PASSWORD", password)
                        _add(locked.pop(entry.place), raw, file, work, seen, via="password")
                    else:
                        break
            except ArchiveError:
                continue


def _unlock_rar(file: File, work: Work, locked: dict[int, _Entry]) -> None:
    """Add what opens with the first password of the mail that opens anything. What opens leaves `locked`."""
    until = time.process_time() + _RAR_SECONDS
    for password in work.passwords:
        if time.process_time() > until:
            return
        plain = _rar(file).unlocked(file.raw, password, lambda: work.tick(file))
        if plain is not None and _take_unlocked(file, work, locked, plain, password):
            locked.pop(-1, None)
            return


def _take_unlocked(
    file: File, work: Work, locked: dict[int, _Entry], plain: tuple[bytes, list[int]], password: str
) -> bool:
    """Whether any file of a decrypted archive is right; all that are, are added."""
    hidden = -1 in locked
    seen: dict[str, bytes] = {}
    raw, checksums = plain
    try:
        with _reading(raw, format_name=_format(file)) as archive:
            for entry in _entries(archive, file, work):
                if entry.secret or not (hidden or entry.place in locked):
                    continue
                content = _content(archive, file, work, entry.size)
                expected = checksums[entry.place] if entry.place < len(checksums) else -1
                if expected >= 0 and zlib.crc32(content) != expected:
                    break  # a wrong password: in archives of this kind all files have the same
                locked.pop(entry.place, None)
                if content:  # to an empty one any password fits
                    work.found(file, "ARCHIVE_PASSWORD", password)
                    _add(entry, content, file, work, seen, via="password")
    except ArchiveError as error:
        if seen:
            _report(error, file.name, file, work)
    return bool(seen)


def _rar(file: File) -> ModuleType:
    return rar5 if file.raw.startswith(rar5.MAGIC) else rar4


def _content(archive: ArchiveRead, file: File, work: Work, size: int) -> bytes:
    limit = work.may_hold(file, size)
    buffer = create_string_buffer(_BLOCK)
    out = bytearray()
    warnings = 0
    # Never more than there is: what is read together with a warning, of a wrong checksum, say, is not told.
    while got := ffi.read_data(archive._pointer, buffer, min(_BLOCK, size - len(out)) if len(out) < size else _BLOCK):
        if got < 0:
            warnings += 1
            if warnings > _WARNINGS:
                break
            continue
        out += memoryview(buffer)[:got]
        work.tick(file)
        if len(out) > limit:
            work.found(file, "UNPACK_BOMB", f"more than {limit} octets out of {len(file.raw)}")
            raise ExhaustedError
    return bytes(out)


def unpack_lha(raw: bytes, file: File, work: Work) -> bytes:
    """The only file of an LHA archive that was made out of an entry of `file`. Raises ArchiveError."""
    with _reading(raw, format_name="lha") as archive:
        for entry in _entries(archive, file, work):
            return _content(archive, file, work, entry.size)
    return b""


def judge_path(file: File, name: str, work: Work) -> None:
    """Report a name that leads out of the folder."""
    parts = re.split(r"[/\\]", name)
    if ".." in parts or re.match(r"[A-Za-z]:[/\\]|[/\\]{2}", name):
        work.found(file, "ARCHIVE_PATH", name)


def prepare() -> None:
    """Read a small archive of the usual kinds, so that the library has loaded all that it needs."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("ä", b"b" * 100)
    work = Work(File("a.zip", out.getvalue(), "application/zip"))
    open_archive(work.root, work)
    rar4.key_of("a", b"")
    for packed in (gzip.compress(b"a"), bz2.compress(b"a"), lzma.compress(b"a")):
        work = Work(File("a.z", packed, "application/gzip"))
        open_compressed(work.root, work)
