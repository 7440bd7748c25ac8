"""How outcomes add up and fade."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailguard.core.clock import DAY, HOUR
from mailguard.core.standing import HALF_LIFE, Outcome, Sender, SenderKind, Standing

START = 1_790_000_000_000


def test_outcomes_fade_by_half_each_half_life() -> None:
    standing = Standing(START, START, delivered=8.0, kept=4.0, recent=2.0, usual=2.0)
    later = standing.at(START + HALF_LIFE)
    assert (later.delivered, later.kept, later.mails) == pytest.approx((4.0, 2.0, 6.0))
    assert later.recent == pytest.approx(0.0)
    assert standing.at(START - DAY) == standing, "a clock that was set back makes nothing grow"


def test_what_is_released_or_reported_changes_sides() -> None:
    standing = Standing(START, START).plus(Outcome.KEPT, START).plus(Outcome.RELEASED, START)
    assert (standing.good, standing.bad) == (1.0, 0.0)
    standing = Standing(START, START).plus(Outcome.DELIVERED, START).plus(Outcome.REPORTED, START)
    assert (standing.good, standing.bad) == (0.0, 1.0)


def test_a_steady_sender_does_not_surge_and_a_sudden_one_does() -> None:
    standing = Standing(START, START)
    for hour in range(24 * 60):
        standing = standing.plus(Outcome.CAME, START + hour * HOUR)
    end = START + 24 * 60 * HOUR
    assert 0.5 < standing.surge < 3
    for _ in range(400):
        standing = standing.plus(Outcome.CAME, end)
    assert standing.surge > 100
    assert standing.at(end + 12 * HOUR).surge < 1


@pytest.mark.parametrize("text", ["network 192.0.2.0/24", "domain example.org", "network 2001:db8::/48"])
def test_senders_as_text(text: str) -> None:
    sender = Sender.read(text)
    assert sender is not None
    assert str(sender) == text


@pytest.mark.parametrize("text", ["", "domain", "domain ", "domain a b", "host a.test", "of the mail"])
def test_what_is_no_sender(text: str) -> None:
    assert Sender.read(text) is None


def test_the_kind_is_read_as_one() -> None:
    assert Sender.read(" domain a.test ") == Sender(SenderKind.DOMAIN, "a.test")


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(list(Outcome)), st.integers(-10 * DAY, 40 * DAY)), max_size=60))
def test_nothing_falls_below_zero_or_beyond_what_came(steps: list[tuple[Outcome, int]]) -> None:
    standing, now = Standing(START, START), START
    for outcome, pause in steps:
        now += pause
        standing = standing.plus(outcome, now)
    for count in (standing.delivered, standing.kept, standing.released, standing.reported, standing.usual):
        assert 0 <= count <= len(steps)
    assert standing.mails <= len(steps) + 1e-9
