"""winmail.dat: attachments and the text of a mail in Microsoft's TNEF. [MS-OXTNEF], [MS-OXCDATA] §2.11."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from mailguard.sandbox.unpack.page import BODY
from mailguard.sandbox.unpack.work import File, Work

SIGNATURE = b"\x78\x9f\x3e\x22"
ATTRIBUTES, PROPERTIES = 20_000, 5_000
"""Attributes of a file, and properties of one attribute, that are read."""

_ATTACH_BEGIN, _ATTACH_TITLE, _ATTACH_DATA, _ATTACH_PROPERTIES, _MESSAGE_PROPERTIES = (
    0x9002,
    0x8010,
    0x800F,
    0x9005,
    0x9003,
)
_LONG_NAME, _NAME, _DATA, _HTML, _MIME = 0x3707, 0x3704, 0x3701, 0x1013, 0x370E
_FIXED = {0x02: 4, 0x03: 4, 0x04: 4, 0x0A: 4, 0x0B: 4, 0x05: 8, 0x06: 8, 0x07: 8, 0x14: 8, 0x40: 8, 0x48: 16}
_VARIABLE = frozenset({0x1E, 0x1F, 0x102, 0x0D})


class TnefError(ValueError):
    """Octets that are no TNEF."""


@dataclass(slots=True)
class Attached:
    """One attachment as far as it is read."""

    name: str = ""
    data: bytes = b""
    declared: str = ""


@dataclass(slots=True)
class Read:
    """What a TNEF file holds; `complete` unless it ends too early."""

    attached: list[Attached] = field(default_factory=list)
    html: bytes = b""
    complete: bool = True


def open_tnef(file: File, work: Work) -> None:
    """See openers.Opener. Raises TnefError after what could be read has been added."""
    read = read_tnef(file.raw)
    if read.html:
        work.add(file, "text.html", read.html, declared="text/html", via=BODY)
    for number, one in enumerate(read.attached, 1):
        if one.data:
            work.add(file, one.name or f"attachment {number}", one.data, declared=one.declared)
    if not read.complete:
        raise TnefError("it ends before its time")


def read_tnef(raw: bytes) -> Read:
    """All that is in it, as far as it goes. Raises TnefError when it begins as none."""
    if not raw.startswith(SIGNATURE):
        raise TnefError("no signature of TNEF")
    read = Read()
    for attribute, data in _attributes(raw, read):
        if attribute == _ATTACH_BEGIN:
            read.attached.append(Attached())
        elif attribute == _MESSAGE_PROPERTIES:
            for identity, value in _properties(data):
                if identity == _HTML:
                    read.html = value
        elif attribute in (_ATTACH_TITLE, _ATTACH_DATA, _ATTACH_PROPERTIES):
            if not read.attached:
                read.attached.append(Attached())
            _attachment(read.attached[-1], attribute, data)
    return read


def _attachment(one: Attached, attribute: int, data: bytes) -> None:
    if attribute == _ATTACH_TITLE:
        one.name = one.name or _letters(data)
    elif attribute == _ATTACH_DATA:
        one.data = data
    else:
        for identity, value in _properties(data):
            if (identity == _LONG_NAME and value) or (identity == _NAME and not one.name):
                one.name = _letters(value)
            elif identity == _MIME:
                one.declared = _letters(value).lower()
            elif identity == _DATA and not one.data:
                # An object begins with the GUID of what it is; a mail within is TNEF again.
                one.data = value[16:] if value.startswith(SIGNATURE, 16) else value


def _attributes(raw: bytes, read: Read) -> Iterator[tuple[int, bytes]]:
    """(id, data); level, type and checksum are of no use here."""
    at = 6
    for _ in range(ATTRIBUTES):
        if at + 9 > len(raw):
            read.complete = at == len(raw)
            return
        identity = int.from_bytes(raw[at + 1 : at + 3], "little")
        length = int.from_bytes(raw[at + 5 : at + 9], "little")
        if raw[at] not in (1, 2):
            break
        yield identity, raw[at + 9 : at + 9 + length]
        at += 9 + length + 2
    read.complete = False


def _properties(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(id, value) of a list of MAPI properties; of one of several values only the first. Ends where it makes no sense."""
    count, at = _number(data, 0), 4
    for _ in range(min(count, PROPERTIES)):
        if at + 4 > len(data):
            return
        kind, identity = (int.from_bytes(data[at + n : at + n + 2], "little") for n in (0, 2))
        at += 4
        if identity >= 0x8000:  # named: a GUID, and a number or a name
            named = _number(data, at + 16)
            at += 24 + (_padded(_number(data, at + 20)) if named else 0)
        several, kind = bool(kind & 0x1000), kind & 0xFFF
        if kind in _FIXED:
            times = _number(data, at) if several else 1
            at += 4 * several
            yield identity, data[at : at + _FIXED[kind]]
            at += times * _FIXED[kind]
        elif kind in _VARIABLE:
            times = _number(data, at)
            at += 4
            for number in range(min(times, PROPERTIES)):
                length = _number(data, at)
                if at + 4 > len(data):
                    return
                if not number:
                    value = data[at + 4 : at + 4 + length]
                    yield identity, (_from_utf16(value) if kind == 0x1F else value)
                at += 4 + _padded(length)
        else:
            return


def _from_utf16(value: bytes) -> bytes:
    return value.decode("utf-16-le", "replace").encode("utf-8", "replace")


def _number(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little")


def _padded(length: int) -> int:
    return length + -length % 4


def _letters(value: bytes) -> str:
    text = value.partition(b"\0")[0]
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError:
        return text.decode("cp1252", "replace")
