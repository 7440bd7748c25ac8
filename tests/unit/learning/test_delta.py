"""A tenant's delta: what one lesson moves, how far anybody can move it, and that undoing leaves no trace."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailguard.core.clock import DAY
from mailguard.learning import delta as module
from mailguard.learning.delta import ADMIN, HALF_LIFE, MARGIN, USER, Delta, Example, Lesson, replay
from mailguard.learning.traits import Trait, TraitKind
from tests.unit.learning.examples import NEWS, example

AT = 1_795_500_000_000
LONGEST = 1.5
"""By how much more than its step a lesson can move another mail: one with traits is that much longer than one without."""


def lesson(family: int, number: int = 0, *, spam: bool = False, base: float = 3.0, **fields: object) -> Lesson:
    made = Lesson(example(family, number), spam, base, at=AT, teacher="ann")
    return replace(made, **fields)  # type: ignore[arg-type]


def test_a_lesson_puts_its_own_mail_on_the_right_side() -> None:
    delta = Delta()
    moved = delta.learn(lesson(1, base=4.0))
    assert (moved.before, moved.step) == (0.0, 8.0)
    assert moved.after == pytest.approx(-8.0)
    assert 4.0 + delta.shift(example(1), at=AT) == pytest.approx(-MARGIN)


def test_a_lesson_moves_its_like_markedly_and_others_hardly() -> None:
    delta = Delta()
    delta.learn(lesson(1, base=4.0))
    assert delta.shift(example(1, 2), at=AT) < -4.0
    assert -2.0 < delta.shift(example(2), at=AT) < 0.0


def test_a_senders_next_mail_is_known_by_its_traits_alone() -> None:
    delta = Delta()
    delta.learn(lesson(1, base=4.0, example=example(1, traits=NEWS)))
    assert delta.shift(example(2, traits=NEWS), at=AT) < -3.5
    forged = delta.shift(example(1, 2), at=AT)
    assert delta.shift(example(1, 2, traits=NEWS), at=AT) < 2 * forged < 0


def test_traits_are_learned_without_any_content() -> None:
    delta = Delta()
    delta.learn(lesson(1, base=4.0, example=Example(b"", NEWS)))
    assert delta.shift(Example(b"", NEWS), at=AT) == pytest.approx(-8.0)
    assert delta.shift(Example(b"", (Trait(TraitKind.ADDRESS, 99),)), at=AT) == 0.0


def test_what_is_on_the_right_side_already_moves_nothing() -> None:
    delta = Delta()
    assert delta.learn(lesson(1, spam=True, base=MARGIN)).step == 0.0
    assert delta.weights == {}


def test_a_lesson_of_nothing_moves_nothing() -> None:
    assert Delta().learn(lesson(1, example=Example())).step == 0.0


def test_it_is_forgotten_by_half_in_a_half_life() -> None:
    delta = Delta()
    delta.learn(lesson(1))
    now = delta.shift(example(1), at=AT)
    assert delta.shift(example(1), at=AT + HALF_LIFE) == pytest.approx(now / 2)
    assert delta.shift(example(1), at=AT + 3 * HALF_LIFE) == pytest.approx(now / 8)


@pytest.mark.parametrize("at", [0, -(10**16), 10**18])
def test_any_time_will_do(at: int) -> None:
    delta = Delta()
    delta.learn(lesson(1, at=at))
    assert delta.shift(example(1), at=at) == pytest.approx(-7.0)


def test_size_is_bounded_and_the_weightiest_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WEIGHTS", 1000)
    monkeypatch.setattr(module, "FEWER_WEIGHTS", 700)
    delta = Delta()
    for family in range(20):
        delta.learn(lesson(family, base=3.0, example=example(family, traits=(Trait(TraitKind.ADDRESS, family),))))
        assert len(delta.weights) <= 1000
    known = Example(b"", (Trait(TraitKind.ADDRESS, 0),))
    assert delta.shift(known, at=AT) < -1.0  # a trait is one weight in which much lies


@given(st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=40), st.sampled_from([USER, ADMIN]), st.data())
@settings(max_examples=40)
def test_a_teacher_moves_no_mail_further_than_he_may_in_a_day(
    taught: list[tuple[int, bool]], bounds: module.Bounds, data: st.DataObject
) -> None:
    lessons = [
        lesson(family, number, spam=spam, base=-20.0 if spam else 20.0, bounds=bounds)
        for number, (family, spam) in enumerate(taught)
    ]
    delta, moves = replay(lessons)
    assert all(moved.step <= bounds.step for moved in moves)
    assert sum(moved.step for moved in moves) <= bounds.influence + 1e-9
    probe = example(data.draw(st.integers(0, 31)), 0, NEWS if data.draw(st.booleans()) else ())
    assert abs(delta.shift(probe, at=AT)) <= LONGEST * bounds.influence + 1e-6


def test_a_users_influence_of_a_day_ends_and_comes_back() -> None:
    lessons = [lesson(family, base=9.0, bounds=USER) for family in range(30)]
    _, moves = replay([*lessons, lesson(99, base=9.0, bounds=USER, at=AT + DAY)])
    assert sum(moved.step for moved in moves[:-1]) == pytest.approx(USER.influence)
    assert moves[-2].step == 0.0
    assert moves[-1].step == USER.step


@given(
    st.lists(st.tuples(st.integers(0, 6), st.booleans(), st.floats(-9, 9), st.sampled_from("abc")), min_size=1),
    st.data(),
)
@settings(max_examples=40)
def test_undone_is_as_never_learned_and_stored_is_as_learned(
    taught: list[tuple[int, bool, float, str]], data: st.DataObject
) -> None:
    lessons = [
        lesson(family, number, spam=spam, base=base, teacher=teacher, at=AT + number * DAY // 5, bounds=USER)
        for number, (family, spam, base, teacher) in enumerate(taught)
    ]
    gone = data.draw(st.integers(0, len(lessons) - 1))
    without = [one for number, one in enumerate(lessons) if number != gone]
    never, moves = replay(without)
    # Learned one by one by processes that each load what the one before has stored.
    packed, influence = b"", module.Influence()
    steps = []
    for one in without:
        stored = Delta.unpacked(packed)
        moved = stored.learn(one, room=influence.room(one))
        influence.use(one, moved.step)
        steps.append(moved.step)
        packed = stored.packed()
    assert packed == never.packed()
    assert steps == [moved.step for moved in moves]


def test_a_stream_of_feedback_mends_what_the_model_gets_wrong() -> None:
    """Of 30 families of wanted mail that the model calls spam, a tenth of the mails is taught."""
    chosen = random.Random(1)
    online = Delta()
    wrong = []
    for number in range(600):
        family = chosen.randrange(30)
        spam = family % 3 == 0
        seen = example(family, number)
        wrong.append((2.0 + online.shift(seen) > 0) is not spam)
        if number % 10 == 0:
            online.learn(Lesson(seen, spam, 2.0))
    assert sum(wrong[:100]) > 25
    assert sum(wrong[-200:]) < 30
