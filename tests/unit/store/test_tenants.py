"""Tenants, domains and lists on a real SQLite: what an admin changes, and what the relay then sees."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, insert, update
from sqlalchemy.engine import Connection

from mailguard.core.envelope import NextHop
from mailguard.core.errors import ConfigError, ConflictError, NotFoundError
from mailguard.core.events import State
from mailguard.core.tenant import ListKind
from mailguard.store import forms, list_entries, schema, tenants
from mailguard.store.directory import DirectoryCache, load_directory
from mailguard.store.engine import make_engine, parse_url

NOW = 1_790_000_000_000
HOP = NextHop("mx.client.test", 25, 10)
T = TypeVar("T")


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    engine = make_engine(parse_url(url), connections=2)
    yield engine
    engine.dispose()


@pytest.fixture
def conn(engine: Engine) -> Iterator[Connection]:
    with engine.begin() as connection:
        yield connection


def add(conn: Connection, name: str = "acme", *domains: str, hops: tuple[NextHop, ...] = (HOP,)) -> int:
    return tenants.add_tenant(conn, name=name, now=NOW, domains=domains or (f"{name}.test",), next_hops=hops)


def a_unit(conn: Connection, tenant: int, state: State, domain: str = "acme.test") -> None:
    conn.execute(insert(schema.addresses).values(id=1, address="x@acme.test"))
    message = "01J00000000000000000000000"
    conn.execute(
        insert(schema.messages).values(
            id=message,
            received_at=NOW,
            client_ip="192.0.2.1",
            helo="h",
            mail_from=1,
            mail_from_raw="x@acme.test",
            size=1,
            sha256="0" * 64,
        )
    )
    conn.execute(
        insert(schema.units).values(
            id=f"{message}-1",
            message=message,
            tenant=tenant,
            recipient=1,
            recipient_raw="x@acme.test",
            domain=domain,
            state=str(state),
            reason="clean",
            action="deliver",
            received_at=NOW,
            changed_at=NOW,
        )
    )


def test_the_directory_shows_an_added_tenant(conn: Connection) -> None:
    backup = NextHop("192.0.2.7", 2525, 5)
    tenant = add(conn, "acme", "acme.test", "acme.example", hops=(HOP, backup))
    directory = load_directory(conn)
    assert directory.tenants[tenant].name == "acme"
    domain = directory.domain("acme.example")
    assert domain is not None
    assert domain.tenant == tenant
    assert domain.next_hops == (backup, HOP)  # by priority
    assert directory.domain("other.test") is None


def test_every_change_raises_the_version(conn: Connection) -> None:
    steps: list[Callable[[], object]] = [
        lambda: add(conn),
        lambda: tenants.set_tenant(conn, name="acme", profile="strict"),
        lambda: tenants.add_domain(conn, tenant="acme", domain="more.test", next_hops=[HOP]),
        lambda: tenants.set_next_hops(conn, tenant="acme", next_hops=[NextHop("b.test")]),
        lambda: list_entries.add_list_entry(conn, tenant="acme", kind=ListKind.DENY, pattern="bad.test", now=NOW),
        lambda: list_entries.remove_list_entry(conn, tenant="acme", kind=ListKind.DENY, pattern="bad.test"),
        lambda: tenants.remove_domain(conn, tenant="acme", domain="more.test"),
        lambda: tenants.remove_tenant(conn, name="acme", now=NOW),
    ]
    versions = []
    for step in steps:
        step()
        versions.append(tenants.directory_version(conn))
    assert versions == sorted(set(versions))


def test_a_domain_has_one_tenant_and_the_error_names_it(conn: Connection) -> None:
    add(conn, "acme", "acme.test")
    with pytest.raises(ConflictError, match="belongs to tenant 'acme'"):
        add(conn, "rival", "acme.test")
    add(conn, "other")
    with pytest.raises(ConflictError, match="belongs to tenant 'acme'"):
        tenants.add_domain(conn, tenant="other", domain="acme.test", next_hops=[HOP])
    with pytest.raises(ConflictError, match="of this tenant already"):
        tenants.add_domain(conn, tenant="acme", domain="acme.test", next_hops=[HOP])


def test_a_removed_tenant_frees_its_domains_but_not_its_name(conn: Connection) -> None:
    add(conn, "acme", "acme.test")
    tenants.remove_tenant(conn, name="acme", now=NOW)
    directory = load_directory(conn)
    assert [tenant.name for tenant in directory.tenants.values()] == ["system"]
    assert directory.domain("acme.test") is None
    assert [record.removed_at for record in tenants.list_tenants(conn, removed=True)] == [NOW]
    with pytest.raises(ConflictError, match="removed on"):
        add(conn, "acme", "new.test")
    add(conn, "heir", "acme.test")


@pytest.mark.parametrize("state", list(State))
def test_mail_in_flight_forbids_removal_unless_forced(conn: Connection, state: State) -> None:
    tenant = add(conn, "acme", "acme.test")
    a_unit(conn, tenant, state)
    if state in tenants.IN_FLIGHT:
        with pytest.raises(ConflictError, match="1 mail "):
            tenants.remove_domain(conn, tenant="acme", domain="acme.test")
        with pytest.raises(ConflictError, match="still has 1 mail in flight"):
            tenants.remove_tenant(conn, name="acme", now=NOW)
        assert tenants.remove_tenant(conn, name="acme", now=NOW, force=True) == 1
    else:
        assert tenants.remove_tenant(conn, name="acme", now=NOW) == 0


def test_the_system_tenant_stays(conn: Connection) -> None:
    with pytest.raises(ConflictError):
        tenants.remove_tenant(conn, name="system", now=NOW, force=True)
    assert tenants.list_tenants(conn) == []


def test_an_unknown_tenant_is_answered_with_those_there_are(conn: Connection) -> None:
    add(conn, "acme")
    with pytest.raises(NotFoundError, match="no tenant 'acne'; there are: acme"):
        tenants.tenant_by_name(conn, "acne")
    with pytest.raises(NotFoundError, match=r"which has: acme\.test"):
        tenants.remove_domain(conn, tenant="acme", domain="no.test")


def test_set_changes_only_what_is_given(conn: Connection) -> None:
    add(conn)
    tenants.set_tenant(conn, name="acme", plan="gold", soft_bounce=True, greylist=True)
    record = tenants.set_tenant(conn, name="acme", profile="strict")
    assert (record.tenant.plan, record.tenant.soft_bounce, record.tenant.profile) == ("gold", True, "strict")
    assert record.tenant.greylist
    assert not tenants.set_tenant(conn, name="acme", greylist=False).tenant.greylist


def test_a_live_list_entry_is_kept_and_an_expired_one_replaced(conn: Connection) -> None:
    add(conn)
    list_entries.add_list_entry(
        conn, tenant="acme", kind=ListKind.ALLOW, pattern="a@b.test", now=NOW, author="eve", expires_at=NOW + 10
    )
    with pytest.raises(ConflictError, match="by eve"):
        list_entries.add_list_entry(conn, tenant="acme", kind=ListKind.ALLOW, pattern="a@b.test", now=NOW + 9)
    list_entries.add_list_entry(
        conn, tenant="acme", kind=ListKind.ALLOW, pattern="a@b.test", now=NOW + 10, author="bob", reason="partner"
    )
    (entry,) = tenants.tenant_by_name(conn, "acme").tenant.lists
    assert (entry.author, entry.reason, entry.expires_at) == ("bob", "partner", 0)
    with pytest.raises(NotFoundError):
        list_entries.remove_list_entry(conn, tenant="acme", kind=ListKind.DENY, pattern="a@b.test")


class CountingReader:
    """A database whose reads are counted."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.reads: list[str] = []

    async def read(self, work: Callable[[Connection], T]) -> T:
        self.reads.append(getattr(work, "__name__", "?"))
        with self.engine.connect() as conn:
            return work(conn)


