"""The end of retention, by the tenant's profile, in batches."""

from __future__ import annotations

import pytest

from mailguard.core.clock import DAY, HOUR
from mailguard.core.decision import Reason
from mailguard.core.errors import ConflictError
from mailguard.core.events import State
from mailguard.quarantine import expire as module
from mailguard.quarantine.expire import EXPIRING, Expiry, Retention
from mailguard.store import tenants, trace
from tests.ledger_of import START, World

RETENTION = {"default": Retention(quarantine_days=30, malware_days=7), "strict": Retention(1, 0.5)}


def states(world: World, *ids: str) -> list[str]:
    return [unit.state for unit in world.db.read_sync(lambda conn: trace.look_up(conn, ids))]


def at(world: World, now: int) -> None:
    assert world.clock is not None
    world.clock.now = now


async def run(world: World, batch: int = 200) -> int:
    return await Expiry(world.db, retention=RETENTION.__getitem__, batch=batch).run()


async def test_spam_and_malware_have_retentions_of_their_own(world: World) -> None:
    (spam,), (malware,) = world.mail(), world.mail(reason=Reason.MALWARE, malware=["X"])
    at(world, START + 7 * DAY)
    assert await run(world) == 0
    at(world, START + 7 * DAY + 1)
    assert await run(world) == 1
    assert states(world, spam, malware) == ["quarantined", "expired"]
    at(world, START + 30 * DAY + 1)
    assert await run(world) == 1
    assert await run(world) == 0
    assert states(world, spam) == ["expired"]


async def test_mail_of_the_probe_goes_within_the_hour(world: World) -> None:
    (virus,), (spam,) = world.mail(reason=Reason.MALWARE, malware=["X"], probe=True), world.mail()
    at(world, START + HOUR)
    assert await run(world) == 0
    at(world, START + HOUR + 1)
    assert await run(world) == 1
    assert states(world, virus, spam) == ["expired", "quarantined"]


async def test_the_tenants_profile_of_today_counts(world: World) -> None:
    (spam,) = world.mail()
    at(world, START + DAY + HOUR)
    assert await run(world) == 0
    world.db.write_sync(lambda conn: tenants.set_tenant(conn, name="acme", profile="strict"))
    assert await run(world) == 1
    assert states(world, spam) == ["expired"]


async def test_a_removed_tenants_mail_expires_too(world: World) -> None:
    (spam,) = world.mail()
    world.db.write_sync(lambda conn: tenants.remove_tenant(conn, name="acme", now=START))
    at(world, START + 31 * DAY)
    assert await run(world) == 1
    assert states(world, spam) == ["expired"]


async def test_retention_starts_anew_when_a_release_failed(world: World) -> None:
    (spam,) = world.mail()
    at(world, START + 29 * DAY)
    world.move(spam, State.SPOOLED)
    at(world, START + 34 * DAY)
    world.move(spam, State.QUARANTINED, reason=Reason.NEXT_HOP_UNAVAILABLE)
    assert await run(world) == 0
    at(world, START + 65 * DAY)
    assert await run(world) == 1


async def test_only_what_is_kept_expires(world: World) -> None:
    paths: dict[State, tuple[State, ...]] = {
        State.QUARANTINED: (),
        State.SPOOLED: (),
        State.HELD: (),
        State.FORWARDING: (),
        State.DISCARDED: (),
        State.DELIVERED: (State.FORWARDING,),
        State.UNDELIVERABLE: (State.SPOOLED,),
        State.PARKED: (State.SPOOLED,),
        State.RELEASED: (State.QUARANTINED, State.SPOOLED),
        State.DELETED: (State.QUARANTINED,),
    }
    units = {}
    for state, path in paths.items():
        way = (*path, state)
        (units[state],) = world.mail(way[0])
        world.move(units[state], *way[1:])
    at(world, START + 99 * DAY)
    assert await run(world) == len(EXPIRING)
    for state, unit in units.items():
        assert states(world, unit) == ["expired" if state in EXPIRING else state]


async def test_batches_go_on_until_nothing_is_due(world: World) -> None:
    for _ in range(3):
        world.mail(recipients=["a@acme.test", "b@acme.test", "c@acme.test"])
    at(world, START + 31 * DAY)
    assert await run(world, batch=2) == 9
    assert await run(world, batch=2) == 0


async def test_a_batch_that_met_a_release_is_taken_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    (spam,) = world.mail()
    at(world, START + 31 * DAY)
    real, calls = module.move_in, []

    def meets_another(*arguments: object) -> None:
        calls.append(arguments)
        if len(calls) == 1:
            raise ConflictError("moved by someone else at the same time")
        real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "move_in", meets_another)
    assert await run(world) == 1
    assert states(world, spam) == ["expired"]
