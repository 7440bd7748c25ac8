"""What names look like: made at random, of many digits or hyphens, below an ending that is given away."""

from __future__ import annotations

import re
from functools import lru_cache

from mailguard.checks.identity_data import senders
from mailguard.net.suffixes import is_registrable

_VOWELS = frozenset("aeiouyäöüáéíóúàèìòùâêîôûãõåæø")
_RUNS = re.compile(r"[bcdfghjklmnpqrstvwxz]{5,}")
_MIXED = re.compile(r"\d[a-z]+\d[a-z]*\d|[a-z]\d+[a-z]+\d+[a-z]")
_OFFICIAL = re.compile(
    r"(?:^|\.)(?:gov|mil|int|bank|europa\.eu|admin\.ch|bund\.de|gc\.ca|canada\.ca|govt\.nz"
    r"|(?:gov|gob|gouv|go|gub|govt|mil|gv|overheid)\.[a-z]{2})$"
)
_RESERVED = frozenset(
    {"example", "test", "invalid", "localhost", "local", "internal", "lan", "corp", "home", "intranet", "arpa"}
)
_LEGAL_FORM = re.compile(r"(?<=[a-z]{3})-?(?:llc|llp|ltd|gmbh|inc|plc|pllc)$")
_DIGITS = re.compile(r"\d+")
_ODD_PAIRS = re.compile(
    r"[jqxz][bcdfghjkmnpqrtvwxz]|[bcdfghjklmnpqrtvwxz]q|[vwfhkgc][xjqz]|vb|bk|kx|pv|wq|mx|bx|cx|fv|gx|hx|lx|px|rx|sx|tx|vx|wx|zx"
)


@lru_cache(maxsize=8_192)
def is_random(label: str) -> bool:
    """Whether a label of ASCII letters seems to be typed at random: too few vowels, letters that never meet, mixed digits."""
    if label.startswith("xn--"):
        return False
    label = _LEGAL_FORM.sub("", label)
    letters = [letter for letter in label.lower() if letter.isalpha()]
    if len(letters) < 6:
        return bool(_MIXED.search(label)) and len(label) >= 7
    lowered = label.lower()
    share = sum(letter in _VOWELS for letter in letters) / len(letters)
    odd = len(_ODD_PAIRS.findall(lowered))
    signs = (
        (share < 0.2)
        + (share < 0.13)
        + (odd >= 2)
        + (odd >= 3)
        + bool(_RUNS.search(lowered))
        + bool(_MIXED.search(lowered))
        + (len(_DIGITS.findall(lowered)) >= 3)
    )
    return signs >= 2


def has_cheap_suffix(domain: str) -> bool:
    """Whether a domain is below an ending that costs little and that spam likes."""
    suffixes = senders().hosts["suffixes"]
    _, _, rest = domain.rpartition(".")
    two = ".".join(domain.split(".")[-2:])
    return rest in suffixes or two in suffixes


def is_official(domain: str) -> bool:
    """Whether a domain is below an ending that only states, their offices, treaties and banks get."""
    return bool(_OFFICIAL.search(domain))


def is_reserved(domain: str) -> bool:
    """Whether it is of those that RFC 2606 and RFC 6762 keep out of the public DNS, or that firms use within."""
    return domain.rpartition(".")[2] in _RESERVED


def is_real(domain: str) -> bool:
    """Whether a domain is below an ending that there is (Public Suffix List), and more than that ending."""
    return is_registrable(domain)


def digits(text: str) -> int:
    """How many digits there are."""
    return sum(map(str.isdigit, text))
