"""A provider with 40 tenants on four plans, over 14 months: every invoice against a second set of books, to the cent.

MAILGUARD_SIMULATION_SEED and MAILGUARD_SIMULATION_TENANTS play another world; a failure names the seed.
"""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Decimal
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import func, select

from mailguard.billing import meter
from mailguard.billing.frozen import document_of
from mailguard.billing.invoice import Invoice, InvoiceKind, LineKind
from mailguard.billing.months import month
from mailguard.billing.render.pdf import invoice_pdf
from mailguard.billing.render.ubl import invoice_ubl
from mailguard.core.errors import ConflictError
from mailguard.store import migrations
from mailguard.store.schema_bill import invoice_evidence
from tests.servers.postgres import Postgres
from tests.servers.relay import MAILGUARD, ROOT
from tests.simulation import paper, reckoning
from tests.simulation.books import Books, fee_days
from tests.simulation.paper import CENT, days, first_of, month_after
from tests.simulation.story import MONTHS, Story
from tests.simulation.world import PROBE_MINUTES, SELLER, ZONE, Provider

SEED = int(os.environ.get("MAILGUARD_SIMULATION_SEED", "20240229"))
TENANTS = int(os.environ.get("MAILGUARD_SIMULATION_TENANTS", "40"))
BY_COMMAND = "2024-02"
"""The month that two processes bill at the same time."""
SIMULATION = Path(paper.__file__).parent
_CONFIG = f"""\
[database]
url = "{{url}}"
[storage]
path = "{{folder}}/data"
[policies]
path = "{{folder}}/policies"
[billing]
time_zone = "{ZONE.key}"
seller_name = "{SELLER.party.name}"
seller_address = {json.dumps(SELLER.party.address)}
seller_country = "{SELLER.party.country}"
seller_tax_id = "{SELLER.party.tax_id}"
bank = {json.dumps(SELLER.bank)}
[sla]
probe_minutes = {PROBE_MINUTES}
"""


@dataclass
class World:
    """A provider after its 14 months."""

    books: Books
    config: Path
    answers: list[dict[str, list[dict[str, object]]]]
    """What the two processes that billed a month printed."""
    documents: list[Invoice]
    months: Sequence[str] = MONTHS

    @property
    def provider(self) -> Provider:
        return self.books.provider

    @property
    def invoices(self) -> list[Invoice]:
        return [one for one in self.documents if one.kind is InvoiceKind.INVOICE]

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `mailguard`."""
        return subprocess.run(
            [MAILGUARD, "--config", self.config, *arguments], capture_output=True, text=True, timeout=120, check=False
        )


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Played once for all tests; on PostgreSQL half as long, with the named cases alone."""
    print(f"MAILGUARD_SIMULATION_SEED={SEED}")
    folder = tmp_path_factory.mktemp("provider")
    shutil.copytree(ROOT / "policies", folder / "policies", ignore=shutil.ignore_patterns("plans"))
    shutil.copytree(SIMULATION / "plans", folder / "policies" / "plans")
    url, tenants, months = f"sqlite:///{folder}/mailguard.db", TENANTS, MONTHS
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")
        url, tenants, months = server.clean_database(), min(TENANTS, 16), MONTHS[:7]
    else:
        migrations.upgrade(url)
    config = folder / "mailguard.toml"
    config.write_text(_CONFIG.format(url=url, folder=folder))
    provider = Provider.open(folder, url)
    try:
        books = Books(provider, Story(provider, Random(SEED), tenants))
        yield played(World(books, config, [], [], months))
    finally:
        provider.close()


def played(world: World) -> World:
    """Play all months."""
    books = world.books
    for name in world.months:
        books.month(name, run=(lambda name: bill_twice_at_once(world, name)) if name == BY_COMMAND else None)
        give_back(books, name)
    world.documents = [document_of(row) for row in books.documents()]
    return world


def bill_twice_at_once(world: World, name: str) -> None:
    """By the command, in two processes."""
    command = [str(MAILGUARD), "--config", str(world.config), "bill", "run", "--month", name, "--json"]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
    world.answers = [json.loads(process.communicate(timeout=200)[0]) for process in processes]
    assert [process.returncode for process in processes] == [0, 0]


