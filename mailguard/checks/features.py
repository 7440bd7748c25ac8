"""A mail as hashed features for the classifier: words, word pairs, byte n-grams and tokens of several fields, each once.

Each kind has its own range of ids, so that it is weighed apart. Nothing of header fields that other systems add goes in.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mailguard.core.address import domain_of
from mailguard.message.message import Message

VERSION = 1
"""Grows with every change of what is extracted: a model is for one version."""
TEXT_CHARACTERS = 16_000
"""Characters of the text that are read: what follows seldom says what a mail is about."""
TEXT_OCTETS = 12_000
GRAM_OCTETS = 6_000
FIELD_CHARACTERS = 300
LINKS = 60
TOKENS = 120
"""Tokens of one kind that are kept."""
WORD_OCTETS = 40

Ids = NDArray[np.uint32]
Octets = NDArray[np.uint8]
Hashes = NDArray[np.uint64]


class Kind(IntEnum):
    """What a feature is of. The value is its place in `SPANS`."""

    WORD = 0
    PAIR = 1
    GRAM = 2
    SUBJECT = 3
    """Words and pairs of the Subject."""
    SUBJECT_GRAM = 4
    NAME = 5
    """Words of the display name in From."""
    SENDER = 6
    """The shape of the address in From: never the name of its domain."""
    LINK = 7
    """Words of links' paths, and the shape of their hosts."""
    SHOWN = 8
    """Words of the texts shown for links."""
    FORM = 9
    """The structure of the HTML and of the parts, attachments' types."""


BITS = (18, 18, 18, 16, 16, 16, 14, 15, 15, 14)
"""Of each kind, how many bits its hashes have."""
STARTS = tuple(int(sum(1 << bits for bits in BITS[:kind])) for kind in range(len(BITS) + 1))
SIZE = STARTS[-1]
"""Ids in all."""
SPANS = tuple((STARTS[kind], STARTS[kind + 1]) for kind in Kind)

_BOUNDS = np.array(STARTS, dtype=np.uint32)
_PRIME = np.uint64(0x100000001B3)
_MIX = np.uint64(0x9E3779B97F4A7C15)
_MIX_MORE = np.uint64(0xBF58476D1CE4E5B9)
_URL = re.compile(r"(?:https?|hxxps?|ftp)(?:\[:\]|:)//\S{1,500}|www\.\S{1,300}")
_ADDRESS = re.compile(r"[\w.+\-]{1,64}@[\w.\-]{1,200}")
_QUOTED = re.compile(r"(?m)^[>|].*$")
_DIGITS = re.compile(r"\d+")
_NOT_A_WORD = re.compile(r"[^\w$']+")
_NOT_LETTERS = re.compile(r"[^a-z]+")
_LETTERS = re.compile(r"[a-z]+")
_ELEMENT = re.compile(r"<([a-zA-Z][a-zA-Z0-9]{0,9})[\s>/]")
_STYLES = (
    "display:none", "font-size:0", "<form", "onclick", "<script", "data:image", "cid:", "@media", "mso-", "role=\"presentation\"",
    "position:absolute", "visibility:hidden", "<center", "<font", "bgcolor", "!important", "<style", "background-image",
)  # fmt: skip


def _powers() -> tuple[Hashes, Hashes]:
    """The powers of _PRIME, and those of its inverse, modulo 2^64."""
    length = TEXT_OCTETS + 1
    inverse = np.uint64(pow(int(_PRIME), -1, 1 << 64))
    made = []
    with np.errstate(over="ignore"):
        for base in (_PRIME, inverse):
            powers = np.full(length, base, dtype=np.uint64)
            powers[0] = 1
            made.append(np.cumprod(powers, dtype=np.uint64))
    return made[0], made[1]


_POWERS, _INVERSES = _powers()
_IN_WORD = np.zeros(256, dtype=bool)
_IN_WORD[list(b"abcdefghijklmnopqrstuvwxyz0$'")] = True
_IN_WORD[128:] = True


@dataclass(frozen=True, slots=True)
class Words:
    """A folded text as octets, where its words lie in it, and their hashes."""

    text: Octets
    starts: NDArray[Any]
    ends: NDArray[Any]
    hashes: Hashes

    def word(self, number: int) -> str:
        """The word at a place, as it was folded."""
        return self.text[self.starts[number] : self.ends[number]].tobytes().decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class Features:
    """What was extracted of one mail: `ids` sorted, each once; `body` and `subject` to find the words behind them again."""

    ids: Ids
    body: Words
    subject: Words

    @property
    def packed(self) -> bytes:
        """The ids as in Classification.features."""
        return self.ids.tobytes()


def extract(message: Message) -> Features:
    """The features of a mail."""
    body = _words(fold(_QUOTED.sub("", message.visible_text[:TEXT_CHARACTERS])), TEXT_OCTETS)
    subject = _words(fold(message.subject[:FIELD_CHARACTERS]), 2 * FIELD_CHARACTERS)
    found = [
        _ids(Kind.WORD, word_hashes(body)),
        _ids(Kind.PAIR, pair_hashes(body)),
        _ids(Kind.GRAM, _grams(body.text[:GRAM_OCTETS])),
        _ids(Kind.SUBJECT, subject.hashes),
        _ids(Kind.SUBJECT, pair_hashes(subject)),
        _ids(Kind.SUBJECT_GRAM, _grams(subject.text)),
        _tokens(Kind.LINK, _of_links(message)),
        _tokens(Kind.SHOWN, _shown(message)),
        _tokens(Kind.FORM, _of_form(message)),
    ]
    sender = message.from_mailboxes[0] if message.from_mailboxes else None
    if sender is not None:
        name = _words(fold((sender.name or "")[:FIELD_CHARACTERS]), 2 * FIELD_CHARACTERS)
        found += [_ids(Kind.NAME, name.hashes), _tokens(Kind.SENDER, _of_address(sender.address[:FIELD_CHARACTERS]))]
    return Features(_each_once(found), body, subject)


