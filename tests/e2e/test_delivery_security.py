"""How next hops are met: TLS modes, DANE, client certificates, AUTH, LMTP, BDAT, DSN parameters, and failover."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.dns_server import DnsServer
from tests.e2e.conftest import ZONE
from tests.e2e.mails import below_our_block, mail
from tests.e2e.town import Client, Town, attempts, open_town, story
from tests.servers.clamd import Clamd
from tests.servers.pki import authority, self_signed
from tests.servers.ports import free_port, wait_until
from tests.servers.postfix import running_postfix
from tests.servers.relay import Relay
from tests.servers.sasl import running_sasl
from tests.servers.sink_thread import running_sink
from tests.servers.smtp_sink import Say

CA = authority("Client CA")
OURS = authority("Provider CA")
PASSWORD = "s3cret-of-the-client"
UNPROTECTED = 'mailguard_next_hop_unprotected_total{tenant="%s"}'
REFUSALS = 'mailguard_next_hop_refusals_total{tenant="%s"}'


@dataclass(frozen=True)
class Place:
    """A town whose clients' next hops have names in a signed zone, and the folder of certificates and secrets."""

    town: Town
    folder: Path
    dns: DnsServer

    def client(self, *options: object, certificate: str = "", **sink: object) -> Client:
        """A fresh client; its next hop `mx.NAME.test` shows a certificate, and `options` are of `tenant domain set`."""
        client = self.town.next_client()
        for name, value in sink.items():
            setattr(client.sink.sink, name, value)
        if certificate:
            self.shows(client, certificate)
        self.goes_to(client, f"{self.host(client)}:{client.sink.port}")
        if options:
            self.town.run("tenant", "domain", "set", client.name, client.domain, *options)
        self.settle()
        return client

    def host(self, client: Client) -> str:
        return f"mx.{client.domain}"

    def goes_to(self, client: Client, *hops: str) -> None:
        self.town.run("tenant", "set", client.name, *(word for hop in hops for word in ("--next-hop", hop)))

    def shows(self, client: Client, certificate: str) -> None:
        """What the next hop's STARTTLS shows from now on."""
        host = self.host(client)
        issued = {
            "good": lambda: CA.issue(host),
            "other name": lambda: CA.issue("mx.elsewhere.test"),
            "self-signed": lambda: self_signed(host),
        }[certificate]()
        client.sink.sink.certificate = issued.write(self.folder, f"{client.name}-{certificate.replace(' ', '-')}")
        self.dns.update({f"_{client.sink.port}._tcp.{host}": {"TLSA": [issued.tlsa(3)]}})

    def settle(self) -> None:
        """Wait until the relay knows all that was set."""
        canary = f"canary{len(self.town.json('tenant', 'list'))}"
        self.town.run("tenant", "add", canary, "--domain", f"{canary}.test", "--next-hop", "127.0.0.1:9")
        wait_until(lambda: self.town.relay.takes(f"x@{canary}.test"), what="the new settings")

    def send(self, client: Client, user: str = "u") -> str:
        """Send a mail that is taken, and give its recipient."""
        recipient = client.address(user)
        assert self.town.relay.send(mail(), [recipient])[0] == 250
        return recipient


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, clamd: Clamd) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("certificates")
    (folder / "ca.pem").write_bytes(CA.pem)
    (folder / "password").write_text(f"{PASSWORD}\n")
    spare = 30
    hosts = {f"mx.spare{number}.test": {"A": ["127.0.0.1"]} for number in range(spare)}
    with DnsServer({**ZONE, **hosts}) as dns:
        dns.secure = tuple(f"spare{number}.test" for number in range(spare))
        relay = Relay(
            tmp_path_factory.mktemp("relay"),
            clamd=clamd.address,
            dns=dns.address,
            environment={
                "MAILGUARD_DNS__TRUST_AD": "true",
                "MAILGUARD_OUTBOUND__CA_FILE": str(folder / "ca.pem"),
                "CLIENT_PASSWORD": PASSWORD,
            },
        )
        with open_town(relay, spare=spare) as town:
            yield Place(town, folder, dns)
            town.run("ledger", "check")


# TLS


