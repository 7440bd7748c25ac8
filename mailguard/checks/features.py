"""A mail as hashed features for the classifier: words, word pairs, byte n-grams and tokens of several fields, each once.

Each kind has its own range of ids, so that it is weighed apart. Nothing of header fields that other systems add goes in.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from enum import IntEnum
from itertools import accumulate, islice
from typing import Any

import numpy as np
import re2
from numpy.typing import NDArray

from mailguard.checks.features_fold import fold
from mailguard.core.address import domain_of
from mailguard.core.values import value
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
HTML_CHARACTERS = 60_000
ELEMENTS = 300
"""Elements of the HTML whose names are counted."""

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
_QUOTED = re.compile(r"(?m)^[>|].*$")
_DIGITS = re.compile(r"\d+")
_NOT_A_WORD = re.compile(r"[^\w$']+")
_NOT_LETTERS = re.compile(r"[^a-z]+")
_LETTERS = re.compile(r"[a-z]+")
_ELEMENT = re.compile(r"<([a-zA-Z][a-zA-Z0-9]{0,9})[\s>/]")
_PIECE = 8_000
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
_NEXT = bytes(min(octet + 1, 255) for octet in range(256))
"""Each octet plus 1, as it is hashed. UTF-8 has none of 255."""
_IN_WORD = bytes(octet >= 128 or octet in b"abcdefghijklmnopqrstuvwxyz0$'" for octet in range(256))
_SEEDS = np.array([0x5BD1E995 + kind for kind in Kind], dtype=np.uint64)
_SHIFTS = np.array([64 - bits for bits in BITS], dtype=np.uint64)
_FIRST = np.array(STARTS[:-1], dtype=np.uint64)
_OF_TEXT = (Kind.WORD, Kind.PAIR, Kind.GRAM)
"""The kinds that a mail has thousands of; of all others together there are some hundred."""
_HALF = np.uint64(29)


@value
class Words:
    """A folded text as octets, where its words lie in it, and their hashes. Places count from `offset` octets before the text."""

    text: Octets
    starts: NDArray[Any]
    ends: NDArray[Any]
    hashes: Hashes
    offset: int = 0

    def word(self, number: int) -> str:
        """The word at a place, as it was folded."""
        start, end = self.starts[number] - self.offset, self.ends[number] - self.offset
        return self.text[start:end].tobytes().decode("utf-8", "replace")


@value
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
    sender = next(iter(message.from_mailboxes), None)
    body, subject, name = _words(
        (fold(_without_quotes(message.visible_text[:TEXT_CHARACTERS])), TEXT_OCTETS),
        (fold(message.subject[:FIELD_CHARACTERS]), FIELD_OCTETS),
        (fold(sender.name[:FIELD_CHARACTERS]) if sender else "", FIELD_OCTETS),
    )
    address = _of_address(sender.address[:FIELD_CHARACTERS]) if sender else ()
    tokens, counts = _tokens(address, _of_links(message), _shown(message), _of_form(message))
    subject_pairs, subject_grams = pair_hashes(subject), _grams(subject.text)
    ids, ends = _ids(
        (body.hashes, pair_hashes(body), _grams(body.text[:GRAM_OCTETS])),
        (subject.hashes, subject_pairs, subject_grams, name.hashes, tokens),
        [subject.hashes.size + subject_pairs.size, subject_grams.size, name.hashes.size, *counts],
    )
    words, pairs, first = ends[Kind.WORD], ends[Kind.PAIR], ends[Kind.GRAM]
    second = first + subject.hashes.size
    of_subject = ids[first:second], ids[second : second + subject_pairs.size]
    return Features(_each_once(ids, ends), body, subject, (ids[:words], ids[words:pairs]), of_subject)


def _without_quotes(text: str) -> str:
    """`text` without the lines that quote another mail."""
    if "\n>" in text or "\n|" in text or text.startswith((">", "|")):
        return _QUOTED.sub("", text)
    return text


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
    lengths = ends - starts
    if lengths.size and int(lengths.max()) > WORD_OCTETS:
        short = lengths <= WORD_OCTETS
        starts, ends = starts[short], ends[short]
    sums = np.empty(octets.size + 1, dtype=np.uint64)
    sums[0] = 0
    values = np.frombuffer(content.translate(_NEXT), dtype=np.uint8) * _POWERS[: octets.size]
    np.cumsum(values, out=sums[1:])
    hashes = sums[ends]
    hashes -= sums[starts]
    hashes *= _INVERSES[starts]
    after = list(accumulate(len(one) + 1 for one in contents))
    offset = first = 0
    made: list[Words] = []
    for end, last in zip(after, starts.searchsorted(after).tolist(), strict=True):
        made.append(Words(octets[offset : end - 1], starts[first:last], ends[first:last], hashes[first:last], offset))
        offset, first = end, last
    return made


def _grams(octets: Octets, length: int = 4) -> Hashes:
    """Every four octets that follow each other, as a big-endian number: one view of the octets that overlaps itself."""
    count = max(0, octets.size - length + 1)
    return np.ndarray(count, ">u4", octets, strides=(1,)).astype(np.uint64)


def _ids(of_text: Sequence[Hashes], others: Sequence[Hashes], counts: Sequence[int]) -> tuple[Ids, list[int]]:
    """The ids of hashes, kind after kind, and where each kind ends: `of_text` those of _OF_TEXT, `counts` how many of each of
    the other kinds there are in `others`. All are mixed at once, since NumPy's calls cost more than the numbers."""
    ends = list(accumulate((*map(np.size, of_text), *counts)))
    text, few = ends[len(_OF_TEXT) - 1], np.array(counts)
    mixed = np.empty(ends[-1], dtype=np.uint64)
    start = 0
    for kind, hashes in zip(_OF_TEXT, of_text, strict=True):
        np.bitwise_xor(hashes, _SEEDS[kind], out=mixed[start : ends[kind]])
        start = ends[kind]
    rest = mixed[text:]
    np.concatenate(others, out=rest)
    rest ^= _SEEDS[len(_OF_TEXT) :].repeat(few)
    mixed *= _MIX
    mixed ^= mixed >> _HALF
    mixed *= _MIX_MORE
    mixed[:text] >>= _SHIFTS[Kind.WORD]  # which is that of all kinds of the text
    mixed[ends[Kind.WORD] : ends[Kind.PAIR]] += _FIRST[Kind.PAIR]
    mixed[ends[Kind.PAIR] : text] += _FIRST[Kind.GRAM]
    rest >>= _SHIFTS[len(_OF_TEXT) :].repeat(few)
    rest += _FIRST[len(_OF_TEXT) :].repeat(few)
    return mixed.astype(np.uint32), ends


