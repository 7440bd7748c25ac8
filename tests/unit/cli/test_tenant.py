"""`mailguard tenant`, and how errors of every kind are told."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mailguard.store import tenants
from tests.ledger_of import World
from tests.unit.cli.conftest import Run


def add(
    mailguard: Run, name: str = "client", *options: str, domain: str = "client.test", hop: str = "192.0.2.5"
) -> None:
    done = mailguard("tenant", "add", name, "--domain", domain, "--next-hop", hop, *options)
    assert done.code == 0, done.err


@pytest.fixture(autouse=True)
def database(mailguard: Run) -> None:
    assert mailguard("db", "upgrade").code == 0


def test_add_show_and_list(mailguard: Run) -> None:
    done = mailguard(
        "tenant", "add", "Client", "--domain", "Client.TEST", "--domain", "bücher.example", "--next-hop", "mx.client.test",
        "--next-hop", "[2001:db8::1]:2525@20", "--policy", "strict", "--plan", "gold", "--soft-bounce", "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    shown = mailguard("tenant", "show", "client", "--json").json
    assert shown == done.json
    assert (shown["name"], shown["policy"], shown["plan"], shown["soft_bounce"]) == ("client", "strict", "gold", True)
    assert [domain["name"] for domain in shown["domains"]] == ["client.test", "xn--bcher-kva.example"]
    assert shown["domains"][0]["next_hops"] == [
        {"host": "mx.client.test", "port": 25, "priority": 10, "lmtp": False},
        {"host": "2001:db8::1", "port": 2525, "priority": 20, "lmtp": False},
    ]
    listed = mailguard("tenant", "list").out
    assert "client.test, bücher.example (xn--bcher-kva.example)" in listed
    assert "mx.client.test:25@10, [2001:db8::1]:2525@20" in listed


def test_greylisting_is_switched_on_and_off(mailguard: Run) -> None:
    hop = ("--domain", "client.test", "--next-hop", "mx.client.test")
    assert mailguard("tenant", "add", "client", *hop, "--greylist", "on", "--json").json["greylist"] is True
    assert "greylisting" in mailguard("tenant", "list").out
    assert mailguard("tenant", "set", "client", "--greylist", "off", "--json").json["greylist"] is False
    assert mailguard("tenant", "set", "client", "--plan", "gold", "--json").json["greylist"] is False
    assert mailguard("tenant", "set", "client", "--greylist", "on", "--json").json["greylist"] is True
    assert mailguard("tenant", "set", "client", "--greylist", "maybe").code == 2


def test_every_wrong_argument_is_told_at_once(mailguard: Run) -> None:
    done = mailguard(
        "tenant", "add", "no good", "--domain", "nodot", "--next-hop", "mx:99999", "--next-hop", "127.0.0.1:2525",
        "--policy", "missing",
    )  # fmt: skip
    assert done.code == 2
    assert done.out == ""
    for part in (
        "'no good'",
        "'nodot'",
        "port 99999",
        "127.0.0.1:2525 is this relay's own listener",
        "there are: default",
    ):
        assert part in done.err
    assert mailguard("tenant", "list", "--json").json == []


@pytest.mark.parametrize("hop", ["127.0.0.1:2525", "localhost:2525", "0.0.0.0:2525", "127.0.0.1:2526", "[::1]:2526"])
def test_our_own_listener_is_refused_as_a_next_hop(mailguard: Run, hop: str) -> None:
    done = mailguard("tenant", "add", "client", "--domain", "client.test", "--next-hop", hop)
    assert done.code == 2
    assert "own listener" in done.err


def test_a_private_next_hop_is_the_providers_to_set(mailguard: Run) -> None:
    add(mailguard, hop="127.0.0.1:2527")
    assert mailguard("tenant", "show", "client", "--json").json["domains"][0]["next_hops"][0]["port"] == 2527


def test_a_domain_has_one_owner(mailguard: Run) -> None:
    add(mailguard)
    done = mailguard("tenant", "add", "rival", "--domain", "CLIENT.test", "--next-hop", "192.0.2.6")
    assert (done.code, done.err) == (1, "error: client.test belongs to tenant 'client'; a domain has one tenant\n")
    assert "rival" not in mailguard("tenant", "list").out  # nothing of it was kept


def test_set_changes_what_is_given(mailguard: Run) -> None:
    add(mailguard, "client", "--plan", "gold")
    mailguard("tenant", "domain", "add", "client", "more.test")
    assert mailguard("tenant", "set", "client", "--next-hop", "mx2.test", "--domain", "more.test").code == 0
    shown = mailguard("tenant", "set", "client", "--policy", "strict", "--json").json
    assert (shown["policy"], shown["plan"]) == ("strict", "gold")
    assert [domain["next_hops"][0]["host"] for domain in shown["domains"]] == ["192.0.2.5", "mx2.test"]
    assert mailguard("tenant", "set", "client").code == 2
    assert mailguard("tenant", "set", "client", "--domain", "more.test").code == 2


def test_remove_frees_the_domain_and_keeps_the_past(mailguard: Run) -> None:
    add(mailguard)
    assert mailguard("tenant", "domain", "remove", "client", "client.test").code == 0
    assert (
        mailguard("tenant", "domain", "add", "client", "client.test").code == 2
    )  # no other domain to take the hop from
    assert mailguard("tenant", "remove", "client").code == 0
    assert "removed" in mailguard("tenant", "list", "--removed").out
    assert mailguard("tenant", "show", "client").code == 1
    add(mailguard, "heir")


def test_remove_refuses_while_mail_is_in_flight(mailguard: Run, world: World) -> None:
    from mailguard.core.events import State

    world.mail(State.SPOOLED)
    done = mailguard("tenant", "remove", "acme")
    assert done.code == 1
    assert "1 mail in flight" in done.err
    assert mailguard("tenant", "remove", "acme", "--force").code == 0


def test_list_entries_have_author_reason_and_end(mailguard: Run) -> None:
    add(mailguard)
    done = mailguard("tenant", "allow", "add", "client", "@Partner.example", "--reason", "bank", "--expires", "30d")
    assert done.code == 0, done.err
    assert mailguard("tenant", "deny", "add", "client", "192.0.2.7", "--actor", "bob").code == 0
    (allowed,) = mailguard("tenant", "allow", "list", "client", "--json").json
    assert (allowed["pattern"], allowed["author"], allowed["reason"]) == ("partner.example", "ann", "bank")
    assert allowed["expires_at"] is not None
    (denied,) = mailguard("tenant", "deny", "list", "client", "--json").json
    assert (denied["pattern"], denied["author"], denied["expires_at"]) == ("192.0.2.7/32", "bob", None)
    assert mailguard("tenant", "allow", "add", "client", "partner.example").code == 1
    assert mailguard("tenant", "allow", "remove", "client", "partner.example").code == 0
    assert mailguard("tenant", "allow", "remove", "client", "partner.example").code == 1
    assert mailguard("tenant", "allow", "add", "client", "not a pattern").code == 2
    assert mailguard("tenant", "allow", "add", "client", "a.test", "--expires", "soon").code == 2


def test_a_hostile_reason_cannot_reach_the_terminal(mailguard: Run) -> None:
    add(mailguard)
    mailguard("tenant", "deny", "add", "client", "a.test", "--reason", "\x1b]0;pwned\x07[red]no\u202e")
    out = mailguard("tenant", "show", "client").out
    assert "]0;pwned[red]no" in out
    assert not {"\x1b", "\x07", "\u202e"} & set(out)


def test_sudo_is_seen_through(mailguard: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    add(mailguard)
    monkeypatch.setenv("SUDO_USER", "carol")
    mailguard("tenant", "deny", "add", "client", "a.test")
    assert mailguard("tenant", "deny", "list", "client", "--json").json[0]["author"] == "carol"


def test_a_wrong_configuration_is_exit_2_with_every_problem(mailguard: Run, config: Path) -> None:
    config.write_text('[server]\nlisten = ["nowhere"]\nworkers = 0\n[databse]\nurl = "x"\n')
    done = mailguard("tenant", "list")
    assert done.code == 2
    assert done.err.count("error: ") >= 3
    assert "Traceback" not in done.err


def test_a_missing_configuration_is_exit_2(mailguard: Run) -> None:
    done = mailguard("--config", "/nowhere/mailguard.toml", "tenant", "list")
    assert done.code == 2
    assert "/nowhere/mailguard.toml" in done.err


def test_an_unavailable_database_is_exit_1_and_says_so(mailguard: Run, config: Path) -> None:
    (config.parent / "broken.db").write_bytes(b"this is no database" * 1000)
    config.write_text(f'[database]\nurl = "sqlite:///{config.parent}/broken.db"\n')
    done = mailguard("tenant", "list")
    assert done.code == 1
    assert done.err.startswith("unavailable: database")


def test_a_database_without_a_schema_says_what_to_run(mailguard: Run, config: Path) -> None:
    config.write_text(f'[database]\nurl = "sqlite:///{config.parent}/empty.db"\n')
    done = mailguard("tenant", "list")
    assert done.code == 2
    assert "mailguard db upgrade" in done.err
    status = mailguard("db", "status", "--json")
    assert status.code == 1
    assert status.json["up_to_date"] is False
    assert mailguard("db", "upgrade").code == 0
    assert mailguard("db", "status").code == 0
    assert "up to date" in mailguard("db", "upgrade").out


def test_two_who_add_the_same_domain_at_once(mailguard: Run, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The look-up of the owner is blind to what another transaction has not committed; the key is not."""
    add(mailguard)
    monkeypatch.setattr(tenants, "_owner_of", lambda *_: None)
    done = mailguard("tenant", "domain", "add", "acme", "client.test", "--next-hop", "192.0.2.9")
    assert done.code == 1
    assert "at this moment" in done.err


