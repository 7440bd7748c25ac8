"""What comes in goes out byte for byte below our header block, so that signatures still verify at the client's server."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any

import dkim
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from tests.dns_server import DnsServer
from tests.e2e.mails import arrived, below_our_block, mail
from tests.servers.ports import wait_until
from tests.servers.relay import Relay
from tests.servers.sink_thread import SinkThread

HEAD = b"From: a@sender.test\r\nTo: u@client.test\r\nSubject: bytes\r\n"

SAME = {
    "as usual": mail(),
    "empty body": HEAD + b"\r\n",
    "header only": HEAD,
    "body only": b"\r\nNo header at all.\r\n",
    "one line that is no field": b"hello\r\n",
    "blank lines at the end": HEAD + b"\r\ntext\r\n\r\n\r\n\r\n",
    "dots": HEAD + b"\r\n.\r\n..\r\n...\r\n.a\r\n..b\r\nc.\r\n.\r\n",
    "a dot first": b".\r\n",
    "8-bit": HEAD + b"Subject: caf\xc3\xa9\r\n\r\n\xff\xfe\x80 latin\xe9 \xc3\xa9\r\n",
    "NULs": HEAD + b"X-Nul: a\x00b\r\n\r\na\x00b\x00\r\n\x00\r\n",
    "controls": HEAD + b"\r\n" + bytes(range(1, 10)) + b"\x0b\x0c" + bytes(range(14, 32)) + b"\x7f\r\n",
    "a long line": HEAD + b"\r\n" + b"x" * 200_000 + b"\r\n",
    "a long header line": HEAD + b"X-Long: " + b"y" * 100_000 + b"\r\n\r\nbody\r\n",
    "trailing blanks": b"From: a@sender.test  \r\nSubject:\t bytes \t\r\n folded \r\n\r\nbody \t \r\n \r\n",
    "odd fields": b"from : a@sender.test\r\nFROM: b@sender.test\r\nsubject:x\r\n: empty name\r\nno colon\r\n\r\nb\r\n",
    "a second header": HEAD + b"\r\nX-MailGuard-Verdict: mine\r\nAuthentication-Results: relay.test; dkim=pass\r\n",
    "half a megabyte": HEAD + b"\r\n" + b"0123456789abcdef" * 4 + b"\r\n" * 250_000,
}


@pytest.fixture(scope="module", autouse=True)
def taker_of_all(shared_relay: Relay, shared_sink: SinkThread) -> None:
    """These mails are odd; here it matters how they arrive, not what they look like: odd.test takes all but malware."""
    shared_relay.add_tenant("odd", "odd.test", shared_sink.port, "--policy", "tag-only")
    wait_until(lambda: shared_relay.takes("u@odd.test"), what="the new tenant's domain being taken")


def send_wire(relay: Relay, wire: bytes, recipient: str) -> tuple[int, str]:
    """Send what goes over the wire after 354, as it is."""
    with relay.client() as smtp:
        smtp.ehlo()
        smtp.mail("a@sender.test", ["BODY=8BITMIME"])
        assert smtp.rcpt(recipient)[0] == 250
        assert smtp.docmd("DATA")[0] == 354
        smtp.send(wire)
        code, text = smtp.getreply()
        return code, text.decode()


def stuffed(message: bytes) -> bytes:
    """`message` as it goes over the wire, its end included (RFC 5321 §4.5.2)."""
    return re.sub(rb"(?<![^\n])\.", b"..", message) + b".\r\n"


def received_by(sink: SinkThread, recipient: str) -> bytes:
    """The one mail that arrived for a recipient, without our block."""
    (one,) = arrived(sink, recipient)
    return below_our_block(one.content)


@pytest.mark.parametrize("name", SAME)
def test_it_arrives_byte_for_byte(shared_relay: Relay, shared_sink: SinkThread, name: str) -> None:
    recipient = f"{name.replace(' ', '.')}@odd.test"
    code, text = send_wire(shared_relay, stuffed(SAME[name]), recipient)
    assert code == 250, text
    assert received_by(shared_sink, recipient) == SAME[name]


def test_an_empty_message_arrives(shared_relay: Relay, shared_sink: SinkThread) -> None:
    code, text = send_wire(shared_relay, b".\r\n", "empty@odd.test")
    assert code == 250, text
    assert received_by(shared_sink, "empty@odd.test") == b""


def test_a_first_line_that_would_continue_our_fields_becomes_the_body(
    shared_relay: Relay, shared_sink: SinkThread
) -> None:
    code, text = send_wire(shared_relay, b" dkim=pass header.d=bank.test\r\n.\r\n", "folded@odd.test")
    assert code == 250, text
    assert received_by(shared_sink, "folded@odd.test") == b"\r\n dkim=pass header.d=bank.test\r\n"


@pytest.mark.parametrize(
    ("name", "wire", "message"),
    [
        ("lf", b"Subject: x\n\nline\nline\r\n", b"Subject: x\r\n\r\nline\r\nline\r\n"),
        ("cr", b"Subject: x\r\n\r\nline\rline\r\n", b"Subject: x\r\n\r\nline\r\nline\r\n"),
        ("crcrlf", b"Subject: x\r\n\r\nline\r\r\nline\r\n", b"Subject: x\r\n\r\nline\r\nline\r\n"),
        (
            "smuggled",
            b"Subject: x\r\n\r\nfirst\n.\nMAIL FROM:<e@sender.test>\nRCPT TO:<u@client.test>\nDATA\nhidden\r\n",
            b"Subject: x\r\n\r\nfirst\r\n.\r\nMAIL FROM:<e@sender.test>\r\nRCPT TO:<u@client.test>\r\nDATA\r\nhidden\r\n",
        ),
        ("lf.crlf", b"Subject: x\r\n\r\nfirst\n.\r\nsecond\r\n", b"Subject: x\r\n\r\nfirst\r\n.\r\nsecond\r\n"),
        ("crlf.lf", b"Subject: x\r\n\r\nfirst\r\n.\nsecond\r\n", b"Subject: x\r\n\r\nfirst\r\n.\r\nsecond\r\n"),
    ],
)
def test_bare_newlines_arrive_as_line_ends_in_one_message(
    shared_relay: Relay, shared_sink: SinkThread, name: str, wire: bytes, message: bytes
) -> None:
    before = len(shared_sink.messages)
    code, text = send_wire(shared_relay, wire + b".\r\n", f"bare.{name}@odd.test")
    assert code == 250, text
    assert received_by(shared_sink, f"bare.{name}@odd.test") == message
    assert len(shared_sink.messages) == before + 1


def test_bare_newlines_are_refused_when_so_configured(new_relay: Any, sink: SinkThread) -> None:
    relay = new_relay(environment={"MAILGUARD_SERVER__BARE_NEWLINE": "refuse"})
    relay.add_tenant("acme", "client.test", sink.port)
    relay.start()
    code, text = send_wire(relay, b"Subject: x\r\n\r\nfirst\n.\nsecond\r\n.\r\n", "u@client.test")
    assert code == 554, text
    assert sink.messages == []
    wait_until(lambda: relay.json("trace", "--to", "u@client.test"), what="the refusal in the trace")
    (refusal,) = relay.json("trace", "--to", "u@client.test")
    assert refusal["reason"] == "bad_syntax"


# --- signatures ------------------------------------------------------------------------------------------------------


class Signer:
    """Signs as sender.test, its key published."""

    def __init__(self, dns_server: DnsServer, *, algorithm: str) -> None:
        self.selector = algorithm.replace("-", "").encode()
        self.algorithm = algorithm.encode()
        if algorithm == "ed25519-sha256":
            ed25519_key = ed25519.Ed25519PrivateKey.generate()
            raw = serialization.Encoding.Raw
            self._key = base64.b64encode(
                ed25519_key.private_bytes(raw, serialization.PrivateFormat.Raw, serialization.NoEncryption())
            )
            public = ed25519_key.public_key().public_bytes(raw, serialization.PublicFormat.Raw)
            self.record = b"v=DKIM1; k=ed25519; p=" + base64.b64encode(public)
        else:
            rsa_key = rsa.generate_private_key(65537, 2048)
            self._key = rsa_key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
            )
            public = rsa_key.public_key().public_bytes(
                serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            self.record = b"v=DKIM1; k=rsa; p=" + base64.b64encode(public)
        self.name = f"{self.selector.decode()}._domainkey.sender.test"
        dns_server.update({self.name: {"TXT": [self.record]}})

    def sign(self, message: bytes, canonicalisation: bytes) -> bytes:
        body, header = canonicalisation.split(b"/")[::-1]
        signature: bytes = dkim.sign(
            message,
            self.selector,
            b"sender.test",
            self._key,
            canonicalize=(header, body),
            signature_algorithm=self.algorithm,
            include_headers=[b"from", b"to", b"subject", b"date", b"message-id"],
        )
        return signature + message

    def verifies(self, message: bytes) -> bool:
        """As the client's server would."""
        records: Mapping[bytes, bytes] = {f"{self.name}.".encode(): self.record}
        return bool(dkim.verify(message, dnsfunc=lambda name, timeout=5: records.get(name)))


