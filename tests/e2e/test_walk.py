"""The main road: clean mail arrives, bad mail is quarantined, an admin releases it, and everything can be traced."""

from __future__ import annotations

from tests.servers.clamd import EICAR
from tests.servers.ports import wait_until
from tests.servers.relay import Relay
from tests.servers.sink_thread import SinkThread

CLEAN = (
    b"From: a@sender.test\r\nTo: u@client.test\r\nSubject: hello\r\nMessage-ID: <1@sender.test>\r\n\r\nHi there.\r\n"
)
INFECTED = CLEAN.replace(b"hello", b"invoice") + EICAR + b"\r\n"


def test_clean_mail_arrives_before_the_reply(relay: Relay, sink: SinkThread) -> None:
    code, text = relay.send(CLEAN)
    assert code == 250, text
    (received,) = sink.messages
    assert received.content.endswith(CLEAN)
    assert b"X-MailGuard-Verdict: deliver" in received.content
    assert b"spf=pass" in received.content
    assert relay.states("u@client.test") == ["delivered"]


def test_malware_is_quarantined_and_released_once_by_force(relay: Relay, sink: SinkThread) -> None:
    code, text = relay.send(INFECTED)
    assert code == 250, text
    assert sink.messages == []
    (kept,) = relay.json("quarantine", "list")
    assert kept["reason"] == "malware"
    refused = relay.cli("quarantine", "release", kept["id"], check=False)
    assert refused.returncode == 1
    assert "--force" in refused.stdout
    relay.cli("quarantine", "release", kept["id"], "--force", "--why", "a test file", "--actor", "ops")
    wait_until(lambda: relay.states("u@client.test") == ["released"], what="the released mail being delivered")
    (received,) = sink.messages
    assert EICAR in received.content
    assert received.mail.startswith("MAIL FROM:<a@sender.test>")
    again = relay.cli("quarantine", "release", kept["id"], "--force", check=False)
    assert again.returncode == 0, "asking twice is no failure"
    assert len(sink.messages) == 1
    assert "--again" in again.stdout


def test_an_unknown_domain_is_never_relayed(relay: Relay) -> None:
    code, text = relay.send(CLEAN, ["someone@elsewhere.test"])
    assert (code, text[:5]) == (550, "5.7.1")