def fold(text: str) -> str:
    """`text` in lower case, links and addresses and numbers as such, white space as one blank."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    text = text.lower()
    if "://" in text or "www." in text or "hxxp" in text:
        text = _URL.sub(" $u ", text)
    if "@" in text:
        text = _ADDRESS.sub(" $m ", text)
    return " ".join(_DIGITS.sub("0", text).split())


def word_hashes(words: Words) -> Hashes:
    """The hashes of the words of a text."""
    return words.hashes


def pair_hashes(words: Words) -> Hashes:
    """The hashes of words that follow each other."""
    hashes = words.hashes
    with np.errstate(over="ignore"):
        return hashes[:-1] * np.uint64(31) + hashes[1:]


def ids_of(kind: Kind, hashes: Hashes) -> Ids:
    """The ids that hashes have in a kind."""
    return _ids(kind, hashes)


def spans(ids: Ids) -> NDArray[Any]:
    """Where each kind begins in sorted ids, and where the last ends."""
    return np.searchsorted(ids, _BOUNDS)


def _words(text: str, limit: int) -> Words:
    octets = np.frombuffer(text.encode("utf-8", "replace")[:limit], dtype=np.uint8)
    inside = np.zeros(octets.size + 2, dtype=np.int8)
    inside[1:-1] = _IN_WORD[octets]
    turns = np.diff(inside)
    starts, ends = np.flatnonzero(turns == 1), np.flatnonzero(turns == -1)
    short = ends - starts <= WORD_OCTETS
    starts, ends = starts[short], ends[short]
    sums = np.zeros(octets.size + 1, dtype=np.uint64)
    with np.errstate(over="ignore"):
        np.cumsum((octets.astype(np.uint64) + np.uint64(1)) * _POWERS[: octets.size], out=sums[1:])
        hashes = (sums[ends] - sums[starts]) * _INVERSES[starts]
    return Words(octets, starts, ends, hashes)


def _grams(octets: Octets, length: int = 4) -> Hashes:
    count = octets.size - length + 1
    if count <= 0:
        return np.zeros(0, dtype=np.uint64)
    wide = octets.astype(np.uint64)
    hashes = np.zeros(count, dtype=np.uint64)
    for place in range(length):
        hashes = (hashes << np.uint64(8)) | wide[place : place + count]
    return hashes


def _ids(kind: Kind, hashes: Hashes) -> Ids:
    with np.errstate(over="ignore"):
        mixed = (hashes ^ np.uint64(0x5BD1E995 + kind)) * _MIX
        mixed ^= mixed >> np.uint64(29)
        mixed *= _MIX_MORE
    return (mixed >> np.uint64(64 - BITS[kind])).astype(np.uint32) + np.uint32(STARTS[kind])


def _tokens(kind: Kind, tokens: Iterable[str]) -> Ids:
    hashes = [zlib.crc32(token.encode("utf-8", "replace")) | len(token) << 32 for token in list(tokens)[:TOKENS]]
    return _ids(kind, np.array(hashes, dtype=np.uint64))


def _each_once(found: list[Ids]) -> Ids:
    mark = np.zeros(SIZE, dtype=bool)
    for ids in found:
        mark[ids] = True
    return np.flatnonzero(mark).astype(np.uint32)


def _of_address(address: str) -> list[str]:
    local, domain = address.lower().rpartition("@")[0], domain_of(address).lower()
    name = domain.rpartition(".")[0]
    return [
        *(f"word:{word}" for word in _NOT_LETTERS.split(local) if len(word) > 2),
        "local:" + _LETTERS.sub("a", _DIGITS.sub("0", local))[:16],
        "tld:" + domain.rpartition(".")[2],
        f"labels:{min(domain.count('.'), 4)}",
        f"length:{min(len(name) // 6, 6)}",
        f"digits:{min(sum(map(str.isdigit, name)), 4)}",
        f"hyphens:{min(name.count('-'), 3)}",
    ]


def _of_links(message: Message) -> dict[str, None]:
    links = message.links
    tokens: dict[str, None] = {f"links:{min(len(links), 12)}": None, f"hosts:{min(len(message.link_hosts), 8)}": None}
    for link in links[:LINKS]:
        tokens["tld:" + link.host.rpartition(".")[2]] = None
        _, _, rest = link.url.partition("//")
        path = rest.partition("/")[2][:200].lower()
        tokens[f"path:{min(len(path) // 20, 6)}"] = None
        for word in _NOT_LETTERS.split(path)[:12]:
            if 2 < len(word) < 16:
                tokens["word:" + word] = None
    return tokens


def _shown(message: Message) -> dict[str, None]:
    texts = " ".join(link.text[:80] for link in message.links[:LINKS] if link.text)
    return dict.fromkeys(word for word in _NOT_A_WORD.split(fold(texts)) if word)


def _of_form(message: Message) -> dict[str, None]:
    tokens = {"parts:" + ",".join(part.content_type for part in message.parts[:6]): None}
    source = message.html
    if source:
        names = [name.lower() for name in _ELEMENT.findall(source[:60_000])[:300]]
        for name in set(names):
            tokens[f"{name}:{min(names.count(name).bit_length(), 6)}"] = None
        beginning = source[:30_000].lower()
        for style in _STYLES:
            if style in beginning:
                tokens["has:" + style] = None
    for part in message.attachments:
        tokens["file:" + part.content_type] = None
        tokens["suffix:" + part.filename.lower().rpartition(".")[2][:8]] = None
    return tokens