@pytest.mark.parametrize(
    ("mode", "certificate", "tls"),
    [
        ("off", "good", ""),
        ("opportunistic", "self-signed", "TLSv1.3"),
        ("required", "self-signed", "TLSv1.3"),
        ("verified", "good", "TLSv1.3"),
        ("dane", "self-signed", "TLSv1.3"),
    ],
)
def test_a_mode_that_the_next_hop_meets(place: Place, mode: str, certificate: str, tls: str) -> None:
    client = place.client("--tls", mode, certificate=certificate)
    recipient = place.send(client)
    (received,) = client.got
    assert received.tls == bool(tls)
    (attempt,) = attempts(place.town.unit(recipient))
    assert attempt.get("tls", "")[:7] == tls
    assert attempt.get("tls", "").endswith(f" {mode}") == (mode in ("verified", "dane"))


@pytest.mark.parametrize(
    ("mode", "certificate", "why"),
    [
        ("required", "", "TLS is required (required) and not offered"),
        ("verified", "other name", "Hostname mismatch"),
        ("dane", "self-signed", "DANE: no TLSA record names the certificate"),
    ],
)
def test_a_mode_that_it_does_not_meet_waits_and_says_why(place: Place, mode: str, certificate: str, why: str) -> None:
    client = place.client("--tls", mode, certificate=certificate)
    if mode == "dane":
        client.sink.sink.certificate = self_signed("mx.attacker.test").write(place.folder, "attacker")
    recipient = place.send(client)
    unit = place.town.reached(recipient, "spooled")
    assert story(unit)[-1] == ("spooled", "next_hop_unavailable")
    assert why in attempts(unit)[0]["error"] and attempts(unit)[0]["stage"] == "starttls"
    assert not client.got
    assert place.town.relay.metric(UNPROTECTED % client.name) >= 1
    told = place.town.logged("next_hop_unprotected", tenant=client.name, stage="starttls")
    assert told and told[0]["level"] == "error" and why in told[0]["error"]
    assert why in place.town.run("queue", "show", unit["id"])[1]

    place.shows(client, "self-signed" if mode == "dane" else "good")  # its admin has mended it
    place.town.reached(recipient, "delivered")
    assert client.got[0].tls


def test_dane_without_secure_records_is_opportunistic_and_without_an_answer_waits(place: Place) -> None:
    client = place.client("--tls", "dane")
    place.send(client)
    assert not client.got[0].tls
    records = f"_{client.sink.port}._tcp.{place.host(client)}"
    place.dns.update({records: {"*": "SERVFAIL"}})
    client.sink.run(client.sink.sink.drop_connections())
    recipient = place.send(client, "second")
    unit = place.town.reached(recipient, "spooled")
    assert "DANE: no answer for TLSA records" in attempts(unit)[0]["error"]
    place.dns.update({records: {}})
    place.town.reached(recipient, "delivered")


def test_show_tells_how_next_hops_are_met(place: Place) -> None:
    ours = str(OURS.issue("relay.test").write_joined(place.folder / "shown.pem"))
    reference = f"secret:file:{place.folder}/password"
    client = place.client(
        "--tls", "verified", "--auth-user", "relay", "--auth-password", reference, "--client-certificate", ours
    )
    (domain,) = place.town.json("tenant", "show", client.name)["domains"]
    assert domain["tls"] == "verified" and domain["client_certificate"] == ours
    assert domain["auth"] == {"username": "relay", "password": reference}
    text = place.town.run("tenant", "show", client.name)[1]
    assert "verified" in text and PASSWORD not in text
    place.town.run(
        "tenant",
        "domain",
        "set",
        client.name,
        client.domain,
        "--tls",
        "default",
        "--no-auth",
        "--no-client-certificate",
    )
    (domain,) = place.town.json("tenant", "show", client.name)["domains"]
    assert (domain["tls"], domain["client_certificate"], domain["auth"]) == (None, None, None)


# who we are


def test_a_client_certificate_is_shown(place: Place) -> None:
    (place.folder / "provider.pem").write_bytes(OURS.pem)
    ours = OURS.issue("relay.test", show_issuer=False).write_joined(place.folder / "ours.pem")
    client = place.client(
        "--tls", "required", "--client-certificate", str(ours),
        certificate="good", client_ca=place.folder / "provider.pem",
    )  # fmt: skip
    place.send(client)
    assert client.got[0].certificate == "relay.test"


