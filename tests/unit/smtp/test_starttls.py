"""STARTTLS with real clients."""

from __future__ import annotations

import asyncio
import ssl
from email.message import EmailMessage
from pathlib import Path

import aiosmtplib
import pytest
from cryptography import x509

from mailguard.smtp.server import SmtpServer
from mailguard.smtp.tls import TlsCertificate, self_made

from .conftest import Connect, HeldDoor, Serve, Watcher, eventually


async def shown_certificate(server: SmtpServer) -> x509.Certificate:
    """The certificate that the server shows."""
    host, port = server.addresses[0]
    smtp = aiosmtplib.SMTP(hostname=host, port=port, start_tls=False, validate_certs=False)
    await smtp.connect()
    await smtp.starttls()
    der = smtp.transport.get_extra_info("ssl_object").getpeercert(binary_form=True)  # type: ignore[union-attr]
    await smtp.quit()
    return x509.load_der_x509_certificate(der)


async def test_message_over_tls(serve: Serve, door: HeldDoor, watcher: Watcher, certificate: TlsCertificate) -> None:
    server = await serve(certificate=certificate)
    host, port = server.addresses[0]
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "a@sender.test", "u@client.test", "secret"
    message.set_content(".a dot\n" + "text\n" * 5000)
    _errors, reply = await aiosmtplib.send(message, hostname=host, port=port, start_tls=True, validate_certs=False)
    assert reply.startswith("2.0.0 Taken as ")
    session, _envelope, content = door.messages[0]
    assert session.tls.startswith("TLSv1.3 TLS_")
    assert session.protocol == "ESMTPS"
    assert b"\r\n\r\n.a dot\r\ntext\r\n" in content
    assert watcher.tls == ["TLSv1.3"]
    await eventually(lambda: server.open_sessions == 0)


async def test_reload_shows_the_new_certificate(serve: Serve, tmp_path: Path) -> None:
    used = tmp_path / "used.pem"
    used.write_bytes(self_made(tmp_path / "one", hostname="one.example")[0].read_bytes())
    server = await serve(certificate=TlsCertificate(used, used))
    first = await shown_certificate(server)
    used.write_bytes(self_made(tmp_path / "two", hostname="two.example")[0].read_bytes())
    assert await shown_certificate(server) == first
    server.reload_tls()
    second = await shown_certificate(server)
    assert second.subject.rfc4514_string() == "CN=two.example"


async def test_failed_handshake_is_counted_and_ends_the_connection(
    serve: Serve, connect: Connect, watcher: Watcher, certificate: TlsCertificate
) -> None:
    server = await serve(certificate=certificate)
    client = await connect(server)
    await client.hear()
    await client.say(
        "EHLO client.example",
    )
    assert (await client.say("STARTTLS"))[:9] == "220 2.0.0"
    client.writer.write(b"this is no TLS\r\n")
    await eventually(lambda: server.open_sessions == 0)
    assert watcher.tls == [""]
    assert watcher.opened == watcher.closed == 1


async def test_client_gone_in_the_handshake(
    serve: Serve, connect: Connect, watcher: Watcher, certificate: TlsCertificate
) -> None:
    server = await serve(certificate=certificate)
    client = await connect(server)
    await client.hear()
    await client.say("EHLO client.example")
    await client.say("STARTTLS")
    client.writer.transport.abort()
    await eventually(lambda: server.open_sessions == 0)
    assert watcher.tls == [""]


async def test_silent_client_in_the_handshake(
    serve: Serve, connect: Connect, watcher: Watcher, certificate: TlsCertificate
) -> None:
    server = await serve(certificate=certificate, tls_handshake_timeout=0.1)
    client = await connect(server)
    await client.hear()
    await client.say("EHLO client.example")
    await client.say("STARTTLS")
    await eventually(lambda: server.open_sessions == 0)
    assert watcher.tls == [""]


async def test_client_gone_without_goodbye_over_tls_does_not_stop_its_message(
    serve: Serve, door: HeldDoor, certificate: TlsCertificate
) -> None:
    door.hold_data = asyncio.Event()
    server = await serve(certificate=certificate)
    host, port = server.addresses[0]
    smtp = aiosmtplib.SMTP(hostname=host, port=port, start_tls=True, validate_certs=False)
    await smtp.connect()
    sending = asyncio.create_task(smtp.sendmail("a@sender.test", ["u@client.test"], b"text\r\n"))
    await door.in_data.wait()
    smtp.transport.abort()  # type: ignore[union-attr]
    await eventually(lambda: server.open_sessions == 0)
    door.hold_data.set()
    await eventually(lambda: server.transactions == 0)
    assert len(door.messages) == 1
    with pytest.raises((aiosmtplib.SMTPException, ssl.SSLError, ConnectionError)):
        await sending


async def test_drain_over_tls(serve: Serve, certificate: TlsCertificate) -> None:
    server = await serve(certificate=certificate)
    host, port = server.addresses[0]
    smtp = aiosmtplib.SMTP(hostname=host, port=port, start_tls=True, validate_certs=False)
    await smtp.connect()
    assert await server.drain(5)
    smtp.close()
