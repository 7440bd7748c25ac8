"""Lists of recipients, alias domains, and the shared answers of next hops, on both databases."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pytest
from sqlalchemy import Connection

from mailguard.core.clock import DAY
from mailguard.core.envelope import NextHop
from mailguard.core.errors import ConfigError, ConflictError, NotFoundError
from mailguard.core.tenant import Directory, Domain, Verification
from mailguard.store import aliases, recipients, tenants, verifications
from mailguard.store.db import Database
from mailguard.store.directory import load_directory
from mailguard.store.verifications import Said, ServerAnswer, Verifications
from tests.unit.store.conftest import START, ManualClock

T = TypeVar("T")
HOP = NextHop("192.0.2.1")


@pytest.fixture
def acme(db: Database) -> int:
    """A tenant with client.test, its alias alias.test, and other.test."""

    def work(conn: Connection) -> int:
        number = tenants.add_tenant(
            conn, name="acme", domains=["client.test", "other.test"], next_hops=[HOP], now=START
        )
        aliases.set_alias(conn, tenant="acme", alias="alias.test", of="client.test")
        return number

    return db.write_sync(work)


def directory(db: Database) -> Directory:
    return db.read_sync(load_directory)


def version(db: Database) -> int:
    return db.read_sync(tenants.directory_version)


def listed(db: Database, acme: int, *keys: str) -> bool:
    return db.read_sync(lambda conn: recipients.is_listed(conn, acme, keys))


# lists


FORMS = [
    ("Joe@Client.TEST", "joe@client.test"),
    (" joe@alias.test ", "joe@client.test"),
    ('"joe"@client.test', "joe@client.test"),
    ("joe+news@other.test", "joe+news@other.test"),
    ("@Other.test", "@other.test"),
    ("@alias.test", "@client.test"),
]


@pytest.mark.parametrize(("text", "form"), FORMS)
def test_the_form_of_an_entry(text: str, form: str) -> None:
    domains = [Domain("client.test", 2), Domain("alias.test", 2, alias_of="client.test"), Domain("other.test", 2)]
    assert recipients.recipient_form(text, domains) == form


@pytest.mark.parametrize("text", ["", "joe", "joe@elsewhere.test", "a b@client.test", "@", "joe@@client.test"])
def test_what_is_no_entry(text: str) -> None:
    with pytest.raises(ConfigError, match="recipient"):
        recipients.recipient_form(text, [Domain("client.test", 2)])


def test_add_remove_replace(db: Database, acme: int) -> None:
    def change(work: Callable[[Connection], T]) -> T:
        return db.write_sync(work)

    first = change(
        lambda conn: recipients.add_recipients(
            conn, tenant="acme", entries=["b@client.test", "a@client.test", "@other.test"], now=START
        )
    )
    assert (first.added, first.removed, first.total) == (3, 0, 3)
    again = change(
        lambda conn: recipients.add_recipients(conn, tenant="acme", entries=["a@client.test", "c@client.test"], now=1)
    )
    assert (again.added, again.total) == (1, 4)
    gone = change(
        lambda conn: recipients.remove_recipients(conn, tenant="acme", entries=["a@client.test", "x@client.test"])
    )
    assert (gone.removed, gone.total) == (1, 3)
    new = [f"u{number}@client.test" for number in range(1200)]
    replaced = change(
        lambda conn: recipients.replace_recipients(conn, tenant="acme", entries=[*new, "b@client.test"], now=1)
    )
    assert (replaced.added, replaced.removed, replaced.total) == (1200, 2, 1201)
    last = change(lambda conn: recipients.replace_recipients(conn, tenant="acme", entries=["b@client.test"], now=1))
    assert (last.removed, last.total) == (1200, 1)
    with pytest.raises(ConflictError, match="empty"):
        change(lambda conn: recipients.replace_recipients(conn, tenant="acme", entries=[], now=1))


def test_looking_up_and_listing(db: Database, acme: int) -> None:
    db.write_sync(
        lambda conn: recipients.add_recipients(
            conn, tenant="acme", entries=["b@client.test", "a@client.test", "@other.test"], now=START
        )
    )
    assert listed(db, acme, "a@client.test")
    assert listed(db, acme, "x@client.test", "b@client.test")
    assert listed(db, acme, "anybody@other.test")
    assert not listed(db, acme, "x@client.test")
    assert not listed(db, acme + 1, "a@client.test")
    assert not listed(db, acme, "a\ud800@client.test")
    names = db.read_sync(lambda conn: recipients.list_recipients(conn, tenant="acme"))
    assert names == ["a@client.test", "b@client.test", "@other.test"]
    names = db.read_sync(lambda conn: recipients.list_recipients(conn, tenant="acme", domain="other.test"))
    assert names == ["@other.test"]


def test_only_a_change_is_a_new_directory(db: Database, acme: int) -> None:
    entries = ["a@client.test"]
    before = version(db)
    db.write_sync(lambda conn: recipients.add_recipients(conn, tenant="acme", entries=entries, now=1))
    assert version(db) == before + 1
    db.write_sync(lambda conn: recipients.add_recipients(conn, tenant="acme", entries=entries, now=1))
    assert version(db) == before + 1


def test_domains_that_are_verified_by_a_list_without_them(db: Database, acme: int) -> None:
    def unlisted(conn: Connection) -> list[str]:
        return recipients.unlisted_domains(conn, tenants.tenant_by_name(conn, "acme"))

    assert db.read_sync(unlisted) == []
    db.write_sync(lambda conn: tenants.set_tenant(conn, name="acme", verification=Verification.LIST))
    assert db.read_sync(unlisted) == ["client.test", "other.test"]
    db.write_sync(lambda conn: recipients.add_recipients(conn, tenant="acme", entries=["a@client.test"], now=1))
    assert db.read_sync(unlisted) == ["other.test"]
    off = Verification.NONE
    db.write_sync(lambda conn: aliases.set_verification(conn, tenant="acme", domains=["other.test"], verification=off))
    assert db.read_sync(unlisted) == []


# aliases and verification


def test_an_alias_has_its_domains_next_hops_and_verification(db: Database, acme: int) -> None:
    db.write_sync(
        lambda conn: tenants.set_next_hops(conn, tenant="acme", next_hops=[NextHop("mx.new")], domains=["client.test"])
    )
    db.write_sync(
        lambda conn: aliases.set_verification(
            conn, tenant="acme", domains=["client.test"], verification=Verification.CALL_AHEAD
        )
    )
    known = directory(db)
    alias = known.domains["alias.test"]
    assert (alias.alias_of, alias.rewrite, alias.next_hops) == ("client.test", False, (NextHop("mx.new"),))
    assert known.mailboxes(alias) == known.domains["client.test"]
    assert known.verification(alias) is Verification.CALL_AHEAD
    assert known.verification(known.domains["other.test"]) is Verification.NONE


def test_next_hops_of_all_domains_leave_aliases_alone(db: Database, acme: int) -> None:
    db.write_sync(lambda conn: tenants.set_next_hops(conn, tenant="acme", next_hops=[NextHop("mx.new")]))
    assert {domain.next_hops for domain in directory(db).domains.values()} == {(NextHop("mx.new"),)}


def test_an_alias_can_be_changed(db: Database, acme: int) -> None:
    db.write_sync(
        lambda conn: aliases.set_alias(conn, tenant="acme", alias="alias.test", of="other.test", rewrite=True)
    )
    alias = directory(db).domains["alias.test"]
    assert (alias.alias_of, alias.rewrite) == ("other.test", True)


REFUSED = [
    ("other.test", "client.test", ConflictError, "a domain of its own"),
    ("second.test", "alias.test", ConflictError, "is an alias itself"),
    ("taken.test", "client.test", ConflictError, "belongs to tenant 'rival'"),
    ("new.test", "taken.test", NotFoundError, "not a domain of tenant 'acme'"),
    ("client.test", "client.test", ConflictError, "itself"),
]


@pytest.mark.usefixtures("acme")
@pytest.mark.parametrize(("alias", "of", "error", "words"), REFUSED)
def test_aliases_that_cannot_be(db: Database, alias: str, of: str, error: type[Exception], words: str) -> None:
    db.write_sync(
        lambda conn: tenants.add_tenant(conn, name="rival", domains=["taken.test"], next_hops=[HOP], now=START)
    )
    with pytest.raises(error, match=words):
        db.write_sync(lambda conn: aliases.set_alias(conn, tenant="acme", alias=alias, of=of))


def test_what_an_alias_has_from_its_domain_is_set_there(db: Database, acme: int) -> None:
    with pytest.raises(ConflictError, match="alias"):
        db.write_sync(lambda conn: tenants.set_next_hops(conn, tenant="acme", next_hops=[HOP], domains=["alias.test"]))
    with pytest.raises(ConflictError, match="alias"):
        db.write_sync(
            lambda conn: aliases.set_verification(conn, tenant="acme", domains=["alias.test"], verification=None)
        )


def test_a_domain_stays_while_it_has_an_alias(db: Database, acme: int) -> None:
    with pytest.raises(ConflictError, match=r"alias\.test"):
        db.write_sync(lambda conn: tenants.remove_domain(conn, tenant="acme", domain="client.test"))
    db.write_sync(lambda conn: tenants.remove_domain(conn, tenant="acme", domain="alias.test"))
    db.write_sync(lambda conn: tenants.remove_domain(conn, tenant="acme", domain="client.test"))
    assert set(directory(db).domains) == {"other.test"}


def test_a_tenants_recipients_go_with_it(db: Database, acme: int) -> None:
    db.write_sync(lambda conn: recipients.add_recipients(conn, tenant="acme", entries=["a@client.test"], now=1))
    db.write_sync(lambda conn: verifications.keep(conn, {(acme, "a@client.test"): answer(Said.KNOWN)}))
    db.write_sync(lambda conn: tenants.remove_tenant(conn, name="acme", now=START))
    assert directory(db).domains == {}
    assert not listed(db, acme, "a@client.test")
    assert db.read_sync(lambda conn: verifications.look_up(conn, acme, ["a@client.test"])) == {}


# answers


def answer(said: Said, at: int = START, *, days: int = 7) -> ServerAnswer:
    return ServerAnswer(said, at, at + days * DAY, at + 90 * DAY, "550 5.1.1 No\0body \ud800")


async def test_answers_are_written_with_the_next_flush_and_the_newer_stays(db: Database, acme: int) -> None:
    store = Verifications(db)
    store.keep(acme, "joe@client.test", answer(Said.UNKNOWN, START + 5))
    store.keep(acme, "@client.test", answer(Said.REFUSES_UNKNOWN))
    assert await store.look_up(acme, ["joe@client.test"]) == {}
    await store.flush()
    store.keep(acme, "joe@client.test", answer(Said.KNOWN, START + 4))
    await store.flush()
    found = await store.look_up(acme, ["joe@client.test", "@client.test", "eve@client.test"])
    assert {key: one.said for key, one in found.items()} == {
        "joe@client.test": Said.UNKNOWN,
        "@client.test": Said.REFUSES_UNKNOWN,
    }
    assert found["joe@client.test"].reply == "550 5.1.1 No\ufffdbody \ufffd"
    store.keep(acme, "joe@client.test", answer(Said.KNOWN, START + 6))
    await store.flush()
    assert (await store.look_up(acme, ["joe@client.test"]))["joe@client.test"].said is Said.KNOWN


async def test_what_cannot_be_written_waits_within_bounds(db: Database, acme: int) -> None:
    store = Verifications(db, buffer=2)
    for number in range(5):
        store.keep(acme, f"u{number}@client.test", answer(Said.KNOWN))
    await store.flush()
    kept = db.read_sync(lambda conn: verifications.list_verifications(conn, tenant="acme", now=START))
    assert [key for key, _ in kept] == ["u0@client.test", "u1@client.test"]


async def test_old_answers_go(db: Database, acme: int) -> None:
    many = {(acme, f"u{number}@client.test"): answer(Said.UNKNOWN) for number in range(1500)}
    db.write_sync(lambda conn: verifications.keep(conn, many))
    db.write_sync(lambda conn: verifications.keep(conn, {(acme, "new@client.test"): answer(Said.KNOWN, START + 1)}))
    store = Verifications(db)
    assert await store.forget_old(now=START + 90 * DAY - 1) == 0
    assert await store.forget_old(now=START + 90 * DAY) == 1500
    assert list(await store.look_up(acme, ["new@client.test", "u1@client.test"])) == ["new@client.test"]


def test_forgetting_on_demand_is_a_new_directory(db: Database, acme: int, clock: ManualClock) -> None:
    rows = {(acme, f"{who}@client.test"): answer(Said.UNKNOWN) for who in "abc"}
    db.write_sync(lambda conn: verifications.keep(conn, rows))
    before = version(db)
    assert db.write_sync(lambda conn: verifications.forget(conn, tenant="acme", keys=["a@client.test"])) == 1
    assert db.write_sync(lambda conn: verifications.forget(conn, tenant="acme")) == 2
    assert version(db) == before + 2