def test_auth_and_what_a_wrong_password_comes_to(place: Place) -> None:
    secret = place.folder / "changing"
    secret.write_text(PASSWORD)
    client = place.client(
        "--tls", "verified", "--auth-user", "relay@client", "--auth-password", f"secret:file:{secret}",
        certificate="good", offers=("PIPELINING", "AUTH PLAIN LOGIN"), credentials=("relay@client", PASSWORD),
    )  # fmt: skip
    place.send(client)
    assert client.got[0].user == "relay@client"

    client.sink.run(client.sink.sink.drop_connections())
    secret.write_text("wrong")
    recipient = place.send(client, "second")
    unit = place.town.reached(recipient, "spooled")
    assert attempts(unit)[0]["reply"] == "535 5.7.8 Authentication credentials invalid"
    assert attempts(unit)[0]["stage"] == "auth"
    assert place.town.relay.metric(REFUSALS % client.name) >= 1
    assert place.town.logged("next_hop_refuses_us", tenant=client.name, stage="auth")

    secret.unlink()
    wait_until(
        lambda: any("cannot be read" in attempt.get("error", "") for attempt in attempts(place.town.unit(recipient))),
        what="the trace telling that the secret is gone",
    )
    secret.write_text(PASSWORD)
    place.town.reached(recipient, "delivered")
    assert PASSWORD not in place.town.relay.log


def test_secrets_are_nowhere_but_where_the_reference_leads(place: Place) -> None:
    client = place.client(
        "--auth-user", "relay", "--auth-password", "secret:env:CLIENT_PASSWORD",
        certificate="good", offers=("AUTH LOGIN",), credentials=("relay", PASSWORD),
    )  # fmt: skip
    place.send(client)
    assert client.got[0].user == "relay" and client.got[0].tls  # opportunistic became required
    code, out = place.town.run(
        "tenant", "domain", "set", client.name, client.domain, "--auth-password", PASSWORD, check=False
    )
    assert code != 0 and "secret:file:" in out and PASSWORD not in out
    kept = [path for path in place.town.relay.root.rglob("*") if path.is_file()]
    assert not [path for path in kept if PASSWORD.encode() in path.read_bytes()]


def test_credentials_are_not_sent_without_tls(place: Place) -> None:
    client = place.client(
        "--auth-user", "relay", "--auth-password", "secret:env:CLIENT_PASSWORD",
        offers=("AUTH PLAIN",), credentials=("relay", PASSWORD),
    )  # fmt: skip
    unit = place.town.reached(place.send(client), "spooled")
    assert "TLS is required" in attempts(unit)[0]["error"]
    assert not any(command.startswith("AUTH") for _, command in client.sink.sink.commands)
    place.shows(client, "good")
    place.town.reached(unit["recipient"], "delivered")


# LMTP


@pytest.mark.parametrize("kind", ["socket", "port"])
def test_lmtp_gives_each_recipient_its_own_outcome(place: Place, tmp_path: Path, kind: str) -> None:
    def content(rcpt: str) -> str:
        return "452 4.2.2 Full" if "<full@" in rcpt else "550 5.7.1 No" if "<no@" in rcpt else "250 2.0.0 Stored"

    client = place.client()
    with running_sink(
        lmtp=True, path=tmp_path / "lmtp" if kind == "socket" else None, script={"content": content}
    ) as sink:
        place.goes_to(client, f"lmtp:{tmp_path}/lmtp" if kind == "socket" else f"lmtp://127.0.0.1:{sink.port}")
        place.settle()
        to = [client.address(user) for user in ("a", "full", "no")]
        assert place.town.relay.send(mail(), to)[0] == 250
        delivered, full, refused = (place.town.unit(one) for one in to)
        assert (delivered["state"], full["state"]) == ("delivered", "spooled")
        assert attempts(full)[0]["reply"] == "452 4.2.2 Full"
        place.town.reached(refused["recipient"], "bounced")
        assert len(sink.messages[0].rcpts) == 3
        assert ("LHLO" in {command.split(" ")[0] for _, command in sink.sink.commands}) and not client.got
        sink.sink.script["content"] = "250 2.0.0 Stored"
        place.town.reached(full["recipient"], "delivered")


# CHUNKING and DSN


