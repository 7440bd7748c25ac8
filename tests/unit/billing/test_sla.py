"""The service level: percentiles, availability and maintenance, and the credits by property."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailguard.billing import sla
from mailguard.billing.availability import Availability, availability, maintenance
from mailguard.billing.latency import Latency, latency, percentile
from mailguard.billing.plans import Commitment, CommitmentName, CreditStep, ServiceLevels
from mailguard.billing.sla import Caught, SlaMeasurement
from mailguard.core.clock import HOUR, MINUTE
from mailguard.store.maintenance import Window
from mailguard.store.probes import ProbeResult
from tests.unit.billing.november import EACH, NOVEMBER, SLOT, probe

# --- percentiles -----------------------------------------------------------------------------------------------------


@given(values=st.lists(st.integers(0, 10_000), min_size=1, max_size=300), percent=st.integers(1, 100))
def test_a_percentile_is_the_smallest_value_that_so_many_do_not_exceed(values: list[int], percent: int) -> None:
    found = percentile(sorted(values), percent)
    within = [sum(value <= one for value in values) * 100 >= percent * len(values) for one in sorted(set(values))]
    assert found == sorted(set(values))[within.index(True)]


def test_latency_of_no_mail_is_none() -> None:
    assert latency([]) is None
    assert latency(list(range(1, 101))) == Latency(100, 50, 95, 99)


# --- availability ----------------------------------------------------------------------------------------------------


def an_hour(found: list[ProbeResult], excluded: list[tuple[int, int]] | None = None) -> Availability:
    """Of the first hour of November, which has twelve slots."""
    start = NOVEMBER.start
    return availability(found, excluded or [], grid=start, start=start, end=start + HOUR, length=SLOT)


def test_every_slot_needs_a_probe_that_got_through() -> None:
    assert an_hour(EACH) == Availability(up=12)
    assert an_hour([]) == Availability(down=12, missing=12)
    assert an_hour(EACH[:9]) == Availability(up=9, down=3, missing=3)
    assert an_hour([*EACH[:11], probe(55, up=False)]) == Availability(up=11, down=1)
    assert an_hour([*EACH, probe(56, up=False)]) == Availability(up=11, down=1)


def test_a_place_whose_own_network_is_broken_does_not_make_the_door_down() -> None:
    broken = [probe(minute, up=False, place="there") for minute in range(0, 60, 5)]
    assert an_hour([*EACH, *broken]) == Availability(up=12)
    assert an_hour([*broken, *EACH[:6]]) == Availability(up=6, down=6)


def test_slots_that_maintenance_touches_do_not_count() -> None:
    start = NOVEMBER.start
    half = [(start + 12 * MINUTE, start + 31 * MINUTE)]  # of the slots 2 to 6
    assert an_hour(EACH, half) == Availability(up=7, excluded=5)
    assert an_hour([], half) == Availability(down=7, missing=7, excluded=5)
    assert an_hour([], [(start, start + HOUR)]).percent is None


def test_a_part_of_a_slot_at_the_edges_does_not_count() -> None:
    start = NOVEMBER.start
    found = availability([], [], grid=start, start=start + 1, end=start + HOUR - 1, length=SLOT)
    assert found == Availability(down=10, missing=10)


@given(
    found=st.lists(
        st.builds(probe, st.floats(0, 59.9), up=st.booleans(), place=st.sampled_from(["here", "there"])), max_size=30
    ),
    data=st.data(),
)
def test_more_downtime_never_means_more_availability(found: list[ProbeResult], data: st.DataObject) -> None:
    before = an_hour(found)
    assert before.up + before.down == 12
    if not found:
        return
    victim = data.draw(st.integers(0, len(found) - 1))
    failing = [replace(one, up=False) if index == victim else one for index, one in enumerate(found)]
    silent = [one for one in found if NOVEMBER.start + victim * SLOT > one.at]
    for worse in (failing, silent):
        assert (an_hour(worse).percent or 0) <= (before.percent or 0)


def test_maintenance_counts_when_it_was_announced_in_time_and_up_to_its_most() -> None:
    def window(start: int, end: int, announced: int) -> Window:
        return Window(1, None, start * HOUR, end * HOUR, announced * HOUR)

    span = {"start": 0, "end": 1_000 * HOUR, "notice": 24 * HOUR, "most": 8 * HOUR}
    assert maintenance([window(100, 104, 76)], **span) == ((100 * HOUR, 104 * HOUR),)
    assert maintenance([window(100, 104, 77)], **span) == ()
    overlapping = [window(100, 104, 0), window(102, 105, 0), window(104, 105, 0)]
    assert maintenance(overlapping, **span) == ((100 * HOUR, 104 * HOUR), (104 * HOUR, 105 * HOUR))
    long = [window(100, 106, 0), window(200, 206, 0), window(300, 301, 0)]
    assert maintenance(long, **span) == ((100 * HOUR, 106 * HOUR), (200 * HOUR, 202 * HOUR))
    assert maintenance([window(-30, 2, -60)], **span) == ((0, 2 * HOUR),)


@given(
    windows=st.lists(
        st.builds(
            lambda start, length, early: Window(1, None, start, start + length, start - early),
            st.integers(0, 1_000),
            st.integers(1, 300),
            st.integers(0, 50),
        ),
        max_size=8,
    ),
    most=st.integers(0, 500),
)
def test_maintenance_is_in_order_without_overlaps_and_within_its_most(windows: list[Window], most: int) -> None:
    found = maintenance(windows, start=100, end=900, notice=20, most=most)
    assert sum(end - start for start, end in found) <= most
    points = [point for span in found for point in span]
    assert points == sorted(points)
    assert all(100 <= point <= 900 for point in points)
    announced = {tick for one in windows if one.announced_at <= one.start - 20 for tick in range(one.start, one.end)}
    assert all(tick in announced for start, end in found for tick in range(start, end))


# --- credits ---------------------------------------------------------------------------------------------------------


@st.composite
def promises(draw: st.DrawFn) -> ServiceLevels:
    """Commitments with any steps, even such as a plan's file would not be allowed."""
    made = []
    for name in draw(st.lists(st.sampled_from(list(CommitmentName)), unique=True)):
        limits = st.decimals(0, 100, places=2)
        steps = draw(st.lists(st.builds(CreditStep, limits, st.decimals(0, 100, places=1)), max_size=4))
        made.append(Commitment(name, draw(limits), tuple(steps)))
    return ServiceLevels(tuple(made), draw(st.decimals(0, 100, places=1)))


