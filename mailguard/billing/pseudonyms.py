"""The recipients behind billed months that are older than their tenant keeps: they become nobody's, and count as before.

One person is one nobody in a month, so that recipients and mailboxes are as many as they were, on the invoice too; from
month to month another one, so that the months of a person cannot be put together.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import tzinfo

from sqlalchemy import ColumnElement, Connection, and_, exists, func, insert, select, update

from mailguard.billing.months import Calendar, calendar, events_of, month
from mailguard.billing.tally import BILLED
from mailguard.core.events import EventKind
from mailguard.store.retention import Keeping, forget_unused_in, is_nobody, nobody_of
from mailguard.store.schema import addresses, events, metered_recipients, units
from mailguard.store.schema_bill import invoice_evidence, invoices

_NOBODY = "erased" + "_" * 16 + "%@%"
"""How stand-ins look (store.erasure too), for LIKE: `erased`, 16 hexadecimal digits, `@` and the domain."""


@dataclass(frozen=True, slots=True, order=True)
class _Group:
    """The recipients that stood for one mailbox (by its address's id) in a month: replaced together, or not at all."""

    month: str
    mailbox: int


def replace_recipients_in(conn: Connection, one: Keeping, *, zone: tzinfo, limit: int = 100) -> int:
    """Replace some of the recipients that are due: of closed months that ended before `one.before`. How many; 0: all is done.

    Mail that was billed in several months (released once more) ties these together: they are replaced when all are due.
    """
    months = calendar(conn, zone=zone)
    due = {closing.month for closing in months.closings if closing.ends_at <= one.before}
    table = metered_recipients
    own, billed = addresses.alias("own"), addresses.alias("billed")
    # A mailbox that nobody has any more, of addresses that were erased by hand, is replaced already.
    statement = (
        select(table.c.month, table.c.mailbox)
        .join(own, own.c.id == table.c.recipient)
        .join(billed, billed.c.id == table.c.mailbox)
        .where(
            table.c.tenant == one.tenant,
            table.c.month.in_(sorted(due)),
            own.c.address.not_like(_NOBODY) | billed.c.address.not_like(_NOBODY),
        )
        .distinct()
        .order_by(table.c.month, table.c.mailbox)
    )
    done: set[_Group] = set()
    replaced = 0
    for row in conn.execute(statement).all():
        group = _Group(row.month, row.mailbox)
        if group in done:
            continue
        together = _tied(conn, one.tenant, group, months)
        done |= together
        if {each.month for each in together} <= due and not _unfinished(conn, one.tenant, together, zone):
            replaced += _replace(conn, one.tenant, together, zone)
        if replaced >= limit:
            break
    return replaced


def _tied(conn: Connection, tenant: int, start: _Group, months: Calendar) -> set[_Group]:
    """A group and those that it is tied to by mail that was billed in several months."""
    found: set[_Group] = set()
    waiting = [start]
    while waiting:
        group = waiting.pop()
        if group in found:
            continue
        found.add(group)
        recipients = _recipients(conn, tenant, group)
        for recipient, names in _months_of(conn, tenant, recipients, months).items():
            rows = select(metered_recipients.c.month, metered_recipients.c.mailbox).where(
                metered_recipients.c.tenant == tenant,
                metered_recipients.c.recipient == recipient,
                metered_recipients.c.month.in_(sorted(names)),
            )
            known = {row.month: row.mailbox for row in conn.execute(rows)}
            # A month that is not closed has no mailbox fixed yet; it stands for itself, and is not due.
            waiting += [_Group(name, known.get(name) or 0) for name in names if name != group.month]
    return found


def _recipients(conn: Connection, tenant: int, group: _Group) -> list[int]:
    table = metered_recipients
    mine = and_(table.c.tenant == tenant, table.c.month == group.month, table.c.mailbox == group.mailbox)
    return list(conn.scalars(select(table.c.recipient).where(mine)))


def _months_of(conn: Connection, tenant: int, recipients: Sequence[int], months: Calendar) -> dict[int, set[str]]:
    """For recipients with mail that was billed several times: the months of it, when they are several."""
    billed = and_(
        units.c.tenant == tenant,
        units.c.recipient.in_(recipients),
        events.c.kind == EventKind.STATE.value,
        events.c.to_state.in_([state.value for state in BILLED]),
    )
    often = (select(units.c.id).join(events, events.c.unit == units.c.id).where(billed).group_by(units.c.id)).having(
        func.count() > 1
    )
    by_unit: dict[tuple[int, str], set[str]] = {}
    rows = select(units.c.recipient, units.c.id, events.c.at, events.c.id.label("event"))
    for row in conn.execute(rows.join(events, events.c.unit == units.c.id).where(billed, units.c.id.in_(often))):
        by_unit.setdefault((row.recipient, row.id), set()).add(months.month_of(row.at, row.event))
    found: dict[int, set[str]] = {}
    for (recipient, _), names in by_unit.items():
        if len(names) > 1:
            found.setdefault(recipient, set()).update(names)
    return found


def _unfinished(conn: Connection, tenant: int, groups: Iterable[_Group], zone: tzinfo) -> bool:
    """Whether mail of them is still kept, and so not erased yet."""
    for group in groups:
        mine = _billed_in(conn, tenant, group, zone)
        if conn.execute(select(units.c.id).where(mine, units.c.erased_at.is_(None)).limit(1)).first() is not None:
            return True
    return False


def _billed_in(conn: Connection, tenant: int, group: _Group, zone: tzinfo) -> ColumnElement[bool]:
    """The condition on `units` that they were billed to a group in its month."""
    billed = exists().where(
        events.c.unit == units.c.id,
        events.c.kind == EventKind.STATE.value,
        events.c.to_state.in_([state.value for state in BILLED]),
        events_of(conn, month(group.month, zone=zone)),
    )
    return and_(units.c.tenant == tenant, units.c.recipient.in_(_recipients(conn, tenant, group)), billed)


def _replace(conn: Connection, tenant: int, groups: Iterable[_Group], zone: tzinfo) -> int:
    """Replace the recipients of groups; how many."""
    parts = sorted(groups)
    ids = {group: _recipients(conn, tenant, group) for group in parts}
    # What was billed is asked for before any of it is replaced.
    billed = {
        group: conn.execute(select(units.c.id, units.c.recipient).where(_billed_in(conn, tenant, group, zone))).all()
        for group in parts
    }
    nobodies = _nobodies(conn, {*(one for group in parts for one in ids[group]), *(group.mailbox for group in parts)})
    for group in parts:
        for recipient in ids[group]:
            table = metered_recipients
            row = and_(table.c.month == group.month, table.c.tenant == tenant, table.c.recipient == recipient)
            values = {"recipient": nobodies[recipient], "mailbox": nobodies[group.mailbox]}
            conn.execute(update(table).where(row).values(**values))
        of_month = select(invoices.c.number).where(invoices.c.tenant == tenant, invoices.c.month == group.month)
        proof = update(invoice_evidence).where(
            invoice_evidence.c.invoice.in_(of_month), invoice_evidence.c.mailbox == group.mailbox
        )
        conn.execute(proof.values(mailbox=nobodies[group.mailbox]))
        for unit in billed[group]:
            mine = update(units).where(units.c.id == unit.id)
            conn.execute(mine.values(recipient=nobodies[unit.recipient]))
    forget_unused_in(conn, nobodies.keys())
    return sum(map(len, ids.values()))


def _nobodies(conn: Connection, ids: Collection[int]) -> dict[int, int]:
    """A new nobody of its domain for each address, by ids; who is nobody already stays it."""
    rows = conn.execute(select(addresses).where(addresses.c.id.in_(sorted(ids)))).all()
    found: dict[int, int] = {}
    for row in rows:
        if is_nobody(row.address):
            found[row.id] = row.id
            continue
        made = insert(addresses).values(address=nobody_of(row.address))
        found[row.id] = int(conn.execute(made.returning(addresses.c.id)).scalar_one())
    return found
