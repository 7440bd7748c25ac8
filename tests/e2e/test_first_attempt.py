"""The second reply table: what the next hop says in the sender's session, and what the sender hears."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mailguard.smtp.tls import self_made
from tests.dns_server import DnsServer
from tests.e2e.mails import infected, mail
from tests.e2e.town import Town, attempts, open_town, story
from tests.servers.clamd import Clamd
from tests.servers.ports import wait_until
from tests.servers.relay import Relay
from tests.servers.sink_thread import SinkThread, running_sink
from tests.servers.smtp_sink import HANG_UP, SILENCE, Say, Script

PATIENCE = 2.0
"""Seconds that the sender is kept waiting for the next hop."""


@pytest.fixture(scope="module")
def smarthost() -> Iterator[SinkThread]:
    """Takes the relay's own mail: the reports of what failed."""
    with running_sink() as made:
        yield made


@pytest.fixture(scope="module")
def whole_town(
    tmp_path_factory: pytest.TempPathFactory, clamd: Clamd, dns_server: DnsServer, smarthost: SinkThread
) -> Iterator[Town]:
    relay = Relay(
        tmp_path_factory.mktemp("town"),
        clamd=clamd.address,
        dns=dns_server.address,
        more=f'[outbound]\nattempt_timeout = {PATIENCE}\nsmarthost = "127.0.0.1:{smarthost.port}"',
    )
    with open_town(relay, clients={"newcomer": ("--soft-bounce",)}, spare=44) as town:
        yield town


@pytest.fixture
def town(whole_town: Town) -> Iterator[Town]:
    yield whole_town
    whole_town.run("ledger", "check")


# 2xx


def test_2xx_is_delivered_before_the_sender_hears_250(town: Town) -> None:
    client = town.next_client()
    client.sink.sink.script["content"] = "250 2.0.0 Queued as 4711"
    code, text = town.relay.send(mail(), [client.address()])
    unit = town.unit(client.address())
    assert (code, text) == (250, f"2.0.0 Ok: message accepted ({unit['message']})")
    (received,) = client.got
    assert received.content.endswith(mail())
    assert story(unit) == [("forwarding", "clean"), ("delivered", "next_hop_accepted")]
    (attempt,) = attempts(unit)
    assert attempt["outcome"] == "delivered"
    assert attempt["reply"] == "250 2.0.0 Queued as 4711"
    assert attempt["next_hop"] == f"127.0.0.1:{client.sink.port}"
    assert unit["message"] not in town.bodies()


def test_intent_stands_in_the_ledger_when_the_next_hop_has_the_content(town: Town) -> None:
    client = town.next_client()
    seen: list[list[tuple[str, str]]] = []

    def content(_line: str) -> str:
        seen.extend(story(unit) for unit in town.units(client.address()))
        return "250 2.0.0 Taken"

    client.sink.sink.script["content"] = content
    assert town.relay.send(mail(), [client.address()])[0] == 250
    assert seen == [[("forwarding", "clean")]]


# no connection, 4xx anywhere, or a failure that is not about the mail


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return self_made(tmp_path_factory.mktemp("tls"), hostname="sink.test")


