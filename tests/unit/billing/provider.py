"""A provider with a database, for tests of contracts and bills: tenants, mail at given times, runs. Clock by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, tzinfo
from decimal import Decimal
from pathlib import Path
from typing import TypeVar

from sqlalchemy.engine import Connection

from mailguard.billing import agreements, run
from mailguard.billing.agreements import Conditions
from mailguard.billing.contract import Contract
from mailguard.billing.credit_note import credit
from mailguard.billing.document import Seller
from mailguard.billing.frozen import document_of
from mailguard.billing.invoice import Invoice, Party, ServiceLevel
from mailguard.billing.months import Month, month
from mailguard.billing.plans import Plan, ServiceLevels
from mailguard.billing.prepare import Sources
from mailguard.billing.run import Outcome
from mailguard.core.envelope import NextHop
from mailguard.core.events import State
from mailguard.store import invoices, tenants
from mailguard.store.invoices import InvoiceRow
from tests.ledger_of import Clock, World
from tests.unit.billing.bill_world import BUYER

T = TypeVar("T")
SELLER = Seller(
    Party("Provider GmbH", ("1 Mail Street", "10115 Berlin"), "DE", "DE123456789"), ("IBAN DE02120300000000202051",)
)


def at(year: int, number: int, day: int, hour: int = 12, minute: int = 0, *, zone: tzinfo = UTC) -> int:
    """A time in ms UTC."""
    return int(datetime(year, number, day, hour, minute, tzinfo=zone).timestamp() * 1000)


class Transactions:
    """As the command line has them."""

    def __init__(self, world: World) -> None:
        self._db = world.db

    def read(self, work: Callable[[Connection], T], /) -> T:
        return self._db.read_sync(work)

    def write(self, work: Callable[[Connection], T], /) -> T:
        return self._db.write_sync(work)


class Provider:
    """One provider; tenant `acme` is there from the start."""

    def __init__(self, folder: Path, *, url: str = "", zone: tzinfo = UTC) -> None:
        self.clock = Clock(at(2027, 1, 1))
        self.world = World(folder, url=url, clock=self.clock)
        self.database = Transactions(self.world)
        self.zone = zone
        self.levels: tuple[ServiceLevel, ...] = ()
        self.tenants = {"acme": self.world.tenant}

    def close(self) -> None:
        self.world.close()

    def tenant(self, name: str) -> int:
        """Add a tenant."""
        self.tenants[name] = self.database.write(
            lambda conn: tenants.add_tenant(
                conn, name=name, now=self.clock.now, domains=[f"{name}.test"], next_hops=[NextHop(f"mx.{name}.test")]
            )
        )
        return self.tenants[name]

    def sign(self, plan: Plan, start: date, name: str = "acme", **conditions: object) -> Contract:
        """Give a tenant a contract."""
        agreed = Conditions(**{"buyer": BUYER, **conditions})  # type: ignore[arg-type]
        return self.database.write(
            lambda conn: agreements.sign(
                conn,
                tenant=self.tenants[name],
                name=name,
                plan=plan,
                start=start,
                conditions=agreed,
                zone=self.zone,
                now=self.clock.now,
            )
        )

    def contract(self, name: str = "acme") -> Contract:
        """Its last one."""
        return self.database.read(lambda conn: agreements.last_contract(conn, self.tenants[name], name))

    def change(self, plan: Plan, start: date, name: str = "acme") -> Contract:
        """Change it."""
        contract = self.contract(name)
        return self.database.write(
            lambda conn: agreements.change(conn, contract, name=name, plan=plan, start=start, now=self.clock.now)
        )

    def cancel(self, last_day: date | None = None, name: str = "acme", *, waive: bool = True) -> Contract:
        """End it."""
        contract = self.contract(name)
        notice_on = agreements.day_of(self.clock.now, self.zone)
        return self.database.write(
            lambda conn: agreements.cancel(
                conn,
                contract,
                name=name,
                notice_on=notice_on,
                now=self.clock.now,
                last_day=last_day,
                waive_notice=waive,
            )
        )

    def revoke(self, name: str = "acme") -> Contract:
        """Take the end back."""
        contract = self.contract(name)
        return self.database.write(lambda conn: agreements.revoke(conn, contract, name=name))

    def mail(self, when: int, *recipients: str, tenant: str = "acme") -> Sequence[str]:
        """Mail that is delivered at a time."""
        before, self.clock.now = self.clock.now, when
        units = self.world.mail(
            State.FORWARDING, recipients=recipients or ("joe@acme.test",), received_at=when, tenant=self.tenants[tenant]
        )
        for unit in units:
            self.world.move(unit, State.DELIVERED)
        self.clock.now = before
        return units

    @property
    def sources(self) -> Sources:
        """What runs work from."""
        return Sources(self.zone, SELLER, self._service_levels)

    def _service_levels(
        self, conn: Connection, tenant: int, period: Month, promised: ServiceLevels
    ) -> Sequence[ServiceLevel]:
        return self.levels

    def run(self, name: str, tenant: str = "") -> list[Outcome]:
        """Bill a month, on its fifth day after unless it is later already."""
        period = month(name, zone=self.zone)
        self.clock.now = max(self.clock.now, period.end + 4 * 86_400_000)
        return run.run(self.database, period, self.sources, by="ann", tenant=self.tenants[tenant] if tenant else None)

    def draft(self, name: str) -> list[Outcome]:
        """A dry run."""
        return run.draft(self.database, month(name, zone=self.zone), self.sources)

    def bill(self, name: str, tenant: str = "acme") -> Invoice:
        """Bill a month; the tenant's invoice."""
        (outcome,) = [one for one in self.run(name) if one.tenant == tenant and one.invoice]
        assert outcome.invoice is not None, outcome
        return document_of(outcome.invoice)

    def credit(self, number: str, line: int, amount: str, why: str = "goodwill") -> Invoice:
        """Give back some of a line; the credit note."""
        work = credit(number, line, Decimal(amount), why=why, by="ann", seller=SELLER, zone=self.zone)
        return document_of(self.database.write(work))

    def invoices(self) -> list[InvoiceRow]:
        """All documents."""
        return self.database.read(invoices.list_invoices)
