"""The addresses to which a tenant's users forward mail that was judged wrongly. A change is seen by the relay within seconds."""

from __future__ import annotations

from sqlalchemy import Connection, update

from mailguard.core.address import domain_of, is_mailbox, is_special, local_part_of, normalise
from mailguard.core.errors import ConflictError
from mailguard.store import schema
from mailguard.store.forms import lookup_form
from mailguard.store.tenants import bump, own_domain, tenant_by_name


def set_feedback_addresses(
    connection: Connection, *, tenant: str, spam: str | None = None, ham: str | None = None
) -> None:
    """Set those that are given, in a domain of the tenant; an empty one is none. Raises NotFoundError and ConflictError."""
    record = tenant_by_name(connection, tenant)
    values: dict[str, str] = {}
    for name, given in (("spam_address", spam), ("ham_address", ham)):
        if given is None:
            continue
        address = normalise(given)
        if address:
            domain = lookup_form(domain_of(address)) or domain_of(address)
            if not is_mailbox(address) or is_special(address):
                raise ConflictError(
                    f"{given!r} cannot be a feedback address: it must be one such as spam@{tenant}.example"
                )
            own_domain(record, domain)
            address = f"{local_part_of(address)}@{domain}"
        values[name] = address
    after = {"spam_address": record.tenant.spam_address, "ham_address": record.tenant.ham_address, **values}
    if after["spam_address"] and after["spam_address"] == after["ham_address"]:
        raise ConflictError("spam and ham need two addresses: by them it is known what a mail is said to be")
    if values:
        connection.execute(update(schema.tenants).where(schema.tenants.c.id == record.tenant.id).values(**values))
        bump(connection)
