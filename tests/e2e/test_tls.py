"""STARTTLS on both sides: the certificate that is shown, its reload, and next hops whose TLS works or does not."""

from __future__ import annotations

import shutil
import signal
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from mailguard.smtp.tls import self_made
from tests.e2e.mails import arrived, mail
from tests.servers.ports import wait_until
from tests.servers.relay import Relay
from tests.servers.sink_thread import SinkThread
from tests.servers.smtp_sink import Say


def anything() -> ssl.SSLContext:
    """A client that looks at no certificate."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def certificate_shown(relay: Relay) -> x509.Certificate:
    """What the door's STARTTLS shows now."""
    with relay.client() as smtp:
        smtp.starttls(context=anything())
        assert isinstance(smtp.sock, ssl.SSLSocket)
        return x509.load_der_x509_certificate(smtp.sock.getpeercert(True) or b"")


def certificate_in(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


# --- in --------------------------------------------------------------------------------------------------------------


def test_a_self_made_certificate_is_kept_over_restarts(relay: Relay, sink: SinkThread) -> None:
    shown = certificate_shown(relay)
    names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["relay.test"]
    with relay.client() as smtp:
        smtp.starttls(context=anything())
        smtp.ehlo()
        assert not smtp.has_extn("starttls")
        smtp.sendmail("a@sender.test", ["u@client.test"], mail())
    assert b"with ESMTPS" in sink.messages[0].content
    assert relay.metric('mailguard_smtp_tls_handshakes_total{version="TLSv1.3"}') == 2
    relay.stop()
    relay.start()
    assert certificate_shown(relay) == shown


def test_a_configured_certificate_is_shown_and_read_again_on_sighup(
    new_relay: Callable[..., Relay], sink: SinkThread, tmp_path: Path
) -> None:
    first, _ = self_made(tmp_path / "first", hostname="mx.provider.test")
    second, _ = self_made(tmp_path / "second", hostname="mx.provider.test")
    used = tmp_path / "used.pem"
    shutil.copy(first, used)
    relay = new_relay(
        workers=2,
        environment={"MAILGUARD_SERVER__TLS_CERTIFICATE": str(used), "MAILGUARD_SERVER__TLS_KEY": str(used)},
    )
    relay.add_tenant("acme", "client.test", sink.port)
    relay.start()
    assert relay.process is not None
    assert certificate_shown(relay) == certificate_in(first)
    with relay.client() as smtp:
        trusting = ssl.create_default_context(cafile=str(first))
        smtp._host = "mx.provider.test"  # type: ignore[attr-defined]  # the name that it must be for
        smtp.starttls(context=trusting)

    used.write_text("no certificate at all")
    relay.process.send_signal(signal.SIGHUP)
    wait_until(lambda: relay.log.count("no certificate") or relay.log.count(str(used)) >= 2, what="the log telling")
    assert certificate_shown(relay) == certificate_in(first)

    shutil.copy(second, used)
    relay.process.send_signal(signal.SIGHUP)
    wait_until(
        lambda: all(certificate_shown(relay) == certificate_in(second) for _ in range(8)), what="the new certificate"
    )
    assert relay.send(mail())[0] == 250


def test_a_wrong_certificate_stops_the_start_and_says_why(new_relay: Callable[..., Relay], tmp_path: Path) -> None:
    (tmp_path / "bad.pem").write_text("no certificate at all")
    bad = str(tmp_path / "bad.pem")
    relay = new_relay(environment={"MAILGUARD_SERVER__TLS_CERTIFICATE": bad, "MAILGUARD_SERVER__TLS_KEY": bad})
    done = relay.cli("serve", check=False)
    assert done.returncode == 2
    assert bad in done.stderr
    assert "Traceback" not in done.stderr


def test_a_handshake_that_fails_is_counted_and_harms_nobody(shared_relay: Relay) -> None:
    with shared_relay.client() as smtp:
        smtp.ehlo()
        assert smtp.docmd("STARTTLS")[0] == 220
        smtp.send(b"EHLO this.is.no.handshake\r\n")
    failed = 'mailguard_smtp_tls_handshakes_total{version="failed"}'
    wait_until(lambda: shared_relay.metric(failed) == 1, what="the failure in the metrics")
    assert shared_relay.send(mail("after a failure"))[0] == 250


def test_what_is_sent_in_clear_behind_starttls_is_never_read(shared_relay: Relay) -> None:
    with shared_relay.client() as smtp:
        smtp.ehlo()
        smtp.send(b"STARTTLS\r\nMAIL FROM:<injected@sender.test>\r\n")
        assert smtp.getreply()[0] == 220
        smtp.sock = anything().wrap_socket(smtp.sock)
        smtp.file = None
        smtp.ehlo()
        assert smtp.docmd("RCPT TO:<injected@client.test>")[0] == 503


# --- out -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return self_made(tmp_path_factory.mktemp("tls"), hostname="mail.client.test")


def test_a_next_hop_that_offers_tls_gets_it(
    new_relay: Callable[..., Relay], new_sink: Callable[..., SinkThread], pair: tuple[Path, Path]
) -> None:
    sink = new_sink(certificate=pair)
    relay = new_relay()
    relay.add_tenant("acme", "client.test", sink.port)
    relay.start()
    assert relay.send(mail())[0] == 250
    (received,) = sink.messages
    assert received.tls
    assert b"X-MailGuard-Verdict" in received.content
    assert relay.metric('mailguard_next_hop_tls_total{version="TLSv1.3"}') == 1
    wait_until(lambda: "TLSv1.3" in relay.run("trace", "--to", "u@client.test").stdout, what="the trace telling of TLS")


FAILING: dict[str, dict[str, Any]] = {
    "refused": {"script": {"starttls": "454 4.7.0 TLS not available"}},
    "offered for nothing": {"script": {"starttls": "502 5.5.1 What?"}},
    "cut": {"script": {"starttls": Say("220 2.0.0 Go ahead", hang_up=True)}},
    "garbage": {"script": {"starttls": Say(b"220 2.0.0 Go ahead\r\nthis is no TLS record\r\n", hang_up=True)}},
}


@pytest.mark.parametrize("name", FAILING)
def test_a_next_hop_whose_tls_fails_gets_the_mail_in_clear(
    shared_relay: Relay, new_sink: Callable[..., SinkThread], name: str
) -> None:
    sink = new_sink(offers=("PIPELINING", "8BITMIME", "SIZE 50000000", "STARTTLS"), **FAILING[name])
    domain = f"{name.replace(' ', '-')}.test"
    shared_relay.add_tenant(name.replace(" ", "-"), domain, sink.port)
    wait_until(lambda: shared_relay.takes(f"u@{domain}"), what="the tenant being served")
    code, text = shared_relay.send(mail(name), [f"u@{domain}"])
    assert code == 250, text
    (received,) = arrived(sink, f"u@{domain}")
    assert not received.tls


def test_tls_towards_next_hops_can_be_off(
    new_relay: Callable[..., Relay], new_sink: Callable[..., SinkThread], pair: tuple[Path, Path]
) -> None:
    sink = new_sink(certificate=pair)
    relay = new_relay(environment={"MAILGUARD_OUTBOUND__TLS": "off"})
    relay.add_tenant("acme", "client.test", sink.port)
    relay.start()
    assert relay.send(mail())[0] == 250
    assert not sink.messages[0].tls