SPOOLED: dict[str, tuple[dict[str, Script], str, bool]] = {
    "4xx banner": ({"banner": "421 4.3.2 Shutting down"}, "banner", False),
    "5xx banner": ({"banner": "554 5.7.1 Your address is blocked"}, "banner", True),
    "hang-up before the banner": ({"banner": HANG_UP}, "banner", False),
    "silent banner": ({"banner": SILENCE}, "banner", False),
    "4xx EHLO": ({"ehlo": "421 4.3.2 Not now"}, "ehlo", False),
    "5xx EHLO and HELO": ({"ehlo": "550 5.7.1 No", "helo": "550 5.7.1 Bad name"}, "ehlo", True),
    "STARTTLS that fails and is required": (
        {"starttls": "454 4.7.0 TLS not available", "mail": "530 5.7.0 Must issue a STARTTLS command first"},
        "mail",
        True,
    ),
    "4xx MAIL": ({"mail": "451 4.7.1 Greylisted"}, "mail", False),
    "5xx MAIL": ({"mail": "550 5.7.1 SPF says you may not"}, "mail", True),
    "530 RCPT": ({"rcpt": "530 5.7.0 Must issue a STARTTLS command first"}, "rcpt", True),
    "4xx RCPT": ({"rcpt": "450 4.2.2 Mailbox busy"}, "rcpt", False),
    "4xx DATA": ({"data": "451 4.3.0 No room"}, "data", False),
    "4xx after the data": ({"content": "451 4.3.0 No room"}, "content", False),
    "hang-up after the data": ({"content": HANG_UP}, "content", False),
}


@pytest.mark.parametrize("case", SPOOLED)
def test_what_may_pass_is_spooled(town: Town, certificate: tuple[Path, Path], case: str) -> None:
    script, stage, alerts = SPOOLED[case]
    client = town.next_client()
    client.sink.sink.script.update(script)
    if "starttls" in script:
        client.sink.sink.certificate = certificate
    code, text = town.relay.send(mail(), [client.address()])
    assert code == 250, text
    unit = town.unit(client.address())
    assert story(unit)[:2] == [("forwarding", "clean"), ("spooled", "next_hop_unavailable")]
    assert unit["message"] in town.bodies()
    assert unit["queue"]["purpose"] == "forward"
    assert attempts(unit)[0]["stage"] == stage
    first = [line for line in town.logged("next_hop_refuses_us", tenant=client.name) if line["stage"] == stage]
    assert bool(first) is alerts
    assert (town.relay.metric(f'mailguard_next_hop_refusals_total{{tenant="{client.name}"}}') > 0) is alerts
    # On a busy machine the next attempt may be under way already.
    wait_until(lambda: town.run("queue", "cancel", unit["id"], check=False)[0] == 0, what="the mail being cancelled")


@pytest.mark.parametrize(
    "failure",
    ["454 4.7.0 Not now", "554 5.7.0 Never", "421 4.7.0 Closing", HANG_UP, Say("220 Go ahead", hang_up=True)],
    ids=["4xx", "5xx", "421", "hang-up", "broken handshake"],
)
def test_starttls_that_fails_is_done_without(town: Town, certificate: tuple[Path, Path], failure: str | Say) -> None:
    """Opportunistic TLS (RFC 7435): rather in plaintext than not at all."""
    client = town.next_client()
    client.sink.sink.certificate = certificate
    client.sink.sink.script["starttls"] = failure
    assert town.relay.send(mail(), [client.address()])[0] == 250
    assert story(town.unit(client.address()))[-1] == ("delivered", "next_hop_accepted")
    assert [received.tls for received in client.got] == [False]


def test_no_connection_is_spooled_and_delivered_when_the_next_hop_is_back(town: Town) -> None:
    client = town.next_client()
    client.sink.stop()
    assert town.relay.send(mail(), [client.address()])[0] == 250
    unit = town.unit(client.address())
    assert story(unit) == [("forwarding", "clean"), ("spooled", "next_hop_unavailable")]
    assert attempts(unit)[0]["stage"] == "connect"
    client.sink.start()
    unit = town.reached(client.address(), "delivered")
    assert story(unit)[-1] == ("delivered", "next_hop_accepted")
    (received,) = client.got
    assert received.content.endswith(mail())


def test_what_refuses_us_is_tried_again_and_delivered_when_mended(town: Town) -> None:
    client = town.next_client()
    client.sink.sink.script["mail"] = ["550 5.7.1 Blocked", "250 2.1.0 Welcome back"]
    assert town.relay.send(mail(), [client.address()])[0] == 250
    unit = town.reached(client.address(), "delivered")
    assert [attempt["outcome"] for attempt in attempts(unit)] == ["temporary", "delivered"]
    assert len(client.got) == 1


