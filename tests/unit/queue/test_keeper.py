"""Leases are renewed in time, and a lost one is noticed before anything is sent."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from prometheus_client import CollectorRegistry

from mailguard.core.errors import ConflictError, UnavailableError
from mailguard.ops.log import MailLog
from mailguard.ops.metrics import Metrics
from mailguard.queue.keeper import Keeper
from mailguard.store.claims import Claim
from tests.unit.queue.claims import a_claim


class Store:
    """Renews all but `lost`; counts what it was asked."""

    def __init__(self) -> None:
        self.lost: set[Claim] = set()
        self.asked: list[int] = []
        self.away = False

    async def renew(self, claims: Sequence[Claim], *, lease_ms: int) -> list[Claim]:
        if self.away:
            raise UnavailableError("away")
        self.asked.append(len(claims))
        return [claim for claim in claims if claim not in self.lost]


def make() -> tuple[Keeper, Store, list[float]]:
    store, now = Store(), [0.0]
    keeper = Keeper(
        store,  # type: ignore[arg-type]
        lease_ms=100_000,
        log=MailLog(),
        metrics=Metrics(CollectorRegistry()),
        clock=lambda: now[0],
    )
    return keeper, store, now


async def test_fresh_claims_are_good_without_asking() -> None:
    keeper, store, now = make()
    claims = [a_claim(1), a_claim(2)]
    keeper.keep(claims, taken_at=0.0)
    now[0] = 70.0
    await keeper.ensure(claims)
    assert store.asked == []


async def test_old_claims_are_renewed_before_they_count() -> None:
    keeper, store, now = make()
    claim = a_claim(1)
    keeper.keep([claim], taken_at=0.0)
    now[0] = 80.0
    await keeper.ensure([claim])
    await keeper.ensure([claim])
    assert store.asked == [1]


async def test_lost_claims_are_noticed() -> None:
    keeper, store, now = make()
    claims = [a_claim(1), a_claim(2)]
    keeper.keep(claims, taken_at=0.0)
    store.lost.add(claims[1])
    now[0] = 200.0
    with pytest.raises(ConflictError):
        await keeper.ensure(claims)
    assert len(keeper) == 1


async def test_database_that_is_away_is_not_a_good_lease() -> None:
    keeper, store, now = make()
    keeper.keep([a_claim(1)], taken_at=0.0)
    store.away = True
    now[0] = 200.0
    with pytest.raises(UnavailableError):
        await keeper.ensure([a_claim(1)])
    assert len(keeper) == 1


async def test_what_was_let_go_is_not_kept() -> None:
    keeper, _, _ = make()
    keeper.keep([a_claim(1), a_claim(2)], taken_at=0.0)
    keeper.let_go([a_claim(1)])
    assert len(keeper) == 1
