"""Folding and hashing give what their plain definitions give: a shipped model knows features by these very ids."""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections import Counter
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mailguard.checks import features
from mailguard.checks.features import BITS, STARTS, Kind
from mailguard.checks.features_fold import fold
from mailguard.message.parse import parse

PIECES = st.sampled_from([
    "http://", "https://", "hxxps[:]//", "ftp://", "shttp://", "//", "://", "www.", "wwww.", "a@b.example", "@", "@@", "a.b+c",
    "x" * 70, "y" * 600, "12", "3", "０٣", "é", "İ", " ", "\n", "\u2003", ".", "-", "_", "/", "$", "'", "wWw.A", "HTTP://Q",
])  # fmt: skip
TEXTS = st.lists(PIECES | st.text(max_size=5), max_size=30).map("".join)


def plainly_folded(text: str) -> str:
    """What `fold` is by definition."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    text = text.lower()
    text = re.sub(r"(?:https?|hxxps?|ftp)(?:\[:\]|:)//\S{1,500}|www\.\S{1,300}", " $u ", text)
    text = re.sub(r"[\w.+\-]{1,64}@[\w.\-]{1,200}", " $m ", text)
    return " ".join(re.sub(r"\d+", "0", text).split())


@given(TEXTS)
@settings(deadline=None)
def test_folding_is_what_the_patterns_say(text: str) -> None:
    assert fold(text) == plainly_folded(text)


def id_of(kind: Kind, value: int) -> int:
    """What a hash's id is by definition."""
    mixed = (value ^ (0x5BD1E995 + kind)) * 0x9E3779B97F4A7C15 % 2**64
    mixed = (mixed ^ (mixed >> 29)) * 0xBF58476D1CE4E5B9 % 2**64
    return (mixed >> (64 - BITS[kind])) + STARTS[kind]


@given(TEXTS)
@settings(deadline=None, max_examples=50)
def test_ids_are_of_words_pairs_and_grams(text: str) -> None:
    mail = b"From: a@b.example\r\nSubject: x\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + text.encode()
    message = parse(mail)
    found = features.extract(message)
    octets = fold(re.sub(r"(?m)^[>|].*$", "", message.visible_text[: features.TEXT_CHARACTERS])).encode()
    octets = octets[: features.TEXT_OCTETS]
    words = [word for word in re.findall(rb"[a-z0$'\x80-\xff]+", octets) if len(word) <= features.WORD_OCTETS]
    hashes = [sum((octet + 1) * 0x100000001B3**at for at, octet in enumerate(word)) % 2**64 for word in words]
    wanted = {id_of(Kind.WORD, one) for one in hashes}
    wanted |= {id_of(Kind.PAIR, (one * 31 + two) % 2**64) for one, two in pairwise(hashes)}
    grams = octets[: features.GRAM_OCTETS]
    wanted |= {id_of(Kind.GRAM, int.from_bytes(grams[at : at + 4])) for at in range(len(grams) - 3)}
    ids = found.ids.tolist()
    assert {one for one in ids if one < STARTS[Kind.SUBJECT]} == wanted
    assert ids == sorted(set(ids))


def test_what_is_told_by_a_token_is_its_checksum_and_length() -> None:
    found = features.extract(parse(b"From: ann@mail.example\r\n\r\nhello\r\n"))
    token = "tld:example"
    assert id_of(Kind.SENDER, zlib.crc32(token.encode()) | len(token) << 32) in found.ids.tolist()


def test_of_more_elements_than_are_kept_the_first_ones_are() -> None:
    elements = "".join(f"<e{number}a> " for number in range(200))
    mail = b"From: a@b.example\r\nContent-Type: text/html\r\n\r\n" + elements.encode()
    ids = features.extract(parse(mail)).ids
    kept = [id_of(Kind.FORM, zlib.crc32(b"e%da:1" % number) | len(f"e{number}a:1") << 32) for number in range(200)]
    assert np.isin(kept[:119], ids).all()
    assert not np.isin(kept[119:], ids).all()


HTML = st.lists(
    st.sampled_from(["<td ", "<TD>", "<font/", "<a", "<", " ", "oncli\u212a", "ONCLICK", "b\u0130gcolor", "é", "x" * 3_000, "<p>" * 90]),
    min_size=10, max_size=40,
).map("".join)  # fmt: skip


@given(HTML)
@settings(deadline=None, max_examples=50)
def test_elements_and_styles_are_those_of_the_whole_source(source: str) -> None:
    mail = b"From: a@b.example\r\nContent-Type: text/html; charset=utf-8\r\n\r\n" + source.encode()
    message = parse(mail)
    ids = set(features.extract(message).ids.tolist())
    names = re.findall(r"<([a-zA-Z][a-zA-Z0-9]{0,9})[\s>/]", message.html[:60_000])[:300]
    counted = Counter(map(str.lower, names))
    lower = message.html[:30_000].lower()
    tokens = {f"{name}:{min(count.bit_length(), 6)}" for name, count in counted.items()}
    tokens |= {f"has:{style}" for style in ("onclick", "bgcolor", "<font") if style in lower}
    possible = {f"{name}:{bits}" for name in ("td", "font", "a", "p") for bits in range(1, 7)}
    possible |= {"has:onclick", "has:bgcolor", "has:<font"}
    for token in possible:
        found = id_of(Kind.FORM, zlib.crc32(token.encode()) | len(token) << 32) in ids
        assert found is (token in tokens), token