def test_tls_that_is_off_is_off_for_what_waited_too(
    new_relay: Callable[..., Relay], sink: SinkThread, certificate: tuple[Path, Path]
) -> None:
    sink.sink.certificate = certificate
    sink.sink.script["mail"] = ["450 4.3.2 Later", "250 2.1.0 Ok"]
    relay = new_relay(environment={"MAILGUARD_OUTBOUND__TLS": "off"})
    relay.add_tenant("acme", "client.test", sink.port)
    relay.start()
    assert relay.send(mail())[0] == 250
    wait_until(lambda: sink.messages, what="the mail being delivered from the queue")
    assert not any(line.upper() == "STARTTLS" for _, line in sink.sink.commands)
    assert [received.tls for received in sink.messages] == [False]


# 5xx at RCPT or after the data


@pytest.mark.parametrize("stage", ["rcpt", "data", "content"])
def test_5xx_for_every_recipient_passes_through_and_nothing_is_kept(town: Town, stage: str) -> None:
    client = town.next_client()
    client.sink.sink.script[stage] = "552 5.2.2 Mailbox full"
    recipients = [client.address("one"), client.address("two")]
    code, text = town.relay.send(mail(), recipients)
    if stage == "rcpt":  # 552 without 5.5.3 is about the mailbox
        assert (code, text) == (552, "5.2.2 Mailbox full")
    assert (code, text) == (552, "5.2.2 Mailbox full")
    for recipient in recipients:
        unit = town.unit(recipient)
        assert story(unit) == [("forwarding", "clean"), ("rejected", "next_hop_refused")]
        assert attempts(unit)[0]["stage"] == stage
        assert unit["message"] not in town.bodies()
    assert town.logged("next_hop_refuses_us", tenant=client.name) == []


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (b"550 \x1b[31m5.1.1\x00 caf\xc3\xa9\x07\r\n", "5.0.0 [31m5.1.1  caf"),
        (b"554-5.7.1 first line\r\n554 5.7.1 second line\r\n", "5.7.1 first line second line"),
        (b"550\r\n", "5.0.0 Refused by the recipient's mail server"),
        (b"599 " + b"x" * 900 + b"\r\n", "5.0.0 " + "x" * 400),
    ],
    ids=["controls", "several lines", "bare code", "long"],
)
def test_text_of_the_next_hop_is_made_safe(town: Town, reply: bytes, told: str) -> None:
    client = town.next_client()
    client.sink.sink.script["rcpt"] = reply.removesuffix(b"\r\n") + b"\r\n"
    code, text = town.relay.send(mail(), [client.address()])
    assert (code, text) == (int(reply[:3]), told)


def test_5xx_for_some_recipients_is_bounced_and_the_rest_proceeds(town: Town, smarthost: SinkThread) -> None:
    client = town.next_client()
    client.sink.sink.script["rcpt"] = lambda line: "550 5.1.1 No such user" if "<nobody@" in line else "250 2.1.5 Ok"
    good, bad = client.address("somebody"), client.address("nobody")
    assert town.relay.send(mail(), [good, bad])[0] == 250
    assert story(town.unit(good)) == [("forwarding", "clean"), ("delivered", "next_hop_accepted")]
    unit = town.reached(bad, "bounced")
    assert story(unit)[-1] == ("bounced", "next_hop_refused")
    assert len(client.got) == 1
    assert [one for one in smarthost.messages if bad.encode() in one.content]


def test_5xx_of_several_tenants_is_never_passed_through(town: Town) -> None:
    one, other = town.next_client(), town.next_client()
    one.sink.sink.script["rcpt"] = "550 5.1.1 No such user at one"
    other.sink.sink.script["content"] = "554 5.6.0 Not wanted at other"
    code, text = town.relay.send(mail(), [one.address(), other.address()])
    assert code == 250
    assert "user" not in text
    assert town.reached(one.address(), "bounced")
    assert town.reached(other.address(), "bounced")


