"""Recipient verification by the real relay: lists and call-ahead, a server that is down, aliases, several workers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.dns_server import DnsServer
from tests.e2e.mails import arrived, mail
from tests.e2e.town import Client, Town, open_town
from tests.servers.clamd import Clamd
from tests.servers.ports import wait_until
from tests.servers.postfix import running_postfix
from tests.servers.relay import Relay
from tests.servers.slapd import BASE, BIND_DN, PASSWORD, running_slapd
from tests.servers.smtp_sink import Say, Script

POSITIVE = 4.0
"""Seconds that a known recipient counts in these tests before it is asked for again."""
NEGATIVE = 1.0
PER_NEXT_HOP = 2

_SETTINGS = f"""\
[verification]
positive_days = {POSITIVE / 86_400}
negative_ttl = {NEGATIVE}
accepts_any_ttl = {NEGATIVE}
timeout = 5
per_tenant = 4
per_next_hop = {PER_NEXT_HOP}
"""


@pytest.fixture(scope="module")
def whole_town(tmp_path_factory: pytest.TempPathFactory, clamd: Clamd, dns_server: DnsServer) -> Iterator[Town]:
    # One worker: who asks twice asks the same one, which knows what the first answer showed that it knows.
    relay = Relay(tmp_path_factory.mktemp("town"), clamd=clamd.address, dns=dns_server.address, more=_SETTINGS)
    relay.environment["LDAP_PASSWORD"] = PASSWORD
    with open_town(relay, spare=16) as town:
        yield town


@pytest.fixture
def town(whole_town: Town) -> Iterator[Town]:
    yield whole_town
    whole_town.run("ledger", "check")


def has(*users: str) -> Script:
    """A server that has these mailboxes, with anything after a plus, and no others."""
    wanted = tuple(f"<{user.lower()}{end}" for user in users for end in "@+")
    return lambda line: "250 2.1.5 Ok" if any(name in line.lower() for name in wanted) else "550 5.1.1 Who?"


def calling(town: Town, *users: str) -> Client:
    """A client whose server has these mailboxes, and which verifies by call-ahead."""
    client = town.next_client()
    client.sink.sink.script["rcpt"] = has(*users)
    town.run("tenant", "set", client.name, "--verify", "call-ahead")
    told(town, client, "nobody", 550)
    return client


def rcpt(town: Town, address: str) -> tuple[int, str]:
    """The reply to RCPT, in a session of its own."""
    with town.relay.client() as smtp:
        smtp.ehlo()
        smtp.mail("a@sender.test")
        code, text = smtp.rcpt(address)
        return code, text.decode()


def told(town: Town, client: Client, user: str, code: int, *, seconds: float = 15) -> None:
    """Wait until `code` is said for an address: changes are known within a second or so."""
    wait_until(
        lambda: rcpt(town, client.address(user))[0] == code,
        seconds=seconds,
        what=f"{code} for {client.address(user)}",
    )


def asked(client: Client, user: str) -> int:
    """How often its server was asked about a user."""
    return sum(f"<{client.address(user)}>" in line for _, line in client.sink.sink.commands)


def test_a_static_list_decides(town: Town, tmp_path: Path) -> None:
    client = town.next_client()
    file = tmp_path / "list.csv"
    file.write_text(f"email\njoe@{client.domain}\nAnn@{client.domain}\n")
    town.run("recipient", "import", client.name, file)
    town.run("tenant", "set", client.name, "--verify", "list")
    told(town, client, "eve", 550)
    assert rcpt(town, client.address("eve")) == (550, "5.1.1 No such recipient here")
    assert rcpt(town, client.address("JOE"))[0] == 250
    assert rcpt(town, client.address("ann+news"))[0] == 250
    assert rcpt(town, client.address("ann-news"))[0] == 550
    town.run("tenant", "set", client.name, "--separators", "-")
    told(town, client, "ann-news", 250)
    assert rcpt(town, client.address("ann+news"))[0] == 550
    town.run("recipient", "add", client.name, client.address("eve"))
    told(town, client, "eve", 250)
    town.run("recipient", "remove", client.name, client.address("eve"))
    told(town, client, "eve", 550)
    assert client.sink.sink.commands == []


def test_one_unknown_among_known_recipients_keeps_no_mail_from_the_others(town: Town) -> None:
    client = calling(town, "joe")
    assert town.relay.send(mail(), [client.address("eve"), client.address("joe")])[0] == 250
    (received,) = client.got
    assert [line.split(">")[0] for line in received.rcpts] == [f"RCPT TO:<{client.address('joe')}"]


def test_unknown_recipients_are_refused_recorded_and_counted(town: Town) -> None:
    client = calling(town, "joe")
    assert rcpt(town, client.address("eve")) == (550, "5.1.1 No such recipient here")
    assert rcpt(town, client.address("joe"))[0] == 250

    def recorded() -> bool:
        rows = town.json("trace", "--to", client.address("eve"))
        return [row["reason"] for row in rows] == ["unknown_recipient"]

    wait_until(recorded, what="the refusal in the trace")
    (line,) = town.logged("refused", recipient=client.address("eve"))
    assert line["reason"] == "unknown_recipient"
    (question,) = town.logged("called_ahead", recipient=client.address("eve"))
    assert (question["result"], question["reply"]) == ("unknown", "550 5.1.1 Who?")
    assert town.relay.metric('mailguard_verifications_total{mode="call-ahead",result="unknown"}') > 0
    assert town.relay.metric(f'mailguard_smtp_refusals_total{{reason="unknown_recipient",tenant="{client.name}"}}') > 0
    assert client.got == []


def test_workers_share_what_the_server_said(
    tmp_path_factory: pytest.TempPathFactory, clamd: Clamd, dns_server: DnsServer
) -> None:
    folder = tmp_path_factory.mktemp("shared")
    relay = Relay(folder, clamd=clamd.address, dns=dns_server.address, workers=2)
    commands = [("tenant", "set", "client", "--verify", "call-ahead")]
    with open_town(relay, clients={"client": ()}, commands=commands) as town:
        client = town["client"]
        client.sink.sink.script["rcpt"] = has("joe")
        assert rcpt(town, client.address("joe"))[0] == 250

        def shared() -> list[tuple[str, str]]:
            rows = town.json("recipient", "answers", client.name)
            return [(row["answer"], row["reply"]) for row in rows if row["recipient"] == client.address("joe")]

        wait_until(shared, what="the answer in the database")
        assert shared() == [("known", "250 2.1.5 Ok")]
        for _ in range(20):  # both workers have some of them
            assert rcpt(town, client.address("joe"))[0] == 250
        assert asked(client, "joe") == 1


def test_the_question_is_a_null_sender_and_no_data(town: Town) -> None:
    client = calling(town, "joe")
    commands = [line for _, line in client.sink.sink.commands]
    assert commands[1].startswith("MAIL FROM:<>")
    assert not any(line.upper().startswith("DATA") for line in commands)
    assert any("<verify-" in line for line in commands)


def test_a_new_mailbox_is_found_when_the_negative_answer_is_old(town: Town) -> None:
    client = calling(town, "joe")
    assert rcpt(town, client.address("new"))[0] == 550
    client.sink.sink.script["rcpt"] = has("joe", "new")
    told(town, client, "new", 250, seconds=10 * NEGATIVE)


def test_while_the_server_is_down_known_recipients_are_queued_and_unknown_ones_deferred(town: Town) -> None:
    client = calling(town, "joe", "ann")
    assert rcpt(town, client.address("joe"))[0] == 250
    wait_until(lambda: f"joe@{client.domain}" in str(town.json("recipient", "answers", client.name)), what="joe known")
    assert rcpt(town, client.address("eve"))[0] == 550
    client.sink.stop()
    told(town, client, "eve", 451, seconds=20)
    code, text = rcpt(town, client.address("ann"))
    assert (code, text[:5]) == (451, "4.4.1")
    wait_until(lambda: _expired(town, client.address("joe"), client), seconds=3 * POSITIVE, what="joe's answer expired")
    for user in ("joe", "Joe+news"):
        assert town.relay.send(mail(), [client.address(user)])[0] == 250
    assert town.units(client.address("joe"))[0]["state"] == "spooled"
    assert town.relay.metric('mailguard_verifications_total{mode="call-ahead",result="remembered"}') >= 2
    assert town.relay.metric('mailguard_verifications_total{mode="call-ahead",result="unverified"}') > 0
    client.sink.start()
    town.reached(client.address("joe"), "delivered")
    town.reached(client.address("Joe+news"), "delivered")
    told(town, client, "ann", 250)
    told(town, client, "eve", 550)


def _expired(town: Town, address: str, client: Client) -> bool:
    rows = [row for row in town.json("recipient", "answers", client.name) if row["recipient"] == address]
    return bool(rows) and datetime.fromisoformat(rows[0]["counts_until"]) < datetime.now(UTC)


def test_a_server_that_accepts_any_address_is_found_out_and_said_so(town: Town) -> None:
    client = town.next_client()
    town.run("tenant", "set", client.name, "--verify", "call-ahead")
    wait_until(
        lambda: rcpt(town, client.address("eve"))[0] == 250 and town.logged("accepts_any", domain=client.domain),
        what="the server being found out",
    )
    wait_until(
        lambda: town.json("tenant", "show", client.name)["domains"][0]["accepts_any_seen_at"], what="tenant show"
    )
    assert "accepts any address" in town.run("tenant", "show", client.name)[1]
    client.sink.sink.script["rcpt"] = has("joe")
    told(town, client, "eve", 550)
    told(town, client, "joe", 250)


@pytest.mark.parametrize(
    ("step", "reply", "code"),
    [
        ("rcpt", "450 4.2.0 Greylisted", 451),
        ("mail", "451 4.3.0 Later", 451),
        ("rcpt", "552 5.2.2 Mailbox full", 250),
        ("mail", "550 5.7.1 No null senders here", 250),
    ],
)
def test_answers_that_say_nothing_of_the_mailbox(town: Town, step: str, reply: str, code: int) -> None:
    client = town.spare[0] if town.spare else town.next_client()
    client.sink.sink.script.clear()
    client.sink.sink.script[step] = reply
    town.run("tenant", "set", client.name, "--verify", "call-ahead")
    town.run("recipient", "forget", client.name)
    told(town, client, f"joe{step}{code}", code)


def test_postmaster_and_abuse_always_pass(town: Town, tmp_path: Path) -> None:
    client = calling(town, "joe")
    for user in ("postmaster", "Abuse"):
        assert rcpt(town, client.address(user))[0] == 250
    assert asked(client, "postmaster") == 0
    town.run("recipient", "add", client.name, client.address("joe"))
    town.run("tenant", "set", client.name, "--verify", "list")
    told(town, client, "eve", 550)
    for user in ("PostMaster", "abuse"):
        assert rcpt(town, client.address(user))[0] == 250


def test_an_alias_has_the_mailboxes_of_its_domain(town: Town) -> None:
    client = calling(town, "joe")
    kept, rewritten = f"alias-{client.domain}", f"rewritten-{client.domain}"
    town.run("tenant", "domain", "alias", client.name, kept, "--of", client.domain)
    town.run("tenant", "domain", "alias", client.name, rewritten, "--of", client.domain, "--rewrite")
    for domain in (kept, rewritten):
        wait_until(lambda domain=domain: rcpt(town, f"joe@{domain}")[0] == 250, what=f"{domain} being ours")
        assert rcpt(town, f"eve@{domain}") == (550, "5.1.1 No such recipient here")
    assert town.relay.send(mail(), [f"Joe@{kept}"])[0] == 250
    assert town.relay.send(mail(), [f"Joe@{rewritten}", client.address("Joe")])[0] == 250
    assert len(arrived(client.sink, f"Joe@{kept}")) == 1
    (received,) = arrived(client.sink, client.address("Joe"))
    assert len(received.rcpts) == 1
    assert [unit["state"] for unit in town.units(f"Joe@{kept}")] == ["delivered"]


def test_call_aheads_in_flight_are_capped(town: Town) -> None:
    client = calling(town, "joe")
    client.sink.sink.script["rcpt"] = Say("550 5.1.1 Who?", delay=0.2)
    with ThreadPoolExecutor(16) as pool:
        codes = list(pool.map(lambda number: rcpt(town, client.address(f"u{number}"))[0], range(16)))
    assert set(codes) == {550}
    assert client.sink.sink.most_open <= PER_NEXT_HOP


@pytest.mark.skipif(os.geteuid() != 0, reason="POSTFIX NOT TESTED: only root can start one")
def test_a_real_postfix_answers_and_guessing_does_not_make_it_count_as_down(town: Town) -> None:
    client = town.next_client()
    with running_postfix(hostname="mail.client.test", domains=(client.domain,)) as postfix:
        town.run("tenant", "set", client.name, "--next-hop", f"127.0.0.1:{postfix.port}")
        town.run("tenant", "set", client.name, "--verify", "call-ahead")
        told(town, client, "nobody", 550)
        with ThreadPoolExecutor(4) as pool:
            guesses = list(pool.map(lambda number: rcpt(town, client.address(f"guess{number}"))[0], range(40)))
        assert set(guesses) == {550}
        assert rcpt(town, client.address("u1"))[0] == 250
        assert town.relay.send(mail(), [client.address("U2")])[0] == 250
        assert [unit["state"] for unit in town.units(client.address("u2"))] == ["delivered"]
        assert "too many errors" not in postfix.log()
        assert not any(row["answer"] == "accepts_any" for row in town.json("recipient", "answers", client.name))


def test_a_directory_server_decides_and_its_answers_outlive_it(town: Town) -> None:
    client = town.next_client()
    with running_slapd([client.address("joe"), client.address("ann")]) as server:
        town.run(
            *(
                "tenant",
                "ldap",
                client.name,
                "--url",
                f"ldap://127.0.0.1:{server.port}",
                "--no-starttls",
                "--base",
                BASE,
            ),
            *("--filter", "(mail={address})", "--bind-dn", BIND_DN, "--password", "secret:env:LDAP_PASSWORD"),
        )
        town.run("tenant", "set", client.name, "--verify", "ldap")
        told(town, client, "eve", 550)
        assert rcpt(town, client.address("Joe+news"))[0] == 250
        assert rcpt(town, client.address("postmaster"))[0] == 250
        wait_until(lambda: _expired(town, client.address("joe"), client), seconds=3 * POSITIVE, what="joe expired")
    assert rcpt(town, client.address("joe"))[0] == 250
    assert rcpt(town, client.address("ann"))[0] == 451
    told(town, client, "eve", 451)
    assert not any("RCPT" in line for _, line in client.sink.sink.commands)
