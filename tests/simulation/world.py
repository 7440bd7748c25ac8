"""The provider that is simulated: a database with a clock set by hand, its tenants, contracts, mail and runs of the bill."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TypeVar
from zoneinfo import ZoneInfo

from sqlalchemy import insert
from sqlalchemy.engine import Connection

from mailguard.billing import agreements, run
from mailguard.billing.agreements import Conditions
from mailguard.billing.closing import catch_up, keep_mailboxes_of
from mailguard.billing.credit_note import credit
from mailguard.billing.document import Seller
from mailguard.billing.frozen import document_of
from mailguard.billing.invoice import Invoice, Party
from mailguard.billing.months import month
from mailguard.billing.plan_files import PlanFiles
from mailguard.billing.prepare import Sources
from mailguard.billing.run import Outcome
from mailguard.billing.sla import SlaRules, credits_of
from mailguard.core.clock import DAY
from mailguard.core.decision import Action, Decision, Reason
from mailguard.core.envelope import MailOptions, NextHop, Recipient, Session
from mailguard.core.events import State
from mailguard.core.ids import new_message_id, unit_id
from mailguard.core.reply import OK
from mailguard.core.verdict import Findings
from mailguard.quarantine.release import release
from mailguard.store import (
    aliases,
    complaints,
    ledger,
    listed_mailboxes,
    maintenance,
    recipients,
    tenants,
    trace,
    verifications,
)
from mailguard.store.blobs import FileBlobStore, FileOps
from mailguard.store.complaints import Kind
from mailguard.store.db import Database
from mailguard.store.intents import Move, NewMessage, NewUnit, QueueEntry
from mailguard.store.schema_service import probes
from mailguard.store.verifications import Said, ServerAnswer
from tests.simulation.paper import Contract, Plan, plan_of

T = TypeVar("T")
ZONE = ZoneInfo("Europe/Berlin")
SELLER = Seller(
    Party("Provider GmbH", ("1 Mail Street", "10115 Berlin"), "DE", "DE123456789"), ("IBAN DE02120300000000202051",)
)
PROBE_MINUTES = 60
_SESSION = Session("s1", "192.0.2.1", helo="mail.sender.test", esmtp=True)
_RAW = b"Subject: Simulated\r\n\r\nBody\r\n"


class Clock:
    """Shows what it was set to; ms UTC."""

    now = 0

    def __call__(self) -> int:
        return self.now


class NoSync(FileOps):
    """Many small bodies, and no machine that could go down."""

    def sync(self, descriptor: int) -> None:
        pass

    def sync_directory(self, path: Path) -> None:
        pass


@dataclass
class Tenant:
    """A tenant: its id, name, domains, and the local parts that get mail."""

    id: int
    name: str
    people: Sequence[str]

    @property
    def domain(self) -> str:
        return f"{self.name}.test"

    @property
    def alias(self) -> str:
        return f"{self.name}-alias.test"


@dataclass(frozen=True)
class Mail:
    """One message to recipients of one tenant, and where it starts. `size` in octets."""

    tenant: Tenant
    recipients: Sequence[str]
    state: State
    reason: Reason
    action: Action
    size: int
    probe: bool = False


@dataclass
class Provider:
    """Everything goes through the functions that the relay and the command line use."""

    folder: Path
    url: str
    clock: Clock
    db: Database
    blobs: FileBlobStore
    plans: PlanFiles
    paper: dict[int, Contract] = field(default_factory=dict)
    """The contracts as they stand on paper, by id."""
    gone: set[int] = field(default_factory=set)
    """Tenants that were removed: nothing more happens to their mail."""
    owners: dict[str, int] = field(default_factory=dict)
    """The tenant of each unit."""

    @classmethod
    def open(cls, folder: Path, url: str) -> Provider:
        """A provider with an empty, migrated database."""
        clock = Clock()
        provider = cls(
            folder,
            url,
            clock,
            Database.open(url, readers=1, clock=clock),
            FileBlobStore(folder / "data", files=NoSync()),
            PlanFiles(folder / "policies" / "plans"),
        )
        provider.plans.load()
        return provider

    def read(self, work: Callable[[Connection], T], /) -> T:
        return self.db.read_sync(work)

    def write(self, work: Callable[[Connection], T], /) -> T:
        return self.db.write_sync(work)

    # --- tenants and contracts -------------------------------------------------------------------------------------

    def tenant(
        self, name: str, people: Sequence[str], *, merged: Mapping[str, str], asked: Mapping[str, str]
    ) -> Tenant:
        """A tenant with an alias domain, and people who have another's mailbox by its list (`merged`) or directory (`asked`)."""
        domain, now = f"{name}.test", self.clock.now

        def work(conn: Connection) -> int:
            number = tenants.add_tenant(conn, name=name, now=now, domains=[domain], next_hops=[NextHop(f"mx.{domain}")])
            aliases.set_alias(conn, tenant=name, alias=f"{name}-alias.test", of=domain)
            if merged:
                listed = {f"{one}@{domain}": f"{box}@{domain}" for one, box in merged.items()}
                recipients.add_recipients(conn, tenant=name, entries=[f"{one}@{domain}" for one in people], now=now)
                listed_mailboxes.set_mailboxes(conn, tenant=name, named=listed)
            for one, box in asked.items():
                answer = ServerAnswer(Said.KNOWN, now, now + DAY, now + 3_000 * DAY, mailbox=f"{box}@{domain}")
                verifications.keep(conn, {(number, f"{one}@{domain}"): answer})
            return number

        return Tenant(self.write(work), name, people)

    def remove(self, tenant: Tenant) -> None:
        """As `mailguard tenant remove` does."""
        catch_up(self.write, zone=ZONE)

        def work(conn: Connection) -> None:
            keep_mailboxes_of(conn, tenant.id)
            tenants.remove_tenant(conn, name=tenant.name, now=self.clock.now, force=True)

        self.write(work)
        self.gone.add(tenant.id)

    def plan(self, name: str) -> Plan:
        """A plan as it is on paper now."""
        return plan_of(name, (self.folder / "policies" / "plans" / f"{name}.yaml").read_text())

    def sign(self, tenant: Tenant, plan: str, start: date) -> Contract:
        """A contract, by the plan as it is now."""
        buyer = Party(f"{tenant.name} Ltd", ("1 Road", "20095 Hamburg"), "DE", "DE811111111")
        signed = self.write(
            lambda conn: agreements.sign(
                conn,
                tenant=tenant.id,
                name=tenant.name,
                plan=self.plans.find(plan),
                start=start,
                conditions=Conditions(buyer=buyer),
                zone=ZONE,
                now=self.clock.now,
            )
        )
        today = agreements.day_of(self.clock.now, ZONE)
        self.paper[signed.id] = Contract(signed.id, tenant.name, start, today, [(start, self.plan(plan))])
        return self.paper[signed.id]

    def change(self, tenant: Tenant, contract: Contract, start: date, *, plan: str = "", fee: str = "") -> None:
        """Another plan from a day on, or another fee for the plan that holds then."""

        def work(conn: Connection) -> None:
            held = agreements.last_contract(conn, tenant.id, tenant.name)
            terms = held.terms_on(start)
            assert terms is not None
            other = self.plans.find(plan) if plan else agreements.with_price(terms.plan, Decimal(fee))
            agreements.change(conn, held, name=tenant.name, plan=other, start=start, now=self.clock.now)

        self.write(work)
        on_paper = self.plan(plan) if plan else replace(contract.plan(start), fee=Decimal(fee))
        contract.terms.append((start, on_paper))

    def cancel(self, tenant: Tenant, contract: Contract, last_day: date | None = None, *, waive: bool = False) -> date:
        """Give notice today; the first day that is no longer covered, by the product."""
        ended = self.write(
            lambda conn: agreements.cancel(
                conn,
                agreements.last_contract(conn, tenant.id, tenant.name),
                name=tenant.name,
                notice_on=agreements.day_of(self.clock.now, ZONE),
                now=self.clock.now,
                last_day=last_day,
                waive_notice=waive,
            )
        )
        assert ended.ends_on is not None
        contract.end = ended.ends_on
        return ended.ends_on

    def revoke(self, tenant: Tenant, contract: Contract) -> None:
        """Take a cancellation back."""
        self.write(
            lambda conn: agreements.revoke(
                conn, agreements.last_contract(conn, tenant.id, tenant.name), name=tenant.name
            )
        )
        contract.end = None

    # --- mail; each of these is done within a transaction ----------------------------------------------------------

    def begin(self, conn: Connection, mail: Mail) -> list[str]:
        """A message whose data is complete now; the ids of its units."""
        if mail.tenant.id in self.gone:
            return []
        at = self.clock.now
        message = new_message_id(at)
        if mail.state in (State.SPOOLED, State.QUARANTINED):
            self.blobs.put(message, [_RAW])
        queue = QueueEntry("forward", due_at=at, expires_at=at + 5 * DAY) if mail.state is State.SPOOLED else None
        new = NewMessage(
            id=message,
            received_at=at,
            session=_SESSION,
            mail_from="someone@sender.test",
            options=MailOptions(),
            size=mail.size,
            sha256="0" * 64,
            findings=Findings(),
            blob=mail.state in (State.SPOOLED, State.QUARANTINED),
        )
        units = [
            NewUnit(
                number=number,
                recipient=Recipient(one, mail.tenant.id, one.rpartition("@")[2].lower(), number=number),
                state=mail.state,
                reason=mail.reason,
                decision=Decision(number, mail.action, mail.reason, "simulated", "default", "f" * 64, OK),
                queue=queue,
                probe=mail.probe,
            )
            for number, one in enumerate(mail.recipients, 1)
        ]
        ledger.begin_in(conn, new, units)
        ids = [unit_id(message, unit.number) for unit in units]
        self.owners.update(dict.fromkeys(ids, mail.tenant.id))
        return ids

    def move(self, conn: Connection, unit: str, state: State, reason: Reason, *, latency: int | None = None) -> None:
        """Move a unit now; `latency` in ms where the next hop took it when it was first asked."""
        detail = {} if latency is None else {"latency_ms": latency}
        if self.owners[unit] not in self.gone:
            ledger.move_in(conn, [Move(unit, state, reason, detail=detail)])

    def release(self, conn: Connection, unit: str, *, again: bool = False, wrongly: bool = False) -> None:
        """As `mailguard quarantine release` does."""
        if self.owners[unit] in self.gone:
            return
        units = trace.look_up(conn, [unit])
        (done,) = release(
            conn, units, actor="ann", now=self.clock.now, lifetime=5 * DAY, again=again, false_positive=wrongly
        )
        assert done.outcome.is_done, done.outcome

    def request(self, conn: Connection, unit: str) -> None:
        """As `mailguard quarantine request` does."""
        complaints.request_release(conn, trace.look_up(conn, [unit]), actor="joe", now=self.clock.now)

    def report(self, conn: Connection, unit: str, kind: Kind) -> None:
        """As `mailguard report` does."""
        complaints.complain(conn, trace.look_up(conn, [unit]), kind, actor="joe", now=self.clock.now)

    def announce(self, conn: Connection, start: int, end: int, tenant: Tenant | None = None) -> None:
        """As `mailguard maintenance add` does."""
        number = tenant.id if tenant else None
        maintenance.add_window(conn, tenant=number, start=start, end=end, now=self.clock.now, author="ann")

    def probed(self, conn: Connection, rows: Sequence[tuple[int, int, str, bool]]) -> None:
        """Results of the probe: tenant, when, where, up. So many that they go in at once."""
        if rows:
            values = [
                {"tenant": tenant, "at": at, "place": place, "up": up, "detail": "", "recorded_at": at}
                for tenant, at, place, up in rows
            ]
            conn.execute(insert(probes), values)

    # --- the bill --------------------------------------------------------------------------------------------------

    @property
    def sources(self) -> Sources:
        """As the command line has them."""
        rules = SlaRules(ZONE, probe_minutes=PROBE_MINUTES)
        return Sources(ZONE, SELLER, partial(credits_of, rules=rules))

    def bill(self, name: str, tenant: Tenant | None = None) -> list[Outcome]:
        """Run a month."""
        only = None if tenant is None else tenant.id
        return run.run(self, month(name, zone=ZONE), self.sources, by="ann", tenant=only)

    def credit(self, number: str, line: int, amount: Decimal) -> Invoice:
        """A credit note."""
        work = credit(number, line, amount, why="goodwill", by="ann", seller=SELLER, zone=ZONE)
        return document_of(self.write(work))

    def close(self) -> None:
        """Close the database."""
        self.db.close_sync()
