"""Which display names would be read as the same person."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailguard.core.names import Likeness, is_full_name, name_key, name_words, same_person

WORD = st.text(alphabet="abcdefghijklmnopqrstuvwxyzäöüéñçßøł", min_size=3, max_size=10)
FULL_NAME = st.lists(WORD, min_size=2, max_size=3, unique=True).map(" ".join).filter(is_full_name)


@pytest.mark.parametrize(
    ("shown", "known", "likeness"),
    [
        ("Joan Miller", "Joan Miller", Likeness.SAME),
        ("Miller, Joan", "Joan Miller", Likeness.SAME),
        ("JOAN  MILLER", "Joan Miller", Likeness.SAME),
        ('"Joan Miller"', "Joan Miller", Likeness.SAME),
        ("Joan Miller (CEO)", "Joan Miller", Likeness.SAME),
        ("Dr. Joan Miller, PhD", "Joan Miller", Likeness.SAME),
        ("Joan M. Miller", "Joan Miller", Likeness.SAME),
        ("Joan Miller - Northwind", "Joan Miller", Likeness.SAME),
        ("Joan Miller via Northwind Docs", "Joan Miller", Likeness.SAME),
        ("Joan Miller joan@northwind.example", "Joan Miller", Likeness.SAME),
        ("Jоаn Мillеr", "Joan Miller", Likeness.SAME),  # Cyrillic among Latin
        ("J0an Mi11er", "Joan Miller", Likeness.SAME),
        ("Jo\u200ban M\u00adiller", "Joan Miller", Likeness.SAME),
        ("Renée Müller", "Renee Muller", Likeness.SAME),
        ("Sean O’Brien", "Sean O'Brien", Likeness.SAME),
        ("王小明", "王小明", Likeness.SAME),
        ("J. Miller", "Joan Miller", Likeness.SIMILAR),
        ("Joan Miler", "Joan Miller", Likeness.SIMILAR),
        ("Joann Miller", "Joan Miller", Likeness.SIMILAR),
        ("Mueller Renee", "Renée Müller", Likeness.SIMILAR),
        ("Joan Mueller", "Joan Miller", None),
        ("Jane Millar", "Joan Miller", None),
        ("John Miller", "Joan Smith", None),
        ("Joan", "Joan Miller", None),
        ("Miller", "Joan Miller", None),
        ("J. M.", "Joan Miller", None),
        ("News of Joan and the Miller family business", "Joan Miller", None),
        ("", "Joan Miller", None),
        ("Joan Miller", "", None),
        ("Joan Miller", "Sales", None),
    ],
)
def test_same_person(shown: str, known: str, likeness: Likeness | None) -> None:
    assert same_person(shown, known) is likeness


@pytest.mark.parametrize(
    "name", ["", "Sales", "Joe", "Customer Service", "The Acme Team", "no-reply", "info@acme.test", "A B"]
)
def test_what_names_no_person_has_no_key(name: str) -> None:
    assert name_key(name) == ""


def test_one_person_has_one_key() -> None:
    keys = {name_key(name) for name in ("Joan Miller", "MILLER, Joan", "Dr Joan Miller", "Joan Miller (via Docs)")}
    assert len(keys) == 1
    assert keys != {""}


@given(FULL_NAME, st.randoms(use_true_random=False))
def test_order_and_case_do_not_matter(name: str, random: object) -> None:
    words = name.split()
    random.shuffle(words)  # type: ignore[attr-defined]
    turned = f"{words[0]}, {' '.join(words[1:])}"
    assert same_person(turned.upper(), name) is Likeness.SAME
    assert name_words(turned) == name_words(name)


@given(FULL_NAME, st.data())
def test_one_initial_is_similar_at_most(name: str, data: st.DataObject) -> None:
    words = name.split()
    at = data.draw(st.integers(0, len(words) - 1))
    initialed = " ".join([*words[:at], words[at][0] + ".", *words[at + 1 :]])
    assert same_person(initialed, name) in (Likeness.SIMILAR, Likeness.SAME, None)
    if len(words) == 2:
        assert same_person(initialed, name) is not Likeness.SAME


@given(FULL_NAME, FULL_NAME)
def test_likeness_has_no_direction(one: str, other: str) -> None:
    assert same_person(one, other) is same_person(other, one)


@given(st.text(max_size=200), st.text(max_size=200))
def test_any_text_is_answered(one: str, other: str) -> None:
    same_person(one, other)
    assert len(name_key(one)) <= 128
