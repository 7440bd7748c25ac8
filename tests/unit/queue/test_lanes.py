"""Lanes take turns: within their windows, the concurrency and the memory; none waits for another for ever."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from mailguard.queue.group import RESCAN, Group, LaneKey, grouped, number_of
from mailguard.queue.lanes import Lanes
from tests.unit.queue.claims import a_claim


def a_group(number: int, *, tenant: int = 2, domain: str = "client.test", size: int = 1000) -> Group:
    return Group((a_claim(number, tenant=tenant, domain=domain, size=size),))


def lanes(*, concurrency: int = 10, memory: int = 1 << 20, window: int = 3) -> Lanes:
    return Lanes(concurrency=concurrency, memory=memory, window=lambda _: window)


def started(waiting: Lanes) -> list[Group]:
    groups = []
    while (group := waiting.start()) is not None:
        groups.append(group)
    return groups


def test_a_lane_has_its_window() -> None:
    waiting = lanes(window=3)
    groups = [a_group(i) for i in range(9)]
    assert [waiting.add(group) for group in groups] == [True] * 6 + [False] * 3
    first = started(waiting)
    assert first == groups[:3]
    waiting.ended(first[1])
    assert started(waiting) == [groups[3]]


def test_lanes_take_turns() -> None:
    waiting = lanes(concurrency=4, window=10)
    for i in range(10):
        waiting.add(a_group(i, domain="a.test"))
    for i in range(10, 13):
        waiting.add(a_group(i, tenant=3, domain="b.test"))
    assert [group.lane[1] for group in started(waiting)] == ["a.test", "b.test", "a.test", "b.test"]


def test_full_domains_need_no_more_claims() -> None:
    waiting = lanes(window=2)
    waiting.add(a_group(1))
    assert waiting.full_domains() == {"client.test"}
    (one,) = started(waiting)
    assert waiting.full_domains() == set()
    waiting.add(a_group(2))
    started(waiting)
    assert waiting.full_domains() == {"client.test"}
    waiting.ended(one)
    assert waiting.full_domains() == set()


def test_memory_is_bounded_and_large_messages_still_go() -> None:
    waiting = lanes(memory=1000, window=10)
    waiting.add(a_group(1, size=5000, domain="a.test"))
    waiting.add(a_group(2, size=5000, domain="b.test"))
    waiting.add(a_group(3, size=5000, domain="c.test"))
    waiting.add(a_group(4, size=10, domain="d.test"))
    first = started(waiting)
    assert [number_of(group.first.unit) for group in first] == [1, 1]
    assert [group.lane[1] for group in first] == ["a.test", "b.test"]
    waiting.ended(first[0])
    assert [group.lane[1] for group in started(waiting)] == ["c.test"]


def test_clearing_takes_out_what_waits() -> None:
    waiting = lanes(window=1)
    groups = [a_group(i) for i in range(2)]
    for group in groups:
        waiting.add(group)
    (active,) = started(waiting)
    assert waiting.clear() == groups[1:]
    waiting.ended(active)
    assert waiting.active == 0


def test_claims_are_grouped_by_what_they_share() -> None:
    claims = [
        a_claim(1, recipient_number=1),
        a_claim(1, recipient_number=2),
        a_claim(1, recipient_number=3, headers="X: other\r\n"),
        a_claim(1, recipient_number=4, tenant=3, domain="other.test"),
        a_claim(1, recipient_number=5, purpose="release"),
        a_claim(2),
        a_claim(3, purpose=RESCAN, recipient_number=1),
        a_claim(3, purpose=RESCAN, recipient_number=2, tenant=3, domain="other.test"),
    ]
    assert [[number_of(claim.unit) for claim in group.claims] for group in grouped(claims)] == [
        [1, 2],
        [3],
        [4],
        [5],
        [1],
        [1, 2],
    ]


steps = st.lists(
    st.tuples(st.sampled_from(["add", "start", "end"]), st.integers(0, 3), st.integers(1, 3000)), max_size=80
)


@given(steps)
def test_bounds_hold_and_nothing_is_forgotten(given_steps: list[tuple[str, int, int]]) -> None:
    windows: dict[LaneKey, int] = {(2, f"d{i}.test"): i + 1 for i in range(4)}
    waiting = Lanes(concurrency=5, memory=4000, window=windows.__getitem__)
    active: list[Group] = []
    added = gone = 0
    for number, (step, lane, size) in enumerate(given_steps):
        if step == "add":
            added += waiting.add(a_group(number, domain=f"d{lane}.test", size=size))
        elif step == "start" and (group := waiting.start()):
            active.append(group)
        elif step == "end" and active:
            waiting.ended(active.pop(lane % len(active)))
            gone += 1
        assert len(active) == waiting.active <= 5
        assert sum(min(group.first.size, 2000) for group in active) <= 4000
        assert all(count <= windows[key] for key, count in Counter(group.lane for group in active).items())
    for group in active:
        waiting.ended(group)
        gone += 1
    while (group := waiting.start()) is not None:
        waiting.ended(group)
        gone += 1
    assert gone == added