async def test_the_cache_loads_only_what_changed(engine: Engine) -> None:
    reader = CountingReader(engine)
    cache = DirectoryCache(reader)
    assert await cache.refresh()
    assert not await cache.refresh()
    with engine.begin() as conn:
        add(conn, "acme", "acme.test")
    assert cache.current.domain("acme.test") is None
    assert await cache.refresh()
    assert cache.current.domain("acme.test") is not None
    assert reader.reads == ["load_directory", "directory_version", "directory_version", "load_directory"]


async def test_a_tenant_without_units_is_loaded_beside_others(engine: Engine) -> None:
    with engine.begin() as conn:
        for name in ("a", "b", "c"):
            add(conn, name, f"{name}.test", hops=(NextHop(f"mx.{name}.test"),))
        directory = load_directory(conn)
        alone = tenants.tenant_by_name(conn, "b")
    assert {name: domain.next_hops[0].host for name, domain in directory.domains.items()} == {
        "a.test": "mx.a.test",
        "b.test": "mx.b.test",
        "c.test": "mx.c.test",
    }
    assert alone.domains == (directory.domains["b.test"],)


@pytest.mark.parametrize(
    ("text", "hop"),
    [
        ("mx.client.test", NextHop("mx.client.test", 25, 10)),
        ("MX.Client.test:2525", NextHop("mx.client.test", 2525, 10)),
        ("192.0.2.1@5", NextHop("192.0.2.1", 25, 5)),
        ("[::1]:25", NextHop("::1", 25, 10)),
        ("[2001:DB8::1]@20", NextHop("2001:db8::1", 25, 20)),
        ("bücher.example:26@0", NextHop("xn--bcher-kva.example", 26, 0)),
        ("localhost:2526", NextHop("localhost", 2526, 10)),
        ("lmtp://mail.client.test", NextHop("mail.client.test", 24, 10, lmtp=True)),
        ("LMTP://[::1]:2003@5", NextHop("::1", 2003, 5, lmtp=True)),
        ("lmtp:/run/dovecot/lmtp@7", NextHop("/run/dovecot/lmtp", 0, 7, lmtp=True)),
    ],
)
def test_next_hops(text: str, hop: NextHop) -> None:
    assert forms.next_hop(text) == hop


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":25",
        "a b",
        "mx.test:0",
        "mx.test:65536",
        "::1",
        "2001:db8::1:25",
        "[mx.test]:25",
        "1.2.3",
        "mx.test@99999",
        "-a.test",
        "lmtp:relative/path",
        "lmtp://host:25",
        "lmtp:///run/lmtp",
        "lmtp:/run/lmtp@99999",
        "smtp://host",
        "/run/lmtp",
    ],
)
def test_what_is_no_next_hop(text: str) -> None:
    with pytest.raises(ConfigError):
        forms.next_hop(text)


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("Client.TEST.", "client.test"),
        ("Bücher.example", "xn--bcher-kva.example"),
        ("faß.example", "xn--fa-hia.example"),
        ("a_b.example", "a_b.example"),
        ("", None),
        ("a..b", None),
        ("a.b..", None),
        ("-a.test", None),
        ("a" * 64 + ".test", None),
        ("a\x00b.test", None),
        ("☃︎\u202e.test", None),
    ],
)
def test_lookup_form(text: str, form: str | None) -> None:
    assert forms.lookup_form(text) == form


