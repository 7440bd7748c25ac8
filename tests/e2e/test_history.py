"""Whom a tenant knows, over SMTP: a stranger becomes a correspondent, and who bears a VIP's name is told."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.e2e.mails import ORDINARY, mail
from tests.servers.ports import wait_until
from tests.servers.relay import Relay


def found(relay: Relay, recipient: str) -> dict[str, Any]:
    """The last mail for an address as the trace has it, with the symbols seen with the tenant's eyes."""
    unit = relay.json("trace", "--to", recipient)[-1]
    (history,) = (one for one in unit["found"] if one["check"] == "history")
    return {**unit, "seen": {symbol["name"]: symbol["evidence"] for symbol in history["symbols"]}}


def remembered(relay: Relay, address: str) -> int:
    """How many mails of an author are remembered as delivered."""
    with closing(sqlite3.connect(relay.database.removeprefix("sqlite:///"))) as file:
        rows = file.execute("SELECT delivered FROM correspondents WHERE address = ?", [address]).fetchall()
    return sum(row[0] for row in rows)


def test_a_stranger_becomes_known_and_a_borrowed_name_is_told(relay: Relay, tmp_path: Path) -> None:
    assert relay.send(mail("first"), ["u@client.test"])[0] == 250
    first = found(relay, "u@client.test")
    assert first["state"] == "delivered"
    assert first["seen"]["FIRST_CONTACT"] == ["a@sender.test"]
    assert first["seen"]["AUTHOR_AUTHENTICATED"] == ["a@sender.test", "sender.test"]
    wait_until(lambda: remembered(relay, "a@sender.test") == 1, seconds=30, what="the author being remembered")
    assert relay.send(mail("second"), ["u@client.test"])[0] == 250
    second = found(relay, "u@client.test")
    assert second["seen"]["KNOWN_CORRESPONDENT"][1].startswith("1 mail on 1 day since ")
    assert "FIRST_CONTACT" not in second["seen"]
    assert second["score"] < first["score"]
    assert "KNOWN_CORRESPONDENT" in relay.run("trace", "--to", "u@client.test").stdout

    # Tagged at most: what else is odd about the mail would have it refused.
    relay.run("tenant", "set", "acme", "--policy", "tag-only")
    relay.run("tenant", "vip", "add", "acme", "Joan Miller", "--address", "joan@client.test")
    spoof = mail("are you free?", ORDINARY, sender="Joan MILLER (CEO) <joan.miller@forged-name.test>")

    def told() -> bool:
        assert relay.send(spoof, ["v@client.test"], sender="x@forged-name.test")[0] == 250
        return "VIP_IMPERSONATION" in found(relay, "v@client.test")["seen"]

    wait_until(told, seconds=30, what="the relay knowing the VIP")
    spoofed = found(relay, "v@client.test")
    assert spoofed["action"] == "tag", spoofed["symbols"]
    assert sum(symbol["points"] for symbol in spoofed["symbols"] if symbol["name"] in spoofed["seen"]) >= 5
    assert spoofed["seen"]["VIP_IMPERSONATION"][1] == "for Joan Miller"
    assert remembered(relay, "joan.miller@forged-name.test") == 0

    draft = tmp_path / "draft.yaml"
    draft.write_text("extends: default\nsymbols: {VIP_IMPERSONATION: {action: reject}}\n")
    replayed = relay.json("policy", "diff", draft, "--tenant", "acme")
    assert {"from": spoofed["action"], "to": "reject"}.items() <= replayed["transitions"][0].items()
