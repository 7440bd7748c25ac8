"""Call-aheads: how long answers count, what is asked of whom, and what holds while a server is down."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from mailguard.core.address import domain_of
from mailguard.core.clock import DAY, MINUTE
from mailguard.core.decision import Reason
from mailguard.core.envelope import NextHop
from mailguard.core.errors import UnavailableError
from mailguard.core.reply import Reply
from mailguard.core.tenant import Directory, Domain, Tenant, Verification
from mailguard.delivery.call_ahead import CallAhead, CallAheadSettings
from mailguard.delivery.forward import Asked, Job
from mailguard.delivery.ldap_lookup import LdapLookups
from mailguard.delivery.verify import NOT_YET, UNKNOWN, UNVERIFIED, Verifier
from mailguard.net.smtp_values import Answer, Stage
from mailguard.ops.log import MailLog
from mailguard.ops.metrics import Metrics
from mailguard.store.verifications import Said, ServerAnswer

OK = Reply(250, "2.1.5", "Ok")
NO = Reply(550, "5.1.1", "Who?")


@dataclass
class Server:
    """A next hop that has some mailboxes. `replies` overrides by local part; `down` answers nothing."""

    mailboxes: set[str]
    replies: dict[str, Reply] = field(default_factory=dict)
    accepts_any: bool = False
    down: bool = False
    asked: list[list[str]] = field(default_factory=list)
    hops: list[tuple[NextHop, ...]] = field(default_factory=list)
    gate: asyncio.Event | None = None
    most: int = 0
    now: int = 0

    async def ask(self, job: Job) -> Asked:
        self.asked.append([recipient.address for recipient in job.recipients])
        self.hops.append(job.next_hops)
        self.now += 1
        self.most = max(self.most, self.now)
        if self.gate:
            await self.gate.wait()
        self.now -= 1
        if self.down:
            return Asked((Answer(Stage.CONNECT, None, "refused"),) * len(job.recipients))
        return Asked(tuple(Answer(Stage.RCPT, self._reply(one.address)) for one in job.recipients), "hop:25")

    def _reply(self, address: str) -> Reply:
        local = address.partition("@")[0]
        if local.lower() in self.replies:
            return self.replies[local.lower()]
        return OK if self.accepts_any or local.lower() in self.mailboxes else NO


class Table:
    """The shared table: what two workers see. `away`: the database is."""

    def __init__(self) -> None:
        self.rows: dict[tuple[int, str], ServerAnswer] = {}
        self.reads = 0
        self.away = False

    def keep(self, tenant: int, key: str, answer: ServerAnswer) -> None:
        self.rows[tenant, key] = answer

    async def look_up(self, tenant: int, keys: Sequence[str]) -> dict[str, ServerAnswer]:
        self.reads += 1
        if self.away:
            raise UnavailableError("away")
        return {key: self.rows[tenant, key] for key in keys if (tenant, key) in self.rows}


class World:
    """A tenant that verifies by call-ahead, its server, and as many workers as are asked for."""

    def __init__(self, **settings: float) -> None:
        self.server = Server({"joe", "ann+x"})
        self.table = Table()
        self.time = 1_790_000_000_000
        self.settings = replace(CallAheadSettings(), **settings)  # type: ignore[arg-type]
        self.tenant = Tenant(2, "acme", verification=Verification.CALL_AHEAD)
        self.domain = Domain("client.test", 2, (NextHop("mx1"), NextHop("mx2"), NextHop("backup", 25, 20)))
        self.others: list[Domain] = []
        self.version = 1
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry)
        self.worker = self.new_worker()

    @property
    def directory(self) -> Directory:
        return Directory.of([self.tenant], [self.domain, *self.others], version=self.version)

    def new_worker(self) -> Verifier:
        self.call_ahead = CallAhead(
            self.server.ask,
            self.table,  # type: ignore[arg-type]
            settings=self.settings,
            log=MailLog(),
            metrics=self.metrics,
            clock=lambda: self.time,
            random=Random(1),
        )
        return Verifier(
            directory=lambda: self.directory,
            db=None,  # type: ignore[arg-type]
            call_ahead=self.call_ahead,
            ldap=LdapLookups(timeout=1.0, context=ssl.create_default_context, secret=str),
            metrics=self.metrics,
        )

    async def rcpt(self, address: str, *, worker: Verifier | None = None) -> int:
        domain = self.directory.domains[domain_of(address).lower()]
        refusal = await (worker or self.worker).verify(address, domain)
        return refusal.reply.code if refusal else 250

    def counted(self, result: str) -> float:
        labels = {"mode": "call-ahead", "result": result}
        return self.registry.get_sample_value("mailguard_verifications_total", labels) or 0.0


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    yield made
    await made.call_ahead.close()


async def test_known_pass_unknown_are_refused_and_each_is_asked_once(world: World) -> None:
    assert [await world.rcpt(f"{who}@client.test") for who in ("joe", "JOE", "eve", "Eve", "joe")] == [
        250, 250, 550, 550, 250,
    ]  # fmt: skip
    assert [asked[0] for asked in world.server.asked] == ["joe@client.test", "eve@client.test"]
    assert (world.counted("known"), world.counted("unknown")) == (3, 2)


async def test_the_first_question_also_asks_for_an_address_that_cannot_exist(world: World) -> None:
    await world.rcpt("joe@client.test")
    await world.rcpt("eve@client.test")
    assert [len(asked) for asked in world.server.asked] == [2, 1]
    probe = world.server.asked[0][1]
    assert probe.startswith("verify-")
    assert len(probe) > 30
    assert world.table.rows[2, "@client.test"].said is Said.REFUSES_UNKNOWN


async def test_a_server_that_accepts_any_address_turns_verification_off_until_it_is_asked_again(world: World) -> None:
    world.server.accepts_any = True
    assert await world.rcpt("joe@client.test") == 250
    assert await world.rcpt("eve@client.test") == 250
    assert len(world.server.asked) == 1
    assert (2, "joe@client.test") not in world.table.rows
    assert world.counted("accepts_any") == 2
    world.server.accepts_any = False
    world.time += world.settings.accepts_any
    assert await world.rcpt("eve@client.test") == 550
    assert await world.rcpt("joe@client.test") == 250


async def test_only_the_best_next_hops_are_asked(world: World) -> None:
    await world.rcpt("joe@client.test")
    assert world.server.hops == [(NextHop("mx1"), NextHop("mx2"))]


async def test_known_are_asked_again_after_days_unknown_after_minutes(world: World) -> None:
    for who in ("joe", "eve"):
        await world.rcpt(f"{who}@client.test")
    world.server.mailboxes = {"eve"}
    world.time += 5 * MINUTE - 1
    assert await world.rcpt("eve@client.test") == 550
    world.time += 1
    assert await world.rcpt("eve@client.test") == 250
    assert await world.rcpt("joe@client.test") == 250
    world.time += 7 * DAY
    assert await world.rcpt("joe@client.test") == 550


async def test_while_the_server_is_down_expired_positives_pass_and_the_others_are_deferred(world: World) -> None:
    for who in ("joe", "eve"):
        await world.rcpt(f"{who}@client.test")
    world.server.down = True
    world.time += 30 * DAY
    assert await world.rcpt("joe@client.test") == 250
    assert await world.rcpt("joe+list@client.test") == 250
    assert await world.rcpt("eve@client.test") == 451
    assert await world.rcpt("new@client.test") == 451
    assert (world.counted("remembered"), world.counted("unverified")) == (2, 2)
    world.time += 61 * DAY
    assert await world.rcpt("joe@client.test") == 451


async def test_a_server_that_was_seen_to_accept_any_address_is_believed_to_while_it_is_down(world: World) -> None:
    world.server.accepts_any = True
    await world.rcpt("joe@client.test")
    world.server.down = True
    world.time += DAY
    assert await world.rcpt("new@client.test") == 250


@pytest.mark.parametrize("reply", [Reply(450, "4.2.0", "Greylisted"), Reply(421, "4.3.2", "Busy")])
async def test_a_server_that_does_not_want_to_say_now_defers(world: World, reply: Reply) -> None:
    world.server.replies["joe"] = reply
    refusal = await world.worker.verify("joe@client.test", world.domain)
    assert refusal is not None
    assert (refusal.reply, refusal.reason) == (UNVERIFIED, Reason.UNVERIFIED_RECIPIENT)
    del world.server.replies["joe"]
    assert await world.rcpt("joe@client.test") == 250


async def test_a_full_mailbox_exists(world: World) -> None:
    world.server.replies["joe"] = Reply(552, "5.2.2", "Full")
    assert await world.rcpt("joe@client.test") == 250
    assert await world.rcpt("joe@client.test") == 250
    assert len(world.server.asked) == 1
    assert world.counted("unclear") == 2


async def test_plus_addresses_mean_the_mailbox_else_the_whole_address(world: World) -> None:
    assert await world.rcpt("joe+news@client.test") == 250
    assert await world.rcpt("joe+more@client.test") == 250
    assert [asked[0] for asked in world.server.asked] == ["joe@client.test"]
    assert await world.rcpt("ann+x@client.test") == 250
    assert await world.rcpt("ann+y@client.test") == 550
    world.tenant = replace(world.tenant, separators="")
    assert await world.rcpt("joe+news@client.test") == 550


async def test_an_alias_is_asked_about_as_the_domain_behind_it(world: World) -> None:
    world.others = [Domain("alias.test", 2, world.domain.next_hops, alias_of="client.test")]
    assert await world.rcpt("Joe@alias.test") == 250
    assert await world.rcpt("joe@client.test") == 250
    assert await world.rcpt("eve@alias.test") == 550
    assert [asked[0] for asked in world.server.asked] == ["Joe@client.test", "eve@client.test"]


@pytest.mark.parametrize("who", ["postmaster", "Abuse", "POSTMASTER"])
async def test_special_addresses_pass_unasked(world: World, who: str) -> None:
    world.server.down = True
    assert await world.rcpt(f"{who}@client.test") == 250
    assert world.server.asked == []


async def test_a_domain_may_be_verified_otherwise_than_its_tenant(world: World) -> None:
    world.domain = replace(world.domain, verification=Verification.NONE)
    assert await world.rcpt("eve@client.test") == 250
    assert world.server.asked == []


async def test_while_a_tenant_is_set_up_unknown_ones_are_deferred(world: World) -> None:
    world.tenant = replace(world.tenant, soft_bounce=True)
    assert await world.worker.verify("eve@client.test", world.domain) == NOT_YET


async def test_unknown_ones_are_recorded_as_such(world: World) -> None:
    refusal = await world.worker.verify("eve@client.test", world.domain)
    assert refusal is not None
    assert (refusal.reply, refusal.reason) == (UNKNOWN, Reason.UNKNOWN_RECIPIENT)


# several workers


async def test_workers_share_what_they_heard(world: World) -> None:
    second = world.new_worker()
    assert await world.rcpt("joe@client.test") == 250
    assert await world.rcpt("joe@client.test", worker=second) == 250
    assert len(world.server.asked) == 1
    reads = world.table.reads
    for _ in range(3):
        await world.rcpt("joe@client.test", worker=second)
    assert world.table.reads == reads


async def test_without_the_database_the_server_is_asked(world: World) -> None:
    world.table.away = True
    assert await world.rcpt("joe@client.test") == 250
    assert await world.rcpt("eve@client.test") == 550


async def test_a_new_directory_makes_a_worker_forget(world: World) -> None:
    await world.rcpt("eve@client.test")
    world.table.rows.clear()  # `mailguard recipient forget`
    world.server.mailboxes.add("eve")
    assert await world.rcpt("eve@client.test") == 550
    world.version += 1
    assert await world.rcpt("eve@client.test") == 250


async def test_the_memory_is_bounded() -> None:
    world = World(memory=10)
    for number in range(50):
        await world.rcpt(f"u{number}@client.test")
    assert len(world.call_ahead._memory) <= 10


STEPS = st.one_of(
    st.tuples(st.just("rcpt"), st.sampled_from("abc"), st.booleans()),
    st.tuples(st.just("flip"), st.sampled_from("abc"), st.just(False)),
    st.tuples(st.just("down"), st.just(""), st.booleans()),
    st.tuples(st.just("wait"), st.sampled_from(["1", str(5 * MINUTE), str(3 * DAY), str(50 * DAY)]), st.just(False)),
)


@given(st.lists(STEPS, max_size=40))
def test_whatever_happens_an_answer_counts_as_long_as_it_should(steps: list[tuple[str, str, bool]]) -> None:
    asyncio.run(_against_a_model(steps))


async def _against_a_model(steps: list[tuple[str, str, bool]]) -> None:
    """A server that changes and goes away, two workers, and what each recipient must hear by the last answer about it."""
    world = World()
    workers = [world.worker, world.new_worker()]
    world.server.mailboxes = {"a"}
    last: dict[str, tuple[bool, int]] = {}
    for what, who, flag in steps:
        if what == "wait":
            world.time += int(who)
        elif what == "down":
            world.server.down = flag
        elif what == "flip":
            world.server.mailboxes ^= {who}
        else:
            known, age = (last[who][0], world.time - last[who][1]) if who in last else (False, 10**15)
            if age < (world.settings.positive if known else world.settings.negative):
                expected = 250 if known else 550
            elif world.server.down:
                expected = 250 if known and age < world.settings.remembered else 451
            else:
                last[who] = (who in world.server.mailboxes, world.time)
                expected = 250 if last[who][0] else 550
            assert await world.rcpt(f"{who}@client.test", worker=workers[flag]) == expected


# at the same time


def at_once(world: World, count: int, name: Callable[[int], str]) -> list[asyncio.Task[int]]:
    return [asyncio.create_task(world.rcpt(f"{name(number)}@client.test")) for number in range(count)]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)


async def test_the_same_question_is_asked_once_and_outlives_who_asked_first(world: World) -> None:
    world.server.gate = asyncio.Event()
    tasks = at_once(world, 5, lambda _: "joe")
    await until(lambda: world.server.now == 1)
    tasks[0].cancel()
    world.server.gate.set()
    assert await asyncio.gather(*tasks[1:]) == [250] * 4
    assert len(world.server.asked) == 1


async def test_questions_in_flight_are_capped_for_a_tenant() -> None:
    world = World(in_flight=3)
    world.server.gate = asyncio.Event()
    tasks = at_once(world, 10, lambda number: f"u{number}")
    await until(lambda: world.server.now == 3)
    await asyncio.sleep(0.01)
    assert world.server.now == 3
    world.server.gate.set()
    assert await asyncio.gather(*tasks) == [550] * 10
    assert world.server.most == 3


async def test_who_waits_too_long_for_a_question_is_deferred() -> None:
    world = World(in_flight=1, timeout=0.05)
    world.server.gate = asyncio.Event()
    first = asyncio.create_task(world.rcpt("joe@client.test"))
    await until(lambda: world.server.now == 1)
    assert await world.rcpt("eve@client.test") == 451
    world.server.gate.set()
    assert await first == 250
