"""SIGKILL at each named step of a mail's way, under load: what the ledger says then, and that the sender's copy arrives."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import chain

import pytest

from tests.crash.account import Account
from tests.crash.budget import CRASHES, counts, order
from tests.crash.conftest import SEED
from tests.crash.scene import Scene
from tests.crash.steps import STEPS, Step, kill_at

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300 + 30 * CRASHES)]


@pytest.fixture(scope="module")
def account(scene: Scene) -> Account:
    """The account after kills at all steps, and of the whole relay: the last start reconciles what all of them left."""
    budget = counts(dict.fromkeys((*(step.name for step in STEPS), "relay"), 1))
    budget["relay"] -= 1
    by_name = {step.name: step for step in STEPS}
    with scene.load(seed=SEED):
        for kind in chain(order(budget, scene.dice), ["relay"]):
            time.sleep(scene.dice.uniform(0, 0.2))
            if kind in by_name:
                kill_at(scene, by_name[kind])
            else:
                scene.kill(kind)
    return scene.account()


def test_nothing_is_lost_and_the_ledger_balances(
    account: Account, database: str, show: Callable[[str, Account], None]
) -> None:
    show(f"at the steps, {database}", account)
    account.check()


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_mail_on_which_a_process_died(step: Step, account: Account, scene: Scene) -> None:
    kills = [kill for kill in account.kills if kill.kind == step.name]
    assert kills
    arrived = [(delivery.message, delivery.recipient) for delivery in account.deliveries]
    for kill in kills:
        units = [unit for unit in account.units if unit.id in kill.ids or unit.message in kill.ids]
        assert bool(units) == bool(step.state)
        assert {unit.state for unit in units} <= {step.state}
        assert {arrived.count((unit.message, unit.recipient)) for unit in units} <= {step.arrived}
        if step.body is not None:
            assert {scene.has_body(one[:26]) for one in kill.ids} == {step.body}
