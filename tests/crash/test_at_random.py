"""SIGKILL in the midst of load to workers, the whole relay, the next hop, the scanner and the database, at random moments.

What was accepted arrives, nothing passes unscanned, and the ledger says what happened to everything. `make crash` runs it for
longer: MAILGUARD_CRASHES is how many kills each database gets in all, MAILGUARD_CRASH_SEED repeats a run.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import chain

import pytest

from tests.crash.account import Account
from tests.crash.budget import AT_RANDOM, CRASHES, counts, order
from tests.crash.conftest import SEED
from tests.crash.scene import Scene

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300 + 30 * CRASHES)]


@pytest.fixture(scope="module")
def account(scene: Scene, database: str) -> Account:
    """The account after all kills. The whole relay is killed last, so its start's reconciliation is of all of them."""
    budget = counts(AT_RANDOM[database])
    budget["relay"] -= 1
    with scene.load(seed=SEED):
        for kind in chain(order(budget, scene.dice), ["relay"]):
            time.sleep(scene.dice.uniform(0.2, 1.0))
            scene.kill(kind)
    return scene.account()


def test_nothing_is_lost_and_the_ledger_balances(
    account: Account, database: str, show: Callable[[str, Account], None]
) -> None:
    show(f"at random, {database}", account)
    account.check()


def test_each_was_killed(account: Account, database: str) -> None:
    assert {kill.kind for kill in account.kills} == set(AT_RANDOM[database])
