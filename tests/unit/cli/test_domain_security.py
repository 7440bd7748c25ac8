"""`mailguard tenant domain set`: what may be asked of next hops, what makes no sense, and how it is shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.servers.pki import authority
from tests.unit.cli.conftest import Run


@pytest.fixture(autouse=True)
def client(mailguard: Run) -> None:
    assert mailguard("db", "upgrade").code == 0
    hops = ("--next-hop", "mx.client.test", "--next-hop", "lmtp:/run/dovecot/lmtp@20")
    done = mailguard("tenant", "add", "client", "--domain", "a.test", "--domain", "b.test", *hops)
    assert done.code == 0, done.err


def domains(mailguard: Run) -> dict[str, dict[str, Any]]:
    return {domain["name"]: domain for domain in mailguard("tenant", "show", "client", "--json").json["domains"]}


def test_nothing_is_set_at_first(mailguard: Run) -> None:
    domain = domains(mailguard)["a.test"]
    assert (domain["tls"], domain["client_certificate"], domain["auth"]) == (None, None, None)
    assert "as for all" in mailguard("tenant", "show", "client").out


def test_lmtp_next_hops_are_shown_as_such(mailguard: Run) -> None:
    assert domains(mailguard)["a.test"]["next_hops"] == [
        {"host": "mx.client.test", "port": 25, "priority": 10, "lmtp": False},
        {"host": "/run/dovecot/lmtp", "port": 0, "priority": 20, "lmtp": True},
    ]
    assert "lmtp:/run/dovecot/lmtp@20" in mailguard("tenant", "show", "client").out


def test_set_keep_and_take_away(mailguard: Run, tmp_path: Path) -> None:
    certificate = authority().issue("relay.test").write_joined(tmp_path / "relay.pem")
    done = mailguard(
        "tenant", "domain", "set", "client", "a.test", "--tls", "verified", "--auth-user", "relay",
        "--auth-password", "secret:file:/run/secrets/client", "--client-certificate", str(certificate), "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    set_ = {
        "tls": "verified",
        "client_certificate": str(certificate),
        "auth": {"username": "relay", "password": "secret:file:/run/secrets/client"},
    }
    assert set_.items() <= domains(mailguard)["a.test"].items()
    assert domains(mailguard)["b.test"]["tls"] is None
    mailguard("tenant", "domain", "set", "client", "a.test", "b.test", "--tls", "required")
    assert {**set_, "tls": "required"}.items() <= domains(mailguard)["a.test"].items()
    assert domains(mailguard)["b.test"]["tls"] == "required"
    text = mailguard("tenant", "show", "client").out
    assert "AUTH relay (secret:file:/run/secrets/client)" in text.replace("\n", " ")
    mailguard("tenant", "domain", "set", "client", "a.test", "--tls", "default", "--no-auth", "--no-client-certificate")
    assert {"tls": None, "client_certificate": None, "auth": None}.items() <= domains(mailguard)["a.test"].items()


def test_a_new_domain_with_the_next_hops_of_the_first_is_met_as_they_are(mailguard: Run) -> None:
    mailguard("tenant", "domain", "set", "client", "a.test", "--tls", "verified")
    mailguard("tenant", "domain", "add", "client", "c.test")
    mailguard("tenant", "domain", "add", "client", "d.test", "--next-hop", "other.test")
    found = domains(mailguard)
    assert (found["c.test"]["tls"], found["d.test"]["tls"]) == ("verified", None)


def test_who_could_get_the_password_is_said(mailguard: Run) -> None:
    options = ("--auth-user", "relay", "--auth-password", "secret:env:CLIENT")
    assert "--tls verified" in mailguard("tenant", "domain", "set", "client", "a.test", *options).out
    assert "note:" not in mailguard("tenant", "domain", "set", "client", "a.test", "--tls", "verified").out


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ((), "give --tls"),
        (("--tls", "strict"), "strict"),
        (("--tls", "dane"), "trust_ad"),
        (("--auth-user", "relay"), "go together"),
        (("--auth-password", "secret:env:X"), "go together"),
        (("--auth-user", "relay", "--auth-password", "hunter2"), "passwords are not kept"),
        (("--auth-user", "relay", "--auth-password", "secret:file:relative"), "must be secret:file:/PATH"),
        (("--auth-user", "relay", "--auth-password", "secret:env:X", "--tls", "off"), "never sent without TLS"),
        (("--client-certificate", "/no/such.pem"), "cannot be used"),
    ],
)
def test_what_makes_no_sense_is_refused_and_nothing_changes(mailguard: Run, options: tuple[str, ...], why: str) -> None:
    done = mailguard("tenant", "domain", "set", "client", "a.test", *options)
    assert done.code == 2
    assert why in done.err.replace("\n", " ")
    assert "hunter2" not in done.err
    assert {"tls": None, "client_certificate": None, "auth": None}.items() <= domains(mailguard)["a.test"].items()


def test_an_alias_is_met_as_its_domain_and_cannot_have_its_own(mailguard: Run) -> None:
    mailguard("tenant", "domain", "alias", "client", "alias.test", "--of", "a.test")
    mailguard("tenant", "domain", "set", "client", "a.test", "--tls", "verified")
    assert domains(mailguard)["alias.test"]["tls"] == "verified"
    done = mailguard("tenant", "domain", "set", "client", "alias.test", "--tls", "off")
    assert done.code != 0 and "set it there" in done.err


def test_somebody_elses_domain(mailguard: Run) -> None:
    done = mailguard("tenant", "domain", "set", "client", "other.test", "--tls", "off")
    assert done.code != 0 and "not a domain of tenant" in done.err
