"""What a PDF's script is for: the formatting of a form's fields, or what only attacks do. By patterns, never run."""

from __future__ import annotations

import re
from dataclasses import dataclass

LOOK = 256 * 1024
"""Octets of a script that are looked at."""
SHOWN = 80

_SUSPICIOUS = re.compile(
    rb"\beval\s*\(|\bunescape\s*\(|fromCharCode|exportDataObject|\blaunchURL\s*\(|getIcon\s*\(|collectEmailInfo"
    rb"|newPlayer\s*\(|(?:%u[0-9a-fA-F]{4}){4}|spell\.customDictionaryOpen|printSeps|\bgetAnnots?\s*\(\s*\{?\s*nPage"
    rb"|util\.printd?\s*\(\s*[\"'][^\"']{0,40}%\d{3,}|\bSOAP\.|Net\.HTTP|app\.execMenuItem|importDataObject"
    rb"|openDoc\s*\(|\bgetURL\s*\(|\bActiveXObject|WScript|powershell|cmd\.exe",
    re.IGNORECASE,
)
# What Acrobat's own helpers for fields are called, and a script of nothing but calls of them.
_FORMATS = re.compile(
    rb"\s*+(?:(?>(?:event\.(?:value|rc)\s*+=\s*+)?"
    rb"AF(?:Number|Percent|Date|Time|Special|Simple|Range|MergeChange|ExtractNums|Make|Parse|Scand)\w*+\s*+"
    rb"\([^;{}]{0,500}?\)(?=\s*+(?:;|\Z|AF|event\.))\s*+;?\s*+)){1,20}",
)
_SHARE = re.compile(rb"[A-Za-z0-9+/]{4000,}|(?:\\x[0-9a-fA-F]{2}){200,}")


@dataclass(frozen=True, slots=True)
class ScriptVerdict:
    """`suspicious`: what in it only attacks do, or empty. `shown`: its beginning, as evidence."""

    formats_only: bool
    suspicious: str
    shown: str


def verdict_of(source: bytes) -> ScriptVerdict:
    """What a script is for."""
    text = source[:LOOK]
    if text.startswith((b"\xfe\xff", b"\xff\xfe")):
        text = text.decode("utf-16", "replace").encode("utf-8", "replace")
    shown = " ".join(text[: 4 * SHOWN].decode("utf-8", "replace").split())[:SHOWN]
    match = _SUSPICIOUS.search(text) or _SHARE.search(text)
    found = match[0][:40].decode("utf-8", "replace") if match else ""
    return ScriptVerdict(not found and bool(_FORMATS.fullmatch(text[:8_000])), found, shown)
