"""Rules for attachments over SMTP: stripped mail and its original, mail that is held for a time, refusals, locked archives."""

from __future__ import annotations

import sqlite3
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from io import BytesIO

import pytest

from tests.dns_server import DnsServer
from tests.e2e.mails import below_our_block, with_attachment
from tests.e2e.town import Town, add_profiles, open_town, story
from tests.servers.clamd import private_clamd
from tests.servers.ports import wait_until
from tests.servers.relay import Relay
from tests.servers.smtp_sink import Received

MONTH = datetime.now(UTC).strftime("%Y-%m")
STRIP = "{name: no programs, extensions: [exe, docm], action: strip}"
PROFILES = {
    "strips": f"extends: default\nattachments: {{rules: [{STRIP}], ask: 'help@client.example'}}\n",
    "holds": (
        "extends: default\nattachments:\n  hold_for: 2s\n"
        "  rules: [{name: new, extensions: [docm], action: hold}, "
        "{name: later, extensions: [xlsm], action: hold, then: strip}]\n"
    ),
    "rejects": "extends: default\nattachments: {rules: [{extensions: [docm], action: reject}], uninspectable: reject}\n",
}
PROGRAM = b"MZ\0\0 a program"


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory, dns_server: DnsServer) -> Iterator[Town]:
    root = tmp_path_factory.mktemp("town")
    with private_clamd(tmp_path_factory.mktemp("clamd")) as scanner:
        relay = Relay(
            root,
            clamd=scanner.address,
            dns=dns_server.address,
            policies=add_profiles(root / "policies", PROFILES),
        )
        with open_town(relay, clients={name: ("--policy", name) for name in PROFILES}) as opened:
            yield opened


def one(got: list[Received], count: int = 1) -> Received:
    """The last of so many mails."""
    wait_until(lambda: len(got) == count, what=f"{count} mails arriving")
    return got[-1]


def test_a_stripped_mail_arrives_with_a_note_and_its_original_can_be_released(town: Town) -> None:
    client, message = town["strips"], with_attachment(PROGRAM, "tool.exe")
    recipient = client.address("stripped")
    assert town.relay.send(message, [recipient])[0] == 250
    received = one(client.got)
    delivered, original = town.units(recipient)
    assert story(delivered) == [("forwarding", "forbidden_attachment"), ("delivered", "next_hop_accepted")]
    assert story(original) == [("quarantined", "stripped_attachment")]
    assert original["original_of"] == delivered["id"]
    assert b"X-MailGuard-Stripped:\r\n\ttool.exe\r\n" in received.content
    assert b"X-MailGuard-Verdict: strip; reason=forbidden_attachment" in received.content
    assert b"[An attachment was removed from this message]" in received.content
    assert b"help@client.example" in received.content
    assert delivered["message"].encode() in received.content
    assert b"filename=" not in received.content
    assert b"Please see the attachment." in received.content

    (kept,) = town.json("quarantine", "list", "--to", recipient, "--reason", "stripped_attachment")
    assert kept["id"] == original["id"]
    town.run("quarantine", "release", original["id"], "--why", "needed", "--actor", "ops")
    whole = one(client.got, 2)
    assert below_our_block(whole.content) == message
    wait_until(lambda: town.units(recipient)[1]["state"] == "released", what="the original being released")

    (used,) = [row for row in town.json("usage", "--month", MONTH)["tenants"] if row["tenant"] == "strips"]
    assert [used[count]["units"] for count in ("received", "delivered", "quarantined", "released")] == [1, 1, 0, 1]
    assert used["billed"] == {"mailboxes": 1, "messages": 1, "bytes": len(message)}
    town.run("usage", "--month", MONTH, "--recount")
    assert "X-MailGuard-Stripped" not in whole.content.decode("latin-1")
    town.run("ledger", "check")


def test_a_stripped_mail_waits_in_the_queue_and_arrives_stripped(town: Town) -> None:
    client, recipient = town["strips"], town["strips"].address("later")
    client.got.clear()
    client.sink.stop()
    assert town.relay.send(with_attachment(PROGRAM, "late.exe"), [recipient])[0] == 250
    assert [unit["state"] for unit in town.units(recipient)] == ["spooled", "quarantined"]
    client.sink.start()
    town.run("queue", "retry", "--all", "--tenant", "strips")
    received = one(client.got)
    assert b"[An attachment was removed" in received.content
    assert b"late.exe" in received.content
    assert b"filename=" not in received.content
    town.run("quarantine", "delete", town.units(recipient)[1]["id"], "--why", "done")
    town.run("ledger", "check")


