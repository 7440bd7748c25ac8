"""Whose data is meant by an address: the rows of `addresses` that stand for it, and where mail of it is. Reads only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, or_, select

from mailguard.core.address import domain_of, is_mailbox, local_part_of, normalise
from mailguard.core.errors import ConfigError, Problem
from mailguard.core.mailbox import mailbox_key
from mailguard.store.forms import lookup_form
from mailguard.store.schema import addresses, domains, messages, tenants, units
from mailguard.store.texts import clean


@dataclass(frozen=True, slots=True)
class Person:
    """Who is known by an address.

    `address` is in normal form. `texts` are all forms in which it may stand in the database: as typed, with its domain in
    A-labels, and, where its domain is a tenant's, what the sender may add to it (`joe+news`) and the alias domains.
    `ids` are the rows of `addresses` for these, by their text.
    """

    address: str
    texts: tuple[str, ...]
    ids: dict[str, int]

    @property
    def received(self) -> ColumnElement[bool]:
        """The condition on `units` that it is the recipient."""
        return units.c.recipient.in_(sorted(self.ids.values()))

    @property
    def sent(self) -> ColumnElement[bool]:
        """The condition on `messages` that it is the sender, by MAIL FROM or the From field."""
        return or_(messages.c.mail_from.in_(sorted(self.ids.values())), messages.c.header_from.in_(self.texts))


def person(connection: Connection, text: str) -> Person:
    """Who is meant by `text`. Raises ConfigError when it is no address."""
    address = clean(normalise(text.strip().strip("<>")), 320)
    if not is_mailbox(address):
        raise ConfigError([Problem("ADDRESS", f"{text!r} is not a mail address such as joe@example.org")])
    local, domain = local_part_of(address), domain_of(address)
    forms = {address: None, f"{local}@{lookup_form(domain) or domain}": None}
    home = _home(connection, lookup_form(domain) or domain)
    wanted: list[ColumnElement[bool]] = [addresses.c.address.in_(list(forms))]
    for name in home.domains:
        forms[f"{local}@{name}"] = None
        forms[mailbox_key(local, name)] = None
        wanted.append(addresses.c.address == f"{local}@{name}")
        wanted += [
            addresses.c.address.startswith(f"{local}{separator}", autoescape=True)
            & addresses.c.address.endswith(f"@{name}", autoescape=True)
            for separator in home.separators
        ]
    rows = connection.execute(select(addresses).where(or_(*wanted)).order_by(addresses.c.id)).all()
    ids = {row.address: row.id for row in rows}
    return Person(address, tuple(dict.fromkeys((*forms, *ids))), ids)


@dataclass(frozen=True, slots=True)
class _Home:
    """The domains that have the mailboxes of one, and what parts a mailbox from what the sender adds; nothing for others'."""

    domains: Sequence[str] = ()
    separators: str = ""


def _home(connection: Connection, domain: str) -> _Home:
    row = connection.execute(select(domains).where(domains.c.name == domain)).one_or_none()
    if row is None:
        return _Home()
    home = row.alias_of or row.name
    same = or_(domains.c.name == home, domains.c.alias_of == home)
    separators = connection.scalar(select(tenants.c.separators).where(tenants.c.id == row.tenant))
    return _Home(list(connection.scalars(select(domains.c.name).where(same))), separators or "")