def give_back(books: Books, name: str) -> None:
    """Credit notes by hand: of a fee in advance, of a set-up fee, of mailboxes, and never more than was charged."""
    for (contract, month_), bill in sorted(books.bills.items()):
        tenant = books.provider.paper[contract].tenant
        if month_ != name or (tenant, name) not in (
            ("tenant01", "2023-12"),
            ("tenant07", "2023-12"),
            ("tenant03", "2024-06"),
        ):
            continue
        (number,) = [row.number for row in books.documents() if (row.contract, row.month) == (contract, name)]
        document = json.loads(books.files[number].document)
        if tenant == "tenant01":
            (line,) = [one for one in document["lines"] if (one["kind"], one["start"]) == ("fixed_fee", "2024-01-01")]
            books.credit(number, line["number"], "100.00", of_fee="2024-01")
        elif tenant == "tenant07":
            (line,) = [one for one in document["lines"] if one["kind"] == "setup_fee"]
            books.credit(number, line["number"], line["amount"])
            with pytest.raises(ConflictError):
                books.credit(number, line["number"], "0.01")
        else:
            line = document["lines"][0]
            books.credit(number, line["number"], "0.05", of_fee=line["start"][:7])
        assert bill.net == Decimal(document["net"])


# --- the two books ---------------------------------------------------------------------------------------------------


def test_every_figure_of_every_invoice_is_the_one_that_was_reckoned_from_the_raw_events(world: World) -> None:
    assert not world.books.differences, f"seed {SEED}:\n" + "\n".join(world.books.differences)
    assert {(one.contract, one.month) for one in world.invoices} == world.books.bills.keys()


def test_the_totals_of_14_months_are_the_same_for_each_tenant(world: World) -> None:
    product: dict[str, Decimal] = defaultdict(Decimal)
    for document in world.documents:
        product[document.tenant] += document.total
    reckoned: dict[str, Decimal] = defaultdict(Decimal)
    for (contract, _), bill in world.books.bills.items():
        reckoned[world.provider.paper[contract].tenant] += bill.total
    notes = {one.number: one for one in world.documents if one.kind is InvoiceKind.CREDIT_NOTE}
    assert notes.keys() == world.books.credited.keys()
    for number, gross in world.books.credited.items():
        assert notes[number].total == -gross
        reckoned[notes[number].tenant] -= gross
    assert product == reckoned


def test_all_ends_are_those_that_term_and_notice_allow_for(world: World) -> None:
    assert world.books.story.notices
    assert [end for end, _ in world.books.story.notices] == [expected for _, expected in world.books.story.notices]


def test_usage_counts_by_the_same_definition(world: World) -> None:
    for name in world.months:
        found = world.provider.read(lambda conn, name=name: meter.usage(conn, month(name, zone=ZONE)))  # type: ignore[misc]
        used = {one.tenant: (one.billed_mailboxes, one.billed_messages, one.billed_octets) for one in found}
        for tenant in world.books.story.tenants:
            counted = world.books.months.counted(name, tenant.id)
            assert used.get(tenant.id, (0, 0, 0)) == (counted.mailboxes, counted.messages, counted.octets), name


def test_the_mailboxes_behind_each_invoice_are_kept(world: World) -> None:
    table = invoice_evidence
    query = select(table.c.invoice, func.count(), func.sum(table.c.messages)).group_by(table.c.invoice)
    kept = {
        number: (boxes, int(mails))
        for number, boxes, mails in world.provider.read(lambda conn: conn.execute(query).all())
    }
    for document in world.invoices:
        usage = document.usage
        assert kept.get(document.number, (0, 0)) == ((usage.mailboxes, usage.messages) if usage else (0, 0))


def test_each_day_of_each_contract_is_charged_once(world: World) -> None:
    charged = fee_days(world.documents)
    horizon = first_of(month_after(month_after(world.months[-1])))
    for contract in world.provider.paper.values():
        owed = {day for day in days(contract.start, horizon) if contract.covers(day) and contract.plan(day).fee}
        found = {day: times for (number, day), times in charged.items() if number == contract.id and times}
        assert found == dict.fromkeys(owed, 1), contract


def test_sums_are_sums_and_only_credits_are_negative(world: World) -> None:
    for document in world.documents:
        assert document.net == sum(line.amount for line in document.lines)
        assert document.tax == sum(tax.amount for tax in document.taxes)
        assert document.total == document.net + document.tax
        assert all(line.amount >= 0 or line.kind.value.endswith(("credit", "correction")) for line in document.lines)
        assert all(line.amount == line.amount.quantize(CENT) for line in document.lines)


def test_numbers_have_no_gaps(world: World) -> None:
    numbers: dict[str, list[int]] = defaultdict(list)
    for row in world.books.documents():
        series, _, number = row.number.rpartition("-")
        numbers[series].append(int(number))
        assert series.endswith(f"{row.issued.year}")
    for found in numbers.values():
        assert sorted(found) == list(range(1, len(found) + 1))


