"""Which features lessons are made of, from real mail."""

from __future__ import annotations

import sys
from array import array

from mailguard.checks.features import SPANS, Kind, extract
from mailguard.core.verdict import AuthMethod, AuthOutcome, AuthResult, CheckResult, Findings
from mailguard.learning.content import content_of
from mailguard.learning.reading import read_example
from mailguard.learning.traits import TraitKind
from mailguard.message.parse import parse

WORDS = " ".join(f"word{chr(97 + number % 26)}{chr(97 + number // 26)}" for number in range(80))
HEAD = (
    "From: Shop <news@shop.example>\r\nSubject: Offers of the week\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
)
AUTH = Findings((CheckResult("dkim", auth=(AuthResult(AuthMethod.DKIM, AuthOutcome.PASS, "shop.example"),)),))


def kinds(content: bytes) -> set[Kind]:
    ids = array("I", content)
    if sys.byteorder == "big":
        ids.byteswap()
    assert list(ids) == sorted(set(ids))
    return {kind for kind in Kind for start, end in (SPANS[kind],) if any(start <= one < end for one in ids)}


def test_words_are_learned_and_not_n_grams() -> None:
    content = content_of(extract(parse((HEAD + WORDS).encode())).packed)
    assert {Kind.WORD, Kind.SUBJECT} <= kinds(content)
    assert not {Kind.GRAM, Kind.SUBJECT_GRAM, Kind.PAIR} & kinds(content)
    assert content_of(content) == content


def test_of_a_script_without_spaces_n_grams_are() -> None:
    text = "今週のお得な情報をお届けします。お見逃しなくご覧ください。"
    assert Kind.GRAM in kinds(content_of(extract(parse((HEAD + text).encode())).packed))


def test_nothing_is_nothing() -> None:
    assert content_of(b"") == b""


def test_a_mail_is_read_with_its_sender_as_it_was_authenticated() -> None:
    read = read_example((HEAD + WORDS).encode(), AUTH)
    assert {trait.kind for trait in read.example.traits} == {TraitKind.ADDRESS, TraitKind.DOMAIN, TraitKind.SHAPE}
    assert read.example.content == content_of(extract(parse((HEAD + WORDS).encode())).packed)
    assert read_example((HEAD + WORDS).encode(), Findings()).example.traits == ()
