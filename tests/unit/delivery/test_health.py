"""One dead next hop costs one probe at a time; one that comes back is met gently."""

from __future__ import annotations

from random import Random

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mailguard.core.envelope import NextHop
from mailguard.delivery.health import Admission, HopHealth
from mailguard.net.smtp_pool import PoolKey

HOP = PoolKey(2, NextHop("mx.client.test"))
OTHER = PoolKey(3, NextHop("mx.client.test"))


class Time:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def make() -> tuple[HopHealth, Time]:
    time = Time()
    return HopHealth(first=5, most=40, start=2, widest=4, clock=time, random=Random(1)), time


def test_one_probe_at_a_time_at_growing_intervals() -> None:
    health, time = make()
    waits = []
    assert health.admit(HOP) is Admission.OPEN
    health.failed(HOP, Admission.OPEN)
    for _ in range(6):
        assert health.admit(HOP) is Admission.CLOSED
        assert health.is_closed(HOP)
        start = time.now
        while health.is_closed(HOP):
            time.now += 0.5
        waits.append(time.now - start)
        assert health.admit(HOP) is Admission.PROBE
        assert health.admit(HOP) is Admission.CLOSED
        health.failed(HOP, Admission.PROBE)
    assert all(
        plain * 0.9 <= wait <= plain * 1.1 + 0.5 for plain, wait in zip([5, 10, 20, 40, 40, 40], waits, strict=True)
    )


def test_many_that_fail_at_once_count_as_one() -> None:
    health, time = make()
    for _ in range(20):
        health.failed(HOP, Admission.OPEN)
    time.now = 5.6
    assert health.admit(HOP) is Admission.PROBE


def test_success_opens_and_says_that_it_was_down() -> None:
    health, time = make()
    assert not health.succeeded(HOP)
    health.failed(HOP, Admission.OPEN)
    time.now = 6
    assert health.admit(HOP) is Admission.PROBE
    assert health.succeeded(HOP)
    assert health.admit(HOP) is Admission.OPEN
    assert not health.succeeded(HOP)


def test_a_probe_that_did_not_ask_is_given_back() -> None:
    health, time = make()
    health.failed(HOP, Admission.OPEN)
    time.now = 6
    health.unknown(HOP, health.admit(HOP))
    assert health.admit(HOP) is Admission.PROBE


def test_window_starts_slowly() -> None:
    health, time = make()
    assert health.window(HOP) == 2
    for expected in (3, 4, 4):
        health.succeeded(HOP)
        assert health.window(HOP) == expected
    health.failed(HOP, Admission.OPEN)
    assert health.window(HOP) == 1
    time.now = 6
    health.admit(HOP)
    health.succeeded(HOP)
    assert health.window(HOP) == 3


def test_tenants_are_apart() -> None:
    health, _ = make()
    health.failed(HOP, Admission.OPEN)
    assert health.admit(OTHER) is Admission.OPEN


def test_what_is_remembered_is_bounded() -> None:
    health = HopHealth(hops=3)
    keys = [PoolKey(2, NextHop(f"mx{i}.test")) for i in range(5)]
    for key in keys:
        health.failed(key, Admission.OPEN)
    assert [health.is_closed(key) for key in keys] == [False, False, True, True, True]


class Probing(RuleBasedStateMachine):
    """Whatever happens in whatever order, never two probes, and a hop is never shut for ever."""

    def __init__(self) -> None:
        super().__init__()
        self.health, self.time = make()
        self.out: list[Admission] = []

    @rule()
    def ask(self) -> None:
        admission = self.health.admit(HOP)
        if admission is not Admission.CLOSED:
            self.out.append(admission)

    @rule(seconds=st.floats(0, 60))
    def wait(self, seconds: float) -> None:
        self.time.now += seconds

    @rule(end=st.sampled_from(["succeeded", "failed", "unknown"]), which=st.integers(0, 100))
    def report(self, end: str, which: int) -> None:
        if self.out:
            admission = self.out.pop(which % len(self.out))
            if end == "succeeded":
                self.health.succeeded(HOP)
                self.out = [Admission.OPEN for _ in self.out]  # a late probe is as good as any other
            else:
                getattr(self.health, end)(HOP, admission)

    @invariant()
    def one_probe(self) -> None:
        assert self.out.count(Admission.PROBE) <= 1

    @invariant()
    def reopens(self) -> None:
        if Admission.PROBE not in self.out:
            before = self.time.now
            self.time.now += 45
            assert not self.health.is_closed(HOP)
            self.time.now = before


TestProbing = Probing.TestCase
