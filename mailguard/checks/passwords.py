"""What encrypted files of a mail are tried with: the words of it that look like the password that it gives, the likeliest first."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

CANDIDATES = 30
"""Passwords that are tried."""
LENGTH = 64
"""Characters of a password at most."""
_TEXT = 20_000
"""Characters of the mail's text that are looked at."""

_WORD = (
    r"pass(?:word|code|phrase|wort)?|pwd|pw|pin|key|code|kennwort|passwort|mot de passe|mdp|contrase\u00f1a|contrasena|clave|senha|"
    r"palavra-passe|wachtwoord|has\u0142o|haslo|heslo|jelsz\u00f3|l\u00f6senord|adgangskode|passord|salasana|parola|\u015fifre|sifre|"
    r"\u043f\u0430\u0440\u043e\u043b\u044c|\u5bc6\u7801|\u5bc6\u78bc|\u30d1\u30b9\u30ef\u30fc\u30c9|\ube44\ubc00\ubc88\ud638|"
    r"\u05e1\u05d9\u05e1\u05de\u05d4|\u0643\u0644\u0645\u0629 \u0627\u0644\u0645\u0631\u0648\u0631"
)
"""Words for a password in the languages of most mail."""
_OPEN, _CLOSE = "\"'\u201c\u201e\u00ab\u2018`*[(<", "\"'\u201d\u201c\u00bb\u2019`*])>"
_TOKEN = r"[^\s]{1,64}"
_AFTER_MARK = re.compile(rf"(?:{_WORD})[^\n:=\uff1a]{{0,40}}[:=\uff1a]\s*(?:\r?\n\s*)?({_TOKEN})", re.IGNORECASE)
_AFTER_WORD = re.compile(
    rf"(?<!\w)(?:{_WORD})\s+(?:(?:is|ist|lautet|est|es|\u00e9|to|for|is:)\s+)?({_TOKEN})", re.IGNORECASE
)
_NEAR = re.compile(rf"(?:{_WORD})", re.IGNORECASE)
_QUOTED = re.compile(
    r"[\"'\u201c\u201e\u00ab\u2018`*\[(<]([^\s\"'\u201d\u201c\u00bb`*\])>]{3,64})[\"'\u201d\u201c\u00bb\u2019`*\])>]"
)
_ALONE = re.compile(rf"^[ \t]*({_TOKEN})[ \t]*\r?$", re.MULTILINE)
_NUMBER = re.compile(r"(?<![\w.,])\d{3,10}(?![\w.,]\d)")
USUAL = ("infected", "virus", "malware", "1234", "password", "123", "12345", "123456", "2024", "2025", "2026")
"""What archives of samples and lazy senders use."""


def candidates(text: str, subject: str = "", *, files: Iterable[str] = (), sender: str = "") -> tuple[str, ...]:
    """At most CANDIDATES passwords, the likeliest first, none twice: from the visible text, the subject, names, and usual ones."""
    found: dict[str, None] = {}
    for one in _all(text[:_TEXT], subject, tuple(files), sender):
        for form in dict.fromkeys((_bare(one), one.strip())):
            if form and len(form) <= LENGTH and "\0" not in form:
                found[form] = None
        if len(found) >= CANDIDATES:
            break
    return tuple(found)[:CANDIDATES]


def _bare(word: str) -> str:
    """Without the quotation marks around it and the stop behind it."""
    return word.strip().lstrip(_OPEN).rstrip(".,;!?").rstrip(_CLOSE).rstrip(".,;")


def _all(text: str, subject: str, files: tuple[str, ...], sender: str) -> Iterator[str]:
    near = [text[max(0, match.start() - 100) : match.end() + 200] for match in list(_NEAR.finditer(text))[:5]]
    for pattern in (_AFTER_MARK, _AFTER_WORD):
        for source in (text, subject):
            yield from _some(pattern, source, 5)
    for piece in near:
        yield from _some(_QUOTED, piece, 4)
    for piece in near:
        yield from _some(_ALONE, piece, 3)
    yield from USUAL[:4]
    for piece in near:
        yield from _some(_NUMBER, piece, 4)
    yield from _some(_QUOTED, text, 4)
    yield from _some(_NUMBER, subject, 2)
    for name in files[:3]:
        yield name.rpartition("/")[2].rpartition(".")[0]
    yield from sender.partition("@")[0].split()[:2]
    yield from _some(_ALONE, text, 4)
    yield from _some(_NUMBER, text, 4)
    yield from USUAL[4:]


def _some(pattern: re.Pattern[str], text: str, most: int) -> Iterator[str]:
    for count, match in enumerate(pattern.finditer(text)):
        if count >= most:
            return
        yield match[1] if match.re.groups else match[0]
