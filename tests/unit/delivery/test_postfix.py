"""The forwarder against a real Postfix: TLS, reuse, dead idle connections, odd envelopes; the content byte for byte."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailguard.core.envelope import MailOptions, NextHop, Recipient
from mailguard.delivery.dial import Dialler
from mailguard.delivery.forward import Forwarder, Job
from mailguard.delivery.outcome import OutcomeKind, Stage
from mailguard.net.dns import StaticResolver
from mailguard.net.smtp_client import Handshake
from mailguard.net.smtp_pool import ConnectionPool, PoolKey
from tests.servers.postfix import Postfix, start_postfix, stop_postfix

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not shutil.which("postfix", path="/usr/sbin"), reason="needs Postfix"),
]


@pytest.fixture(scope="module")
def postfix() -> Iterator[Postfix]:
    root = Path(tempfile.mkdtemp(prefix="mailguard-postfix-"))
    certificate, key = root / "cert.pem", root / "key.pem"
    subject = ["-subj", "/CN=client.test", "-days", "2"]
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        str(key),
        "-out",
        str(certificate),
    ]
    subprocess.run([*command, *subject], check=True, capture_output=True)
    more = "\n".join(
        [
            "smtpd_tls_security_level = may",
            f"smtpd_tls_cert_file = {certificate}",
            f"smtpd_tls_key_file = {key}",
            "smtpd_timeout = 2s",
            "message_size_limit = 20000000",
            "smtputf8_enable = yes",
        ]
    )
    server = start_postfix(root, hostname="mx.client.test", domains=("client.test",), more=more)
    yield server
    stop_postfix(server)
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def relay() -> Iterator[Forwarder]:
    forwarder = Forwarder(ConnectionPool(), Dialler(Handshake(helo="relay.test"), StaticResolver()))
    yield forwarder


def job(postfix: Postfix, *users: str, content: bytes = b"Subject: x\r\n\r\n.body\r\n") -> Job:
    recipients = tuple(
        Recipient(f"{user}@client.test", 2, "client.test", number=number) for number, user in enumerate(users, 1)
    )
    return Job(2, (NextHop("127.0.0.1", postfix.port),), "s@remote.test", recipients, (content,), MailOptions())


async def arrived(postfix: Postfix, user: str, count: int) -> list[bytes]:
    for _ in range(500):
        if len(mails := postfix.mails("client.test", user)) >= count:
            return mails
        await asyncio.sleep(0.02)
    raise AssertionError(postfix.log()[-2000:])


async def test_messages_in_a_row_over_one_tls_connection(postfix: Postfix, relay: Forwarder) -> None:
    for number in range(5):
        content = b"Subject: %d\r\n\r\n.dot\r\n..two\r\n \r\nend\r\n" % number
        (outcome,) = await relay.deliver(job(postfix, "u1", content=content))
        assert (outcome.kind, outcome.tls[:4]) == (OutcomeKind.DELIVERED, "TLSv"), outcome
    assert relay._pool.connections(PoolKey(2, NextHop("127.0.0.1", postfix.port))) == (0, 1)
    mails = await arrived(postfix, "u1", 5)
    assert all(mail.endswith(b"\n\n.dot\n..two\n \nend\n") for mail in mails)
    relay.close()


async def test_some_recipients_refused_then_all_then_none(postfix: Postfix, relay: Forwarder) -> None:
    outcomes = await relay.deliver(job(postfix, "nobody", "u2", "none"))
    assert [outcome.kind.value for outcome in outcomes] == ["permanent", "delivered", "permanent"]
    assert outcomes[0].reply is not None and outcomes[0].reply.enhanced == "5.1.1"
    outcomes = await relay.deliver(job(postfix, "nobody", "none"))
    assert [(outcome.kind.value, outcome.stage) for outcome in outcomes] == [("permanent", Stage.RCPT)] * 2
    (outcome,) = await relay.deliver(job(postfix, "u2"))
    assert outcome.kind is OutcomeKind.DELIVERED
    await arrived(postfix, "u2", 2)
    relay.close()


async def test_large_message(postfix: Postfix, relay: Forwarder) -> None:
    content = b"Subject: large\r\n\r\n" + b"".join(b"." * (i % 5) + b"%d\r\n" % i for i in range(500_000))
    (outcome,) = await relay.deliver(job(postfix, "u3", content=content))
    assert outcome.kind is OutcomeKind.DELIVERED
    (mail,) = await arrived(postfix, "u3", 1)
    assert mail.partition(b"\n\n")[2] == content.partition(b"\r\n\r\n")[2].replace(b"\r\n", b"\n")
    relay.close()


async def test_idle_connection_that_the_server_closed_is_replaced(postfix: Postfix, relay: Forwarder) -> None:
    await relay.deliver(job(postfix, "u4"))
    key = PoolKey(2, NextHop("127.0.0.1", postfix.port))
    connection = relay._pool._hops[key].idle[0][0]
    for _ in range(500):  # its smtpd_timeout is 2 seconds
        if not connection.usable:
            break
        await asyncio.sleep(0.02)
    assert not connection.usable
    (outcome,) = await relay.deliver(job(postfix, "u4"))
    assert outcome.kind is OutcomeKind.DELIVERED
    await arrived(postfix, "u4", 2)
    relay.close()


async def test_too_large_is_not_sent(postfix: Postfix, relay: Forwarder) -> None:
    (outcome,) = await relay.deliver(job(postfix, "u5", content=b"x" * 78 + b"\r\n" * 10_500_000))
    assert (outcome.kind, outcome.local) == (OutcomeKind.PERMANENT, True)
    assert str(outcome.reply).startswith("552 5.3.4")
    relay.close()


async def test_twenty_at_once(postfix: Postfix, relay: Forwarder) -> None:
    results = await asyncio.gather(*(relay.deliver(job(postfix, "u6")) for _ in range(60)))
    assert {outcome.kind for (outcome,) in results} == {OutcomeKind.DELIVERED}
    await arrived(postfix, "u6", 60)
    relay.close()
