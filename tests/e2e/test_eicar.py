"""The EICAR test file in every wrapping of the corpus: a real clamd finds it, or says that it could not look, and nothing passes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mailguard.smtp.data import normalise
from tests.dns_server import DnsServer
from tests.e2e.mails import arrived, with_attachment
from tests.servers.clamd import private_clamd
from tests.servers.relay import ROOT, Relay
from tests.servers.sink_thread import SinkThread

pytestmark = pytest.mark.corpora

MAILS = [f"mail_{number:02}" for number in range(11)] + [
    "mail_11_rfc822",
    "mail_12_uuencode",
    "mail_13_inline_body",
]
FILES = [
    "eicar.com",
    "eicar.com.bz2",
    "eicar.com.gz",
    "eicar.com.txt",
    "eicar.tar.gz",
    "eicar_com.zip",
    "eicar_nested10.zip",
    "eicarcom2.zip",
]


@pytest.fixture(scope="module")
def samples(corpora: Callable[[str], Path]) -> Path:
    return corpora("attach_samples") / "eicar"


def as_shipped() -> dict[str, str]:
    """What docker/clamav/clamd.conf sets beyond where things lie."""
    private = ("Foreground", "DatabaseDirectory", "TemporaryDirectory", "TCPSocket", "TCPAddr", "MaxThreads")
    lines = [line.split(None, 1) for line in (ROOT / "docker/clamav/clamd.conf").read_text().splitlines()]
    return {line[0]: line[1] for line in lines if len(line) == 2 and line[0] not in private and line[0][0] != "#"}


@pytest.fixture(scope="module")
def guard(tmp_path_factory: pytest.TempPathFactory, dns_server: DnsServer, shared_sink: SinkThread) -> Iterator[Relay]:
    """A relay with a clamd that is set as the one we ship."""
    with private_clamd(tmp_path_factory.mktemp("clamd"), **as_shipped()) as clamd:
        relay = Relay(tmp_path_factory.mktemp("relay"), clamd=clamd.address, dns=dns_server.address)
        relay.add_tenant("acme", "client.test", shared_sink.port)
        yield relay.start()
        relay.stop()
    relay.run("ledger", "check")


def test_every_sample_is_sent(samples: Path) -> None:
    assert {path.stem for path in samples.glob("*.eml")} == {*MAILS, "mail_99_clean"}
    assert {path.name for path in samples.iterdir() if path.suffix != ".eml"} == set(FILES)


@pytest.mark.parametrize("name", MAILS)
def test_a_mail_with_it_is_quarantined(guard: Relay, shared_sink: SinkThread, samples: Path, name: str) -> None:
    is_kept(guard, shared_sink, name, normalise((samples / f"{name}.eml").read_bytes()))


@pytest.mark.parametrize("name", FILES)
def test_a_file_with_it_is_quarantined(guard: Relay, shared_sink: SinkThread, samples: Path, name: str) -> None:
    is_kept(guard, shared_sink, name, with_attachment((samples / name).read_bytes(), name))


def is_kept(relay: Relay, sink: SinkThread, name: str, message: bytes) -> None:
    recipient = f"{name}@client.test"
    code, text = relay.send(message, [recipient], sender="")
    assert code == 250, text
    assert arrived(sink, recipient) == []
    (kept,) = relay.json("quarantine", "list", "--to", recipient)
    assert (kept["reason"], kept["malware"]) == ("malware", ["Eicar-Test.UNOFFICIAL"])


def test_the_clean_control_is_delivered(guard: Relay, shared_sink: SinkThread, samples: Path) -> None:
    message = normalise((samples / "mail_99_clean.eml").read_bytes())
    code, text = guard.send(message, ["control@client.test"], sender="")
    assert code == 250, text
    (received,) = arrived(shared_sink, "control@client.test")
    assert received.content.endswith(message)
    assert b"X-MailGuard-Verdict: deliver; reason=clean" in received.content
    assert b"CLAMAV" not in received.content


@pytest.mark.parametrize("setting", ["MaxRecursion", "MaxFiles"])
def test_past_the_scanners_limits_it_is_told_and_never_passes_for_clean(
    tmp_path: Path, new_relay: Callable[..., Relay], sink: SinkThread, samples: Path, setting: str
) -> None:
    with private_clamd(tmp_path / "clamd", **{**as_shipped(), setting: "5"}) as clamd:
        relay = new_relay(clamd=clamd.address)
        relay.add_tenant("acme", "client.test", sink.port)
        relay.start()
        code, text = relay.send(normalise((samples / "mail_04.eml").read_bytes()), sender="")
        assert code == 250, text
        (row,) = relay.json("trace", "--to", "u@client.test")
        assert "CLAMAV_LIMIT" in {symbol["name"] for symbol in row["symbols"]}
        # The sandbox goes deeper than this scanner, and finds a program by its name.
        assert (row["action"], row["reason"]) == ("quarantine", "forbidden_attachment")
        relay.stop()