def test_signed_mail_is_quarantined_whole(town: Town) -> None:
    recipient = town["strips"].address("signed")
    inner = with_attachment(PROGRAM, "tool.exe")
    head, _, rest = inner.partition(b"MIME-Version: 1.0\r\n")
    signature = b"Content-Type: application/pgp-signature; name=sig.asc\r\n\r\nx"
    signed = (
        head
        + b'MIME-Version: 1.0\r\nContent-Type: multipart/signed; boundary=sealed; protocol="application/pgp-signature"\r\n\r\n'
        + b"--sealed\r\n"
        + rest
        + b"\r\n--sealed\r\n"
        + signature
        + b"\r\n--sealed--\r\n"
    )
    assert town.relay.send(signed, [recipient])[0] == 250
    unit = town.unit(recipient)
    assert story(unit) == [("quarantined", "forbidden_attachment")]
    assert "not stripped: it is part of multipart/signed" in unit["explanation"]


def test_what_a_next_hop_refuses_is_kept_nowhere(town: Town) -> None:
    client, recipient = town["strips"], town["strips"].address("refused")
    client.sink.sink.script["rcpt"] = "550 5.1.1 No such user"
    assert town.relay.send(with_attachment(PROGRAM, "x.exe"), [recipient])[0] == 550
    del client.sink.sink.script["rcpt"]
    assert [unit["state"] for unit in town.units(recipient)] == ["rejected", "deleted"]


def test_a_held_mail_is_decided_anew_when_its_time_is_over(town: Town) -> None:
    client, recipient = town["holds"], town["holds"].address("held")
    client.got.clear()
    message = with_attachment(b"PK macros", "new.docm")
    assert town.relay.send(message, [recipient])[0] == 250
    assert story(town.unit(recipient))[0] == ("held", "forbidden_attachment")
    town.reached(recipient, "delivered")
    assert below_our_block(one(client.got).content) == message


def test_a_rule_of_one_client_holds_no_other_clients_mail(town: Town) -> None:
    holding, other = town["holds"], town["strips"]
    other.got.clear()
    recipients = [holding.address("mine"), other.address("theirs")]
    assert town.relay.send(with_attachment(b"PK macros", "both.docm"), recipients)[0] == 250
    assert b"[An attachment was removed" in one(other.got).content
    town.reached(recipients[0], "delivered")


def test_an_erased_person_leaves_no_name_of_a_file_behind(town: Town) -> None:
    recipient = town["strips"].address("erased")
    assert town.relay.send(with_attachment(PROGRAM, "divorce.exe"), [recipient])[0] == 250
    assert town.run("privacy", "export", recipient)[1]
    for unit in town.units(recipient):
        if unit["state"] == "quarantined":
            town.run("quarantine", "delete", unit["id"], "--why", "asked to")
    town.run("privacy", "erase", recipient, "--why", "asked to")
    with sqlite3.connect(town.relay.root / "mailguard.db", timeout=10) as connection:
        edits = connection.execute("SELECT edits FROM units WHERE edits LIKE '%divorce%'").fetchall()
    connection.close()
    assert edits == []
    town.run("ledger", "check")


def test_what_was_held_may_be_stripped_then(town: Town) -> None:
    client, recipient = town["holds"], town["holds"].address("strip")
    client.got.clear()
    assert town.relay.send(with_attachment(b"PK macros", "new.xlsm"), [recipient])[0] == 250
    received = one(client.got)
    assert b"[An attachment was removed" in received.content
    wait_until(
        lambda: [unit["state"] for unit in town.units(recipient)] == ["delivered", "quarantined"], what="both units"
    )
    town.run("ledger", "check")


def test_a_rule_rejects_at_data(town: Town) -> None:
    code, text = town.relay.send(with_attachment(b"PK macros", "a.docm"), [town["rejects"].address()])
    assert (code, "type of attachment not allowed" in text) == (550, True)


def test_a_locked_archive_gets_its_action(town: Town) -> None:
    out = BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("secret.txt", "x" * 64)
    locked = bytearray(out.getvalue())
    locked[6] |= 1  # general purpose bit 0: encrypted (APPNOTE §4.4.4), in the local header and in the directory
    locked[locked.index(b"PK\x01\x02") + 8] |= 1
    code, text = town.relay.send(with_attachment(bytes(locked), "locked.zip"), [town["rejects"].address("locked")])
    assert (code, "cannot be looked into" in text) == (550, True)
