"""Sketches tell how alike mails are."""

from __future__ import annotations

from mailguard.learning.sketch import SIZE, similarity, sketch
from tests.unit.learning.examples import features


def test_alike_and_not() -> None:
    one, like, other = (sketch(features(*which)) for which in ((1, 1), (1, 2), (2, 1)))
    assert len(one) == 4 * SIZE
    assert similarity(one, one) == 1.0
    assert similarity(one, like) > 0.35 > similarity(one, other)
    assert similarity(one, b"") == similarity(b"", b"") == 0.0