def test_the_real_command_is_quick_and_quiet(config: Path) -> None:
    command = Path(sys.executable).with_name("mailguard")
    environment = {**os.environ, "MAILGUARD_CONFIG": str(config)}

    def run(*arguments: str) -> tuple[float, subprocess.CompletedProcess[str]]:
        start = time.process_time(), os.times().children_user + os.times().children_system
        done = subprocess.run([command, *arguments], capture_output=True, text=True, env=environment, check=False)
        return os.times().children_user + os.times().children_system - start[1], done

    seconds, version = run("--version")
    assert (version.returncode, version.stderr) == (0, "")
    assert version.stdout.startswith("mailguard ")
    assert seconds < 0.5
    seconds, listed = run("tenant", "list", "--json")
    assert (listed.returncode, listed.stdout, listed.stderr) == (0, "[]\n", "")
    assert seconds < 1.0


def test_help_of_every_command(mailguard: Run) -> None:
    for command in (
        "",
        "tenant",
        "tenant domain",
        "tenant allow",
        "policy",
        "quarantine",
        "db",
        "trace",
        "usage",
        "serve",
    ):
        done = mailguard(*command.split(), "--help")
        assert done.code == 0
        assert "Usage: mailguard" in done.out


def test_an_unknown_command_is_exit_2(mailguard: Run) -> None:
    assert mailguard("quarrantine").code == 2
    assert mailguard("tenant", "add").code == 2
