"""A mail as hashed features for the classifier: words, word pairs, byte n-grams and tokens of several fields, each once.

Each kind has its own range of ids, so that it is weighed apart. Nothing of header fields that other systems add goes in.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import accumulate, islice
from typing import Any

import numpy as np
import re2
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
FIELD_OCTETS = 2 * FIELD_CHARACTERS
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
_SCHEME = re.compile(r"(?:https?|hxxps?|ftp)(?:\[:\]|:)\Z")
_SCHEME_LENGTH = 8
_AFTER_SCHEME = re.compile(r"\S{1,500}")
_AFTER_WWW = re.compile(r"\S{1,300}")
_LOCAL = re.compile(r"[\w.+\-]{1,64}")
_DOMAIN = re.compile(r"[\w.\-]{1,200}")
_QUOTED = re.compile(r"(?m)^[>|].*$")
_DIGITS = re.compile(r"\d+")
_TO_ZERO = str.maketrans("123456789", "0" * 9)
_ZEROS = re.compile("00+")
_NOT_A_WORD = re.compile(r"[^\w$']+")
_NOT_LETTERS = re.compile(r"[^a-z]+")
_LETTERS = re.compile(r"[a-z]+")
_ELEMENT = re.compile(r"<([a-zA-Z][a-zA-Z0-9]{0,9})[\s>/]")
_STYLES = (
    "display:none", "font-size:0", "<form", "onclick", "<script", "data:image", "cid:", "@media", "mso-", "role=\"presentation\"",
    "position:absolute", "visibility:hidden", "<center", "<font", "bgcolor", "!important", "<style", "background-image",
)  # fmt: skip


def _set(texts: Sequence[str]) -> Any:
    made = re2.Set.SearchSet()
    for text in texts:
        made.Add(re.escape(text))
    made.Compile()
    return made


_STYLES_SET = _set(_STYLES)


def _powers() -> tuple[Hashes, Hashes]:
    """The powers of _PRIME, and those of its inverse, modulo 2^64."""
    length = TEXT_OCTETS + 2 * FIELD_OCTETS + 3
    inverse = np.uint64(pow(int(_PRIME), -1, 1 << 64))
    made = []
    with np.errstate(over="ignore"):
        for base in (_PRIME, inverse):
            powers = np.full(length, base, dtype=np.uint64)
            powers[0] = 1
            made.append(np.cumprod(powers, dtype=np.uint64))
    return made[0], made[1]


_POWERS, _INVERSES = _powers()
_IN_WORD = bytes(octet >= 128 or octet in b"abcdefghijklmnopqrstuvwxyz0$'" for octet in range(256))
_SEEDS = tuple(np.uint64(0x5BD1E995 + kind) for kind in Kind)
_SHIFTS = tuple(np.uint64(64 - bits) for bits in BITS)
_FIRST = tuple(np.uint64(start) for start in STARTS)
_HALF = np.uint64(29)


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
    body_ids: tuple[Ids, Ids]
    """Of the body's words and of its pairs, in their order."""
    subject_ids: tuple[Ids, Ids]

    @property
    def packed(self) -> bytes:
        """The ids as in Classification.features."""
        return self.ids.tobytes()


def extract(message: Message) -> Features:
    """The features of a mail."""
    sender = message.from_mailboxes[0] if message.from_mailboxes else None
    body, subject, name = _words(
        (fold(_without_quotes(message.visible_text[:TEXT_CHARACTERS])), TEXT_OCTETS),
        (fold(message.subject[:FIELD_CHARACTERS]), FIELD_OCTETS),
        (fold(sender.name[:FIELD_CHARACTERS]) if sender else "", FIELD_OCTETS),
    )
    address = _of_address(sender.address[:FIELD_CHARACTERS]) if sender else ()
    ids = _ids(
        [
            (Kind.WORD, body.hashes),
            (Kind.PAIR, pair_hashes(body)),
            (Kind.GRAM, _grams(body.text[:GRAM_OCTETS])),
            (Kind.SUBJECT, np.concatenate((subject.hashes, pair_hashes(subject)))),
            (Kind.SUBJECT_GRAM, _grams(subject.text)),
            (Kind.NAME, name.hashes),
            (Kind.SENDER, _tokens(address)),
            (Kind.LINK, _tokens(_of_links(message))),
            (Kind.SHOWN, _tokens(_shown(message))),
            (Kind.FORM, _tokens(_of_form(message))),
        ]
    )
    count = subject.hashes.size
    return Features(_each_once(ids), body, subject, (ids[0], ids[1]), (ids[3][:count], ids[3][count:]))


