"""Which names pass for which, and which only look as if they did."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailguard.core.lookalike import Lookalike, edits, near, skeleton, unicode_label

LABELS = st.text(alphabet="abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=20)


@pytest.mark.parametrize(
    ("label", "name", "kind"),
    [
        ("paypa1", "paypal", Lookalike.HOMOGLYPH),
        ("paypai", "paypal", Lookalike.HOMOGLYPH),  # written paypaI
        ("rnicrosoft", "microsoft", Lookalike.HOMOGLYPH),
        ("vvalmart", "walmart", Lookalike.HOMOGLYPH),
        ("xn--pypal-4ve", "paypal", Lookalike.HOMOGLYPH),  # Cyrillic a
        ("pаypal", "paypal", Lookalike.HOMOGLYPH),
        ("gööglé", "google", Lookalike.HOMOGLYPH),
        ("аоl", "aol", Lookalike.HOMOGLYPH),  # Cyrillic, so short a name all the same
        ("paypall", "paypal", Lookalike.EDIT),
        ("micorsoft", "microsoft", Lookalike.EDIT),
        ("microsft", "microsoft", Lookalike.EDIT),
        ("northwindtradeers", "northwindtraders", Lookalike.EDIT),
        ("acmme", "acme", Lookalike.EDIT),
        ("amce", "acme", Lookalike.EDIT),
        ("pay-pal", "paypal", Lookalike.HYPHEN),
        ("blueharbor", "blue-harbor", Lookalike.HYPHEN),
        ("secure-paypal", "paypal", Lookalike.WORDS),
        ("paypal-billing-eu", "paypal", Lookalike.WORDS),
        ("paypa1-login", "paypal", Lookalike.WORDS),
        ("paypallogin", "paypal", Lookalike.WORDS),
        ("myacme", "acme", Lookalike.WORDS),
    ],
)
def test_near(label: str, name: str, kind: Lookalike) -> None:
    assert near(label, name) is kind


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("paypal", "paypal"),
        ("PayPal", "paypal"),
        ("xn--mnchen-3ya", "münchen"),  # itself, as it goes over the wire
        ("in", "ln"),
        ("acne", "acme"),  # four letters are near others by chance
        ("acmeville", "acme"),
        ("pineapple", "apple"),
        ("office", "offer"),
        ("microscope", "microsoft"),
        ("harbour", "northwind"),
        ("ing", "ong"),
        ("", "acme"),
    ],
)
def test_not_near(label: str, name: str) -> None:
    assert near(label, name) is None


@given(LABELS)
def test_a_name_is_no_lookalike_of_itself(label: str) -> None:
    assert near(label, label) is None


@given(st.text(max_size=80), st.text(max_size=80))
def test_any_text_is_answered(one: str, other: str) -> None:
    near(one, other)
    assert edits(one, other) == edits(other, one)


@given(st.text(max_size=80))
def test_a_skeleton_is_its_own(text: str) -> None:
    assert skeleton(skeleton(text)) == skeleton(text) or not text.isascii()


@given(LABELS, st.data())
def test_one_edit_is_counted_as_one(label: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(label) - 1))
    assert edits(label, label[:at] + "_" + label[at + 1 :]) == 1
    assert edits(label, label[:at] + label[at + 1 :]) == 1
    assert edits(label, label) == 0


@pytest.mark.parametrize("label", ["xn--", "xn--\udce9", "xn--999999999999", "xn--a-\u00e9"])
def test_what_is_no_punycode_stays(label: str) -> None:
    assert isinstance(unicode_label(label), str)
    assert isinstance(skeleton(label), str)
