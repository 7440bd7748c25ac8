"""What senders ask for by DSN (RFC 3461), from the door to the next hop and to the reports that go back to them."""

from __future__ import annotations

import email
from collections.abc import Iterator, Mapping

import pytest

from tests.dns_server import DnsServer
from tests.e2e.mails import mail
from tests.e2e.town import Town, open_town
from tests.servers.clamd import Clamd
from tests.servers.ports import wait_until
from tests.servers.relay import Relay
from tests.servers.sink_thread import SinkThread, running_sink
from tests.servers.smtp_sink import Received

DELAY_HOURS = 0.0005
Fields = Mapping[str, str]
"""Of one recipient in a report's delivery status."""
ASKED = ("RET=FULL", "ENVID=QQ314+2B15")


@pytest.fixture(scope="module")
def smarthost() -> Iterator[SinkThread]:
    """Takes the relay's own mail."""
    with running_sink() as made:
        yield made


@pytest.fixture(scope="module")
def town(
    tmp_path_factory: pytest.TempPathFactory, clamd: Clamd, dns_server: DnsServer, smarthost: SinkThread
) -> Iterator[Town]:
    relay = Relay(
        tmp_path_factory.mktemp("town"),
        clamd=clamd.address,
        dns=dns_server.address,
        workers=2,
        more=f'[outbound]\nsmarthost = "127.0.0.1:{smarthost.port}"',
        environment={"MAILGUARD_QUEUE__DELAY_NOTICE_HOURS": str(DELAY_HOURS)},
    )
    with open_town(relay, spare=9) as made:
        yield made
        made.run("ledger", "check")


def send(
    town: Town,
    rcpts: dict[str, str],
    *,
    subject: str,
    mail_options: tuple[str, ...] = ASKED,
    sender: str = "a@sender.test",
) -> None:
    """Send one mail with these parameters of RCPT by recipient."""
    with town.relay.client() as smtp:
        smtp.ehlo("mail.sender.test")
        assert smtp.has_extn("DSN")
        assert smtp.mail(sender, list(mail_options))[0] == 250
        for recipient, parameters in rcpts.items():
            assert smtp.rcpt(recipient, parameters.split())[0] == 250
        assert smtp.data(mail(subject, sender=sender))[0] == 250


def reports(smarthost: SinkThread, recipient: str) -> list[Fields]:
    """The fields about a recipient, of every report that came."""
    found: list[Fields] = []
    for received in smarthost.messages:
        message = email.message_from_bytes(received.content)
        status = message.get_payload()[1].get_payload()  # type: ignore[union-attr, index]
        groups = [dict(group.items()) for group in status[1:]]  # type: ignore[union-attr, index]
        found += [group for group in groups if recipient in group["Final-Recipient"]]
    return found


def report(smarthost: SinkThread, recipient: str) -> Fields:
    """The only one about a recipient, once it is there."""
    wait_until(lambda: reports(smarthost, recipient), seconds=20, what=f"a report on {recipient}")
    (group,) = reports(smarthost, recipient)
    return group


def carrying(smarthost: SinkThread, recipient: str) -> Received:
    return next(one for one in smarthost.messages if recipient.encode() in one.content)


def test_parameters_go_on_to_a_next_hop_that_offers_dsn(town: Town, smarthost: SinkThread) -> None:
    client = town.next_client()
    client.sink.sink.offers = (*client.sink.sink.offers, "DSN")
    user = client.address()
    send(town, {user: f"NOTIFY=SUCCESS,DELAY ORCPT=rfc822;{user}"}, subject="passed on")
    (received,) = client.got
    assert {"RET=FULL", "ENVID=QQ314+2B15"} <= set(received.mail.split())
    assert {"NOTIFY=SUCCESS,DELAY", f"ORCPT=rfc822;{user}"} <= set(received.rcpts[0].split())
    assert reports(smarthost, user) == []


def test_parameters_survive_the_queue(town: Town) -> None:
    client = town.next_client()
    client.sink.sink.offers = (*client.sink.sink.offers, "DSN")
    client.sink.sink.script["rcpt"] = ["451 4.3.0 Later", "250 2.1.5 Ok"]
    user = client.address()
    send(town, {user: "NOTIFY=SUCCESS ORCPT=rfc822;someone+2Bnews@elsewhere.test"}, subject="later")
    town.reached(user, "delivered")
    (received,) = client.got
    assert {"RET=FULL", "ENVID=QQ314+2B15"} <= set(received.mail.split())
    assert "NOTIFY=SUCCESS ORCPT=rfc822;someone+2Bnews@elsewhere.test" in received.rcpts[0]


