"""Attached files are taken apart at the door, over SMTP with the real scanner: what it cannot see itself, bombs, and its absence."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

from tests import bombs
from tests.dns_server import DnsServer
from tests.e2e.mails import arrived, below_our_block, mail, with_attachment
from tests.e2e.town import add_profiles, open_town, story
from tests.servers.clamd import EICAR, Clamd, private_clamd
from tests.servers.ports import wait_until
from tests.servers.relay import Relay
from tests.servers.sink_thread import SinkThread
from tests.wrappings import PASSWORD, in_7z, in_zip, in_zip_aes


def test_a_virus_behind_a_password_of_the_mail_is_kept(relay: Relay, sink: SinkThread) -> None:
    name, raw = in_zip_aes("eicar.com.txt", EICAR)
    message = with_attachment(raw, name, body=f"Here it is. Password: {PASSWORD}")
    code, text = relay.send(message, ["told@client.test"])
    assert code == 250, text
    (row,) = relay.json("trace", "--to", "told@client.test")
    assert (row["state"], row["reason"]) == ("quarantined", "malware")
    inner = next(file for file in row["findings"]["attachments"] if file["depth"] == 1)
    assert inner["name"].endswith(".zip/eicar.com.txt")
    assert "UNPACK_MALWARE" in inner["found"]
    assert sink.messages == []


def test_a_bomb_is_told_and_other_mail_goes_on(relay: Relay, sink: SinkThread) -> None:
    name, raw = bombs.nested_zips()
    assert relay.send(with_attachment(raw, name), ["bomb@client.test"])[0] in (250, 550)
    assert relay.send(mail(), ["other@client.test"])[0] == 250
    assert len(arrived(sink, "other@client.test")) == 1
    (row,) = relay.json("trace", "--to", "bomb@client.test")
    assert "UNPACK_BOMB" in {symbol["name"] for symbol in row["symbols"]}


def test_without_the_scanner_the_profile_decides_about_files_that_only_it_could_judge(
    tmp_path: Path, new_relay: Callable[..., Relay], sink: SinkThread
) -> None:
    with private_clamd(tmp_path / "clamd") as scanner:
        relay = new_relay(clamd=scanner.address, environment={"MAILGUARD_CLAMAV__TIMEOUT": "5"})
        relay.add_tenant("acme", "client.test", sink.port)
        relay.start()
        scanner.stop()
        name, raw = in_7z("minutes.txt", b"The minutes of our meeting.")
        assert relay.send(with_attachment(raw, name), ["away@client.test"])[0] == 451
        (row,) = relay.json("trace", "--to", "away@client.test")
        assert (row["state"], row["reason"]) == ("deferred", "scanner_failed")
        failed = {check["check"] for check in row["findings"]["checks"] if check["status"] == "temperror"}
        assert "unpack" in failed
        scanner.start()
        assert relay.send(with_attachment(raw, name), ["back@client.test"])[0] == 250
        relay.stop()


def test_what_only_the_scanner_could_judge_is_held_and_judged_again(tmp_path: Path, dns_server: DnsServer) -> None:
    """The profile holds for unpack alone: what the check of the whole mail could not do is no reason."""
    profile = "extends: default\nfailed_checks: {clamav: ignore, unpack: hold}\nthresholds: [{score: 9, action: quarantine}]\n"
    with private_clamd(tmp_path / "clamd") as scanner:
        relay = Relay(
            tmp_path / "town",
            clamd=scanner.address,
            dns=dns_server.address,
            policies=add_profiles(tmp_path / "town" / "policies", {"unpack-holds": profile}),
            environment={"MAILGUARD_QUEUE__FIRST_RESCAN": "0.5", "MAILGUARD_CLAMAV__TIMEOUT": "5"},
        )
        with open_town(relay, clients={"unpack-holds": ("--policy", "unpack-holds")}) as town:
            client = town["unpack-holds"]
            scanner.stop()
            mails = {"infected": with_attachment(in_7z("eicar.com.txt", EICAR)[1], "a.7z"),
                     "clean": with_attachment(in_7z("minutes.txt", b"The minutes of our meeting.")[1], "b.7z")}  # fmt: skip
            for user, message in mails.items():
                assert town.relay.send(message, [client.address(user)])[0] == 250
                assert story(town.unit(client.address(user))) == [("held", "scanner_failed")]
            # No archive, and so nothing for a scanner of what lies in one: it goes on.
            assert town.relay.send(mail(), [client.address("plain")])[0] == 250
            town.reached(client.address("plain"), "delivered")
            infected, clean = (client.address(user) for user in mails)
            wait_until(lambda: town.unit(infected)["queue"]["attempts"] >= 2, what="a second scan failing")
            assert town.unit(infected)["state"] == "held"
            assert len(client.got) == 1
            scanner.start()
            kept = town.reached(infected, "quarantined")
            assert story(kept)[-1] == ("quarantined", "malware")
            town.reached(clean, "delivered")
            assert len(client.got) == 2
            assert below_our_block(client.got[-1].content) == mails["clean"]
            town.run("ledger", "check")


def test_scan_shows_the_tree(shared_relay: Relay, clamd: Clamd, tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("notes.txt", "text")
        archive.writestr("tools/setup.exe", b"MZ\x90\0" + bytes(60))
    name, raw = in_zip("inner.zip", out.getvalue())
    file = tmp_path / "nested.eml"
    file.write_bytes(with_attachment(raw, name))
    lines = shared_relay.run("scan", file).stdout.splitlines()
    at = lines.index("  files")
    tree = lines[at + 1 : at + 5]
    assert [line.partition(":")[0] for line in tree] == [
        "    inner.zip.zip",
        "      inner.zip",
        "        notes.txt",
        "        tools/setup.exe",
    ]
    assert "application/zip" in tree[1]
    assert "ATTACHMENT_ARCHIVED_EXECUTABLE" in tree[3]
