"""swaks as the sender: an SMTP client that is neither ours nor Python's."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.e2e.mails import GTUBE, arrived
from tests.servers.clamd import EICAR
from tests.servers.ports import wait_until
from tests.servers.relay import Relay
from tests.servers.sink_thread import SinkThread

REFUSED_SENDER = 23
REFUSED_RECIPIENT = 24
REFUSED_DATA = 26
NO_AUTH = 28
NOT_ALLOWED = "550 5.7.1"


def swaks(relay: Relay, recipient: str, *options: object) -> subprocess.CompletedProcess[str]:
    """Run swaks against the relay's door; its transcript is in `stdout`."""
    return subprocess.run(
        [
            *("swaks", "--server", "127.0.0.1", "--port", str(relay.port), "--helo", "mail.sender.test"),
            *("--from", "a@sender.test", "--to", recipient, "--timeout", "30"),
            *map(str, options),
        ],
        capture_output=True,
        text=True,
        check=False,
    )


def test_plain(shared_relay: Relay, shared_sink: SinkThread) -> None:
    done = swaks(shared_relay, "plain@client.test", "--body", "plain text")
    assert done.returncode == 0, done.stdout
    (received,) = arrived(shared_sink, "plain@client.test")
    assert b"plain text" in received.content


@pytest.mark.parametrize("version", ["tlsv1_2", "tlsv1_3"])
def test_starttls(shared_relay: Relay, shared_sink: SinkThread, version: str) -> None:
    done = swaks(shared_relay, f"{version}@client.test", "--tls", "--tls-protocol", version)
    assert done.returncode == 0, done.stdout
    assert "TLS started with cipher" in done.stdout
    assert "STARTTLS" not in done.stdout.split("TLS started")[1]  # not offered a second time
    (received,) = arrived(shared_sink, f"{version}@client.test")
    assert b"by relay.test with ESMTPS" in received.content
    wait_until(lambda: shared_relay.states(f"{version}@client.test") == ["delivered"], what="the delivery on record")
    (row,) = shared_relay.json("trace", "--to", f"{version}@client.test")
    assert row["tls"].lower().startswith(version.replace("_", "."))


def test_tls_that_is_too_old_is_refused(shared_relay: Relay) -> None:
    done = swaks(
        shared_relay, "old@client.test", "--tls", "--tls-protocol", "tlsv1_1", "--tls-cipher", "ALL:@SECLEVEL=0"
    )
    assert "TLS startup failed" in done.stderr
    assert "MAIL FROM" not in done.stdout


def test_pipelined(shared_relay: Relay, shared_sink: SinkThread) -> None:
    done = swaks(shared_relay, "pipelined@client.test", "--pipeline")
    assert done.returncode == 0, done.stdout
    assert len(arrived(shared_sink, "pipelined@client.test")) == 1


@pytest.mark.parametrize("tls", [(), ("--tls",)], ids=["plain", "tls"])
def test_authentication_is_offered_to_nobody(
    shared_relay: Relay, shared_sink: SinkThread, tls: tuple[str, ...]
) -> None:
    login = ("--auth-user", "u", "--auth-password", "p")
    recipient = f"auth.{len(tls)}@client.test"
    done = swaks(shared_relay, recipient, *tls, "--auth", *login)
    assert (done.returncode, "AUTH PLAIN" in done.stdout) == (NO_AUTH, False), done.stdout
    assert arrived(shared_sink, recipient) == []
    done = swaks(shared_relay, recipient, *tls, "--auth-optional", *login)  # goes on without
    assert done.returncode == 0, done.stdout
    assert len(arrived(shared_sink, recipient)) == 1


def test_eight_bit_text_arrives_as_it_is(shared_relay: Relay, shared_sink: SinkThread) -> None:
    done = swaks(shared_relay, "eight@client.test", "--body", "caf\u00e9 \u4f60\u597d")
    assert done.returncode == 0, done.stdout
    (received,) = arrived(shared_sink, "eight@client.test")
    assert "caf\u00e9 \u4f60\u597d".encode() in received.content
    assert "BODY=8BITMIME" in received.mail


def test_an_internationalised_address_without_the_extension_is_refused(shared_relay: Relay) -> None:
    done = swaks(shared_relay, "u@client.test", "--from", "caf\u00e9@sender.test")
    assert (done.returncode, "553 5.6.7" in done.stdout) == (REFUSED_SENDER, True), done.stdout
    done = swaks(shared_relay, "caf\u00e9@client.test")
    assert (done.returncode, "553 5.6.7" in done.stdout) == (REFUSED_RECIPIENT, True), done.stdout


@pytest.mark.parametrize("protocol", ["SMTP", "ESMTP"])
def test_the_older_and_the_newer_protocol(shared_relay: Relay, shared_sink: SinkThread, protocol: str) -> None:
    done = swaks(shared_relay, f"{protocol}@client.test", "--protocol", protocol)
    assert done.returncode == 0, done.stdout
    (received,) = arrived(shared_sink, f"{protocol}@client.test")
    assert f"by relay.test with {protocol} id".encode() in received.content


def test_a_file_with_malware_is_taken_and_kept(shared_relay: Relay, shared_sink: SinkThread, tmp_path: Path) -> None:
    (tmp_path / "eicar.com").write_bytes(EICAR)
    done = swaks(shared_relay, "infected@client.test", "--attach", f"@{tmp_path}/eicar.com")
    assert done.returncode == 0, done.stdout
    assert arrived(shared_sink, "infected@client.test") == []
    (kept,) = shared_relay.json("quarantine", "list", "--to", "infected@client.test")
    assert kept["reason"] == "malware"


def test_spam_is_refused_after_the_data(shared_relay: Relay, shared_sink: SinkThread) -> None:
    done = swaks(shared_relay, "offered@client.test", "--body", GTUBE.decode())
    assert (done.returncode, NOT_ALLOWED in done.stdout) == (REFUSED_DATA, True), done.stdout
    assert arrived(shared_sink, "offered@client.test") == []


def test_a_foreign_domain_is_refused_at_its_recipient(shared_relay: Relay) -> None:
    done = swaks(shared_relay, "u@elsewhere.test")
    assert (done.returncode, NOT_ALLOWED in done.stdout) == (REFUSED_RECIPIENT, True), done.stdout


def test_several_recipients(shared_relay: Relay, shared_sink: SinkThread) -> None:
    done = swaks(shared_relay, "one@client.test,x@elsewhere.test,two@client.test")
    assert done.returncode == 0, done.stdout
    (received,) = arrived(shared_sink, "one@client.test")
    assert received.rcpts == ["RCPT TO:<one@client.test>", "RCPT TO:<two@client.test>"]
    assert b"for <" not in received.content.partition(b"Authentication-Results")[0]
