"""Workbooks in records, of Excel 5 to 2003 (BIFF5, BIFF8): sheets of Excel 4 macros, what starts them, and DDE links.

MS-XLS §2.4; record numbers as there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from mailguard.sandbox.unpack.dde import report_dde
from mailguard.sandbox.unpack.work import File, Work

_DRAWINGS, _CONTINUE = 0xEB, 0x3C
_BOF, _BOUNDSHEET, _NAME, _SUPBOOK, _FORMULA, _STRING, _SST, _EXTERNSHEET = (
    0x809,
    0x85,
    0x18,
    0x1AE,
    0x06,
    0x207,
    0xFC,
    0x17,
)
RECORDS = 400_000
"""Records that are read of a workbook."""

_CALLS = {
    0x6E: "EXEC",
    0x95: "REGISTER",
    0x96: "CALL",
    0xA8: "FORMULA",
    0x97: "REGISTER.ID",
    0x84: "FOPEN",
    0x89: "FWRITE",
}
"""Functions of Excel 4 macros that reach out, by their numbers in formulas (MS-XLS §2.5.198.17, Cetab and Ftab)."""
_CALLS |= {0x6C: "HALT?", 0x88: "FWRITELN", 0x36: "HALT", 0x35: "GOTO", 0x6F: "CHAR", 0xBC: "RUN"}
_STRONG = frozenset({"EXEC", "CALL", "REGISTER", "REGISTER.ID", "FWRITE", "FWRITELN"})
_AUTO = re.compile(r"auto_?(?:open|close|activate|deactivate)", re.IGNORECASE)
_WORDS = re.compile(
    r"\b(?:URLDownloadTo\w{1,12}|ShellExecute\w?|urlmon|shell32|kernel32|powershell|mshta|regsvr32|rundll32|cmd(?:\.exe)? /c|wscript)\b",
    re.IGNORECASE,
)


def read_workbook(file: File, work: Work, raw: bytes) -> None:
    """Report what is in a workbook's stream."""
    macro_sheets: list[str] = []
    hidden: list[str] = []
    entries: list[str] = []
    calls: set[str] = set()
    in_macro = False
    wide = True
    for number, data in records(raw):
        if number & 0xFF == 0x09:  # BOF
            wide = data[:2] in (b"\x00\x06", b"")
            in_macro = data[2:4] == b"\x40\0"
        elif number == _BOUNDSHEET and len(data) > 7 and data[5] == 1:
            name = _text8(data[6:], wide)
            macro_sheets.append(name)
            if data[4] & 3:
                hidden.append(name)
        elif number == _NAME and (entry := _entry(data, wide)):
            entries.append(entry)
        elif number == _SUPBOOK:
            _supbook(file, work, data)
        elif number == _EXTERNSHEET and not wide and b"\x03" in data[:64]:
            _supbook(file, work, b"\0\0" + data)
        elif in_macro and number & 0xFF == _FORMULA and len(data) > 22:
            calls |= _calls(data[22 if wide else 18 :])
    if macro_sheets:
        words = {match[0].lower() for match in _WORDS.finditer(raw.replace(b"\0", b"").decode("latin-1"))}
        report_excel4(file, work, macro_sheets, hidden=hidden, entries=entries, calls=calls, words=words)


def report_excel4(
    file: File,
    work: Work,
    sheets: list[str],
    *,
    hidden: list[str],
    entries: list[str],
    calls: set[str],
    words: set[str],
) -> None:
    """Report sheets of Excel 4 macros: that there are, that they are hidden, that they start by themselves and reach out."""
    shown = ", ".join(sheets[:5])
    work.found(file, "OFFICE_XLM", shown)
    if hidden:
        work.found(file, "OFFICE_XLM_HIDDEN", ", ".join(hidden[:5]))
    if entries:
        work.found(file, "OFFICE_MACRO_AUTOEXEC", f"{', '.join(entries[:5])} in {shown}")
    reach = sorted(calls & _STRONG) + sorted(words)
    if reach:
        work.found(file, "OFFICE_MACRO_SUSPICIOUS", ", ".join(reach))
    if reach and entries:
        work.found(file, "OFFICE_MACRO_RUNS", f"{', '.join(entries[:5])}: {', '.join(reach)}")


def records(raw: bytes) -> Iterator[tuple[int, bytes]]:
    """The records of a stream: (number, data)."""
    at = 0
    for _ in range(RECORDS):
        if at + 4 > len(raw):
            return
        size = raw[at + 2] | raw[at + 3] << 8
        yield raw[at] | raw[at + 1] << 8, raw[at + 4 : at + 4 + size]
        at += 4 + size


def drawings(raw: bytes) -> bytes:
    """What a workbook draws, its pictures among it: the data of a record (MSODRAWINGGROUP) that goes on in those behind it."""
    out = bytearray()
    within = False
    for number, data in records(raw):
        within = number == _DRAWINGS or (within and number == _CONTINUE)
        if within:
            out += data
    return bytes(out)


def _text8(data: bytes, wide: bool) -> str:
    if not data:
        return ""
    if wide and len(data) > 1:
        return (
            data[2 : 2 + data[0] * 2].decode("utf-16-le", "replace")
            if data[1] & 1
            else data[2 : 2 + data[0]].decode("latin-1")
        )
    return data[1 : 1 + data[0]].decode("latin-1")


def _entry(data: bytes, wide: bool) -> str:
    """A defined name that Excel starts by itself, or empty. Built-in ones are numbers: 1 Auto_Open, 2 Auto_Close."""
    if len(data) < 15:
        return ""
    body = data[14:]
    size = data[3]
    if wide and body[:1] == b"\x01":
        name = body[1 : 1 + size * 2].decode("utf-16-le", "replace")
    else:
        name = body[1 if wide else 0 :][:size].decode("latin-1")
    if data[0] & 0x20:  # built-in
        return {"\x01": "Auto_Open", "\x02": "Auto_Close", "\x0a": "Auto_Activate", "\x0b": "Auto_Deactivate"}.get(
            name[:1], ""
        )
    plain = re.sub(r"[\x00-\x1f\x7f-\x9f]", "", name)
    return plain if _AUTO.search(plain) else ""


def _supbook(file: File, work: Work, data: bytes) -> None:
    """A link to another workbook, or to a program: then its text is `program`, 3, `topic`."""
    if len(data) < 5:
        return
    text = data[5:].decode("utf-16-le", "replace") if data[4] & 1 else data[5:].decode("latin-1")
    if "\x03" in text[1:]:
        program, _, topic = text.partition("\x03")
        report_dde(file, work, program.strip("\x00\x01\x02"), topic.split("\0")[0])


def _calls(formula: bytes) -> set[str]:
    """Functions in the tokens of a formula: ptgFuncVar (22, 42, 62) with count and number, ptgFunc with number."""
    out = set()
    for match in re.finditer(rb"[\x22\x42\x62].(.)([\x00\x80])|[\x21\x41\x61](.)\x00", formula, re.DOTALL):
        number = (match[1] or match[3])[0]
        if match[2] != b"\x80" and number in _CALLS:
            out.add(_CALLS[number])
    return out
