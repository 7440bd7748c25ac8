"""One attempt along a route, against scripted servers: failover, memory of what hops offer, outcomes that come late."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest

from mailguard.core.envelope import MailOptions, NextHop, Recipient
from mailguard.delivery.dial import Dialler
from mailguard.delivery.forward import Forwarder, Job
from mailguard.delivery.health import HopHealth
from mailguard.delivery.outcome import Outcome, OutcomeKind, Stage
from mailguard.net.dns import StaticResolver
from mailguard.net.smtp_client import Handshake, Timeouts
from mailguard.net.smtp_pool import ConnectionPool
from tests.servers.ports import free_port
from tests.servers.smtp_sink import HANG_UP, SILENCE, Say, Script, SmtpSink

CONTENT = (b"X-MailGuard-Id: 1\r\n", b"Subject: x\r\n\r\nbody\r\n")


def forwarder(
    *,
    zone: dict[str, dict[str, list[str]]] | None = None,
    timeouts: Timeouts | None = None,
    listen: Sequence[tuple[str, int]] = (),
    per_hop: int = 20,
    questions: ConnectionPool | None = None,
) -> Forwarder:
    handshake = Handshake(helo="relay.test", timeouts=timeouts)
    pool = ConnectionPool(per_hop=per_hop)
    dialler = Dialler(handshake, StaticResolver(zone), listen=listen)
    return Forwarder(pool, dialler, questions=questions, health=HopHealth())


def job(*hops: NextHop, to: Sequence[str] = ("a@client.test",), tenant: int = 2, **options: object) -> Job:
    recipients = tuple(Recipient(address, tenant, "client.test", number=i + 1) for i, address in enumerate(to))
    content = options.pop("content", CONTENT)
    public = bool(options.pop("public_only", False))
    return Job(tenant, hops, "s@remote.test", recipients, content, MailOptions(**options), public_only=public)  # type: ignore[arg-type]


def at(sink: SmtpSink, priority: int = 10) -> NextHop:
    return NextHop("127.0.0.1", sink.port, priority)


def one(outcomes: list[Outcome]) -> Outcome:
    (outcome,) = outcomes
    return outcome


async def test_delivers_and_says_to_whom() -> None:
    async with SmtpSink() as sink:
        relay = forwarder()
        outcome = one(await relay.deliver(job(sink.hop)))
        assert outcome.kind is OutcomeKind.DELIVERED
        assert (outcome.next_hop, outcome.ip) == (f"127.0.0.1:{sink.port}", "127.0.0.1")
        assert outcome.elapsed > 0
        assert sink.messages[0].content == b"".join(CONTENT)
        relay.close()


async def test_each_recipient_has_its_own_outcome() -> None:
    def rcpt(line: str) -> str:
        return "550 5.1.1 Nobody" if "nobody" in line else "450 4.2.2 Full" if "full" in line else "250 Ok"

    async with SmtpSink(script={"rcpt": rcpt}) as sink:
        relay = forwarder()
        to = ("a@client.test", "nobody@client.test", "full@client.test")
        outcomes = await relay.deliver(job(sink.hop, to=to))
        assert [(outcome.recipient, outcome.kind.value) for outcome in outcomes] == [
            (1, "delivered"),
            (2, "permanent"),
            (3, "temporary"),
        ]
        relay.close()


@pytest.mark.parametrize(
    "script",
    [
        {"banner": "554 5.7.1 Go away"},
        {"banner": "421 4.3.2 Busy"},
        {"banner": HANG_UP},
        {"ehlo": HANG_UP},
        {"mail": "450 4.7.1 Later"},
        {"mail": "550 5.7.1 Blocked"},
        {"mail": HANG_UP},
        {"rcpt": HANG_UP},
        {"data": Say("421 4.3.2 Closing", hang_up=True)},
    ],
)
async def test_fails_over_to_the_next_priority(script: dict[str, str | Say]) -> None:
    async with SmtpSink(script=script) as bad, SmtpSink() as good:  # type: ignore[arg-type]
        relay = forwarder()
        outcome = one(await relay.deliver(job(at(good, 20), at(bad, 10))))
        assert outcome.kind is OutcomeKind.DELIVERED
        assert outcome.next_hop == str(good.hop)
        assert bad.connections == 1
        relay.close()


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        ({"rcpt": "550 5.1.1 Nobody"}, OutcomeKind.PERMANENT),
        ({"rcpt": "450 4.2.0 Greylisted"}, OutcomeKind.TEMPORARY),
        ({"data": "451 4.3.0 Later"}, OutcomeKind.TEMPORARY),
        ({"content": "451 4.3.0 Later"}, OutcomeKind.TEMPORARY),
        ({"content": "554 5.7.1 Spam"}, OutcomeKind.PERMANENT),
        ({"content": HANG_UP}, OutcomeKind.TEMPORARY),
    ],
)
async def test_an_answer_about_the_mail_is_not_shopped_around(script: dict[str, str | Say], kind: OutcomeKind) -> None:
    async with SmtpSink(script=script) as first, SmtpSink() as second:  # type: ignore[arg-type]
        relay = forwarder()
        outcome = one(await relay.deliver(job(at(first, 10), at(second, 20))))
        assert outcome.kind is kind
        assert second.connections == 0
        relay.close()


async def test_nobody_listens() -> None:
    async with SmtpSink() as sink:
        await sink.stop()
        outcome = one(await forwarder().deliver(job(sink.hop)))
        assert (outcome.kind, outcome.stage) == (OutcomeKind.TEMPORARY, Stage.CONNECT)
        assert outcome.hop_failed


async def test_second_address_of_a_host_is_tried_and_the_bad_one_avoided() -> None:
    async with SmtpSink() as sink:
        relay = forwarder(zone={"mx.client.test": {"A": ["127.0.0.2", "127.0.0.1"]}})
        hop = NextHop("mx.client.test", sink.port)
        assert one(await relay.deliver(job(hop))).ip == "127.0.0.1"
        assert await relay._dialler._addresses(hop, public_only=False) == ["127.0.0.1", "127.0.0.2"]
        relay.close()


@pytest.mark.parametrize(
    ("host", "why"),
    [
        ("nowhere.test", "no address"),
        ("down.test", "SERVFAIL"),
    ],
)
async def test_hop_without_an_address(host: str, why: str) -> None:
    relay = forwarder(zone={"down.test": {"*": "SERVFAIL"}})  # type: ignore[dict-item]
    outcome = one(await relay.deliver(job(NextHop(host))))
    assert (outcome.kind, outcome.stage) == (OutcomeKind.TEMPORARY, Stage.ROUTE)
    assert why in outcome.detail


async def test_strangers_cannot_point_us_into_private_networks() -> None:
    async with SmtpSink() as sink:
        outcome = one(await forwarder().deliver(job(sink.hop, public_only=True)))
        assert (outcome.stage, sink.connections) == (Stage.ROUTE, 0)
        assert "private" in outcome.detail


async def test_our_own_listener_is_not_connected_to() -> None:
    async with SmtpSink() as sink:
        relay = forwarder(listen=[("0.0.0.0", sink.port)])
        outcome = one(await relay.deliver(job(sink.hop)))
        assert (outcome.kind, sink.connections) == (OutcomeKind.TEMPORARY, 0)
        assert "own listener" in outcome.detail


async def test_dead_hop_is_left_alone_until_its_probe() -> None:
    async with SmtpSink(script={"banner": "421 4.3.2 Busy"}) as sink:
        relay = forwarder()
        first = one(await relay.deliver(job(sink.hop)))
        second = one(await relay.deliver(job(sink.hop)))
        assert (first.postponed, second.postponed) == (False, True)
        assert second.kind is OutcomeKind.TEMPORARY
        assert sink.connections == 1
        assert relay.is_closed(2, (sink.hop,))
        assert not relay.is_closed(3, (sink.hop,))


async def test_recovery_is_told() -> None:
    now = 0.0
    back: list[tuple[int, NextHop]] = []
    async with SmtpSink(script={"banner": ["421 4.3.2 Busy", "220 ready"]}) as sink:
        dialler = Dialler(Handshake(helo="relay.test"), StaticResolver())
        relay = Forwarder(ConnectionPool(), dialler, health=HopHealth(clock=lambda: now))
        relay.on_recovery = lambda tenant, hop: back.append((tenant, hop))
        await relay.deliver(job(sink.hop))
        now = 10.0
        assert one(await relay.deliver(job(sink.hop))).kind is OutcomeKind.DELIVERED
        assert back == [(2, sink.hop)]
        relay.close()


async def test_time_is_shared_between_hops() -> None:
    async with SmtpSink(script={"banner": SILENCE}) as tarpit, SmtpSink() as good:
        relay = forwarder()
        outcome = one(await relay.deliver(job(at(tarpit, 10), at(good, 20)), budget=0.4))
        assert outcome.kind is OutcomeKind.DELIVERED
        relay.close()


async def test_budget_ends_an_attempt() -> None:
    async with SmtpSink(script={"rcpt": SILENCE}) as sink:
        outcome = one(await forwarder().deliver(job(sink.hop), budget=0.1))
        assert (outcome.kind, outcome.stage) == (OutcomeKind.TEMPORARY, Stage.RCPT)
        assert 0.05 < outcome.elapsed < 2


async def test_busy_hop_postpones() -> None:
    async with SmtpSink(script={"content": Say("250 Ok", delay=0.3)}) as sink:
        relay = forwarder(per_hop=1)
        first = asyncio.create_task(relay.deliver(job(sink.hop)))
        while not sink.commands:
            await asyncio.sleep(0.01)
        second = one(await relay.deliver(job(sink.hop), budget=0.05))
        assert second.postponed
        assert not second.hop_failed
        assert one(await first).kind is OutcomeKind.DELIVERED
        relay.close()


async def test_silence_after_the_final_dot_resolves_for_each_recipient() -> None:
    script = {"content": Say("250 2.0.0 At last", delay=0.3), "rcpt": ["250 Ok", "550 5.1.1 Nobody", "250 Ok"]}
    async with SmtpSink(script=script) as sink:  # type: ignore[arg-type]
        to = ("a@client.test", "nobody@client.test", "b@client.test")
        outcomes = await forwarder().deliver(job(sink.hop, to=to), budget=0.1)
        assert [outcome.kind.value for outcome in outcomes] == ["unknown", "permanent", "unknown"]
        finals = [await outcome.final for outcome in outcomes if outcome.final]
        assert [(final.recipient, final.kind.value) for final in finals] == [(1, "delivered"), (3, "delivered")]
        assert all(final.final is None and final.elapsed > 0.2 for final in finals)
        assert len(sink.messages) == 1


async def test_go_ahead_is_awaited_once_and_calls_off() -> None:
    calls = 0

    def counting(fail: bool) -> Callable[[], Awaitable[None]]:
        async def go_ahead() -> None:
            nonlocal calls
            calls += 1
            if fail:
                raise LookupError

        return go_ahead

    async with SmtpSink() as sink:
        relay = forwarder()
        await relay.deliver(job(sink.hop), go_ahead=counting(fail=False))
        assert (calls, len(sink.messages)) == (1, 1)
        with pytest.raises(LookupError):
            await relay.deliver(job(sink.hop), go_ahead=counting(fail=True))
        assert (calls, len(sink.messages)) == (2, 1)
        relay.close()


async def test_go_ahead_does_not_come_when_nothing_will_be_sent() -> None:
    async def go_ahead() -> None:
        raise AssertionError

    async with SmtpSink(script={"rcpt": "550 5.1.1 Nobody"}) as sink:
        relay = forwarder()
        assert one(await relay.deliver(job(sink.hop), go_ahead=go_ahead)).kind is OutcomeKind.PERMANENT
        relay.close()


# what next hops offer


@pytest.mark.parametrize(
    ("offers", "needs", "reply"),
    [
        (("SIZE 1000", "8BITMIME"), {"size": 1001}, "552 5.3.4"),
        (("SIZE 1000",), {"size": 1000}, None),
        (("SIZE 0",), {"size": 10**9}, None),
        (("SIZE",), {"size": 10**9}, None),
        (("SIZE 1000",), {"eight_bit": True}, "554 5.6.3"),
        (("8BITMIME",), {"eight_bit": True}, None),
        (("8BITMIME",), {"smtputf8": True}, "550 5.6.7"),
        (("8BITMIME", "SMTPUTF8"), {"smtputf8": True, "eight_bit": True}, None),
    ],
)
async def test_refusal_at_the_door(offers: tuple[str, ...], needs: dict[str, int], reply: str | None) -> None:
    async with SmtpSink(offers=offers) as sink:
        relay = forwarder()
        assert relay.refusal([sink.hop], **needs) is None  # type: ignore[arg-type]
        await relay.deliver(job(sink.hop))
        refusal = relay.refusal([sink.hop], **needs)  # type: ignore[arg-type]
        assert (str(refusal)[:9] if refusal else None) == reply
        relay.close()


async def test_refusal_needs_the_first_hop_known_and_none_able() -> None:
    async with SmtpSink(offers=("SIZE 10",)) as small, SmtpSink(offers=("SIZE 1000",)) as big:
        relay = forwarder()
        hops = [at(small, 10), at(big, 20)]
        small.offers = ("SIZE 500",)
        await relay.deliver(job(at(small, 10)))
        assert str(relay.refusal(hops, size=600))[:3] == "552"
        await relay.deliver(job(at(big, 20)))
        assert relay.refusal(hops, size=600) is None
        assert str(relay.refusal(hops, size=1600))[:3] == "552"
        assert relay.refusal([at(big, 20), NextHop("unknown.test", 25, 5)], size=1600) is None
        relay.close()


async def test_what_is_remembered_of_a_hop_fades() -> None:
    now = 0.0
    async with SmtpSink(offers=("SIZE 500",)) as sink:
        relay = Forwarder(ConnectionPool(), Dialler(Handshake(helo="relay.test"), StaticResolver()), clock=lambda: now)
        await relay.deliver(job(sink.hop))
        assert relay.refusal([sink.hop], size=600)
        now = 3601.0
        assert relay.refusal([sink.hop], size=600) is None
        relay.close()


async def test_unable_hop_passes_to_one_that_is_able() -> None:
    async with SmtpSink(offers=()) as old, SmtpSink() as new:
        relay = forwarder()
        content = ("Subject: ä\r\n\r\nä\r\n".encode(),)
        able = job(at(old, 10), at(new, 20), eight_bit=True, content=content)
        assert one(await relay.deliver(able)).next_hop == str(new.hop)
        await new.stop()
        unable = one(await relay.deliver(able))
        assert (unable.kind, unable.local) == (OutcomeKind.PERMANENT, True)
        assert str(unable.reply).startswith("554 5.6.3")
        relay.close()


async def ask(relay: Forwarder, *hops: NextHop, to: Sequence[str]) -> list[tuple[Stage, int]]:
    asked = await relay.ask(job(*hops, to=to, content=()), budget=5.0)
    return [(answer.stage, answer.reply.code if answer.reply else 0) for answer in asked.answers]


@pytest.mark.parametrize("offers", [("PIPELINING", "SIZE 1000"), ()], ids=["pipelined", "step by step"])
async def test_asking_about_recipients_sends_nothing_and_leaves_the_connection_usable(offers: tuple[str, ...]) -> None:
    refuse_b: Callable[[str], str] = lambda line: "550 5.1.1 Who?" if "<b@" in line else "250 2.1.5 Ok"  # noqa: E731
    async with SmtpSink(script={"rcpt": refuse_b}, offers=offers) as sink:
        relay = forwarder()
        assert await ask(relay, sink.hop, to=["a@client.test", "b@client.test"]) == [
            (Stage.RCPT, 250),
            (Stage.RCPT, 550),
        ]
        assert await ask(relay, sink.hop, to=["b@client.test"]) == [(Stage.RCPT, 550)]
        assert one(await relay.deliver(job(sink.hop))).kind is OutcomeKind.DELIVERED
        verbs = [line.split(" ")[0].upper() for _, line in sink.commands]
        assert verbs == ["EHLO", "MAIL", "RCPT", "RCPT", "RSET", "MAIL", "RCPT", "RSET", "MAIL", "RCPT", "DATA"]
        assert (sink.connections, len(sink.messages)) == (1, 1)
        relay.close()


@pytest.mark.parametrize(
    ("script", "answers"),
    [
        ({"mail": "550 5.7.1 No null senders"}, [(Stage.MAIL, 550)] * 2),
        ({"rcpt": "421 4.3.2 Closing"}, [(Stage.RCPT, 421)] * 2),
        ({"banner": "554 5.7.1 Go away"}, [(Stage.BANNER, 554)] * 2),
        ({"rcpt": ["250 2.1.5 Ok", HANG_UP]}, [(Stage.DATA, 0), (Stage.RCPT, 0)]),
    ],
    ids=["MAIL", "421", "banner", "hang-up"],
)
async def test_asking_a_server_that_does_not_answer(
    script: dict[str, Script], answers: list[tuple[Stage, int]]
) -> None:
    async with SmtpSink(script=script) as sink:
        relay = forwarder()
        assert await ask(relay, sink.hop, to=["a@client.test", "b@client.test"]) == answers
        relay.close()


async def test_a_next_hop_known_to_be_down_is_not_asked() -> None:
    relay = forwarder()
    down = NextHop("127.0.0.1", free_port())
    assert await ask(relay, down, to=["a@client.test"]) == [(Stage.CONNECT, 0)]
    assert await ask(relay, down, to=["a@client.test"]) == [(Stage.ROUTE, 0)]
    relay.close()


async def test_a_server_that_has_enough_of_questions_is_not_down() -> None:
    async with SmtpSink(script={"rcpt": ["421 4.7.0 Too many errors", "250 2.1.5 Ok"]}) as sink:
        relay = forwarder()
        assert await ask(relay, sink.hop, to=["a@client.test"]) == [(Stage.RCPT, 421)]
        assert one(await relay.deliver(job(sink.hop))).kind is OutcomeKind.DELIVERED
        relay.close()


async def test_questions_have_connections_of_their_own() -> None:
    async with SmtpSink() as sink:
        relay = forwarder(questions=ConnectionPool(per_hop=1, uses=2))
        for _ in range(3):
            assert await ask(relay, sink.hop, to=["a@client.test"]) == [(Stage.RCPT, 250)]
        assert sink.connections == 2
        await relay.deliver(job(sink.hop))
        assert sink.connections == 3
        relay.close()
