"""From mail through the door to the invoice: usage as it was delivered, billed by the command line, twice at once."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import create_engine, delete, update

from mailguard.billing.contract import month_after
from mailguard.store import schema
from tests.e2e.mails import infected, mail, spam
from tests.servers.postgres import Postgres
from tests.servers.relay import MAILGUARD, ROOT, Relay
from tests.servers.sink_thread import SinkThread

SELLER = """
[billing]
seller_name = "Provider GmbH"
seller_address = ["1 Mail Street", "10115 Berlin"]
seller_country = "DE"
seller_tax_id = "DE123456789"
"""
PLAN = """
currency: EUR
monthly_fee: 30.00
included_mailboxes: 1
mailbox_tiers: {scheme: graduated, tiers: [{price: 2}]}
included_messages: 3
message_tiers: {scheme: graduated, tiers: [{price: 0.10}]}
tax_rate: 19
"""
THIS_MONTH = datetime.now(UTC).date().replace(day=1)
LAST_MONTH = (THIS_MONTH - timedelta(days=1)).replace(day=1)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def relay(
    request: pytest.FixtureRequest, new_relay: Callable[..., Relay], sink: SinkThread, tmp_path: Path
) -> Iterator[Relay]:
    """A relay with tenants `acme`, which has a contract since last month, and `globex`, which has none."""
    url = ""
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")
        url = server.clean_database()
    policies = tmp_path / "policies"
    shutil.copytree(ROOT / "policies", policies)
    (policies / "plans" / "gold.yaml").write_text(PLAN)
    relay = new_relay(database=url, policies=policies, more=SELLER)
    relay.add_tenant("acme", "client.test", sink.port)
    relay.add_tenant("globex", "globex.test", sink.port)
    buyer = ("--buyer-name", "Acme Ltd", "--buyer-address", "20095 Hamburg", "--buyer-country", "DE")
    relay.run("contract", "add", "acme", "--plan", "gold", "--start", LAST_MONTH.isoformat(), *buyer)
    yield relay.start()


def as_last_month(relay: Relay) -> None:
    """Let all that happened have happened in the middle of last month."""
    relay.stop()
    then = datetime(LAST_MONTH.year, LAST_MONTH.month, 15, 12, tzinfo=UTC)
    engine = create_engine(relay.database.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as conn:
        for table in (schema.metered_recipients, schema.metered):  # what the relay counted meanwhile is counted anew
            conn.execute(delete(table))
        conn.execute(delete(schema.meta).where(schema.meta.c.key == "metered_up_to"))
        conn.execute(update(schema.events).values(at=int(then.timestamp() * 1000)))
        conn.execute(update(schema.tenants).values(created_at=0))
    engine.dispose()


def test_from_the_mail_to_the_invoice(relay: Relay) -> None:
    assert relay.send(mail("one"), ["joe@client.test", "Joe+news@client.test", "ann@client.test"])[0] == 250
    assert relay.send(mail("two"), ["joe@client.test", "joe@globex.test"])[0] == 250
    assert relay.send(mail("three"), ["ann@client.test"])[0] == 250
    assert relay.send(infected("virus"), ["eve@client.test"])[0] == 250
    assert relay.send(spam("offer"), ["bob@client.test"])[0] == 550
    as_last_month(relay)
    month = f"{LAST_MONTH:%Y-%m}"

    early = relay.run("bill", "run", "--month", f"{THIS_MONTH:%Y-%m}", check=False)
    assert (early.returncode, "is not over" in early.stderr) == (1, True)

    command = [MAILGUARD, "--config", relay.config, "bill", "run", "--month", month, "--json"]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
    answers = [json.loads(process.communicate(timeout=100)[0]) for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert sorted(answer["invoices"][0]["state"] for answer in answers) == ["frozen", "made"]
    first, second = (answer["invoices"][0]["invoice"] for answer in answers)
    assert first == second
    assert answers[0]["without_contract"] == [
        {
            "tenant": "globex",
            "mailboxes": 1,
            "messages": 1,
            "reason": "add one with `mailguard contract add globex --plan PLAN --start YYYY-MM-DD`",
        }
    ]

    document = relay.json("bill", "show", first["number"])
    lines = {line["kind"]: line for line in document["lines"] if line["kind"] != "fixed_fee"}
    assert [line["amount"] for line in document["lines"] if line["kind"] == "fixed_fee"] == ["30.00", "30.00"]
    assert (lines["mailboxes"]["quantity"], lines["mailboxes"]["amount"]) == ("1", "2.00")
    assert (lines["messages"]["quantity"], lines["messages"]["amount"]) == ("2", "0.20")
    assert document["usage"]["messages"] == 5
    assert (document["net"], document["tax"], document["total"]) == ("62.20", "11.82", "74.02")
    assert document["lines"][1]["end"] == month_after(THIS_MONTH).isoformat()

    explained = relay.json("bill", "explain", first["number"], str(lines["mailboxes"]["number"]), "--mails")
    assert [(one["mailbox"], one["messages"]) for one in explained["mailboxes"]] == [
        ("ann@client.test", 2),
        ("joe@client.test", 3),
    ]
    counted = sorted(one["recipient"] for one in explained["mails"])
    assert counted == ["ann@client.test"] * 2 + ["joe+news@client.test"] + ["joe@client.test"] * 2
    assert relay.run("ledger", "check").returncode == 0
    assert relay.run("audit", "verify").returncode == 0