def test_a_large_message_goes_by_bdat_byte_for_byte(place: Place) -> None:
    client = place.client(offers=("PIPELINING", "8BITMIME", "CHUNKING"))
    large = mail("large", "".join(f".{number} lines that begin with dots\r\n..\r\n.\r\n" for number in range(20_000)))
    with place.town.relay.client() as smtp:
        smtp.sendmail("a@sender.test", [client.address()], large)
    (received,) = client.got
    assert received.chunked
    assert below_our_block(received.content) == large
    place.send(client, "second")
    assert not client.got[1].chunked


def test_dsn_parameters_are_passed_on_to_those_who_offer_dsn(place: Place) -> None:
    plain, offering = place.client(), place.client(offers=("PIPELINING", "DSN"))
    for client in (plain, offering):
        with place.town.relay.client() as smtp:
            smtp.ehlo()
            assert smtp.has_extn("dsn")
            smtp.mail("a@sender.test", ["RET=HDRS", "ENVID=QQ+2B314159"])
            smtp.rcpt(client.address(), ["NOTIFY=FAILURE,DELAY", f"ORCPT=rfc822;old+2Bname@{client.domain}"])
            assert smtp.data(mail())[0] == 250
    assert "RET" not in plain.got[0].mail and plain.got[0].rcpts == [f"RCPT TO:<{plain.address()}>"]
    assert offering.got[0].mail == "MAIL FROM:<a@sender.test> RET=HDRS ENVID=QQ+2B314159"
    assert offering.got[0].rcpts == [
        f"RCPT TO:<{offering.address()}> NOTIFY=FAILURE,DELAY ORCPT=rfc822;old+2Bname@{offering.domain}"
    ]


# several next hops


def test_failover_within_one_attempt(place: Place) -> None:
    client = place.client()
    with ExitStack() as stack:
        busy = stack.enter_context(running_sink(script={"banner": "421 4.3.2 Busy"}))
        strange = stack.enter_context(running_sink(script={"banner": Say("450 4.3.2 Not now", hang_up=True)}))
        place.dns.update({"two.spare0.test": {"A": ["127.0.0.9", "127.0.0.1"]}})
        place.goes_to(
            client,
            f"127.0.0.1:{free_port()}@1",
            f"127.0.0.1:{busy.port}@2",
            f"127.0.0.1:{strange.port}@3",
            f"two.spare0.test:{client.sink.port}@4",
        )
        place.settle()
        recipient = place.send(client)
        unit = place.town.unit(recipient)
        assert (unit["state"], len(attempts(unit))) == ("delivered", 1)
        assert attempts(unit)[0]["next_hop"] == f"two.spare0.test:{client.sink.port}"
        assert (busy.sink.connections, strange.sink.connections, len(client.got)) == (1, 1, 1)


# a real server


def test_a_real_postfix_with_starttls_and_sasl(place: Place, tmp_path: Path) -> None:
    client = place.client()
    certificate, key = CA.issue(place.host(client)).write(tmp_path, "postfix")
    with running_sasl({"relay": PASSWORD}) as sasl:
        more = "\n".join(
            [
                "smtpd_tls_security_level = may",
                "smtpd_tls_auth_only = yes",
                f"smtpd_tls_cert_file = {certificate}",
                f"smtpd_tls_key_file = {key}",
                "smtpd_sasl_auth_enable = yes",
                "smtpd_sasl_type = dovecot",
                f"smtpd_sasl_path = inet:127.0.0.1:{sasl.port}",
                "smtpd_client_restrictions = permit_sasl_authenticated, reject",
                "message_size_limit = 50000000",
            ]
        )
        with running_postfix(hostname=place.host(client), domains=(client.domain,), more=more) as postfix:
            place.town.run(
                "tenant", "domain", "set", client.name, client.domain, "--tls", "verified",
                "--auth-user", "relay", "--auth-password", f"secret:file:{place.folder}/password",
            )  # fmt: skip
            place.goes_to(client, f"{place.host(client)}:{postfix.port}")
            place.settle()
            place.send(client, "u")
            large = mail("large", ".dots\r\n" * 60_000)
            with place.town.relay.client() as smtp:
                smtp.sendmail("a@sender.test", [client.address("v")], large)
            wait_until(
                lambda: postfix.mails(client.domain, "u") and postfix.mails(client.domain, "v"),
                what="Postfix's delivery",
            )
            (kept,) = postfix.mails(client.domain, "v")
            assert kept.endswith(large.replace(b"\r\n", b"\n").partition(b"\n\n")[2])
            assert "sasl_username=relay" in postfix.log()
