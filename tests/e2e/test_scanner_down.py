"""While the virus scanner is away nothing passes unscanned in silence: deferred, held until it is back, or marked."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.mails import arrived, below_our_block, infected, mail
from tests.servers.clamd import Clamd, private_clamd
from tests.servers.ports import wait_until
from tests.servers.relay import ROOT, Relay
from tests.servers.sink_thread import SinkThread


@pytest.fixture
def scanner(tmp_path: Path) -> Iterator[Clamd]:
    with private_clamd(tmp_path / "clamd") as clamd:
        yield clamd


@pytest.fixture
def guarded(tmp_path: Path, new_relay: Callable[..., Relay], sink: SinkThread, scanner: Clamd) -> Relay:
    """Tenants whose profiles say different things of a scanner that failed; the scanner is down by now."""
    policies = Path(shutil.copytree(ROOT / "policies", tmp_path / "policies"))
    (policies / "patient.yaml").write_text("extends: default\nfailed_checks:\n  clamav: hold\n")
    relay = new_relay(
        clamd=scanner.address,
        policies=policies,
        environment={"MAILGUARD_QUEUE__FIRST_RESCAN": "1", "MAILGUARD_CLAMAV__TIMEOUT": "2"},
    )
    relay.add_tenant("acme", "client.test", sink.port)
    relay.add_tenant("patient", "patient.test", sink.port, "--policy", "patient")
    relay.add_tenant("lenient", "lenient.test", sink.port, "--policy", "tag-only")
    relay.start()
    scanner.stop()
    return relay


def test_by_default_the_sender_is_told_to_come_again(guarded: Relay, sink: SinkThread, scanner: Clamd) -> None:
    code, text = guarded.send(mail())
    assert code == 451, text
    assert sink.messages == []
    (row,) = guarded.json("trace", "--to", "u@client.test")
    assert (row["state"], row["reason"]) == ("deferred", "scanner_failed")
    assert guarded.metric('mailguard_check_results_total{check="clamav",status="temperror"}') == 1
    assert guarded.metric('mailguard_errors_total{kind="check"}') == 1
    scanner.start()
    assert guarded.send(mail())[0] == 250
    assert len(sink.messages) == 1


def test_a_scanner_that_hangs_is_one_that_failed(guarded: Relay, sink: SinkThread, scanner: Clamd) -> None:
    scanner.start()
    scanner.signal(signal.SIGSTOP)
    code, text = guarded.send(mail())
    assert code == 451, text
    scanner.signal(signal.SIGCONT)
    wait_until(lambda: guarded.send(mail())[0] == 250, what="mail passing again")
    assert len(sink.messages) == 1


def test_held_mail_goes_on_by_itself_when_the_scanner_is_back(guarded: Relay, sink: SinkThread, scanner: Clamd) -> None:
    for recipient, message in (("clean", mail()), ("infected", infected())):
        code, text = guarded.send(message, [f"{recipient}@patient.test"])
        assert code == 250, text
    assert sink.messages == []
    assert {unit["state"] for unit in guarded.json("quarantine", "list", "--to", "patient.test")} == {"held"}
    wait_until(
        lambda: guarded.json("trace", "--to", "clean@patient.test")[0]["queue"]["attempts"], what="a vain rescan"
    )
    assert guarded.states("clean@patient.test") == ["held"]
    scanner.start()
    wait_until(lambda: guarded.states("clean@patient.test") == ["delivered"], what="the clean one being delivered")
    wait_until(lambda: guarded.states("infected@patient.test") == ["quarantined"], what="the other being found out")
    (received,) = sink.messages
    assert arrived(sink, "clean@patient.test") == [received]
    assert below_our_block(received.content) == mail()
    assert b"X-MailGuard-Verdict: deliver; reason=clean" in received.content
    assert b"CLAMAV" not in received.content
    (kept,) = guarded.json("quarantine", "list", "--to", "patient.test")
    assert (kept["reason"], kept["malware"]) == ("malware", ["Eicar-Test.UNOFFICIAL"])


def test_marked_it_passes_where_the_profile_says_so(guarded: Relay, sink: SinkThread) -> None:
    code, text = guarded.send(mail(), ["u@lenient.test"])
    assert code == 250, text
    (received,) = sink.messages
    assert b"X-MailGuard-Verdict: tag; reason=scanner_failed" in received.content
    assert b"CLAMAV_TEMPERROR" in received.content


def test_recipients_who_differ_get_each_his_own(guarded: Relay, sink: SinkThread, scanner: Clamd) -> None:
    """One accepts, so the one to be deferred is held instead, and decided anew."""
    code, text = guarded.send(mail(), ["u@lenient.test", "u@client.test"])
    assert code == 250, text
    assert len(arrived(sink, "u@lenient.test")) == 1
    assert guarded.states("u@client.test") == ["held"]
    scanner.start()
    wait_until(lambda: guarded.states("u@client.test") == ["delivered"], what="the held one being delivered")
    assert len(arrived(sink, "u@client.test")) == 1
