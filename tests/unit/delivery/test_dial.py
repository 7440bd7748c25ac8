"""What is asked of a next hop, and what keeps us from it: DANE by DNS, credentials by reference, connections kept apart."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mailguard.core.envelope import MailOptions, NextHop, Recipient
from mailguard.core.reply import Reply
from mailguard.core.transport import AS_SET_FOR_ALL, HopSecurity, TlsMode
from mailguard.delivery.dial import Dialler
from mailguard.delivery.forward import Forwarder, Job
from mailguard.delivery.outcome import Outcome, OutcomeKind, Stage
from mailguard.delivery.route import OutboundRoutes
from mailguard.net.dns import StaticResolver
from mailguard.net.mta_sts import StsMode, StsPolicy
from mailguard.net.smtp_client import Handshake, HopError
from mailguard.net.smtp_pool import ConnectionPool
from mailguard.net.tls_contexts import TlsContexts
from mailguard.net.tlsa import TlsaResolver
from tests.dns_server import DnsServer
from tests.servers.pki import authority, self_signed
from tests.servers.smtp_sink import SmtpSink

CA = authority()
ZONE = {"mx.client.test": {"A": ["127.0.0.1"]}}
SERVER = self_signed("mx.client.test")


@pytest.fixture
def dns() -> Iterator[DnsServer]:
    with DnsServer(ZONE) as server:
        server.secure = ("client.test",)
        yield server


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    return SERVER.write(tmp_path)


def dialler(dns: DnsServer | None = None, **options: object) -> Dialler:
    tlsa = TlsaResolver([dns.address], timeout=0.5) if dns else None
    contexts = TlsContexts(ca_file=str(options.pop("ca_file", "")))
    handshake = Handshake(helo="relay.test", contexts=contexts)
    return Dialler(handshake, StaticResolver(ZONE), tlsa=tlsa, **options)  # type: ignore[arg-type]


def job(hop: NextHop, security: HopSecurity = AS_SET_FOR_ALL, *, tenant: int = 2) -> Job:
    recipients = (Recipient("a@client.test", tenant, "client.test"),)
    return Job(tenant, (hop,), "s@remote.test", recipients, (b"x\r\n",), MailOptions(), security=security)


async def delivered(made: Dialler, hop: NextHop, security: HopSecurity) -> Outcome:
    forwarder = Forwarder(ConnectionPool(), made)
    (outcome,) = await forwarder.deliver(job(hop, security), budget=5)
    forwarder.close()
    return outcome


DANE = HopSecurity(TlsMode.DANE)


@pytest.mark.parametrize(
    ("records", "security", "tls"),
    [
        ([SERVER.tlsa(3)], DANE, "dane"),
        ([f"0 0 1 {'ab' * 32}"], DANE, "encrypted"),  # unusable records: encryption is due (RFC 7672 §2.2)
        ([], DANE, "encrypted"),
        ([SERVER.tlsa(3)], HopSecurity(TlsMode.DANE, at_least=TlsMode.VERIFIED), "dane"),
        ([f"0 0 1 {'ab' * 32}"], HopSecurity(TlsMode.DANE, at_least=TlsMode.VERIFIED), "not verified"),
        ([], HopSecurity(TlsMode.DANE, at_least=TlsMode.VERIFIED), "not verified"),
        ([self_signed("x.test").tlsa(3)], DANE, "not named"),
    ],
)
async def test_dane(
    dns: DnsServer, certificate: tuple[Path, Path], records: list[str], security: HopSecurity, tls: str
) -> None:
    async with SmtpSink(certificate=certificate) as sink:
        dns.update({f"_{sink.port}._tcp.mx.client.test": {"TLSA": records}})
        outcome = await delivered(dialler(dns), NextHop("mx.client.test", sink.port), security)
        if tls in ("dane", "encrypted"):
            assert outcome.kind is OutcomeKind.DELIVERED
            assert outcome.tls.startswith("TLSv1.") and outcome.tls.endswith(" dane") == (tls == "dane")
        else:
            assert (outcome.stage, outcome.unprotected) == (Stage.STARTTLS, True)
            assert ("no TLSA record names" if tls == "not named" else "self-signed") in outcome.detail


@pytest.mark.parametrize(
    ("records", "kind"),
    [
        ([], OutcomeKind.DELIVERED),
        ([f"0 0 1 {'ab' * 32}"], OutcomeKind.TEMPORARY),
        ([SERVER.tlsa(3)], OutcomeKind.TEMPORARY),
    ],
)
async def test_dane_towards_a_server_without_tls(dns: DnsServer, records: list[str], kind: OutcomeKind) -> None:
    async with SmtpSink() as sink:
        dns.update({f"_{sink.port}._tcp.mx.client.test": {"TLSA": records}})
        outcome = await delivered(dialler(dns), NextHop("mx.client.test", sink.port), DANE)
        assert (outcome.kind, outcome.unprotected) == (kind, kind is OutcomeKind.TEMPORARY)


async def test_dane_without_an_answer_is_not_tried_at_all(dns: DnsServer) -> None:
    async with SmtpSink() as sink:
        dns.update({f"_{sink.port}._tcp.mx.client.test": {"*": "SERVFAIL"}})
        outcome = await delivered(dialler(dns), NextHop("mx.client.test", sink.port), DANE)
        assert (outcome.kind, outcome.stage) == (OutcomeKind.TEMPORARY, Stage.ROUTE)
        assert "no answer for TLSA records" in outcome.detail
        assert sink.connections == 0


async def test_dane_without_trust_in_name_servers_finds_nothing() -> None:
    async with SmtpSink() as sink:
        outcome = await delivered(dialler(), NextHop("mx.client.test", sink.port), DANE)
        assert (outcome.kind, outcome.tls) == (OutcomeKind.DELIVERED, "")


async def test_the_mode_for_all_holds_where_there_is_no_own(certificate: tuple[Path, Path]) -> None:
    async with SmtpSink(certificate=certificate) as sink:
        made = dialler(tls=TlsMode.VERIFIED)
        hop = NextHop("mx.client.test", sink.port)
        assert (await delivered(made, hop, AS_SET_FOR_ALL)).unprotected
        assert (await delivered(made, hop, HopSecurity(TlsMode.REQUIRED))).kind is OutcomeKind.DELIVERED


async def test_a_password_that_cannot_be_had_is_told_and_nothing_is_asked() -> None:
    def secret(reference: str) -> str:
        raise ValueError("refers to the file /run/none, which cannot be read: No such file or directory")

    async with SmtpSink() as sink:
        security = HopSecurity(TlsMode.REQUIRED, username="relay", password="secret:file:/run/none")
        outcome = await delivered(dialler(secret=secret), sink.hop, security)
        assert (outcome.stage, outcome.unprotected) == (Stage.AUTH, True)
        assert outcome.detail.startswith("the password for relay refers to the file /run/none")
        assert sink.connections == 0


async def test_a_socket_needs_no_tls(tmp_path: Path) -> None:
    async with SmtpSink(lmtp=True, path=tmp_path / "lmtp") as sink:
        outcome = await delivered(dialler(), sink.hop, HopSecurity(TlsMode.VERIFIED))
        assert (outcome.kind, outcome.next_hop, outcome.ip) == (OutcomeKind.DELIVERED, f"lmtp:{tmp_path}/lmtp", "")


async def test_connections_of_different_security_are_kept_apart(certificate: tuple[Path, Path]) -> None:
    async with SmtpSink(certificate=certificate, offers=("AUTH PLAIN",), credentials=("a", "x")) as sink:
        forwarder = Forwarder(ConnectionPool(), dialler())
        hop = NextHop("mx.client.test", sink.port)
        plain, encrypted = HopSecurity(TlsMode.OFF), HopSecurity(TlsMode.REQUIRED)
        known = HopSecurity(TlsMode.REQUIRED, username="a", password="x")
        for security in (plain, encrypted, known) * 2:
            (outcome,) = await forwarder.deliver(job(hop, security))
            assert outcome.kind is OutcomeKind.DELIVERED
        (outcome,) = await forwarder.deliver(job(hop, known, tenant=3))
        assert sink.connections == 4
        assert [(one.tls, one.user) for one in sink.messages] == [(False, ""), (True, ""), (True, "a")] * 2 + [
            (True, "a")
        ]
        forwarder.close()


async def test_what_is_the_matter_is_still_told_while_the_hop_is_left_alone() -> None:
    async with SmtpSink() as sink:
        forwarder = Forwarder(ConnectionPool(), dialler())
        for _ in range(2):
            (outcome,) = await forwarder.deliver(job(sink.hop, HopSecurity(TlsMode.REQUIRED)))
        assert outcome.postponed and not outcome.unprotected
        assert outcome.detail == (
            "the next hop is down (starttls: TLS is required (required) and not offered), and is being probed"
        )
        assert forwarder.is_closed(2, (sink.hop,), HopSecurity(TlsMode.REQUIRED))
        assert not forwarder.is_closed(2, (sink.hop,))  # others ask for less
        forwarder.close()


async def test_lmtp_outcomes_for_each_recipient_late_ones_too() -> None:
    script = {"content": lambda line: "452 4.2.2 Full" if "<b@" in line else "250 2.0.0 Stored"}
    async with SmtpSink(lmtp=True, script=script) as sink:  # type: ignore[arg-type]
        forwarder = Forwarder(ConnectionPool(), dialler())
        recipients = tuple(Recipient(f"{u}@client.test", 2, "client.test", number=n) for n, u in enumerate("abc", 1))
        asked = Job(2, (sink.hop,), "", recipients, (b"x\r\n",), MailOptions())
        outcomes = await forwarder.deliver(asked)
        assert [outcome.kind.value for outcome in outcomes] == ["delivered", "temporary", "delivered"]
        forwarder.close()


async def test_a_bad_hop_error_names_its_stage() -> None:
    with pytest.raises(HopError) as caught:
        await dialler().dial(NextHop("mx.nowhere.test"), AS_SET_FOR_ALL, deadline=1e9)
    assert caught.value.stage is Stage.ROUTE


class Enforced:
    """Stands for MtaSts: every domain has a policy that names mx.client.test."""

    async def policy(self, domain: str) -> StsPolicy:
        return StsPolicy(StsMode.ENFORCE, ("mx.client.test",), 86400)


@pytest.mark.parametrize("trusted", [True, False])
async def test_mail_of_our_own_is_delivered_as_mta_sts_asks(tmp_path: Path, trusted: bool) -> None:
    (tmp_path / "ca.pem").write_bytes(CA.pem)
    issued = CA.issue("mx.client.test") if trusted else SERVER
    zone = {**ZONE, "client.test": {"MX": [(10, "elsewhere.test"), (20, "mx.client.test")]}}
    async with SmtpSink(certificate=issued.write(tmp_path)) as sink:
        routes = OutboundRoutes(
            StaticResolver(zone),
            hostname="relay.test",
            sts=Enforced(),
            port=sink.port,
            private=True,  # type: ignore[arg-type]
        )
        route = await routes.route("client.test")
        assert [hop.host for hop in route.next_hops] == ["mx.client.test"]
        outcome = await delivered(dialler(ca_file=tmp_path / "ca.pem"), route.next_hops[0], route.security)
        assert outcome.kind is (OutcomeKind.DELIVERED if trusted else OutcomeKind.TEMPORARY)
        assert outcome.unprotected is not trusted
        assert [message.tls for message in sink.messages] == [True] * trusted


@pytest.mark.parametrize(
    ("stage", "reply", "told"),
    [
        (Stage.STARTTLS, None, True),
        (Stage.STARTTLS, Reply(454, "4.7.0", "Not now"), True),
        (Stage.STARTTLS, Reply(421, "4.3.2", "Closing"), False),
        (Stage.AUTH, None, True),
        (Stage.AUTH, Reply(535, "5.7.8", "No"), False),  # told as a refusal of ours
        (Stage.EHLO, None, False),
        (Stage.CONNECT, None, False),
    ],
)
def test_what_somebody_must_be_told_of(stage: Stage, reply: Reply | None, told: bool) -> None:
    outcome = Outcome(1, 2, OutcomeKind.TEMPORARY, stage, reply)
    assert outcome.unprotected is told
    assert outcome.refuses_us is (reply is not None and reply.permanent)
