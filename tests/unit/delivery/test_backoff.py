"""Intervals between attempts."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailguard.core.clock import DAY, HOUR, MINUTE
from mailguard.delivery.backoff import Backoff


@given(st.integers(1, 10_000), st.integers(0, 2**45), st.integers(0, 2**32))
def test_doubles_within_its_bounds(attempts: int, now: int, seed: int) -> None:
    due = Backoff(random=Random(seed)).next_attempt(attempts, now=now)
    plain = min(HOUR, MINUTE * 2 ** (attempts - 1))
    assert plain * 0.9 - 1 <= due - now <= plain * 1.1 + 1


def test_asks_at_least_half_hourly_after_the_first_hours_and_about_hourly_in_all() -> None:
    backoff, now, attempts = Backoff(random=Random(1)), 0, 0
    while now < 5 * DAY:
        attempts += 1
        now = backoff.next_attempt(attempts, now=now)
    assert 110 < attempts < 140


def test_first_retry_may_be_set() -> None:
    assert 9 <= Backoff(first=10, most=100).next_attempt(1, now=0) <= 11


def test_nothing_failed_yet() -> None:
    with pytest.raises(ValueError, match="no attempt"):
        Backoff().next_attempt(0, now=0)