@st.composite
def measurements(draw: st.DrawFn) -> SlaMeasurement:
    number = st.integers(0, 50)
    return SlaMeasurement(
        2,
        "2026-11",
        NOVEMBER.start,
        NOVEMBER.end,
        Availability(draw(number), draw(number)),
        latency(draw(st.lists(st.integers(0, 200_000), max_size=20))),
        Caught(draw(number), draw(number)),
        Caught(draw(number), draw(number)),
        draw(number),
        draw(number),
        tuple(sorted(draw(st.lists(st.integers(0, 100 * HOUR), max_size=5)))),
    )


def given_back(measurement: SlaMeasurement, levels: ServiceLevels) -> Decimal:
    return sum((one.credit_percent for one in sla.credits(measurement, levels)), Decimal(0))


@given(measurement=measurements(), levels=promises(), more=st.integers(1, 10))
def test_what_is_worse_never_gives_back_less(measurement: SlaMeasurement, levels: ServiceLevels, more: int) -> None:
    before = given_back(measurement, levels)
    door, delay, good = measurement.door, measurement.delay, measurement.good
    worse = [
        replace(measurement, door=Availability(max(0, door.up - more), door.down + min(more, door.up))),
        replace(measurement, door=replace(door, down=door.down + more)),
        replace(measurement, virus=replace(measurement.virus, missed=measurement.virus.missed + more)),
        replace(measurement, spam=replace(measurement.spam, missed=measurement.spam.missed + more)),
        replace(measurement, false_positives=measurement.false_positives + more),
        replace(measurement, delay=replace(delay, p95=delay.p95 + more * 1_000) if delay else None),
        replace(measurement, waits=tuple(wait + more * HOUR for wait in measurement.waits)),
        replace(measurement, good=max(0, good - more) if measurement.false_positives else good),
    ]
    for one in worse:
        assert given_back(one, levels) >= before


@given(measurement=measurements(), levels=promises())
def test_credits_are_capped_and_follow_from_the_promises(measurement: SlaMeasurement, levels: ServiceLevels) -> None:
    found = sla.credits(measurement, levels)
    assert given_back(measurement, levels) <= levels.max_credit_percent
    assert [one.commitment for one in found] == [sla.TITLES[one.name] for one in levels.commitments]
    alone = sum(
        (
            commitment.credit_percent(figure)
            for commitment in levels.commitments
            if (figure := measurement.figure(commitment.name)) is not None
        ),
        Decimal(0),
    )
    assert given_back(measurement, levels) == min(alone, levels.max_credit_percent)


def test_what_could_not_be_measured_for_want_of_mail_counts_as_kept() -> None:
    levels = ServiceLevels(
        tuple(Commitment(name, Decimal(50), (CreditStep(Decimal(50), Decimal(10)),)) for name in CommitmentName)
    )
    found = sla.credits(SlaMeasurement(2, "2026-11", NOVEMBER.start, NOVEMBER.end), levels)
    assert {(one.measured, one.met) for one in found} == {("nothing to measure", True)}
    assert {one.credit_percent for one in found} == {Decimal(0)}


@pytest.mark.parametrize(
    ("door", "most", "missing", "percent", "probed_percent"),
    [
        (Availability(up=90, down=10, missing=10), 100, 10, 50, 0),
        (Availability(up=90, down=10, missing=9), 100, 9, 50, 10),  # 1 of 91 was down by what was seen
        (Availability(up=0, down=12, missing=12), 100, 12, 50, 0),
        (Availability(up=9_999, down=1, missing=1), 100, 1, 0, 0),
        (Availability(up=90, down=10, missing=9), 5, 9, 5, 5),
    ],
)
def test_what_missing_probes_alone_give_back(
    door: Availability, most: int, missing: int, percent: int, probed_percent: int
) -> None:
    steps = (CreditStep(Decimal("99.9"), Decimal(10)), CreditStep(Decimal(95), Decimal(50)))
    promised = Commitment(CommitmentName.AVAILABILITY, Decimal("99.9"), steps)
    levels = ServiceLevels((promised,), Decimal(most))
    counted = door.up + door.down
    assert sla.unprobed(door, levels) == sla.Unprobed(missing, counted, Decimal(percent), Decimal(probed_percent))
    assert sla.unprobed(replace(door, missing=0), levels) is None
    assert sla.unprobed(door, ServiceLevels()) is None


def test_a_hair_below_the_target_is_shown_and_counts_as_below() -> None:
    door = Availability(up=99_899, down=101)  # 99.899 %
    levels = ServiceLevels(
        (Commitment(CommitmentName.AVAILABILITY, Decimal("99.9"), (CreditStep(Decimal("99.9"), Decimal(10)),)),)
    )
    (found,) = sla.credits(SlaMeasurement(2, "2026-11", 0, 1, door), levels)
    assert (found.target, found.measured, found.met) == ("≥ 99.9 %", "99.899 %", False)
    assert found.credit_percent == 10
