"""`mailguard tenant set --spam-address --ham-address`."""

from __future__ import annotations

from tests.ledger_of import World
from tests.unit.cli.conftest import Run


def test_addresses_are_set_shown_and_taken_away(mailguard: Run, world: World) -> None:
    done = mailguard("tenant", "set", "acme", "--spam-address", "Spam@ACME.test", "--ham-address", "ham@acme.test")
    assert "spam to spam@acme.test, ham to ham@acme.test" in done.out
    shown = mailguard("tenant", "set", "acme", "--ham-address", "none", "--json").json
    assert (shown["spam_address"], shown["ham_address"]) == ("spam@acme.test", "")
    (first, _) = mailguard("audit", "list", "--action", "tenant.change", "--json").json
    assert first["detail"]["spam_address"] == ["", "spam@acme.test"]


def test_wrong_ones_are_refused(mailguard: Run, world: World) -> None:
    other = mailguard("tenant", "set", "acme", "--spam-address", "spam@other.test")
    assert (other.code, "not a domain of tenant" in other.err) == (1, True)
    assert (
        "need two addresses"
        in mailguard("tenant", "set", "acme", "--spam-address", "x@acme.test", "--ham-address", "x@acme.test").err
    )
    for address in ("postmaster@acme.test", "spam"):
        assert mailguard("tenant", "set", "acme", "--spam-address", address).code == 1