# --- the machinery ---------------------------------------------------------------------------------------------------


def test_two_runs_at_once_made_one_invoice_of_each_contract(world: World) -> None:
    first, second = ({str(one["tenant"]): one for one in answer["invoices"]} for answer in world.answers)
    made = {one.tenant: one.number for one in world.invoices if one.month == BY_COMMAND}
    for answer in (first, second):
        assert {name: one["invoice"]["number"] for name, one in answer.items() if "invoice" in one} == made  # type: ignore[index]
    for name in made:
        assert sorted((str(first[name]["state"]), str(second[name]["state"]))) == ["frozen", "made"]
    without = {str(one["tenant"]) for one in world.answers[0]["without_contract"]}
    start, end = first_of(BY_COMMAND), first_of(month_after(BY_COMMAND))
    with_one = {one.tenant for one in world.provider.paper.values() if one.covered(start, end)}
    assert without == {one.name for one in world.books.story.tenants} - with_one


def test_all_months_run_again_are_the_same_byte_for_byte(world: World) -> None:
    before = world.books.files
    for name in world.months:
        assert {outcome.state.value for outcome in world.provider.bill(name)} <= {"frozen", "nothing", "no_contract"}
    assert world.command("bill", "run", "--month", BY_COMMAND).returncode == 0
    rows = world.books.documents()
    assert {row.number: world.books.files_of(row) for row in rows} == before
    for number, row in enumerate(rows):
        document = document_of(row)
        assert invoice_ubl(document) == before[row.number].ubl
        if number % 2 == 0 and before[row.number].pdf:
            assert invoice_pdf(document) == before[row.number].pdf


def test_the_ledger_holds_for_every_recipient_and_the_audit_chain_for_every_change(world: World) -> None:
    for command in (("ledger", "check"), ("audit", "verify")):
        done = world.command(*command)
        assert done.returncode == 0, done.stdout + done.stderr


# --- whether this could fail at all ----------------------------------------------------------------------------------


def test_all_that_was_to_happen_happened(world: World) -> None:
    """The cases are there: else the two books might only agree on what is easy."""
    lines = Counter(line.kind.value for one in world.documents for line in one.lines)
    assert lines.keys() == {kind.value for kind in LineKind}
    assert world.books.months.late > 10
    kinds = {level.commitment for one in world.invoices for level in one.service_levels if level.credit_percent}
    if len(world.months) == len(MONTHS) and TENANTS >= 40:
        few = {"setup_fee": 20, "mailboxes": 100, "messages": 20, "fee_credit": 10, "sla_credit": 100}
        assert all(lines[kind] >= least for kind, least in few.items()), lines
        assert any(one.net < 0 for one in world.invoices)
        assert any(len(one.taxes) == 2 for one in world.invoices)
        assert len(kinds) == 6, kinds
    (outage,) = [one for one in world.invoices if (one.tenant, one.month) == ("tenant01", "2024-01")]
    assert sum(line.amount for line in outage.lines if line.kind.value == "sla_credit") == Decimal("-790.00")
    states = world.provider.read(
        lambda conn: set(conn.exec_driver_sql("SELECT DISTINCT state FROM units").scalars().all())
    )
    assert states >= {"delivered", "released", "quarantined", "rejected", "discarded", "deferred", "bounced", "deleted"}


@pytest.mark.parametrize("mistake", ["none", "half to even", "cut off", "part months rounded down", "tier", "tax"])
def test_a_mistake_in_either_book_would_be_noticed(world: World, mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    match mistake:
        case "half to even" | "cut off":
            how = ROUND_HALF_EVEN if mistake == "half to even" else ROUND_DOWN
            for module in (paper, reckoning):
                monkeypatch.setattr(module, "cents", lambda amount: amount.quantize(CENT, how))
        case "part months rounded down":
            monkeypatch.setattr(reckoning, "ceil", int)
        case "tier":
            right = paper.Tiers.lines
            monkeypatch.setattr(paper.Tiers, "lines", lambda self, beyond, part: right(self, beyond - 1, part))
        case "tax":
            monkeypatch.setattr(reckoning, "cents", lambda amount: amount.quantize(CENT, "ROUND_UP"))
    assert bool(world.books.again()) == (mistake != "none")


def test_the_second_book_knows_nothing_of_the_product() -> None:
    for name in ("paper", "counted", "service", "reckoning"):
        tree = ast.parse((SIMULATION / f"{name}.py").read_text())
        imported = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
        imported += [str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        assert not [one for one in imported if one.startswith("mailguard")]
        assert all(one.partition(".")[2] in ("", "abc") or one.startswith("tests.simulation.") for one in imported)
