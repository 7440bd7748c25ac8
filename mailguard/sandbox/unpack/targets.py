"""What a document or a shortcut points at: another machine, a page, a program, or only a file beside it."""

from __future__ import annotations

import re
from enum import Enum
from urllib.parse import unquote

from mailguard.message.attachments import EXECUTABLE_EXTENSIONS, EXECUTABLE_TYPES, extension


class Target(Enum):
    """What kind of place a link leads to."""

    LOCAL = "local"
    SHARE = "share"
    """Another machine's files: that alone gives it the reader's name and a hash of the password."""
    WEB = "web"
    EXPLOIT = "exploit"
    """A form that makes a program of the reader's run something, and that has no other use."""


_EXPLOIT = re.compile(
    r"^\s*(?:mhtml:|ms-msdt:|search-ms:|script:|javascript:|vbscript:)|!x-usc:|[?&]ms-msdt", re.IGNORECASE
)
_WEB = re.compile(r"^\s*(?:https?|ftp|webdavs?|davs?|itms|mk):", re.IGNORECASE)
_SHARE = re.compile(r"^\s*(?:file:)?[\\/]{2,}([^\\/]+)", re.IGNORECASE)
_OWN = re.compile(r"^(?:localhost|127\.\d+\.\d+\.\d+|[a-z]:|[a-z]\||\.|\?)$", re.IGNORECASE)
PROGRAMS = re.compile(
    r"\b(?:cmd|powershell|pwsh|mshta|[wc]script|rundll32|regsvr32|certutil|bitsadmin|msiexec|wmic|msbuild|installutil"
    r"|forfiles|schtasks|curl|bash|wsl|conhost|cmstp|odbcconf|pcalua|scriptrunner|ftp|regasm|regsvcs|hh|msdt"
    r"|explorer|ssh|python\w?|node|autoit3?|control|desktopimgdownldr|finger|nslookup|ieexec|mavinject|msxsl)\b",
    re.IGNORECASE,
)
"""Programs of the system that run what they are given."""


def target_of(text: str) -> Target:
    """Where a link leads."""
    plain = unquote(text).strip("\0 \t\r\n\"'")
    if _EXPLOIT.search(plain):
        return Target.EXPLOIT
    if _WEB.match(plain):
        return Target.EXPLOIT if plain.endswith("!") else Target.WEB
    if (match := _SHARE.match(plain)) and not _OWN.match(match[1]):
        return Target.SHARE
    return Target.LOCAL


def is_program(name: str, kind: str) -> bool:
    """Whether a file runs when it is opened, by its name or by its content."""
    return extension(name) in EXECUTABLE_EXTENSIONS or kind in EXECUTABLE_TYPES or kind in _RUN


_RUN = frozenset({"application/x-mswinurl", "application/windows-library+xml", "application/windows-settings+xml"})
