"""Objects within documents: packages (Ole10Native) with their files, links (monikers), and the classes that are attacked.

MS-OLEDS §2.3; MS-OSHARED §2.3.7 (monikers).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from mailguard.sandbox.unpack.targets import Target, is_program, target_of
from mailguard.sandbox.unpack.work import File, Work

EQUATION = frozenset(
    {
        "0002CE02-0000-0000-C000-000000000046",
        "0002CE03-0000-0000-C000-000000000046",
        "00021700-0000-0000-C000-000000000046",
        "0002CE01-0000-0000-C000-000000000046",
    }
)
"""Classes of the equation editor, whose flaws run what an object says."""
ATTACKED = {
    "BDD1F04B-858B-11D1-B16A-00C0F0283628": "ListView",
    "C74190B6-8589-11D1-B16A-00C0F0283628": "TreeView",
    "996BF5E0-8044-4650-ADEB-0B013914E99C": "ListView",
    "9181DC5F-E07D-418A-ACA6-8EEA1ECB8E9E": "TreeView",
    "1EFB6596-857C-11D1-B16A-00C0F0283628": "TabStrip",
    "06290BD3-48AA-11D2-8432-006008C3FBFC": "script moniker",
    "06290BD2-48AA-11D2-8432-006008C3FBFC": "script moniker",
    "3050F4D8-98B5-11CF-BB82-00AA00BDCE0B": "HTA",
    "F414C260-6AC0-11CF-B6D1-00AA00BBBB58": "JScript",
    "D27CDB6E-AE6D-11CF-96B8-444553540000": "Flash",
    "D27CDB70-AE6D-11CF-96B8-444553540000": "Flash",
    "A08A033D-1A75-4AB6-A166-EAD02F547959": "otkloadr",
    "ECABB0C5-7F19-11D2-978E-0000F8757E2A": "SOAP moniker",
}
"""Classes that no document needs, and that documents are made with to attack."""


def _packed(clsid: str) -> bytes:
    first, second, third, fourth, fifth = clsid.split("-")
    parts = (bytes.fromhex(first)[::-1], bytes.fromhex(second)[::-1], bytes.fromhex(third)[::-1])
    return b"".join(parts) + bytes.fromhex(fourth + fifth)


_URL_MONIKER = _packed("79EAC9E0-BAF9-11CE-8C82-00AA004BA90B")
_FILE_MONIKER = _packed("00000303-0000-0000-C000-000000000046")
_SCRIPT_MONIKERS = tuple(_packed(one) for one, what in ATTACKED.items() if what in ("script moniker", "SOAP moniker"))
_URL = re.compile(rb"(?:[\x20-\x7e]\x00){4,2048}")


@dataclass(frozen=True, slots=True)
class Package:
    """A file as it lies in an object: how it is called, where it came from, what it holds."""

    name: str
    source: str
    raw: bytes
    linked: bool = False
    """Whether it only names the file, which lies elsewhere."""


def package_of(data: bytes, *, headed: bool = True) -> Package | None:
    """The file in an Ole10Native stream (with its length before, if `headed`); None when it is none of that form."""
    at = 4 if headed else 0
    if len(data) < at + 8 or data[at : at + 2] not in (b"\x02\0", b"\x03\0"):
        return None
    label, at = _text(data, at + 2)
    source, at = _text(data, at)
    if data[at : at + 4] == b"\0\0\x01\0":  # a link to a file, which is not here (format 1; an embedded one has 3)
        return Package(_last(source.decode("latin-1")), source.decode("latin-1"), b"", linked=True)
    at += 4
    size = int.from_bytes(data[at : at + 4], "little")
    temporary = data[at + 4 : at + 4 + size].split(b"\0")[0]
    at += 4 + size
    length = int.from_bytes(data[at : at + 4], "little")
    raw = data[at + 4 : at + 4 + length]
    if size > 4096 or not (label or source or temporary) or (length and not raw):
        return None
    shown = (label or source).decode("latin-1")
    # What is opened is called as the temporary file is; the label is only what the reader sees.
    real = (temporary or source or label).decode("latin-1")
    name = _last(real) or _last(shown)
    return Package(name, source.decode("latin-1"), raw)


def _last(path: str) -> str:
    """The name at the end of a path of Windows."""
    return re.split(r"[\\/]", path.rstrip("\\/"))[-1]


def _text(data: bytes, at: int) -> tuple[bytes, int]:
    end = data.find(b"\0", at, at + 1024)
    if end < 0:
        return b"", len(data)
    return data[at:end], end + 1


def monikers(data: bytes) -> Iterator[str]:
    """Where the links in a stream lead (URL and file monikers), as texts."""
    at = -1
    for _ in range(16):
        if (at := data.find(_URL_MONIKER, at + 1)) < 0:
            break
        if match := _URL.search(data, at + 16, at + 16 + 4_200):
            yield match[0].decode("utf-16-le")
    at = -1
    for _ in range(16):
        if (at := data.find(_FILE_MONIKER, at + 1)) < 0:
            break
        size = int.from_bytes(data[at + 18 : at + 22], "little")
        if 0 < size < 1024:
            yield data[at + 22 : at + 22 + size].split(b"\0")[0].decode("latin-1")


def has_script_moniker(data: bytes) -> bool:
    """Whether a stream holds a moniker that runs a script."""
    return any(one in data for one in _SCRIPT_MONIKERS)


def report_link(file: File, work: Work, target: str, what: str) -> None:
    """Report an object whose content is elsewhere."""
    where = target_of(target)
    evidence = f"{what}: {target}"
    if where is Target.EXPLOIT:
        work.found(file, "OFFICE_EXPLOIT_SHAPE", evidence)
    elif where is Target.LOCAL:
        work.found(file, "OFFICE_EXTERNAL_LINK", evidence)
    else:
        work.found(file, "OFFICE_REMOTE_OBJECT", evidence)


def add_package(file: File, work: Work, package: Package) -> None:
    """Hand on the file of a package, and report it."""
    if package.linked:
        symbol = "OFFICE_LINKED_PROGRAM" if is_program(package.name, "") else "OFFICE_EXTERNAL_LINK"
        work.found(file, symbol, f"package: {package.source}")
        return
    child = work.add(file, package.name or "package", package.raw)
    evidence = package.name if not package.source else f"{package.name} (from {package.source})"
    if is_program(package.name, child.kind):
        work.found(file, "OFFICE_EMBEDDED_PROGRAM", evidence)
    else:
        work.found(file, "OFFICE_EMBEDDED", evidence)


def report_class(file: File, work: Work, clsid: str) -> None:
    """Report an object by its class, as text."""
    clsid = clsid.upper().strip("{}")
    if clsid in EQUATION:
        work.found(file, "OFFICE_EQUATION", clsid)
    elif clsid in ATTACKED:
        work.found(file, "OFFICE_ATTACKED_CLASS", f"{ATTACKED[clsid]} {clsid}")


def is_honest_equation(native: bytes) -> bool:
    """Whether an `Equation Native` stream has the shape that the editor writes: its header, and no font's name that overflows.

    EQNOLEFILEHDR: its own length (28), a version, a format, the length of the equation.
    """
    if len(native) < 28 or int.from_bytes(native[:2], "little") != 28:
        return False
    body = native[28:]
    at = body.find(b"\x08", 0, 64)
    while (
        0 <= at < 64
    ):  # FONT: tag, typeface, style, name; and the same of MATRIX's neighbours is no longer than a name
        end = body.find(b"\0", at + 3)
        if (end if end >= 0 else len(body)) - at - 3 > 64 and not body[at + 3 : at + 40].isascii():
            return False
        at = body.find(b"\x08", at + 1, 64)
    return True
