"""Patterns over octets: what each becomes, and that none misses what its original matches."""

from __future__ import annotations

from pathlib import Path

import pytest
import re2
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mailguard.checks.rules import Rule, Rules, options
from mailguard.checks.rules_file import load_rules, spaced
from mailguard.checks.rules_octets import ANYTHING, octet_pattern
from mailguard.checks.rules_scanner import Scanner, compiled
from tests.unit.checks.contexts import context

SHIPPED = Path(__file__).parents[3] / "policies" / "rules"


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("(?im)a-b", r"\x61\x2d\x62"),
        (r"(?m)\b(?:a|b)+?$", r"\b(?:\x61|\x62)+$"),
        (r"(?im)(a)\A\z", r"(?:\x61)^$"),
        (r"(?m)a\b?b^*", r"\x61\x62"),
        ("(?m)é", r"(?:\xc3\xa9)"),
        ("(?im)é?", r"(?:\xc3\x89|\xc3\xa9)?"),
        ("(?im)σ", r"(?:\xce\xa3|\xcf\x82|\xcf\x83)"),
        ("(?m)[a-c]{0,90}", r"[\x61\x62\x63]{0,90}"),
        ("(?im)[a]", r"[\x41\x61]"),
        ("(?m)[xé]", r"[\x78\x80-\xff]{1,4}"),
        ("(?im)[é]{2}", r"[\x4b\x53\x6b\x73\x80-\xff]{2,8}"),
        ("(?m)[é]*", r"[\x80-\xff]*"),
        ("(?m)[é]?", r"[\x80-\xff]{0,4}"),
        ("(?m)[é]{3,4}?", r"[\x80-\xff]{3,16}"),
        ("(?m)[é]{7,9}", r"[\x80-\xff]{4,}"),
        ("(?m)[é]{0,}", r"[\x80-\xff]{0,}"),
        (r"(?m)\x{e9}\x41\n", r"(?:\xc3\xa9)\x41\x0a"),
        (r"(?m)\d\s", r"[\x30\x31\x32\x33\x34\x35\x36\x37\x38\x39][\x09\x0a\x0c\x0d\x20]"),
        (r"(?m)[]\]]", r"\x5d"),
        *[
            (f"(?m){unknown}", ANYTHING)
            for unknown in (r"\pL", r"\Qa\E", "[[:alpha:]]", "(?s:.)", "(?P<n>a)", "a{,2}", r"\1")
        ],
        ("no flags", ANYTHING),
        ("(?m)[", ANYTHING),
    ],
)
def test_what_a_pattern_becomes(pattern: str, expected: str) -> None:
    assert octet_pattern(pattern) == expected


_ELEMENT = st.sampled_from(
    [
        *(
            "a",
            "K",
            "é",
            "ß",
            "[k-t]",
            "[^k]",
            "[éö]",
            "[^é\\n]",
            "[à-ſ]",
            ".",
            r"\s+",
            r"\s?",
            r"\S",
            r"\W",
            r"\w",
            "[0-9]",
        ),
        *(
            "^",
            "$",
            r"\b",
            r"\B",
            r"\b?",
            "(?:ab|Ö)",
            "(?:é|a){2}",
            "[é]{0,3}",
            ".{2,9}",
            "[^ab]{3}",
            "я+",
            "σ",
            r"\n",
            " ",
            "İ",
        ),
    ]
)
_TEXT = st.lists(
    st.sampled_from(
        ["a", "ab", "K", "k", "é", "É", "ß", "ẞ", "ö", "Ö", "\n", " ", "7", "я", "Я", "ς", "Σ", "日本", "_", "İ", "i"]
    ),
    max_size=12,
).map("".join)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.booleans(), st.lists(_ELEMENT, min_size=1, max_size=5).map("".join)), min_size=8, max_size=8),
    st.lists(_TEXT, min_size=8, max_size=8),
)
def test_none_is_missed(patterns: list[tuple[bool, str]], texts: list[str]) -> None:
    written = [f"{'(?im)' if caseless else '(?m)'}{pattern}" for caseless, pattern in patterns]
    scanner = Scanner(compiled(written))
    tried = [re2.compile(pattern, options()) for pattern in written]
    for text in texts:
        octets = text.encode()
        if octets:  # in an empty text nothing is looked for
            matching = {number for number, one in enumerate(tried) if one.search(octets)}
            assert matching <= set(scanner.candidates(octets))


def test_all_that_come_with_us_are_understood() -> None:
    assert [pattern for pattern in load_rules(SHIPPED).patterns if octet_pattern(pattern) == ANYTHING] == []


def test_the_rules_that_come_with_us_match_the_same_with_a_scanner() -> None:
    rules = load_rules(SHIPPED)
    scanner = Scanner(compiled(rules.patterns))
    scanned = rules.scanned_by(scanner)
    matched: set[str] = set()
    named = matching = 0
    for text in _examples():
        mail = context(f"From: a@b.example\r\nSubject: {' '.join(text.split())}\r\n\r\n{text}\r\n".encode())
        found = scanned.match(mail)
        assert found == rules.match(mail)
        matched.update(found)
        some = scanner.candidates(text.encode())
        named += len(some)
        matching += sum(bool(re2.compile(rules.patterns[number], options()).search(text.encode())) for number in some)
    assert len(matched) > 100
    assert matching > 500
    assert named < 1.2 * matching  # else RE2 is asked for nothing


def _examples() -> list[str]:
    tables = [rule for file in SHIPPED.glob("*.yaml") for rule in yaml.safe_load(file.read_text())["rules"]]
    return [str(text) for rule in tables for text in (*rule.get("hits", ()), *rule.get("misses", ()))]


def test_letters_outside_ascii_that_case_makes_ascii_are_matched() -> None:
    rules = Rules([Rule("KISS", "kisses", 1.0, ("body",), ("(?im)kiss|hug", "(?im)one", "(?im)two", "(?m)^three"))])
    scanned = rules.scanned_by(Scanner(compiled(rules.patterns)))
    mail = context("From: a@b.example\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n\u212ai\u017fs\r\n".encode())
    assert scanned.match(mail) == rules.match(mail) == {"KISS": ("kiss",)}


def test_blanks_stand_for_any_white_space() -> None:
    assert Scanner(compiled([f"(?im){spaced('two words')}"])).candidates(b"TWO\n\twords") == [0]
