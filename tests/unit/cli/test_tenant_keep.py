"""`mailguard tenant set --keep-events`: what it takes, shows and records."""

from __future__ import annotations

import pytest

from tests.ledger_of import World
from tests.unit.cli.conftest import Run


def test_days_are_set_shown_recorded_and_taken_back(mailguard: Run, world: World) -> None:
    assert mailguard("tenant", "show", "acme", "--json").json["keep_days"] is None
    assert "until they are erased by hand" in mailguard("tenant", "show", "acme").out
    assert mailguard("tenant", "set", "acme", "--keep-events", "90", "--why", "the contract").code == 0
    assert mailguard("tenant", "show", "acme", "--json").json["keep_days"] == 90
    assert "90 days" in mailguard("tenant", "show", "acme").out
    (entry,) = mailguard("audit", "list", "--json").json
    assert (entry["action"], entry["detail"]) == ("tenant.change", {"keep_days": [None, 90.0]})
    assert mailguard("tenant", "set", "acme", "--keep-events", "forever").code == 0
    assert mailguard("tenant", "show", "acme", "--json").json["keep_days"] is None


@pytest.mark.parametrize("wrong", ["0", "0.5", "-1", "36501", "soon", "nan", ""])
def test_what_is_no_number_of_days_is_refused(mailguard: Run, world: World, wrong: str) -> None:
    done = mailguard("tenant", "set", "acme", "--keep-events", wrong)
    assert (done.code, "--keep-events" in done.err) == (2, True)
