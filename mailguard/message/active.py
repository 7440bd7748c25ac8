"""What in HTML acts: forms, scripts, frames, handlers, redirects, and the making of files by script (HTML smuggling).

All patterns are looked for in one pass of RE2, so that a page without any of them costs next to nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum

import re2

EVIDENCE_LIMIT = 80
"""Characters of the source that are kept as evidence."""


class Active(StrEnum):
    """One kind of active content."""

    FORM = "form"
    PASSWORD = "password"
    CARD = "card"
    PREFILLED = "prefilled"
    """An input that holds a mail address already."""
    SCRIPT = "script"
    DATA_SCRIPT = "data-script"
    """A script element that holds data and does not run (JSON-LD)."""
    REMOTE_SCRIPT = "remote-script"
    SCRIPT_URL = "script-url"
    DATA_PAGE = "data-page"
    HANDLER = "handler"
    FRAME = "frame"
    REFRESH = "refresh"
    BASE = "base"
    LOCATION = "location"
    MAKES_FILE = "makes-file"
    """createObjectURL and its like: the script hands the reader a file that was never in the mail as one."""
    DOWNLOAD = "download"
    DECODES = "decodes"
    RUNS_TEXT = "runs-text"
    FOREIGN_OBJECT = "foreign-object"
    LINK = "link"
    IMAGE = "image"


_PATTERNS: Mapping[Active, str] = {
    Active.FORM: r"<form[\s>/]",
    Active.PASSWORD: r"<input[^<>]*\stype\s*=\s*[\"']?\s*password",
    Active.CARD: r"<input[^<>]*\s(?:name|id|placeholder|autocomplete)\s*=\s*[\"']?[^\"'<>]*"
    r"(?:cvv|cvc|card.?num|cc-(?:num|csc|exp)|iban|seed.?phrase|mnemonic|private.?key|social.?sec|\bssn\b|\botp\b)",
    Active.PREFILLED: r"<input[^<>]*\svalue\s*=\s*[\"']?[a-z0-9._%+-]+@[a-z0-9-]+\.[a-z]",
    Active.SCRIPT: r"<script[\s>/]",
    Active.DATA_SCRIPT: r"<script[^<>]*\stype\s*=\s*[\"']?application/(?:ld\+)?json",
    Active.REMOTE_SCRIPT: r"<script[^<>]*\s(?:src|href|xlink:href)\s*=\s*[\"']?\s*(?:https?:)?//[^\s\"'<>]+",
    Active.SCRIPT_URL: r"(?:href|src|action|data|srcdoc)\s*=\s*[\"']?\s*(?:javascript|vbscript)\s*:",
    Active.DATA_PAGE: r"(?:href|src|action|data)\s*=\s*[\"']?\s*data:(?:text/html|application/(?:xhtml|xml)|text/xml|text/javascript)",
    Active.HANDLER: r"<[a-z][^<>]*\son(?:load|error|click|mouseover|mouseenter|focus|submit|begin|toggle|pageshow|auxclick)\s*=\s*[\"']?[^\s\"'>]",
    Active.FRAME: r"<(?:iframe|frame|object|embed|applet)[\s>]",
    Active.REFRESH: r"<meta[^<>]*http-equiv\s*=\s*[\"']?\s*refresh[^<>]*url",
    Active.BASE: r"<base\s[^<>]*href\s*=\s*[\"']?\s*(?:https?:)?//",
    Active.LOCATION: r"\blocation(?:\.href)?\s*=[^=]|\blocation\.(?:replace|assign)\s*\(|window\.open\s*\(",
    Active.MAKES_FILE: r"createObjectURL|msSave(?:OrOpen)?Blob|new\s+Blob\s*\(|new\s+File\s*\(",
    Active.DOWNLOAD: r"\.download\s*=|<a\s[^<>]*\sdownload\s*=|setAttribute\s*\(\s*[\"']download",
    Active.DECODES: r"\batob\s*\(|\bunescape\s*\(|fromCharCode|decodeURIComponent\s*\(|charCodeAt|parseInt\s*\([^()]*,\s*16\)",
    Active.RUNS_TEXT: r"\beval\s*\(|document\.write(?:ln)?\s*\(|new\s+Function\s*\(|\.innerHTML\s*=|\[[\"']constructor[\"']\]|insertAdjacentHTML",
    Active.FOREIGN_OBJECT: r"<(?:svg:)?foreignobject[\s>]",
    Active.LINK: r"(?:xlink:)?href\s*=\s*[\"']?\s*https?://",
    Active.IMAGE: r"<(?:img|v:image|amp-img)[\s/]",
}

_options = re2.Options()
_options.case_sensitive = False
_options.log_errors = False
_KINDS = tuple(_PATTERNS)
_COMPILED = tuple(re2.compile(pattern.encode(), _options) for pattern in _PATTERNS.values())


def _set(kinds: Sequence[Active]) -> re2.Set:
    made = re2.Set.SearchSet(_options)
    for kind in kinds:
        made.Add(_PATTERNS[kind])
    made.Compile()
    return made


_SET = _set(_KINDS)


def active_content(source: str) -> dict[Active, str]:
    """The kinds of active content in HTML or SVG source, each with the first place that shows it."""
    if not source:
        return {}
    octets = source.encode("utf-8", "replace")
    found: dict[Active, str] = {}
    for index in sorted(_SET.Match(octets) or ()):
        match = _COMPILED[index].search(octets)
        evidence = match.group(0).decode("utf-8", "replace") if match else ""
        found[_KINDS[index]] = " ".join(evidence.split())[-EVIDENCE_LIMIT:]
    if Active.DATA_SCRIPT in found and octets.lower().count(b"<script") == len(
        _COMPILED[_KINDS.index(Active.DATA_SCRIPT)].findall(octets)
    ):
        del found[Active.SCRIPT]
    return found


def is_smuggling(found: Mapping[Active, str]) -> bool:
    """Whether a page makes a file or another page out of what it holds encoded."""
    if Active.MAKES_FILE in found:
        return Active.DOWNLOAD in found or Active.DECODES in found or Active.LOCATION in found
    return Active.DECODES in found and (Active.RUNS_TEXT in found or Active.DOWNLOAD in found)
