"""Rates, their intervals and ROC curves, against values worked out by hand and against what must always hold."""

from __future__ import annotations

import math
from itertools import pairwise, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailguard.learning.statistics import (
    Rate,
    area_above,
    area_above_interval,
    beta_cdf,
    clopper_pearson,
    median,
    quantile,
    roc,
    tpr_at,
)

SCORES = st.lists(st.sampled_from([-1.5, 0.0, 0.5, 1.0, 2.0, 7.25]), min_size=1, max_size=12)


def test_intervals_where_they_can_be_written_down() -> None:
    # None of n: (1 - p)^n = 0.025 at the upper end; all of n: p^n = 0.025 at the lower.
    assert clopper_pearson(0, 10) == pytest.approx((0.0, 1 - 0.025 ** (1 / 10)))
    assert clopper_pearson(10, 10) == pytest.approx((0.025 ** (1 / 10), 1.0))
    # 1 of 2: 1 - (1-p)^2 = 0.025 and p^2 = 0.975... the lower end, and its mirror.
    low = 1 - math.sqrt(0.975)
    assert clopper_pearson(1, 2) == pytest.approx((low, 1 - low))


def test_an_interval_from_the_tables() -> None:
    # 5 of 100: the exact 95 % limits of the binomial tables.
    assert clopper_pearson(5, 100) == pytest.approx((0.0164, 0.1128), abs=5e-5)


@given(st.integers(1, 3000), st.data())
@settings(deadline=None, max_examples=60)
def test_an_interval_holds_its_rate_and_is_the_binomial_tail(n: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, n))
    low, high = clopper_pearson(count, n)
    assert 0 <= low <= count / n <= high <= 1
    assert low < high
    mirrored = clopper_pearson(n - count, n)
    assert (1 - mirrored[1], 1 - mirrored[0]) == pytest.approx((low, high), abs=1e-9)
    if count:
        tail = math.fsum(_binomial(k, n, low) for k in range(count, n + 1))
        assert tail == pytest.approx(0.025, abs=1e-7)


def _binomial(k: int, n: int, p: float) -> float:
    log = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return math.exp(log + k * math.log(p) + (n - k) * math.log1p(-p))


def test_what_is_no_rate() -> None:
    assert math.isnan(Rate(0, 0).share)
    assert Rate(0, 0).interval == (0.0, 1.0)
    assert Rate(1, 4).share == 0.25
    for count, n in ((-1, 2), (3, 2)):
        with pytest.raises(ValueError, match="no rate"):
            clopper_pearson(count, n)


def test_beta_where_it_is_a_polynomial() -> None:
    for x in (0.0, 0.1, 0.5, 0.9, 1.0):
        assert beta_cdf(x, 1, 1) == pytest.approx(x)
        assert beta_cdf(x, 2, 1) == pytest.approx(x * x)
        assert beta_cdf(x, 2, 2) == pytest.approx(3 * x * x - 2 * x**3)


def test_a_curve_worked_out_by_hand() -> None:
    ham, spam = [0.0, 1.0, 2.0, 3.0], [2.0, 4.0]
    points = roc(ham, spam)
    assert [(point.threshold, point.fpr, point.tpr) for point in points] == [
        (math.inf, 0.0, 0.0),
        (4.0, 0.0, 0.5),
        (3.0, 0.25, 0.5),
        (2.0, 0.5, 1.0),
        (1.0, 0.75, 1.0),
        (0.0, 1.0, 1.0),
    ]
    # Of 8 pairs: 3 over 2 is wrong, 2 and 2 is half wrong.
    assert area_above(ham, spam) == pytest.approx(1.5 / 8)
    assert tpr_at(points, 0.1).tpr == 0.5
    assert tpr_at(points, 0.1).threshold == 4.0
    assert tpr_at(points, 0.5).tpr == 1.0
    assert tpr_at(points, 0.0).tpr == 0.5


def test_ties_are_worth_half() -> None:
    assert area_above([1.0] * 5, [1.0] * 3) == 0.5
    assert tpr_at(roc([1.0] * 5, [1.0] * 3), 0.9).tpr == 0.0


@given(SCORES, SCORES)
@settings(deadline=None)
def test_the_area_is_what_counting_pairs_gives(ham: list[float], spam: list[float]) -> None:
    wrong = sum(1.0 if h > s else 0.5 if h == s else 0.0 for h, s in product(ham, spam))
    area = area_above(ham, spam)
    assert area == pytest.approx(wrong / len(ham) / len(spam))
    points = roc(ham, spam)
    trapezoids = sum((b.fpr - a.fpr) * (a.tpr + b.tpr) / 2 for a, b in pairwise(points))
    assert 1 - area == pytest.approx(trapezoids)
    low, high = area_above_interval(ham, spam)
    assert 0 <= low <= area + 1e-12
    assert area <= high + 1e-12 <= 1 + 1e-9
    for fpr in (0.0, 0.25, 1.0):
        best = max(
            sum(s >= t for s in spam) / len(spam)
            for t in (*ham, *spam, math.inf)
            if sum(h >= t for h in ham) / len(ham) <= fpr
        )
        assert tpr_at(points, fpr).tpr == best


def test_the_areas_interval_is_delongs() -> None:
    # Shares of spam each ham is over: 0, 0, 1/2, 1; of ham each spam is not over: 1/3... by hand below.
    ham, spam = [0.0, 1.0, 3.0], [2.0, 4.0]
    area = 1 / 6
    of_ham, of_spam = [0, 0, 1 / 2], [1 / 3, 0]
    mean_square = sum((v - 1 / 6) ** 2 for v in of_ham) / 2 / 3 + sum((v - 1 / 6) ** 2 for v in of_spam) / 1 / 2
    width = 1.959964 * math.sqrt(mean_square) / (area * (1 - area))
    logit = math.log(area / (1 - area))
    expected = tuple(1 / (1 + math.exp(-x)) for x in (logit - width, logit + width))
    assert area_above_interval(ham, spam) == pytest.approx(expected)


def test_one_class_alone_has_no_curve() -> None:
    for ham, spam in (([], [1.0]), ([1.0], [])):
        with pytest.raises(ValueError, match="both"):
            roc(ham, spam)
        with pytest.raises(ValueError, match="both"):
            area_above(ham, spam)


def test_medians_and_quantiles() -> None:
    assert median([3.0, 1.0, 2.0]) == 2.0
    assert median([4.0, 1.0, 2.0, 3.0]) == 2.5
    assert quantile([float(i) for i in range(1, 101)], 0.99) == 99.0
    assert quantile([5.0], 0.99) == 5.0
    assert math.isnan(median([]))
    assert math.isnan(quantile([], 0.5))
