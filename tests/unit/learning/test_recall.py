"""The check "learned": what lessons do to the next mail, and what it says of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pytest
from sqlalchemy import Connection

from mailguard.core.errors import UnavailableError
from mailguard.core.tenant import Tenant
from mailguard.core.verdict import (
    AuthMethod,
    AuthOutcome,
    AuthResult,
    CheckResult,
    Classification,
    Findings,
    Symbol,
)
from mailguard.learning.content import FEATURES
from mailguard.learning.delta import Example
from mailguard.learning.lessons import Teaching, teach
from mailguard.learning.recall import LearnedCheck, Memories
from mailguard.learning.scale import Scale, without_learned
from mailguard.learning.traits import traits_of
from mailguard.message.parse import parse
from mailguard.store.lessons import Source
from mailguard.store.tenants import add_tenant
from tests.ledger_of import START, World
from tests.unit.checks.contexts import context
from tests.unit.learning.examples import features

NEWSLETTER = b"From: news@shop.example\r\nSubject: Offers of week 12\r\n\r\nhello\r\n"
FORGED = NEWSLETTER
AUTH = AuthResult(AuthMethod.DMARC, AuthOutcome.PASS, "shop.example")
T = TypeVar("T")


def findings(seen: bytes, *auth: AuthResult) -> Findings:
    return Findings(
        (CheckResult("dmarc", auth=auth), CheckResult("classifier", classification=Classification(3.0, "m", seen)))
    )


class Db:
    """Reads as store.db.Database does, while it is not away."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.away = False
        self.reads = 0

    async def read(self, work: Callable[[Connection], T]) -> T:
        if self.away:
            raise UnavailableError("database unavailable: gone")
        self.reads += 1
        return self.world.db.read_sync(work)


async def symbols(check: LearnedCheck, tenant: int, found: Findings, raw: bytes = NEWSLETTER) -> tuple[Symbol, ...]:
    return (await check.run(Tenant(tenant, "acme"), context(raw), found)).symbols


def release(
    world: World,
    *,
    spam: bool = False,
    source: Source = Source.RELEASE,
    auth: tuple[AuthResult, ...] = (AUTH,),
    tenant: int = 0,
) -> None:
    (unit,) = world.mail(tenant=tenant)
    seen = Example(features(1), traits_of(parse(NEWSLETTER), auth))
    one = Teaching(tenant or world.tenant, unit, spam, 3.0 if spam else 8.2, seen, FEATURES)
    world.db.write_sync(
        lambda conn: teach(conn, [one], source=source, teacher="ann", now=world.db.now(conn), scale=Scale())
    )


async def test_before_any_lesson_it_says_nothing(world: World) -> None:
    check = LearnedCheck(Memories(Db(world), fresh=0), scale=Scale(), clock=lambda: START)
    assert await symbols(check, world.tenant, findings(features(1), AUTH)) == ()


async def test_a_release_speaks_for_the_next_and_says_why(world: World) -> None:
    check = LearnedCheck(Memories(Db(world), fresh=0), scale=Scale(), clock=lambda: START)
    assert await symbols(check, world.tenant, findings(features(1, 2), AUTH)) == ()
    release(world)
    (symbol,) = await symbols(check, world.tenant, findings(features(1, 2), AUTH))
    assert symbol.name == "LEARNED_HAM"
    assert -7.0 < symbol.score < -5.0
    assert symbol.evidence == ("a mail of eve@evil.test released, 2026-11-24 by ann",)
    (forged,) = await symbols(check, world.tenant, findings(features(1, 2)))
    assert forged.score > symbol.score / 2
    assert await symbols(check, 1, findings(features(1, 2), AUTH)) == ()  # another tenant


async def test_spam_is_told_apart_and_points_are_capped(world: World) -> None:
    check = LearnedCheck(Memories(Db(world), fresh=0), scale=Scale(most=2.0), clock=lambda: START)
    release(world, spam=True, source=Source.REPORT)
    (symbol,) = await symbols(check, world.tenant, findings(features(1), AUTH))
    assert (symbol.name, symbol.score) == ("LEARNED_SPAM", 2.0)
    assert symbol.evidence == ("a mail of eve@evil.test reported as spam, 2026-11-24 by ann",)


async def test_without_a_classifier_senders_are_known(world: World) -> None:
    check = LearnedCheck(Memories(Db(world), fresh=0), scale=Scale(), clock=lambda: START)
    release(world)
    (symbol,) = await symbols(check, world.tenant, Findings((CheckResult("dmarc", auth=(AUTH,)),)))
    assert symbol.score < -3.0


async def test_it_is_read_anew_only_when_it_changed_and_kept_while_the_database_is_away(world: World) -> None:
    db = Db(world)
    check = LearnedCheck(Memories(db, fresh=0), scale=Scale(), clock=lambda: START)
    release(world)
    (first,) = await symbols(check, world.tenant, findings(features(1), AUTH))
    db.away = True
    assert (await symbols(check, world.tenant, findings(features(1), AUTH))) == (first,)
    with pytest.raises(UnavailableError):
        await symbols(check, 1, findings(features(1), AUTH))


async def test_only_so_many_tenants_are_kept(world: World) -> None:
    memories = Memories(Db(world), most=1, fresh=0)
    release(world)
    first = await memories.of(world.tenant)
    assert (await memories.of(world.tenant)).delta is first.delta
    other = world.db.write_sync(lambda conn: add_tenant(conn, name="other", now=1))
    release(world, tenant=other)
    assert (await memories.of(other)).delta.weights
    assert (await memories.of(world.tenant)).delta is not first.delta


async def test_it_is_looked_at_again_only_after_a_while(world: World) -> None:
    db = Db(world)
    memories = Memories(db, fresh=3600)
    assert not (await memories.of(world.tenant)).delta.weights
    release(world)
    assert not (await memories.of(world.tenant)).delta.weights
    assert db.reads == 1


def test_a_recorded_score_without_what_was_learned() -> None:
    assert without_learned(3.1, [("BAYES", 7.2), ("LEARNED_HAM", -4.1)]) == 7.2
