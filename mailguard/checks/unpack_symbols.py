"""Every symbol that taking attachments apart can report: the closed table. What the sandbox says beyond it is dropped.

Points are for what no honest file does (3 to 8); facts that honest files share have none or next to none.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from mailguard.checks.attachments import SYMBOLS as NAMES
from mailguard.checks.sandboxed import SYMBOLS as SANDBOXED

_UNPACK: Mapping[str, tuple[float, str]] = {
    "UNPACK_BROKEN": (0.3, "a file is broken, so that it could not be looked into to its end"),
    "UNPACK_BOMB": (3.0, "a file swells to a size that only serves to stop who looks into it"),
    "UNPACK_TOO_MANY": (1.0, "an attachment holds more files than are looked into"),
    "UNPACK_TOO_DEEP": (1.5, "files lie deeper within each other than is looked into"),
    "UNPACK_TOO_LARGE": (0.3, "an attachment is too large to be looked into"),
    "UNPACK_TWO_KINDS": (2.5, "a file is of two kinds at once, so that programs disagree about what is in it"),
    "UNPACK_TRAILING_DATA": (0.5, "a file that is shown or read goes on after its end with another file"),
    "UNPACK_ENCODED": (0.5, "a text file holds another file in encoded form"),
    "UNPACK_ENCODED_EXECUTABLE": (3.0, "a text file holds a program in encoded form"),
}
"""Any file."""

_ARCHIVES: Mapping[str, tuple[float, str]] = {
    "ARCHIVE_ENCRYPTED": (1.0, "an archive is encrypted, and no password that the mail gives opens it"),
    "ARCHIVE_PASSWORD": (1.5, "an encrypted archive opens with a password that the mail gives"),
    "ARCHIVE_UNOPENED": (0.5, "an archive of a kind that is not opened"),
    "ARCHIVE_DISAGREES": (
        3.0,
        "an archive shows other files to programs that read it from the front than from its directory",
    ),
    "ARCHIVE_SAME_NAMES": (2.0, "two different files in an archive have one name"),
    "ARCHIVE_OVERLAPS": (4.0, "files in an archive share their octets, as only bombs do"),
    "ARCHIVE_ITSELF": (4.0, "an archive holds itself, without end"),
    "ARCHIVE_PATH": (2.0, "a name in an archive leads out of the folder that it is unpacked into"),
    "ARCHIVE_UNUSUAL": (0.5, "an archive of a kind that is hardly ever sent but to get past filters"),
}

SYMBOLS: Mapping[str, tuple[float, str]] = MappingProxyType({**_UNPACK, **_ARCHIVES, **NAMES, **SANDBOXED})
"""Symbols with their default points, and what they mean. NAMES are reported of files within archives as of attached ones."""
