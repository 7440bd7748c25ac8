"""The playground's parts: its mailbox, its name server, its mails, and what it says when it cannot start."""

from __future__ import annotations

import asyncio
import email
import io
import smtplib
import socket
import zipfile
from collections.abc import Sequence
from email.policy import default
from pathlib import Path

import dns.asyncquery
import dns.asyncresolver
import dns.message
import dns.name
import dns.rcode
import dns.resolver
import pytest

from mailguard.cli import playground_dns
from mailguard.cli.demo_mails import EICAR, GTUBE, demo_mails
from mailguard.cli.playground import CLAMD_CONF
from mailguard.cli.playground_dns import DemoDns
from mailguard.cli.sink import Maildir, Sink
from mailguard.ops.clamd_conf import clamd_problems
from tests.servers.ports import free_port
from tests.unit.cli.conftest import Run

MAILS = {mail.name: mail for mail in demo_mails(sender="alice@sender.test", recipient="you@client.test")}


async def test_the_sink_keeps_mail_as_it_came(tmp_path: Path) -> None:
    seen: list[tuple[Path, Sequence[str]]] = []
    sink = Sink(Maildir(tmp_path / "mailbox"), on_mail=lambda file, recipients: seen.append((file, recipients)))
    port = await sink.start("127.0.0.1", 0)
    content = b"Subject: hi\r\n\r\n.dots\r\n..and more \xe9\r\n"

    def send() -> None:
        with smtplib.SMTP("127.0.0.1", port, timeout=10) as client:
            client.sendmail("a@x.test", ["b@client.test", "c@client.test"], content)

    await asyncio.to_thread(send)
    await sink.stop()
    ((file, recipients),) = seen
    assert recipients == ["b@client.test", "c@client.test"]
    assert file.parent == tmp_path / "mailbox" / "new"
    top = b"Return-Path: <a@x.test>\r\nDelivered-To: b@client.test\r\nDelivered-To: c@client.test\r\n"
    assert file.read_bytes() == top + content
    assert list((tmp_path / "mailbox" / "tmp").iterdir()) == []


def test_the_maildir_finds_mail_by_its_content(tmp_path: Path) -> None:
    maildir = Maildir(tmp_path)
    first = maildir.add(b"Message-ID: <1@x>\r\n\r\n", mail_from="", recipients=["a@x"])
    maildir.add(b"Message-ID: <2@x>\r\n\r\n", mail_from="", recipients=["a@x"])
    assert maildir.find(b"<1@x>") == [first]
    assert maildir.find(b"<3@x>") == []


async def ask(name: str, kind: str) -> dns.message.Message:
    server = DemoDns()
    port = await server.start("127.0.0.1", 0)
    try:
        return await dns.asyncquery.udp(dns.message.make_query(name, kind), "127.0.0.1", port=port, timeout=5)
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("name", "kind", "rcode", "data"),
    [
        ("sender.test", "TXT", "NOERROR", '"v=spf1 ip4:127.0.0.0/8 ip6:::1 -all"'),
        ("_DMARC.Bank.test", "TXT", "NOERROR", '"v=DMARC1; p=reject"'),
        ("sender.test", "AAAA", "NOERROR", None),
        ("nobody.test", "A", "NXDOMAIN", None),
        ("1.0.0.127.in-addr.arpa", "PTR", "NXDOMAIN", None),
    ],
)
async def test_the_name_server_knows_its_names(name: str, kind: str, rcode: str, data: str | None) -> None:
    response = await ask(name, kind)
    assert dns.rcode.to_text(response.rcode()) == rcode
    assert [rdata.to_text() for rrset in response.answer for rdata in rrset] == ([data] if data else [])


@pytest.mark.parametrize(
    ("error", "rcode"),
    [
        (dns.resolver.NXDOMAIN(), "NXDOMAIN"),
        (dns.resolver.LifetimeTimeout(timeout=2, errors=[]), "SERVFAIL"),
        (OSError("network is unreachable"), "SERVFAIL"),
    ],
)
async def test_the_name_server_asks_the_systems_for_other_names(
    error: Exception, rcode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Upstream:
        async def resolve(self, name: dns.name.Name, *_: object, **options: object) -> None:
            assert name.to_text() == "example.org."
            assert options["lifetime"] == playground_dns.FORWARD_TIMEOUT
            raise error

    monkeypatch.setattr(dns.asyncresolver, "get_default_resolver", Upstream)
    assert dns.rcode.to_text((await ask("example.org", "MX")).rcode()) == rcode


@pytest.mark.parametrize("name", MAILS)
def test_demo_mails_are_fresh_mails_with_crlf(name: str) -> None:
    (first_id, content), (second_id, _) = MAILS[name].build(), MAILS[name].build()
    assert first_id != second_id
    assert b"\n" not in content.replace(b"\r\n", b"")
    parsed = email.message_from_bytes(content, policy=default)
    assert parsed["Message-ID"] == first_id
    assert parsed["From"] == MAILS[name].mail_from


def test_the_demos_virus_and_spam_are_the_harmless_test_files() -> None:
    assert len(EICAR) == 68 and EICAR.startswith(b"X5O!")
    parsed = email.message_from_bytes(MAILS["eicar"].build()[1], policy=default)
    (attachment,) = parsed.iter_attachments()
    archive = zipfile.ZipFile(io.BytesIO(attachment.get_content()))
    assert archive.read("invoice.txt") == EICAR
    assert GTUBE.encode() in MAILS["gtube"].build()[1]


def test_the_playgrounds_clamd_is_set_as_the_relay_relies_on(tmp_path: Path) -> None:
    file = tmp_path / "clamd.conf"
    file.write_text(CLAMD_CONF.format(database="/db", address="TCPSocket 1", directory="/d", limit=52_428_800))
    assert clamd_problems(file, size_limit=52_428_800) == []


def test_ports_that_are_taken_are_all_named(mailguard: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as door, socket.create_server(("127.0.0.1", 0)) as sink:
        taken = [f"127.0.0.1:{server.getsockname()[1]}" for server in (door, sink)]
        monkeypatch.setenv("MAILGUARD_SERVER__LISTEN", taken[0])
        monkeypatch.setenv("MAILGUARD_HTTP__LISTEN", "")
        ran = mailguard("playground", "--sink", taken[1], "--dns", f"127.0.0.1:{free_port()}")
    assert ran.code == 2
    assert f"server.listen: {taken[0]} is taken" in ran.err
    assert "MAILGUARD_SERVER__LISTEN" in ran.err
    assert f"--sink: {taken[1]} is taken" in ran.err


def test_demo_without_a_relay_says_how_to_start_one(mailguard: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILGUARD_SERVER__LISTEN", f"127.0.0.1:{free_port()}")
    ran = mailguard("demo")
    assert ran.code == 1
    assert "make run" in ran.err


def test_demo_names_its_mails(mailguard: Run) -> None:
    ran = mailguard("demo", "--print", "everything")
    assert ran.code == 2
    assert "clean, eicar, gtube, forgery, program, relay" in ran.err


def test_sink_refuses_a_bad_or_taken_address(mailguard: Run, tmp_path: Path) -> None:
    assert mailguard("sink", "--listen", "nowhere").code == 2
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = f"127.0.0.1:{server.getsockname()[1]}"
        ran = mailguard("sink", "--listen", taken, "--directory", str(tmp_path / "mailbox"))
    assert ran.code == 2
    assert f"cannot listen on {taken}" in ran.err