@given(st.text(max_size=80))
def test_lookup_form_never_raises_and_is_stable(text: str) -> None:
    form = forms.lookup_form(text)
    assert form is None or forms.lookup_form(form) == form


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("Joe@Partner.example", "joe@partner.example"),
        ("@Partner.example", "partner.example"),
        ("*.partner.example", "partner.example"),
        (".partner.example", "partner.example"),
        ("192.0.2.1", "192.0.2.1/32"),
        ("192.0.2.9/24", "192.0.2.0/24"),
        ("2001:db8::/32", "2001:db8::/32"),
    ],
)
def test_list_patterns(text: str, pattern: str) -> None:
    assert forms.list_pattern(text) == pattern


@pytest.mark.parametrize("text", ["", "@", "a b@c.test", "192.0.2.1/33", "1.2.3", "a@b@c d", "*"])
def test_what_is_no_list_pattern(text: str) -> None:
    with pytest.raises(ConfigError):
        forms.list_pattern(text)


def test_the_first_change_makes_the_version_row(conn: Connection) -> None:
    conn.execute(delete(schema.meta))
    assert tenants.directory_version(conn) == 0
    add(conn)
    assert tenants.directory_version(conn) == 1
    conn.execute(update(schema.meta).values(value="41"))
    tenants.set_tenant(conn, name="acme", plan="x")
    assert tenants.directory_version(conn) == 42
