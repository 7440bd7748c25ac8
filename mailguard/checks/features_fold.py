"""A text as the classifier reads it: in lower case, links, addresses and numbers as such."""

from __future__ import annotations

import re
import unicodedata

from mailguard.message.addresses import addresses_in

_SCHEME = re.compile(r"(?:https?|hxxps?|ftp)(?:\[:\]|:)\Z")
_SCHEME_LENGTH = 8
_AFTER_SCHEME = re.compile(r"\S{1,500}")
_AFTER_WWW = re.compile(r"\S{1,300}")
_LOCAL = re.compile(r"[\w.+\-]{1,64}")
_DOMAIN = re.compile(r"[\w.\-]{1,200}")
_DIGITS = re.compile(r"\d+")
_TO_ZERO = str.maketrans("123456789", "0" * 9)
_ZEROS = re.compile("00+")


def fold(text: str) -> str:
    """`text` in lower case, links and addresses and numbers as such, white space as one blank."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    text = text.lower()
    if "://" in text or "www." in text or "hxxp" in text:
        text = _without_urls(text)
    if "@" in text:
        text = _without_addresses(text)
    # Of ASCII the digits are found several times faster without a pattern.
    text = _ZEROS.sub("0", text.translate(_TO_ZERO)) if text.isascii() else _DIGITS.sub("0", text)
    return " ".join(text.split())


def _without_urls(text: str) -> str:
    """URLs as ` $u `: `(?:https?|hxxps?|ftp)(?:\\[:\\]|:)//\\S{1,500}|www\\.\\S{1,300}`, looked for from each `//` and `www.`."""
    out: list[str] = []
    done = 0
    slashes, www = text.find("//"), text.find("www.")
    while slashes >= 0 or www >= 0:
        if www < 0 or 0 <= slashes < www:
            scheme = _SCHEME.search(text, max(done, slashes - _SCHEME_LENGTH), slashes)
            start, rest = (scheme.start(), _AFTER_SCHEME.match(text, slashes + 2)) if scheme else (0, None)
            after = slashes + 1
        else:
            start, rest = www, _AFTER_WWW.match(text, www + 4)
            after = www + 1
        if rest:
            out += (text[done:start], " $u ")
            done = after = rest.end()
        if slashes < after:
            slashes = text.find("//", after) if slashes >= 0 else slashes
        if www < after:
            www = text.find("www.", after) if www >= 0 else www
    out.append(text[done:])
    return "".join(out)


def _without_addresses(text: str) -> str:
    """Mail addresses as ` $m `: `[\\w.+\\-]{1,64}@[\\w.\\-]{1,200}`."""
    out: list[str] = []
    done = 0
    for start, end in addresses_in(text, _LOCAL, _DOMAIN):
        out += (text[done:start], " $m ")
        done = end
    out.append(text[done:])
    return "".join(out)
