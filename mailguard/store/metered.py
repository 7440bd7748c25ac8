"""What was counted of the events so far, so that it need not be read again: the rows, and how far they reach.

What is counted, and how, is billing.tally's. Whoever changes these rows holds the turn (billing_months.take_turn).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import bindparam, func, insert, select, update
from sqlalchemy.engine import Connection

from mailguard.store.addresses import address_ids
from mailguard.store.schema import addresses, meta, metered, metered_recipients
from mailguard.store.statements import upserting

_POSITION = "metered_up_to"


@dataclass(frozen=True, slots=True)
class Count:
    """`units`: messages, one for each recipient; `messages`: distinct ones; `size`: octets, each message once."""

    units: int = 0
    messages: int = 0
    size: int = 0

    def __add__(self, other: Count) -> Count:
        return Count(self.units + other.units, self.messages + other.messages, self.size + other.size)


@dataclass(frozen=True, slots=True)
class RecipientCount:
    """A recipient's mail that was delivered or released: units, their octets, and the first of them, with its time (ms UTC)."""

    units: int
    size: int
    first_unit: str
    first_at: int

    def __add__(self, later: RecipientCount) -> RecipientCount:
        return RecipientCount(self.units + later.units, self.size + later.size, self.first_unit, self.first_at)


@dataclass(frozen=True, slots=True)
class RecipientRow:
    """A stored RecipientCount. `address` in normal form; `mailbox` is None until its month is closed."""

    tenant: int
    recipient: int
    address: str
    counted: RecipientCount
    mailbox: str | None


def position(conn: Connection) -> int:
    """The id of the last event that was counted."""
    return int(conn.scalar(select(meta.c.value).where(meta.c.key == _POSITION)) or 0)


def set_position(conn: Connection, event: int) -> None:
    """Note that all events up to this id are counted."""
    if not conn.execute(update(meta).where(meta.c.key == _POSITION).values(value=str(event))).rowcount:
        conn.execute(insert(meta).values(key=_POSITION, value=str(event)))


def add_counts(conn: Connection, counts: Mapping[tuple[str, int, str], Count]) -> None:
    """Add to the counts by month, tenant and what is counted."""
    rows = [
        {
            "month": month,
            "tenant": tenant,
            "counted": name,
            "units": count.units,
            "messages": count.messages,
            "size": count.size,
        }
        for (month, tenant, name), count in sorted(counts.items())
    ]
    if rows:
        statement = upserting(conn, metered)
        new = statement.excluded
        added = {name: metered.c[name] + new[name] for name in ("units", "messages", "size")}
        conn.execute(statement.on_conflict_do_update(index_elements=["month", "tenant", "counted"], set_=added), rows)


def add_recipients(conn: Connection, recipients: Mapping[tuple[str, int, int], RecipientCount]) -> None:
    """Add to the recipients by month, tenant and address; the first unit of those that are there stays."""
    rows = [
        {
            "month": month,
            "tenant": tenant,
            "recipient": recipient,
            "units": counted.units,
            "size": counted.size,
            "first_unit": counted.first_unit,
            "first_at": counted.first_at,
        }
        for (month, tenant, recipient), counted in sorted(recipients.items())
    ]
    if rows:
        statement = upserting(conn, metered_recipients)
        new = statement.excluded
        added = {name: metered_recipients.c[name] + new[name] for name in ("units", "size")}
        conn.execute(statement.on_conflict_do_update(index_elements=["month", "tenant", "recipient"], set_=added), rows)


def counts_of(conn: Connection, month: str, *, tenant: int | None = None) -> Iterator[tuple[int, str, Count]]:
    """Tenant, what is counted, and the count, for a month."""
    query = select(metered).where(metered.c.month == month)
    if tenant is not None:
        query = query.where(metered.c.tenant == tenant)
    for row in conn.execute(query):
        yield row.tenant, row.counted, Count(row.units, row.messages, row.size)


def recipients_of(conn: Connection, month: str, *, tenant: int | None = None) -> Iterator[RecipientRow]:
    """The recipients of a month."""
    table, own, billed = metered_recipients, addresses.alias("own"), addresses.alias("billed")
    query = (
        select(table, own.c.address, billed.c.address.label("billed_as"))
        .join(own, own.c.id == table.c.recipient)
        .outerjoin(billed, billed.c.id == table.c.mailbox)
        .where(table.c.month == month)
    )
    if tenant is not None:
        query = query.where(table.c.tenant == tenant)
    for row in conn.execute(query):
        counted = RecipientCount(row.units, row.size, row.first_unit, row.first_at)
        yield RecipientRow(row.tenant, row.recipient, row.address, counted, row.billed_as)


def addresses_of(conn: Connection, ids: Sequence[int]) -> dict[int, str]:
    """The addresses behind ids, in normal form."""
    found: dict[int, str] = {}
    for start in range(0, len(ids), 1_000):
        rows = conn.execute(select(addresses).where(addresses.c.id.in_(ids[start : start + 1_000])))
        found.update((row.id, row.address) for row in rows)
    return found


def keep_mailboxes(conn: Connection, month: str, tenant: int, mailboxes: Mapping[int, str]) -> None:
    """Fix for good which mailbox each recipient (by its address's id) of a month stands for, where that is still open."""
    if not mailboxes:
        return
    ids = address_ids(conn, sorted(set(mailboxes.values())))
    table = metered_recipients
    statement = (
        update(table)
        .where(
            table.c.month == month,
            table.c.tenant == tenant,
            table.c.recipient == bindparam("of_recipient"),
            table.c.mailbox.is_(None),
        )
        .values(mailbox=bindparam("is_mailbox"))
    )
    rows = [{"of_recipient": one, "is_mailbox": ids[mailbox]} for one, mailbox in sorted(mailboxes.items())]
    conn.execute(statement, rows)


def open_mailboxes(conn: Connection, month: str) -> list[int]:
    """The tenants that have recipients in a month of which it is not fixed yet what mailbox they stand for."""
    table = metered_recipients
    query = select(table.c.tenant).where(table.c.month == month, table.c.mailbox.is_(None)).distinct()
    return sorted(conn.execute(query).scalars())


def months_with_open_mailboxes(conn: Connection, tenant: int) -> list[str]:
    """The months in which a tenant has such recipients."""
    table = metered_recipients
    query = select(table.c.month).where(table.c.tenant == tenant, table.c.mailbox.is_(None)).distinct()
    return sorted(conn.execute(query).scalars())


def first_month(conn: Connection) -> str | None:
    """The earliest month that anything was counted in."""
    found: str | None = conn.scalar(select(func.min(metered.c.month)))
    return found