def _without_quotes(text: str) -> str:
    """`text` without the lines that quote another mail."""
    if "\n>" in text or "\n|" in text or text.startswith((">", "|")):
        return _QUOTED.sub("", text)
    return text


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
    """Mail addresses as ` $m `: `[\\w.+\\-]{1,64}@[\\w.\\-]{1,200}`, looked for from each `@` backwards, which is linear."""
    out: list[str] = []
    done = 0
    at = text.find("@")
    while at >= 0:
        domain = _DOMAIN.match(text, at + 1)
        local = _LOCAL.match(text[max(done, at - 64) : at][::-1]) if domain else None
        if domain and local:
            out += (text[done : at - local.end()], " $m ")
            done = domain.end()
        at = text.find("@", max(at + 1, done))
    out.append(text[done:])
    return "".join(out)


def pair_hashes(words: Words) -> Hashes:
    """The hashes of words that follow each other."""
    pairs = words.hashes[:-1] * np.uint64(31)
    pairs += words.hashes[1:]
    return pairs


def spans(ids: Ids) -> NDArray[Any]:
    """Where each kind begins in sorted ids, and where the last ends."""
    return np.searchsorted(ids, _BOUNDS)


def _words(*texts: tuple[str, int]) -> list[Words]:
    """The words of texts, of each as many octets as are said. In one go, since NumPy's calls cost more than short texts."""
    contents = [text.encode("utf-8", "replace")[:limit] for text, limit in texts]
    content = b"\0".join(contents)
    octets = np.frombuffer(content, dtype=np.uint8)
    inside = np.frombuffer(b"\0" + content.translate(_IN_WORD) + b"\0", dtype=np.uint8)
    # Words and what parts them take turns: the first turn begins a word.
    turns = np.flatnonzero(inside[1:] != inside[:-1])
    starts, ends = turns[::2], turns[1::2]
    if ends.size and int((ends - starts).max()) > WORD_OCTETS:
        short = ends - starts <= WORD_OCTETS
        starts, ends = starts[short], ends[short]
    sums = np.zeros(octets.size + 1, dtype=np.uint64)
    values = octets.astype(np.uint64)
    values += np.uint64(1)
    values *= _POWERS[: octets.size]
    np.cumsum(values, out=sums[1:])
    hashes = sums[ends]
    hashes -= sums[starts]
    hashes *= _INVERSES[starts]
    made: list[Words] = []
    offset = 0
    for one in contents:
        first, last = starts.searchsorted((offset, offset + len(one))).tolist()
        text = octets[offset : offset + len(one)]
        made.append(Words(text, starts[first:last] - offset, ends[first:last] - offset, hashes[first:last]))
        offset += len(one) + 1
    return made


def _grams(octets: Octets, length: int = 4) -> Hashes:
    count = octets.size - length + 1
    if count <= 0:
        return np.zeros(0, dtype=np.uint64)
    hashes = np.empty(count, dtype=np.uint64)
    # Those that begin at every fourth octet are big-endian numbers behind each other.
    for place in range(length):
        some = (octets.size - place) // length
        hashes[place::length] = octets[place : place + some * length].view(">u4")
    return hashes


def _ids(found: Sequence[tuple[Kind, Hashes]]) -> list[Ids]:
    """The ids of hashes of several kinds. They are mixed all at once, since NumPy's calls cost more than the numbers."""
    mixed = np.concatenate([hashes for _, hashes in found])
    ends = list(accumulate(hashes.size for _, hashes in found))
    spans = [(kind, slice(end - hashes.size, end)) for (kind, hashes), end in zip(found, ends, strict=True)]
    for kind, span in spans:
        mixed[span] ^= _SEEDS[kind]
    mixed *= _MIX
    mixed ^= mixed >> _HALF
    mixed *= _MIX_MORE
    for kind, span in spans:
        mixed[span] >>= _SHIFTS[kind]
        mixed[span] += _FIRST[kind]
    ids = mixed.astype(np.uint32)
    return [ids[span] for _, span in spans]


def _tokens(tokens: Iterable[str]) -> Hashes:
    octets = [(token.encode("utf-8", "replace"), len(token)) for token in islice(tokens, TOKENS)]
    return np.array([zlib.crc32(one) | length << 32 for one, length in octets], dtype=np.uint64)


def _each_once(found: Sequence[Ids]) -> Ids:
    """Ids of kinds in their order, sorted, each once. Sorting kind by kind costs less than all at once."""
    ids = np.concatenate(found)
    start = 0
    for some in found:
        ids[start : start + some.size].sort()
        start += some.size
    first = np.empty(ids.size, dtype=bool)
    first[:1] = True
    np.not_equal(ids[1:], ids[:-1], out=first[1:])
    return ids[first]


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
        names = Counter(map(str.lower, _ELEMENT.findall(source[:60_000])[:300]))
        for name, count in names.items():
            tokens[f"{name}:{min(count.bit_length(), 6)}"] = None
        for number in sorted(_STYLES_SET.Match(source[:30_000].lower().encode("utf-8", "replace")) or ()):
            tokens["has:" + _STYLES[number]] = None
    for part in message.attachments:
        tokens["file:" + part.content_type] = None
        tokens["suffix:" + part.filename.lower().rpartition(".")[2][:8]] = None
    return tokens