@pytest.mark.parametrize("canonicalisation", ["simple/simple", "relaxed/relaxed"])
@pytest.mark.parametrize("algorithm", ["rsa-sha256", "ed25519-sha256"])
def test_a_dkim_signature_still_verifies_at_the_clients_server(
    shared_relay: Relay, shared_sink: SinkThread, dns_server: DnsServer, algorithm: str, canonicalisation: str
) -> None:
    signer = Signer(dns_server, algorithm=algorithm)
    body = "caf\u00e9 at the end of the line  \r\n.\r\n..\r\n\r\nlast"
    signed = signer.sign(mail("signed", body), canonicalisation.encode())
    recipient = f"{algorithm}.{canonicalisation.replace('/', '.')}@client.test"
    code, text = shared_relay.send(signed, [recipient])
    assert code == 250, text
    (received,) = arrived(shared_sink, recipient)
    assert below_our_block(received.content) == signed
    assert signer.verifies(received.content)
    ours = received.content[: -len(signed)]
    assert b"dkim=pass" in ours
    assert b"header.d=sender.test" in ours
    assert b"dmarc=pass" in ours


def test_a_forged_verdict_of_ours_is_removed_and_everybody_elses_stays(
    shared_relay: Relay, shared_sink: SinkThread
) -> None:
    others = (
        b"Authentication-Results: mx.sender.test; spf=pass smtp.mailfrom=sender.test\r\n"
        b"X-Mailguardian: not ours\r\n"
        b"ARC-Authentication-Results: i=1; relay.test; dkim=pass\r\n"
    )
    forged = (
        b"Authentication-Results: relay.test;\r\n\tdkim=pass header.d=bank.test\r\n"
        b"authentication-results : (a comment) RELAY.TEST 1; spf=pass\r\n"
        b'Authentication-Results: "relay.test"; dmarc=pass\r\n'
        b"X-MailGuard-Verdict: deliver\r\n"
        b"x-mailguard-anything: at\r\n all\r\n"
    )
    code, text = shared_relay.send(forged + others + mail("forged"), ["forged@odd.test"])
    assert code == 250, text
    assert received_by(shared_sink, "forged@odd.test") == others + mail("forged")
