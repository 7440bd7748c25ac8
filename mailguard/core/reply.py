"""SMTP replies as values: code, enhanced status code and text, safe to put on the wire."""

from __future__ import annotations

import re

from mailguard.core.values import value

_UNSAFE = re.compile(r"[^\x20-\x7e]+")
_ENHANCED = re.compile(r"([245])\.([0-9]{1,3})\.([0-9]{1,3})")
_LAST_LINE = re.compile(r"[2-5][0-9]{2}([ -]|$)")
TEXT_LIMIT = 400
"""Longest text of one reply line, in characters; RFC 5321 §4.5.3.1.5 allows 512 octets for the whole line."""


def sanitise(text: str) -> str:
    """`text` as one printable ASCII line: what another server says must never split our reply (CR, LF, NUL)."""
    if not (text.isascii() and text.isprintable()):
        text = _UNSAFE.sub(" ", text)
    return text.strip()[:TEXT_LIMIT]


@value
class Reply:
    """One SMTP reply (RFC 5321 §4.2) with its enhanced status code (RFC 3463), for example `550 5.7.1 No relaying`.

    `enhanced` is empty for replies that carry none (greeting, EHLO, 354). `lines` with several entries make a
    multi-line reply. Text is sanitised when it is rendered.
    """

    code: int
    enhanced: str = ""
    text: str = ""

    def __post_init__(self) -> None:
        if not 200 <= self.code <= 599:
            raise ValueError(f"reply code {self.code} is not an SMTP reply code")
        if self.enhanced and not _ENHANCED.fullmatch(self.enhanced):
            raise ValueError(f"{self.enhanced!r} is not an enhanced status code (RFC 3463 §2)")

    @property
    def positive(self) -> bool:
        """2yz or 3yz."""
        return self.code < 400

    @property
    def transient(self) -> bool:
        """4yz: the client may try again."""
        return 400 <= self.code < 500

    @property
    def permanent(self) -> bool:
        """5yz: the client must not try again as it is."""
        return self.code >= 500

    def __str__(self) -> str:
        text = sanitise(self.text)
        before = f"{self.code} {self.enhanced}" if self.enhanced else str(self.code)
        return f"{before} {text}" if text else before


def parse_reply(lines: list[str]) -> Reply:
    """The Reply that another server gave, from its lines (`250-first`, `250 last`), the texts joined by a space.

    Raises ValueError when they are not a reply (RFC 5321 §4.2.1).
    """
    if not lines or not _LAST_LINE.match(lines[-1]):
        raise ValueError(f"not an SMTP reply: {sanitise(' '.join(lines))[:80]!r}")
    code = int(lines[-1][:3])
    texts = [line[4:].strip() for line in lines]
    enhanced = ""
    first, _, rest = texts[0].partition(" ")
    match = _ENHANCED.fullmatch(first)
    if match and match.group(1) == lines[-1][0]:
        enhanced = first
        texts = [rest] + [t[len(first) :].strip() if t.startswith(first) else t for t in texts[1:]]
    return Reply(code, enhanced, sanitise(" ".join(t for t in texts if t)))


OK = Reply(250, "2.0.0", "Ok")
LOCAL_ERROR = Reply(451, "4.3.0", "Temporary failure on our side; please try again")
"""What the client hears when something unforeseen happened before the point of no return; never more than this."""
