"""The figures of an evaluation, on mails made up so that they can be counted by hand."""

from __future__ import annotations

import math
from xml.etree import ElementTree

import pytest

from mailguard.core.decision import Action
from mailguard.core.verdict import ScoredSymbol
from mailguard.learning.evaluate import decided_anew, evaluate
from mailguard.learning.roc_plot import Curve, roc_svg
from mailguard.learning.statistics import Rate
from tests.unit.learning.scanned import THRESHOLDS, scanned

LINK, LIST = ScoredSymbol("LINK", 4.0, check="rules"), ScoredSymbol("LIST", -1.0, check="identity")
MAILS = [
    scanned(0.0, spam=False, name="ham/a/1.eml", source="h", symbols=(LIST,)),
    scanned(1.0, spam=False, name="ham/a/2.eml", source="h"),
    scanned(6.0, spam=False, name="ham/b/1.eml", source="h", symbols=(LINK,)),
    scanned(2.0, spam=False, name="1.eml", source="i", action=Action.QUARANTINE),
    scanned(9.0, spam=True, name="1.eml", source="s", symbols=(LINK,)),
    scanned(5.5, spam=True, name="2.eml", source="s", symbols=(LINK,)),
    scanned(0.5, spam=True, name="1.eml", source="t"),
    scanned(0.0, spam=True, name="2.eml", source="t", problem="cannot be read"),
]


def test_rates_are_of_what_was_decided_and_curves_of_scores() -> None:
    found = evaluate(MAILS, thresholds=THRESHOLDS)
    assert (found.ham.n, found.spam.n) == (4, 3)
    assert found.ham.reached == {Action.TAG: Rate(2, 4), Action.QUARANTINE: Rate(1, 4), Action.REJECT: Rate(0, 4)}
    assert found.spam.reached == {Action.TAG: Rate(2, 3), Action.QUARANTINE: Rate(1, 3), Action.REJECT: Rate(0, 3)}
    assert (found.ham.median, found.spam.median) == (1.5, 5.5)
    # Of 12 pairs a ham scores over the spam in: 6 > 5.5; 1, 2 and 6 > 0.5.
    assert found.ham.roca == found.spam.roca == pytest.approx(4 / 12)
    # Only the spam of 9 is over all ham.
    assert found.spam.caught == (Rate(1, 3), Rate(1, 3))
    assert found.curve[0].fpr == 0
    assert found.curve[-1].tpr == 1
    assert [one.mail.path.name for one in found.problems] == ["2.eml"]
    assert found.cpu_median == 0.001


def test_by_source_and_family() -> None:
    found = evaluate(MAILS, thresholds=THRESHOLDS)
    assert [(one.name, one.spam, one.n) for one in found.sources] == [
        ("h", False, 3), ("i", False, 1), ("s", True, 2), ("t", True, 1),
    ]  # fmt: skip
    assert [(one.name, one.n, one.reached[Action.TAG].count) for one in found.families] == [
        ("h: a", 2, 0),
        ("h: b", 1, 1),
    ]
    # h against all spam: 6 over 5.5, 6 and 1 over 0.5, of 9 pairs.
    assert found.sources[0].roca == pytest.approx(3 / 9)
    assert found.sources[3].caught == (Rate(0, 1), Rate(0, 1))


def test_the_worst_mistakes_first() -> None:
    found = evaluate(MAILS, thresholds=THRESHOLDS)
    assert [(one.score, one.action) for one in found.false_positives] == [
        (2.0, Action.QUARANTINE),
        (6.0, Action.TAG),
    ]
    assert [one.score for one in found.false_negatives] == [0.5]
    assert evaluate(MAILS, thresholds=THRESHOLDS, worst=1).false_positives == found.false_positives[:1]


def test_symbols_that_tell_most_apart_first() -> None:
    found = evaluate(MAILS, thresholds=THRESHOLDS)
    assert [(use.name, use.check, use.points, use.ham, use.spam) for use in found.symbols] == [
        ("LINK", "rules", 4.0, Rate(1, 4), Rate(2, 3)),
        ("LIST", "identity", -1.0, Rate(1, 4), Rate(0, 3)),
    ]


def test_one_class_alone_has_rates_but_no_curve() -> None:
    found = evaluate([one for one in MAILS if not one.mail.spam], thresholds=THRESHOLDS)
    assert found.ham.n == 4
    assert found.spam.n == 0
    assert math.isnan(found.ham.roca)
    assert not found.curve
    assert evaluate([], thresholds=THRESHOLDS).ham.n == 0


def test_another_score_does_not_undo_what_something_else_decided() -> None:
    kept = MAILS[3]
    assert decided_anew(kept, -9.0, THRESHOLDS).action is Action.QUARANTINE
    assert decided_anew(kept, 20.0, THRESHOLDS).action is Action.REJECT
    assert decided_anew(MAILS[4], 1.0, THRESHOLDS).action is Action.DELIVER


def test_the_plot_is_svg_with_hostile_names_escaped() -> None:
    found = evaluate(MAILS, thresholds=THRESHOLDS)
    text = roc_svg([Curve("<script>&", found.curve, [("tag", 0.25, 0.67)]), Curve("none", ())], title="a < b")
    root = ElementTree.fromstring(text)
    lines = [element for element in root if element.tag.endswith("polyline")]
    points = [tuple(map(float, pair.split(","))) for pair in lines[0].get("points", "").split()]
    assert len(lines) == 2
    assert points == sorted(points, key=lambda point: (point[0], -point[1]))  # to the right and up
    assert {"<script>&", "a < b", "tag"} <= {element.text for element in root}