def _tokens(*kinds: Iterable[str]) -> tuple[Hashes, list[int]]:
    """The hashes of tokens of several kinds, TOKENS at most of each, and how many of each there are."""
    hashes: list[int] = []
    counts: list[int] = []
    for tokens in kinds:
        before = len(hashes)
        hashes += [zlib.crc32(token.encode("utf-8", "replace")) | len(token) << 32 for token in islice(tokens, TOKENS)]
        counts.append(len(hashes) - before)
    return np.array(hashes, dtype=np.uint64), counts


def _each_once(found: Ids, ends: Sequence[int]) -> Ids:
    """Ids of kinds in their order, sorted, each once. Sorting kind by kind costs less than all at once."""
    ids = found.copy()
    start = 0
    for end in ends:
        ids[start:end].sort()
        start = end
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
        names = Counter(map(str.lower, _elements(source[:HTML_CHARACTERS])))
        for name, count in names.items():
            tokens[f"{name}:{min(count.bit_length(), 6)}"] = None
        # Of octets lower case is made ten times faster. What it leaves as it is makes no style, but for the sign of Kelvin.
        octets = source[:30_000].replace("\u212a", "k").encode("utf-8", "replace").lower()
        for number in sorted(_STYLES_SET.Match(octets) or ()):
            tokens["has:" + _STYLES[number]] = None
    for part in message.attachments:
        tokens["file:" + part.content_type] = None
        tokens["suffix:" + part.filename.lower().rpartition(".")[2][:8]] = None
    return tokens


def _elements(source: str) -> list[str]:
    """The names of the first ELEMENTS elements that are opened. A part of the source at a time: much has thousands."""
    names: list[str] = []
    start = 0
    while start < len(source) and len(names) < ELEMENTS:
        # No element that is found reaches beyond the next `<`.
        end = source.find("<", start + _PIECE)
        end = end if end >= 0 else len(source)
        names += _ELEMENT.findall(source, start, end)
        start = end
    return names[:ELEMENTS]