def test_5xx_beside_a_quarantined_recipient_is_not_passed_through(town: Town) -> None:
    """Its tenant's other recipient has the mail in quarantine: the sender hears 250 for that one."""
    client, other = town.next_client(), town.next_client()
    client.sink.sink.script["rcpt"] = "550 5.1.1 No such user"
    town.run("tenant", "set", other.name, "--policy", "strict")
    denied = ("tenant", "deny", "add", other.name, "a@sender.test")
    town.run(*denied)
    wait_until(lambda: town.relay.send(mail(), [other.address("probe")])[0] == 550, what="the deny entry being known")
    assert town.relay.send(mail(), [client.address(), other.address()])[0] == 250
    assert story(town.unit(other.address())) == [("quarantined", "rejected_for_others")]
    assert town.reached(client.address(), "bounced")


def test_soft_bounce_takes_5xx_for_4xx(town: Town) -> None:
    client = town["newcomer"]
    client.sink.sink.script["rcpt"] = ["550 5.1.1 Not set up yet", "550 5.1.1 Nor now", "250 2.1.5 Ok"]
    assert town.relay.send(mail(), [client.address()])[0] == 250
    unit = town.reached(client.address(), "delivered")
    assert story(unit)[1] == ("spooled", "next_hop_refused")
    assert [attempt["outcome"] for attempt in attempts(unit)] == ["permanent", "permanent", "delivered"]
    assert len(client.got) == 1


# silence after the final dot


def test_reply_that_comes_late_is_awaited_and_the_mail_delivered_once(town: Town) -> None:
    client = town.next_client()
    client.sink.sink.script["content"] = Say("250 2.0.0 At last", delay=PATIENCE + 1.5)
    started = time.monotonic()
    assert town.relay.send(mail(), [client.address()])[0] == 250
    assert time.monotonic() - started < PATIENCE + 1, "the sender is not kept waiting"
    unit = town.unit(client.address())
    assert story(unit) == [("forwarding", "clean"), ("spooled", "outcome_unknown")]
    assert unit["queue"]["standing"] == "under_way"
    assert unit["message"] in town.bodies()
    unit = town.reached(client.address(), "delivered")
    assert attempts(unit)[-1]["reply"] == "250 2.0.0 At last"
    assert len(client.got) == 1
    assert client.sink.sink.connections == 1


def test_refusal_that_comes_late_is_bounced(town: Town) -> None:
    client = town.next_client()
    client.sink.sink.script["content"] = Say("554 5.6.0 Not wanted, after all", delay=PATIENCE + 1)
    assert town.relay.send(mail(), [client.address()])[0] == 250
    assert story(town.unit(client.address()))[-1] == ("spooled", "outcome_unknown")
    unit = town.reached(client.address(), "bounced")
    assert "554 5.6.0 Not wanted, after all" in str(unit["events"])
    assert len(client.got) == 1


def test_hang_up_while_the_reply_is_awaited_is_tried_again(town: Town) -> None:
    client = town.next_client()
    client.sink.sink.script["content"] = [Say("", delay=PATIENCE + 1, hang_up=True), "250 2.0.0 Taken"]
    assert town.relay.send(mail(), [client.address()])[0] == 250
    assert story(town.unit(client.address()))[-1] == ("spooled", "outcome_unknown")
    unit = town.reached(client.address(), "delivered")
    assert len(client.got) == 2, "SMTP cannot say whether the first was taken"
    assert attempts(unit)[-1]["outcome"] == "delivered"


def test_malware_is_never_offered_to_a_next_hop(town: Town) -> None:
    client = town.next_client()
    assert town.relay.send(infected(), [client.address()])[0] == 250
    assert client.sink.sink.connections == 0
