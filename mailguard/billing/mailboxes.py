"""Which mailbox a recipient is billed as: its address in normal form, or what the tenant's list or directory says. Pure rules.

Case, what the sender added (`joe+news`) and alias domains make no difference, as in core.mailbox.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, Table, select
from sqlalchemy.engine import Connection

from mailguard.core.address import domain_of, local_part_of
from mailguard.core.mailbox import mailboxes
from mailguard.store import schema
from mailguard.store.forms import lookup_form
from mailguard.store.verifications import Said

_CHUNK = 500


@dataclass(frozen=True, slots=True)
class MailboxRules:
    """What is known of a tenant's mailboxes.

    `homes` gives the domain behind an alias. `listed` holds the entries of its list (addresses, or `@domain` for all of one)
    and `known` the addresses that its directory or server knows, each with the mailbox that is named for it, empty for none.
    """

    separators: str = ""
    homes: Mapping[str, str] = field(default_factory=dict)
    listed: Mapping[str, str] = field(default_factory=dict)
    known: Mapping[str, str] = field(default_factory=dict)

    def mailbox_of(self, address: str) -> str:
        """The mailbox that a recipient's address (as in `addresses`) is billed as."""
        domain = lookup_form(domain_of(address))
        if domain is None:
            return address  # an erased one: what stands in its place still tells it from others
        home = self.homes.get(domain, domain)
        meant = [one.key for one in mailboxes(address, domain=home, separators=self.separators)]
        # As at the door: without what the sender added, unless only the whole address is known.
        key = next((key for keys in (self.listed, self.known) for key in meant if key in keys), meant[0])
        return self.listed.get(key) or self._at_home(self.known.get(key, "")) or self.listed.get(f"@{home}") or key

    def _at_home(self, mailbox: str) -> str:
        """A mailbox as a directory names it: an address of an alias is that of the domain behind it."""
        domain = lookup_form(domain_of(mailbox))
        return mailbox if domain is None else f"{local_part_of(mailbox)}@{self.homes.get(domain, domain)}"


def rules_of(conn: Connection, tenants: Collection[int]) -> dict[int, MailboxRules]:
    """The rules of tenants as they are now."""
    wanted = sorted(tenants)
    table, domains = schema.tenants, schema.domains
    separators = {
        row.id: row.separators for row in _rows(conn, select(table.c.id, table.c.separators), table.c.id, wanted)
    }
    homes: dict[int, dict[str, str]] = {tenant: {} for tenant in wanted}
    query = select(domains.c.tenant, domains.c.name, domains.c.alias_of).where(domains.c.alias_of.is_not(None))
    for row in _rows(conn, query, domains.c.tenant, wanted):
        homes[row.tenant][row.name] = row.alias_of
    listed, known = _mailboxes_in(conn, schema.recipients, wanted), _mailboxes_in(conn, schema.verifications, wanted)
    return {
        tenant: MailboxRules(separators.get(tenant, ""), homes[tenant], listed[tenant], known[tenant])
        for tenant in wanted
    }


def _mailboxes_in(conn: Connection, table: Table, tenants: Sequence[int]) -> dict[int, dict[str, str]]:
    """The addresses in a table and the mailboxes named for them, by tenant."""
    query = select(table.c.tenant, table.c.address, table.c.mailbox)
    if table is schema.verifications:
        query = query.where(table.c.result == Said.KNOWN.value)
    found: dict[int, dict[str, str]] = {tenant: {} for tenant in tenants}
    for row in _rows(conn, query, table.c.tenant, tenants):
        found[row.tenant][row.address] = row.mailbox
    return found


def _rows(
    conn: Connection, query: Select[Any], column: ColumnElement[int], tenants: Sequence[int]
) -> Iterator[Row[Any]]:
    for start in range(0, len(tenants), _CHUNK):
        yield from conn.execute(query.where(column.in_(tenants[start : start + _CHUNK])))
