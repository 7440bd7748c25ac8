"""Error rates with their intervals, and ROC curves with ties as they are. Pure; nothing here knows what a mail is.

A higher score means spam, and a mail is called spam when its score is at or over a threshold.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Rate:
    """`count` of `n`; of nothing there is no rate (NaN)."""

    count: int
    n: int

    @property
    def share(self) -> float:
        """Between 0 and 1."""
        return self.count / self.n if self.n else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Where the true rate lies with 95 % confidence, whatever it is: Clopper and Pearson's exact interval (1934)."""
        return clopper_pearson(self.count, self.n)


def clopper_pearson(count: int, n: int, *, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The exact interval of a binomial rate; (0, 1) when `n` is 0. It is never too narrow, and a little wide for small `n`.

    Raises ValueError unless 0 ≤ `count` ≤ `n`.
    """
    if not 0 <= count <= n:
        raise ValueError(f"{count} of {n} is no rate")
    if not n:
        return 0.0, 1.0
    tail = (1 - confidence) / 2
    low = 0.0 if count == 0 else beta_quantile(tail, count, n - count + 1)
    high = 1.0 if count == n else beta_quantile(1 - tail, count + 1, n - count)
    return low, high


def beta_quantile(p: float, a: float, b: float) -> float:
    """The `p`-quantile of the beta distribution, by bisection: to 1e-12, or relatively so where it is small."""
    low, high = 0.0, 1.0
    while high - low > 1e-12 * max(high, 1e-6):
        middle = (low + high) / 2
        if beta_cdf(middle, a, b) < p:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def beta_cdf(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function I_x(a, b) for `a`, `b` > 0 (Abramowitz & Stegun 26.5.8 by Lentz's method)."""
    if x <= 0:
        return 0.0
    if x >= 1:
        return 1.0
    if x > (a + 1) / (a + b + 2):
        return 1 - beta_cdf(1 - x, b, a)  # where the fraction converges fast
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
    return front * _fraction(x, a, b) / a


def _fraction(x: float, a: float, b: float) -> float:
    tiny = 1e-300
    c, d = 1.0, 1 / _off_zero(1 - (a + b) * x / (a + 1), tiny)
    result = d
    for m in range(1, 10_000):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / _off_zero(1 + term * d, tiny)
            c = _off_zero(1 + term / c, tiny)
            result *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return result


def _off_zero(value: float, tiny: float) -> float:
    return value if abs(value) > tiny else tiny


@dataclass(frozen=True, slots=True)
class RocPoint:
    """What a threshold does: mails that score `threshold` or more are called spam."""

    threshold: float
    fpr: float
    tpr: float


def roc(ham: Sequence[float], spam: Sequence[float]) -> list[RocPoint]:
    """The curve from (0, 0) to (1, 1), a point for each score that occurs; equal scores fall together. Needs both."""
    if not ham or not spam:
        raise ValueError("a ROC curve needs both ham and spam")
    points = [RocPoint(math.inf, 0.0, 0.0)]
    hams, spams = sorted(ham), sorted(spam)
    for threshold in sorted({*hams, *spams}, reverse=True):
        over_ham = len(hams) - bisect_left(hams, threshold)
        over_spam = len(spams) - bisect_left(spams, threshold)
        points.append(RocPoint(threshold, over_ham / len(hams), over_spam / len(spams)))
    return points


def area_above(ham: Sequence[float], spam: Sequence[float]) -> float:
    """1 − the area under the ROC curve: how often a ham scores over a spam, equal scores counting half (Mann & Whitney).

    TREC's measure, as a share: 1-ROCA % is this times 100. Needs both.
    """
    if not ham or not spam:
        raise ValueError("a ROC curve needs both ham and spam")
    return math.fsum(_wrong_shares(ham, spam)) / len(ham)


def area_above_interval(ham: Sequence[float], spam: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of `area_above`, by DeLong's variance (1988) on the logit's scale.

    Where nothing (or everything) is in the wrong order the variance says nothing, and the interval ends at the rule of
    three of the smaller class.
    """
    area = area_above(ham, spam)
    smaller = min(len(ham), len(spam))
    if smaller < 2 or not 0 < area < 1:
        return (0.0, min(1.0, 3 / smaller)) if area < 1 else (max(0.0, 1 - 3 / smaller), 1.0)
    of_ham = _wrong_shares(ham, spam)
    of_spam = [1 - share for share in _wrong_shares(spam, ham)]
    variance = _variance(of_ham) / len(ham) + _variance(of_spam) / len(spam)
    logit = math.log(area / (1 - area))
    width = 1.959964 * math.sqrt(variance) / (area * (1 - area))
    return _expit(logit - width), _expit(logit + width)


def _wrong_shares(lower: Sequence[float], higher: Sequence[float]) -> list[float]:
    """For each of `lower`, which share of `higher` it is over; equal counts half."""
    ordered = sorted(higher)
    n = len(ordered)
    shares: dict[float, float] = {}
    for score in lower:
        if score not in shares:
            below = bisect_left(ordered, score)
            upto = bisect_left(ordered, math.nextafter(score, math.inf))
            shares[score] = (below + (upto - below) / 2) / n
    return [shares[score] for score in lower]


def _variance(values: Sequence[float]) -> float:
    mean = math.fsum(values) / len(values)
    return math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)


def _expit(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def tpr_at(points: Sequence[RocPoint], fpr: float) -> RocPoint:
    """The point of a curve that catches most while at most `fpr` of ham is called spam. There always is one: (0, 0)."""
    return max((point for point in points if point.fpr <= fpr), key=lambda point: (point.tpr, -point.fpr))


def quantile(values: Sequence[float], share: float) -> float:
    """The value that `share` of all are at or under (nearest rank); NaN of nothing."""
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def median(values: Sequence[float]) -> float:
    """The middle value, or the mean of both; NaN of nothing."""
    if not values:
        return math.nan
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
