"""The account finds what it is there to find: each of these would be a defect of the relay."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from tests.crash.account import Account, Delivery, Kill, Unit
from tests.crash.budget import AT_RANDOM, counts, order
from tests.crash.load import is_infected

A, B, V = "u-1@client.test", "u-2@client.test", "u-3@client.test"
"""V's mail is infected."""
GOOD = Account(
    attempts=4,
    refused=[],
    accepted=[A, B, V],
    deliveries=[Delivery("m1", A, 1.0), Delivery("m2", B, 2.0), Delivery("m4", B, 4.0)],
    infected=0,
    units=[
        Unit("m1.1", "m1", A, "delivered", scanned=True),
        Unit("m2.1", "m2", B, "interrupted", scanned=True),
        Unit("m4.1", "m4", B, "delivered", scanned=True),
        Unit("m3.1", "m3", V, "quarantined", scanned=True),
    ],
    kills=(Kill("worker", noticed=3.0, ended=3.5, bound=1),),
    ledger={"holds": True, "units": 4, "discrepancies": []},
    reconciled=[{"requeued": 0, "orphans": 0}],
    seconds=5.0,
)


def without(unit: str) -> list[Unit]:
    return [one for one in GOOD.units if one.id != unit]


def test_a_good_account_passes() -> None:
    assert is_infected(3)
    assert not is_infected(1)
    GOOD.check()
    assert GOOD.summary() == {"kills": 1, "attempts": 4, "accepted": 3, "lost": 0, "duplicates": 1}
    assert "worker: 1 kills, 1 duplicates, at most 1 of one" in str(GOOD)


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param({"deliveries": GOOD.deliveries[1:]}, id="accepted and not delivered"),
        pytest.param(
            {"units": without("m3.1"), "ledger": {**GOOD.ledger, "units": 3}}, id="infected, accepted and not kept"
        ),
        pytest.param({"infected": 1}, id="infected and delivered"),
        pytest.param({"refused": ["1: 554"]}, id="refused for good"),
        pytest.param({"kills": (replace(GOOD.kills[0], bound=0),)}, id="twice although nothing died that had it"),
        pytest.param({"kills": (replace(GOOD.kills[0], noticed=1.5),)}, id="twice although nothing died after it"),
        pytest.param(
            {"deliveries": [*GOOD.deliveries, Delivery("m4", B, 1.0)]}, id="more often than what was under way"
        ),
        pytest.param({"units": [*without("m1.1"), GOOD.units[0]._replace(scanned=False)]}, id="passed unscanned"),
        pytest.param({"units": [*without("m1.1"), GOOD.units[0]._replace(state="spooled")]}, id="still waiting"),
        pytest.param({"units": [*without("m1.1"), GOOD.units[0]._replace(state="parked")]}, id="parked"),
        pytest.param({"units": without("m1.1"), "ledger": {**GOOD.ledger, "units": 3}}, id="arrived, of no unit"),
        pytest.param(
            {"deliveries": [*GOOD.deliveries[:2], Delivery("m2", B, 4.0)]}, id="delivered by the ledger, not arrived"
        ),
        pytest.param(
            {"units": without("m4.1"), "deliveries": GOOD.deliveries[:2], "ledger": {**GOOD.ledger, "units": 3}},
            id="interrupted, and the sender did not come again",
        ),
        pytest.param({"ledger": {**GOOD.ledger, "holds": False}}, id="the ledger does not hold"),
        pytest.param({"ledger": {**GOOD.ledger, "units": 5}}, id="units that were not looked at"),
        pytest.param({"reconciled": [{"requeued": 1, "orphans": 0}]}, id="a start had to mend something"),
    ],
)
def test_a_bad_account_does_not(bad: dict[str, object]) -> None:
    with pytest.raises(AssertionError):
        replace(GOOD, **bad).check()


@pytest.mark.parametrize("database", AT_RANDOM)
def test_kills_are_shared_out(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for crashes in (20, 200):
        monkeypatch.setattr("tests.crash.budget.CRASHES", crashes)
        budget = counts({**AT_RANDOM[database], "steps": 14})
        assert sum(budget.values()) == crashes
        kinds = list(order(budget, random.Random(1)))
        assert {kind: kinds.count(kind) for kind in budget} == budget
