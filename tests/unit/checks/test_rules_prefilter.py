"""The prefilter of rules: what a pattern requires, and that no pattern that matches is ever left out."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import re2
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mailguard.checks.rules import options
from mailguard.checks.rules_file import load_rules, spaced
from mailguard.checks.rules_literals import branches, plain, required_literals
from mailguard.checks.rules_prefilter import Prefilter

SHIPPED = Path(__file__).parents[3] / "policies" / "rules"


@pytest.mark.parametrize(
    ("pattern", "required"),
    [
        ("(?i)Account", [{"account"}]),
        (r"\b(?:konto|karte).{0,30}(?:gesperrt|blockiert)\b", [{"gesperrt", "blockiert"}, {"konto", "karte"}]),
        (r"are\s+you\s+(?:free|busy)", [{"are you free", "are you busy"}]),
        ("colou?r", [{"color", "colour"}]),
        ("gr[ae]y", [{"gray", "grey"}]),
        ("[0-9]{3} apples", [{"000 apples"}]),
        (r"(?:\w+ ){0,3}tail", [{"tail"}]),
        ("(?:ab|cd)+ efg", [{" efg"}]),
        (r"\x{e9}t\x{e9}", [{"été"}]),
        ("a.b", []),
        ("ab", []),
        ("(?:abc|.)", []),
        ("(?:abcd)?", []),
        ("[a-z]+", []),
        (r"\Qabc\E", []),
        ("(unclosed", []),
        ("[unclosed", []),
    ],
)
def test_required_literals(pattern: str, required: list[set[str]]) -> None:
    assert [set(group) for group in required_literals(pattern)] == required


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (r"(?im)\b(?:abc|d(?:ef|fe))\b", [r"(?im)\b(?:abc)\b", r"(?im)\b(?:d(?:ef|fe))\b"]),
        ("^foo|bar$", ["^foo", "bar$"]),
        (r"\b(?:(?:foo|bar))\b", [r"\b(?:foo)\b", r"\b(?:bar)\b"]),
        ("foo|b+", ["foo|b+"]),
        ("x(?:foo|bar)", ["x(?:foo|bar)"]),
        ("(?:foo|bar)?", ["(?:foo|bar)?"]),
        ("(bad", ["(bad"]),
    ],
)
def test_branches(pattern: str, expected: list[str]) -> None:
    assert branches(pattern) == expected


def test_plain() -> None:
    assert plain(b"  Two\r\n\tWORDS 1984 ") == b" two words 0000 "
    assert plain("ÄÖ\n7".encode()) == " äö 0 ".encode()


@pytest.fixture(scope="module")
def shipped() -> list[tuple[str, list[str]]]:
    """(pattern, examples that it or its rule's other patterns match)."""
    found = []
    for path in sorted(SHIPPED.glob("*.yaml")):
        for rule in yaml.safe_load(path.read_text())["rules"]:
            patterns = rule.get("patterns", [])
            for pattern in [patterns] if isinstance(patterns, str) else patterns:
                flags = "(?m)" if rule.get("case_sensitive") else "(?im)"
                found.append((flags + spaced(pattern), [str(text) for text in rule["hits"]]))
    return found


def test_no_shipped_pattern_is_left_out_where_it_matches(shipped: list[tuple[str, list[str]]]) -> None:
    for pattern, examples in shipped:
        whole = re2.compile(pattern, options())
        some = branches(pattern)
        compiled = [re2.compile(branch, options()) for branch in some]
        prefilter = Prefilter(some)
        for example in examples:
            for text in (example, example.upper(), f"before {example}\nafter", example.replace(" ", " \n")):
                octets = text.encode()
                matching = {number for number, branch in enumerate(compiled) if branch.search(octets)}
                assert bool(matching) is bool(whole.search(octets)), (pattern, text)
                assert matching <= set(prefilter.candidates(octets)), (pattern, text)


def test_most_shipped_patterns_need_not_be_tried_on_an_ordinary_mail() -> None:
    patterns = [
        branch for rule in load_rules(SHIPPED).rules for pattern in rule.patterns for branch in branches(pattern)
    ]
    prefilter = Prefilter(patterns)
    text = (
        b"Hello Bob,\nthe minutes of Tuesday are on the server. See you at lunch, and bring the figures.\nAnna\n" * 10
    )
    assert len(prefilter.candidates(text)) < len(patterns) / 20


_ELEMENT = st.sampled_from(
    [
        "ab",
        "cde",
        "[xy]",
        "[0-9]",
        "é",
        r"\s+",
        r"\s?",
        ".",
        "(?:ab|cd)",
        "(?:xyz|q.?r)",
        "a?",
        "(?:cde)+",
        "b{2}",
        r"\b",
        "7",
    ]
)


@settings(deadline=None, max_examples=300)
@given(
    st.lists(_ELEMENT, min_size=1, max_size=6).map("".join),
    st.lists(st.sampled_from(["ab", "cde", "x", "7", "É", " ", "\n", "qr", "bb", "XYZ", "a"]), max_size=14).map(
        "".join
    ),
)
def test_no_pattern_is_left_out_where_it_matches(pattern: str, text: str) -> None:
    octets = text.encode()
    if re2.compile("(?i)" + pattern, options()).search(octets):
        assert Prefilter(["(?i)" + pattern]).candidates(octets) == [0]


def test_it_is_quick_for_long_texts() -> None:
    prefilter = Prefilter([f"(?i)word{i} of .{{0,20}}length" for i in range(500)])
    started = time.process_time()
    prefilter.candidates(b"word of some length " * 25_000)
    assert time.process_time() - started < 1.0
