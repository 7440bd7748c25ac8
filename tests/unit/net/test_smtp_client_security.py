"""TLS as it is asked for, client certificates and AUTH, against a scripted server with real certificates."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mailguard.core.envelope import Recipient
from mailguard.core.transport import HopSecurity, TlsMode
from mailguard.net.dane import Tlsa, TlsaRecord
from mailguard.net.smtp_client import (
    Credentials,
    Handshake,
    HopError,
    SmtpConnection,
    Stage,
    Target,
    Timeouts,
    Transaction,
)
from mailguard.net.tls_contexts import TlsContexts, TlsSetupError
from tests.servers.pki import Issued, authority, self_signed
from tests.servers.smtp_sink import SILENCE, Say, Script, SmtpSink

CA = authority()
ALICE = Credentials("alice@client.test", "pässword ")


@pytest.fixture
def ca_file(tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    path.write_bytes(CA.pem)
    return str(path)


@pytest.fixture
def shown(tmp_path: Path) -> dict[str, tuple[Path, Path]]:
    """Server certificates by what is the matter with them."""
    issued = {
        "good": CA.issue("mx.client.test", "127.0.0.1"),
        "wildcard": CA.issue("*.client.test"),
        "other name": CA.issue("mx.other.test"),
        "expired": CA.issue("mx.client.test", days=(-20, -10)),
        "self-signed": self_signed("mx.client.test"),
        "other authority": authority("Other").issue("mx.client.test"),
    }
    return {name: one.write(tmp_path, name.replace(" ", "-")) for name, one in issued.items()}


@asynccontextmanager
async def connected(
    sink: SmtpSink, contexts: TlsContexts | None = None, *, name: str = "mx.client.test", **asked: object
) -> AsyncIterator[SmtpConnection]:
    handshake = Handshake(helo="relay.test", timeouts=Timeouts(starttls=2, auth=2, ehlo=2), contexts=contexts)
    connection = await SmtpConnection.connect(Target("127.0.0.1", sink.port, name, **asked), handshake)  # type: ignore[arg-type]
    try:
        yield connection
    finally:
        connection.close()


async def delivered(connection: SmtpConnection) -> bool:
    sent = await connection.send(Transaction("", (Recipient("a@client.test", 2, "client.test"),), (b"x\r\n",)))
    return sent.answers[0].stage is Stage.CONTENT


async def failure(sink: SmtpSink, contexts: TlsContexts | None = None, **asked: object) -> HopError:
    with pytest.raises(HopError) as caught:
        async with connected(sink, contexts, **asked):  # type: ignore[arg-type]
            pass
    assert not sink.messages
    return caught.value


# modes of TLS


@pytest.mark.parametrize("certificate", ["good", "wildcard"])
async def test_verified(shown: dict[str, tuple[Path, Path]], ca_file: str, certificate: str) -> None:
    async with (
        SmtpSink(certificate=shown[certificate]) as sink,
        connected(sink, TlsContexts(ca_file=ca_file), tls=TlsMode.VERIFIED) as connection,
    ):
        assert connection.tls.startswith("TLSv1.") and connection.tls.endswith(" verified")
        assert await delivered(connection)


async def test_verified_by_address_when_the_hop_is_one(shown: dict[str, tuple[Path, Path]], ca_file: str) -> None:
    contexts = TlsContexts(ca_file=ca_file)
    async with (
        SmtpSink(certificate=shown["good"]) as sink,
        connected(sink, contexts, name="", tls=TlsMode.VERIFIED) as connection,
    ):
        assert await delivered(connection)
    async with SmtpSink(certificate=shown["wildcard"]) as sink:
        error = await failure(sink, contexts, name="", tls=TlsMode.VERIFIED)
        assert "IP address mismatch" in error.detail


@pytest.mark.parametrize(
    ("certificate", "why"),
    [
        ("other name", "Hostname mismatch"),
        ("expired", "expired"),
        ("self-signed", "self-signed certificate"),
        ("other authority", "unable to get local issuer|self-signed certificate in certificate chain"),
    ],
)
async def test_not_verified_is_not_delivered(
    shown: dict[str, tuple[Path, Path]], ca_file: str, certificate: str, why: str
) -> None:
    async with SmtpSink(certificate=shown[certificate]) as sink:
        error = await failure(sink, TlsContexts(ca_file=ca_file), tls=TlsMode.VERIFIED)
        assert error.stage is Stage.STARTTLS
        assert any(text in error.detail for text in why.split("|")), error.detail
        assert sink.connections == 1
        async with connected(sink, tls=TlsMode.REQUIRED) as connection:  # encrypted, whoever it is
            assert connection.tls and await delivered(connection)


@pytest.mark.parametrize("mode", [TlsMode.REQUIRED, TlsMode.VERIFIED, TlsMode.DANE])
@pytest.mark.parametrize(
    ("offers", "script"),
    [
        ((), {}),
        (("STARTTLS",), {"starttls": "454 4.7.0 Not now"}),
        (("STARTTLS",), {"starttls": Say("", hang_up=True)}),
        (("STARTTLS",), {"starttls": b"220 Go\r\n250 injected\r\n"}),
    ],
)
async def test_what_asks_for_tls_never_goes_without(
    mode: TlsMode, offers: tuple[str, ...], script: dict[str, Script]
) -> None:
    async with SmtpSink(offers=offers, script=script) as sink:
        tlsa = Tlsa(("mx.client.test",), (TlsaRecord(3, 1, 1, bytes(32)),)) if mode is TlsMode.DANE else None
        error = await failure(sink, tls=mode, tlsa=tlsa)
        assert error.stage is Stage.STARTTLS
        assert sink.connections == 1


async def test_off_does_not_even_ask(shown: dict[str, tuple[Path, Path]]) -> None:
    async with SmtpSink(certificate=shown["good"]) as sink, connected(sink, tls=TlsMode.OFF) as connection:
        assert await delivered(connection)
        assert not any(command == "STARTTLS" for _, command in sink.commands)


# DANE


def tlsa_of(issued: Issued, usage: int) -> Tlsa:
    parts = issued.tlsa(usage).split(" ")
    return Tlsa(("mx.client.test",), (TlsaRecord(*map(int, parts[:3]), bytes.fromhex(parts[3])),))


async def test_dane_by_key_and_by_authority(tmp_path: Path) -> None:
    alone = self_signed("whoever.test", days=(-20, -10))
    async with (
        SmtpSink(certificate=alone.write(tmp_path)) as sink,
        connected(sink, tls=TlsMode.DANE, tlsa=tlsa_of(alone, 3)) as connection,
    ):
        assert connection.tls.endswith(" dane") and await delivered(connection)
    issued = CA.issue("mx.client.test")
    async with (
        SmtpSink(certificate=issued.write(tmp_path)) as sink,
        connected(sink, tls=TlsMode.DANE, tlsa=tlsa_of(CA, 2)) as connection,
    ):
        assert connection.tls.endswith(" dane") and await delivered(connection)


async def test_dane_refuses_another_certificate_before_it_says_anything_more(tmp_path: Path) -> None:
    async with SmtpSink(certificate=self_signed("mx.client.test").write(tmp_path)) as sink:
        error = await failure(sink, tls=TlsMode.DANE, tlsa=tlsa_of(self_signed("mx.client.test"), 3))
        assert (error.stage, error.detail) == (Stage.STARTTLS, "DANE: no TLSA record names the certificate")
        assert [command for _, command in sink.commands] == ["EHLO relay.test", "STARTTLS"]


# certificates of ours


async def test_a_client_certificate_is_shown(shown: dict[str, tuple[Path, Path]], tmp_path: Path) -> None:
    (tmp_path / "clients.pem").write_bytes(CA.pem)
    ours = str(CA.issue("relay.test", show_issuer=False).write_joined(tmp_path / "relay.pem"))
    async with SmtpSink(certificate=shown["good"], client_ca=tmp_path / "clients.pem") as sink:
        async with connected(sink, tls=TlsMode.REQUIRED, certificate=ours) as connection:
            assert await delivered(connection)
        assert sink.messages[0].certificate == "relay.test"
        sink.messages.clear()
        error = await failure(sink, tls=TlsMode.REQUIRED)
        assert error.stage is Stage.STARTTLS


async def test_a_client_certificate_that_cannot_be_used_keeps_us_from_connecting(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("")
    async with SmtpSink() as sink:
        for name, why in (("none.pem", "No such file"), ("empty.pem", "")):
            error = await failure(sink, certificate=str(tmp_path / name))
            assert error.stage is Stage.AUTH
            assert f"{name} cannot be used" in error.detail and why in error.detail
        assert sink.connections == 0


def test_contexts_are_made_anew_when_files_change(tmp_path: Path, ca_file: str) -> None:
    contexts = TlsContexts(ca_file=ca_file)
    path = CA.issue("relay.test").write_joined(tmp_path / "relay.pem")
    first = contexts.get(verified=True, certificate=str(path))
    assert contexts.get(verified=True, certificate=str(path)) is first
    path.write_text("broken")
    with pytest.raises(TlsSetupError, match=r"relay\.pem cannot be used"):
        contexts.get(verified=True, certificate=str(path))
    CA.issue("relay.test").write_joined(path)
    assert contexts.get(verified=True, certificate=str(path)) is not first
    with pytest.raises(TlsSetupError, match="authorities"):
        TlsContexts(ca_file=str(tmp_path / "no-such.pem")).get(verified=True)


# AUTH


def auth_sink(shown: dict[str, tuple[Path, Path]], *mechanisms: str, **options: object) -> SmtpSink:
    offers = ("PIPELINING", f"AUTH {' '.join(mechanisms)}") if mechanisms else ("PIPELINING",)
    return SmtpSink(
        certificate=shown["good"],
        offers=offers,
        credentials=(ALICE.username, ALICE.password),
        **options,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("mechanisms", "verb"),
    [(("LOGIN", "PLAIN"), "AUTH PLAIN "), (("CRAM-MD5", "plain"), "AUTH PLAIN "), (("LOGIN", "XOAUTH2"), "AUTH LOGIN")],
)
async def test_auth(shown: dict[str, tuple[Path, Path]], mechanisms: tuple[str, ...], verb: str) -> None:
    async with (
        auth_sink(shown, *mechanisms) as sink,
        connected(sink, tls=TlsMode.REQUIRED, credentials=ALICE) as connection,
    ):
        assert await delivered(connection) and await delivered(connection)
        assert {message.user for message in sink.messages} == {ALICE.username}
        said = [command for _, command in sink.commands if command.startswith("AUTH")]
        assert len(said) == 1 and said[0].startswith(verb)


async def test_auth_with_a_server_that_wants_no_initial_response(shown: dict[str, tuple[Path, Path]]) -> None:
    response = base64.b64encode(f"\0{ALICE.username}\0{ALICE.password}".encode()).decode()
    script: dict[str, Script] = {"auth": "334 ", response.lower(): "235 2.7.0 Welcome"}
    async with (
        auth_sink(shown, "PLAIN", script=script) as sink,
        connected(sink, tls=TlsMode.REQUIRED, credentials=ALICE),
    ):
        assert [command for _, command in sink.commands][-2:] == [f"AUTH PLAIN {response}", response]


@pytest.mark.parametrize("answer", ["535 5.7.8 No", "454 4.7.0 Later", "534 5.7.9 Too weak", "500 What?"])
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
async def test_auth_refused(shown: dict[str, tuple[Path, Path]], mechanism: str, answer: str) -> None:
    async with auth_sink(shown, mechanism, script={"auth": answer}) as sink:
        error = await failure(sink, tls=TlsMode.REQUIRED, credentials=ALICE)
        assert (error.stage, str(error.reply)) == (Stage.AUTH, answer)
        assert ALICE.password not in f"{error} {error!r} {ALICE!r}"


@pytest.mark.parametrize(
    ("mechanisms", "why"), [((), "offers no AUTH"), (("CRAM-MD5", "GSSAPI"), "only AUTH CRAM-MD5 GSSAPI")]
)
async def test_no_mechanism_in_common(
    shown: dict[str, tuple[Path, Path]], mechanisms: tuple[str, ...], why: str
) -> None:
    async with auth_sink(shown, *mechanisms) as sink:
        error = await failure(sink, tls=TlsMode.REQUIRED, credentials=ALICE)
        assert error.stage is Stage.AUTH and why in error.detail


async def test_credentials_never_go_without_tls() -> None:
    async with SmtpSink(offers=("AUTH PLAIN LOGIN",), credentials=(ALICE.username, ALICE.password)) as sink:
        for mode in (TlsMode.OFF, TlsMode.OPPORTUNISTIC, TlsMode.REQUIRED):
            error = await failure(sink, tls=mode, credentials=ALICE)
            assert error.stage in (Stage.AUTH, Stage.STARTTLS) and "TLS" in error.detail
        assert not any(command.startswith("AUTH") for _, command in sink.commands)


async def test_silence_at_auth(shown: dict[str, tuple[Path, Path]]) -> None:
    async with auth_sink(shown, "PLAIN", script={"auth": SILENCE}) as sink:
        handshake = Handshake(helo="relay.test", timeouts=Timeouts(auth=0.2))
        with pytest.raises(HopError) as caught:
            await SmtpConnection.connect(
                Target("127.0.0.1", sink.port, tls=TlsMode.REQUIRED, credentials=ALICE), handshake
            )
        assert (caught.value.stage, caught.value.detail) == (Stage.AUTH, "no reply in time")


# which mode is in force


@pytest.mark.parametrize(
    ("security", "default", "mode", "floor"),
    [
        (HopSecurity(), "opportunistic", "opportunistic", "off"),
        (HopSecurity(), "verified", "verified", "off"),
        (HopSecurity(TlsMode.OFF), "verified", "off", "off"),
        (HopSecurity(username="u"), "opportunistic", "required", "required"),
        (HopSecurity(TlsMode.OFF, username="u"), "verified", "off", "off"),
        (HopSecurity(TlsMode.DANE), "off", "dane", "opportunistic"),
        (HopSecurity(TlsMode.DANE, username="u"), "off", "dane", "required"),
        (HopSecurity(at_least=TlsMode.VERIFIED), "off", "verified", "verified"),
        (HopSecurity(at_least=TlsMode.VERIFIED), "dane", "dane", "verified"),
    ],
)
def test_mode_in_force(security: HopSecurity, default: str, mode: str, floor: str) -> None:
    chosen = security.mode(TlsMode(default))
    assert (chosen, security.floor(chosen)) == (mode, floor)
