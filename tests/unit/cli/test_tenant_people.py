"""`mailguard tenant vip` and `brand`: who and what is a tenant's own."""

from __future__ import annotations

import pytest

from tests.ledger_of import World
from tests.unit.cli.conftest import Run


def ok(mailguard: Run, *arguments: str) -> str:
    done = mailguard(*arguments)
    assert done.code == 0, done.err
    return done.out


def test_vips_come_and_go(mailguard: Run, world: World) -> None:
    ok(mailguard, "tenant", "vip", "add", "acme", "  Joan   Miller ")
    assert mailguard("tenant", "vip", "list", "acme", "--json").json == [{"name": "Joan Miller", "addresses": []}]
    added = mailguard(
        "tenant", "vip", "add", "acme", "Joan Miller", "--address", "Joan@Acme.test", "--address", "joan@bücher.example", "--json"
    )  # fmt: skip
    both = {"name": "Joan Miller", "addresses": ["joan@acme.test", "joan@xn--bcher-kva.example"]}
    assert added.json == both
    assert "already" in mailguard("tenant", "vip", "add", "acme", "Joan Miller", "--address", "joan@acme.test").err
    ok(mailguard, "tenant", "vip", "add", "acme", "王小明")
    assert mailguard("tenant", "show", "acme", "--json").json["vips"] == [both, {"name": "王小明", "addresses": []}]
    assert "joan@acme.test" in ok(mailguard, "tenant", "vip", "list", "acme")
    assert "Joan Miller" in ok(mailguard, "tenant", "show", "acme")
    assert mailguard("tenant", "vip", "remove", "acme", "miller, JOAN", "--json").json == both
    missing = mailguard("tenant", "vip", "remove", "acme", "Joan Miller")
    assert missing.code == 1
    assert "王小明" in missing.err
    ok(mailguard, "tenant", "vip", "remove", "acme", "王小明")
    assert "add one with" in ok(mailguard, "tenant", "vip", "list", "acme")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("vip", "add", "acme", "Joan"), "is no full name"),
        (("vip", "add", "acme", "J. M."), "is no full name"),
        (("vip", "add", "acme", "Joan " + "x" * 130), "is no full name"),
        (("vip", "add", "acme", "Joan Miller", "--address", "joan"), "is not a mail address"),
        (("brand", "add", "acme", "ab"), "is neither a domain"),
        (("brand", "add", "acme", "a..b"), "is not a domain name"),
        (("brand", "add", "nobody", "Acme Group"), "no tenant"),
        (("brand", "add", "acme", "ACME.test"), "is a recipient domain"),
        (("brand", "remove", "acme", "Acme Group"), "is no brand"),
    ],
)
def test_what_cannot_be_is_told(mailguard: Run, world: World, arguments: tuple[str, ...], said: str) -> None:
    done = mailguard("tenant", *arguments)
    assert done.code in (1, 2)
    assert said in done.err


def test_brands_come_and_go(mailguard: Run, world: World) -> None:
    ok(mailguard, "tenant", "brand", "add", "acme", "Acme Group")
    ok(mailguard, "tenant", "brand", "add", "acme", "Acme-Group.example")
    assert mailguard("tenant", "brand", "add", "acme", "ACME GROUP").code == 1
    listed = mailguard("tenant", "brand", "list", "acme", "--json").json
    assert listed == {"domains": ["acme.test"], "brands": ["Acme Group", "acme-group.example"]}
    assert "recipient domain" in ok(mailguard, "tenant", "brand", "list", "acme")
    ok(mailguard, "tenant", "brand", "remove", "acme", "acme group")
    assert mailguard("tenant", "show", "acme", "--json").json["brands"] == ["acme-group.example"]


def test_changes_are_on_the_record(mailguard: Run, world: World) -> None:
    by = ("--actor", "bob", "--why", "new in office")
    ok(mailguard, "tenant", "vip", "add", "acme", "Joan Miller", "--address", "joan@acme.test", *by)
    ok(mailguard, "tenant", "brand", "add", "acme", "Acme Group", *by)
    ok(mailguard, "tenant", "brand", "remove", "acme", "Acme Group", *by)
    ok(mailguard, "tenant", "vip", "remove", "acme", "Joan Miller", *by)
    entries = mailguard("audit", "list", "--json").json
    assert [entry["action"] for entry in entries] == ["vip.add", "brand.add", "brand.remove", "vip.remove"]
    assert "Joan" not in str(entries[0]["detail"])
    assert "Joan Miller" in str(entries[0]["texts"])
    assert entries[1]["detail"] == {"brand": "Acme Group"}


def test_they_go_with_the_tenant(mailguard: Run, world: World) -> None:
    ok(mailguard, "tenant", "vip", "add", "acme", "Joan Miller")
    ok(mailguard, "tenant", "brand", "add", "acme", "Acme Group")
    ok(mailguard, "tenant", "remove", "acme")
    ok(mailguard, "tenant", "add", "other", "--domain", "acme.test", "--next-hop", "mx.acme.test")
    assert mailguard("tenant", "show", "other", "--json").json["vips"] == []
