"""How a conversation begins: what the server offers, greetings that fail, and TLS."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mailguard.core.envelope import MailOptions, RcptOptions, Recipient
from mailguard.net.smtp_client import (
    Handshake,
    HopError,
    SmtpConnection,
    Stage,
    Target,
    TlsMode,
    Transaction,
)
from tests.servers.smtp_sink import HANG_UP, SILENCE, Say, SmtpSink
from tests.unit.net.conversations import CONTENT, connected, soon, transaction

# what the server offers


async def test_parameters_that_are_offered_and_needed() -> None:
    content = "Subject: Grüße\r\n\r\nä\r\n".encode()
    recipients = (
        Recipient("josé@client.test", 2, "client.test", RcptOptions(("FAILURE",), "rfc822;jos+40client.test")),
    )
    job = Transaction(
        "zoë@remote.test", recipients, (content,), MailOptions(0, True, True, ret="HDRS", envid="QQ314159")
    )
    async with SmtpSink() as sink, connected(sink) as connection:
        await connection.send(job)
        assert sink.messages[0].mail == f"MAIL FROM:<zoë@remote.test> SIZE={len(content)} BODY=8BITMIME SMTPUTF8"
        assert sink.messages[0].rcpts == ["RCPT TO:<josé@client.test>"]
    async with SmtpSink(offers=("PIPELINING", "SMTPUTF8", "8BITMIME", "DSN")) as sink, connected(sink) as connection:
        await connection.send(job)
        assert sink.messages[0].mail == "MAIL FROM:<zoë@remote.test> BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=QQ314159"
        assert sink.messages[0].rcpts == ["RCPT TO:<josé@client.test> NOTIFY=FAILURE ORCPT=rfc822;jos+40client.test"]


@pytest.mark.parametrize(
    ("offers", "content", "options", "reply"),
    [
        (("SIZE 20",), CONTENT, {}, "552 5.3.4"),
        ((), "Subject: x\r\n\r\nä\r\n".encode(), {"eight_bit": True}, "554 5.6.3"),
        ((), "Subject: ä\r\n\r\nä\r\n".encode(), {"smtputf8": True}, "550 5.6.7"),
    ],
)
async def test_what_the_server_cannot_take_is_not_sent(
    offers: tuple[str, ...], content: bytes, options: dict[str, bool], reply: str
) -> None:
    async with SmtpSink(offers=offers) as sink, connected(sink) as connection:
        sent = await connection.send(transaction(content=content, **options))
        assert str(sent.answers[0].reply).startswith(reply)
        assert sent.answers[0].local
        assert connection.usable
        assert not [line for _, line in sink.commands if line.startswith("MAIL")]


@pytest.mark.parametrize("options", [{"eight_bit": True}, {"smtputf8": True}, {}])
async def test_declared_but_not_needed_goes_to_an_old_server(options: dict[str, bool]) -> None:
    async with SmtpSink(offers=()) as sink, connected(sink) as connection:
        sent = await connection.send(transaction(**options))
        assert sent.answers[0].stage is Stage.CONTENT
        assert sink.messages[0].mail == "MAIL FROM:<sender@remote.test>"


async def test_helo_for_a_server_that_does_not_know_ehlo() -> None:
    async with SmtpSink(script={"ehlo": "502 5.5.1 What?"}) as sink, connected(sink) as connection:
        assert not connection.capabilities.esmtp
        assert (await connection.send(transaction())).answers[0].stage is Stage.CONTENT


# the beginning


@pytest.mark.parametrize(
    ("script", "stage", "code"),
    [
        ({"banner": "554 5.7.1 Go away"}, Stage.BANNER, 554),
        ({"banner": "421 4.3.2 Busy"}, Stage.BANNER, 421),
        ({"banner": HANG_UP}, Stage.BANNER, None),
        ({"banner": SILENCE}, Stage.BANNER, None),
        ({"banner": b"250 odd\r\n"}, Stage.BANNER, 250),
        ({"banner": b"220-" + b"x" * 5000}, Stage.BANNER, None),
        ({"banner": b"220-x\r\n" * 1000}, Stage.BANNER, None),
        ({"ehlo": "451 4.3.0 Later"}, Stage.EHLO, 451),
        ({"ehlo": "550 5.7.1 Who?", "helo": "550 5.7.1 Who?"}, Stage.EHLO, 550),
        ({"ehlo": HANG_UP}, Stage.EHLO, None),
    ],
)
async def test_no_conversation(script: dict[str, str | bytes | Say], stage: Stage, code: int | None) -> None:
    async with SmtpSink(script=script) as sink:  # type: ignore[arg-type]
        with pytest.raises(HopError) as caught:
            await SmtpConnection.connect(
                Target("127.0.0.1", sink.port), Handshake(helo="mx.relay.test"), deadline=soon(0.3)
            )
        assert caught.value.stage is stage
        assert (caught.value.reply.code if caught.value.reply else None) == code


async def test_nobody_listens() -> None:
    async with SmtpSink() as sink:
        await sink.stop()
        with pytest.raises(HopError) as caught:
            await SmtpConnection.connect(Target("127.0.0.1", sink.port), Handshake(helo="mx.relay.test"))
        assert caught.value.stage is Stage.CONNECT


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sink.test")])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    (folder / "cert.pem").write_bytes(built.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "cert.pem", folder / "key.pem"


async def test_starttls_when_offered(certificate: tuple[Path, Path]) -> None:
    async with SmtpSink(certificate=certificate) as sink, connected(sink) as connection:
        assert connection.tls.startswith("TLSv1.")
        for _ in range(2):
            assert (await connection.send(transaction())).answers[0].stage is Stage.CONTENT
        assert [message.tls for message in sink.messages] == [True, True]
        assert sum(line.startswith("EHLO") for _, line in sink.commands) == 2


async def test_large_message_over_tls(certificate: tuple[Path, Path]) -> None:
    content = b"Subject: big\r\n\r\n" + b".line\r\n" * 300_000
    async with SmtpSink(certificate=certificate) as sink, connected(sink) as connection:
        assert (await connection.send(transaction(content=content))).answers[0].stage is Stage.CONTENT
        assert sink.messages[0].content == content


@pytest.mark.parametrize(
    "starttls", [HANG_UP, Say(b"220 Go\r\ngarbage, not a handshake\r\n"), b"220 Go\r\n250 injected\r\n"]
)
async def test_failed_tls_falls_back_to_plaintext(starttls: Say | bytes) -> None:
    async with SmtpSink(offers=("PIPELINING", "STARTTLS"), script={"starttls": starttls}) as sink:
        async with connected(sink) as connection:
            assert connection.tls == ""
            assert (await connection.send(transaction())).answers[0].stage is Stage.CONTENT
        assert sink.connections == 2


async def test_declined_starttls_goes_on_in_plaintext_on_the_same_connection() -> None:
    script = {"starttls": "454 4.7.0 TLS not available"}
    async with SmtpSink(offers=("STARTTLS",), script=script) as sink, connected(sink) as connection:
        assert (await connection.send(transaction())).answers[0].stage is Stage.CONTENT
        assert sink.connections == 1


@pytest.mark.parametrize("offers", [(), ("STARTTLS",)])
async def test_required_tls_never_goes_without(offers: tuple[str, ...]) -> None:
    async with SmtpSink(offers=offers, script={"starttls": "454 4.7.0 Not now"}) as sink:
        with pytest.raises(HopError) as caught:
            async with connected(sink, tls=TlsMode.REQUIRED):
                pass
        assert caught.value.stage is Stage.STARTTLS
