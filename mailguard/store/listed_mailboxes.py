"""Which mailbox a listed recipient is billed as, where that is another than its own address. Beside store.recipients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import bindparam, select, update
from sqlalchemy.engine import Connection

from mailguard.core.address import domain_of, is_mailbox, local_part_of
from mailguard.core.errors import ConfigError, ConflictError, Problem
from mailguard.core.mailbox import mailboxes
from mailguard.core.tenant import Domain
from mailguard.store.forms import lookup_form
from mailguard.store.schema import recipients
from mailguard.store.tenants import tenant_by_name


def mailbox_form(text: str, domains: Sequence[Domain]) -> str:
    """The stored form of a mailbox: an address, of the tenant's domains or not; empty for none. Raises ConfigError."""
    entry = text.strip()
    if not entry:
        return ""
    name = lookup_form(domain_of(entry))
    if name is None or not is_mailbox(f"{local_part_of(entry)}@{name}"):
        raise ConfigError([Problem("mailbox", f"{text!r} is not a mail address")])
    home = next((domain.alias_of or domain.name for domain in domains if domain.name == name), name)
    return mailboxes(entry, domain=home, separators="")[0].key


def set_mailboxes(conn: Connection, *, tenant: str, named: Mapping[str, str]) -> int:
    """Say of entries of a tenant's list which mailbox they are billed as, empty for their own; how many changed.

    Raises NotFoundError, and ConflictError when a mailbox that is named is itself billed as another.
    """
    number = tenant_by_name(conn, tenant).tenant.id
    before = _mailboxes(conn, number)
    changed = {entry: box for entry, box in named.items() if before.get(entry, box) != box}
    if changed:
        statement = (
            update(recipients)
            .where(recipients.c.tenant == number, recipients.c.address == bindparam("of_entry"))
            .values(mailbox=bindparam("is_mailbox"))
        )
        rows = [{"of_entry": entry, "is_mailbox": box} for entry, box in sorted(changed.items())]
        conn.execute(statement, rows)
    _check(before | changed)
    return len(changed)


def listed_mailboxes(conn: Connection, *, tenant: str) -> dict[str, str]:
    """The entries of a tenant's list that are billed as another mailbox, with that. Raises NotFoundError."""
    found = _mailboxes(conn, tenant_by_name(conn, tenant).tenant.id)
    return {entry: box for entry, box in found.items() if box}


def _mailboxes(conn: Connection, tenant: int) -> dict[str, str]:
    rows = conn.execute(select(recipients.c.address, recipients.c.mailbox).where(recipients.c.tenant == tenant))
    return {row.address: row.mailbox for row in rows}


def _check(named: Mapping[str, str]) -> None:
    """One step only: else it would matter in which order they are looked up."""
    wrong = [
        f"{entry} is billed as {box}, which is itself billed as {named[box]}"
        for entry, box in sorted(named.items())
        if box and named.get(box, box) not in ("", box)
    ]
    if wrong:
        more = f" (and {len(wrong) - 5} more)" if len(wrong) > 5 else ""
        raise ConflictError(f"{'; '.join(wrong[:5])}{more}: name the last one each time; nothing was changed")