@pytest.mark.parametrize("queued", [False, True], ids=["at once", "from the queue"])
def test_success_is_reported_as_relayed_where_the_next_hop_will_not(
    town: Town, smarthost: SinkThread, *, queued: bool
) -> None:
    client = town.next_client()
    if queued:
        client.sink.sink.script["rcpt"] = ["451 4.3.0 Later", "451 4.3.0 Later", "250 2.1.5 Ok"]
    wants, not_, user = client.address("wants"), client.address("not"), client.address("plain")
    send(
        town,
        {wants: f"NOTIFY=SUCCESS ORCPT=rfc822;{wants}", not_: "NOTIFY=FAILURE", user: ""},
        subject="success wanted",
    )
    group = report(smarthost, wants)
    assert (group["Action"], group["Original-Recipient"]) == ("relayed", f"rfc822; {wants}")
    assert b"Original-Envelope-Id: QQ314+2B15" in carrying(smarthost, wants).content
    assert carrying(smarthost, wants).rcpts == ["RCPT TO:<a@sender.test>"]
    for other in (not_, user):
        town.reached(other, "delivered")
        assert reports(smarthost, other) == []
    note = [event for event in town.unit(wants)["events"] if event["kind"] == "note"]
    assert [event["detail"]["told"] for event in note] == ["relayed"]


def test_success_of_a_forged_sender_is_not_reported(town: Town, smarthost: SinkThread) -> None:
    client = town.next_client()
    user = client.address()
    send(town, {user: "NOTIFY=SUCCESS"}, subject="forged", sender="x@nowhere.test")
    town.reached(user, "delivered")
    assert reports(smarthost, user) == []


def test_delay_is_told_once_to_who_wants_it(town: Town, smarthost: SinkThread) -> None:
    client = town.next_client()
    client.sink.sink.script["rcpt"] = "451 4.2.2 Mailbox full"
    told, default, never = client.address("told"), client.address("default"), client.address("never")
    send(town, {told: "NOTIFY=DELAY", default: "", never: "NOTIFY=NEVER"}, subject="late")
    for user in (told, default):
        group = report(smarthost, user)
        assert (group["Action"], group["Status"]) == ("delayed", "4.2.2")
        assert group["Will-Retry-Until"]
    # Two more attempts, and no second notice.
    attempts = town.unit(told)["queue"]["attempts"]
    wait_until(lambda: town.unit(told)["queue"]["attempts"] >= attempts + 2, seconds=20, what="more attempts")
    assert len(reports(smarthost, told)) == 1
    assert reports(smarthost, never) == []
    client.sink.sink.script.clear()
    for user in (told, default, never):
        town.reached(user, "delivered")


def test_failure_honours_what_was_asked_for(town: Town, smarthost: SinkThread) -> None:
    client = town.next_client()
    client.sink.sink.script["rcpt"] = lambda line: "250 2.1.5 Ok" if "<good@" in line else "550 5.1.1 No such user"
    good, loud, quiet = client.address("good"), client.address("loud"), client.address("quiet")
    send(town, {good: "", loud: f"NOTIFY=FAILURE ORCPT=rfc822;{loud}", quiet: "NOTIFY=NEVER"}, subject="failed")
    group = report(smarthost, loud)
    assert (group["Action"], group["Status"], group["Original-Recipient"]) == ("failed", "5.1.1", f"rfc822; {loud}")
    raw = carrying(smarthost, loud).content
    assert b"Content-Type: message/rfc822" in raw
    assert b"Hi there." in raw
    unit = town.reached(quiet, "undeliverable")
    assert unit["reason"] == "notice_unwanted"
    assert reports(smarthost, quiet) == []
    assert town.unit(good)["state"] == "delivered"


def test_header_alone_goes_back_unless_the_whole_is_wanted(town: Town, smarthost: SinkThread) -> None:
    client = town.next_client()
    client.sink.sink.script["rcpt"] = lambda line: "250 2.1.5 Ok" if "<good@" in line else "550 5.1.1 No such user"
    bad = client.address("bad")
    send(town, {client.address("good"): "", bad: ""}, subject="failed too", mail_options=("RET=HDRS",))
    report(smarthost, bad)
    raw = carrying(smarthost, bad).content
    assert b"Content-Type: text/rfc822-headers" in raw
    assert b"Hi there." not in raw
