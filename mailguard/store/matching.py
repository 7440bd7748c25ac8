"""Conditions that an id, an address or a domain sets on units and messages, as an admin types them."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Select, or_, select

from mailguard.core.address import normalise
from mailguard.core.ids import is_message_id, is_unit_id
from mailguard.store import schema
from mailguard.store.forms import lookup_form
from mailguard.store.texts import clean

NULL_SENDER = "<>"


def id_condition(text: str) -> ColumnElement[bool] | None:
    """The condition on `units` that a message's or unit's id sets; None when `text` has the form of neither."""
    text = text.strip().upper()
    if is_unit_id(text):
        return schema.units.c.id == text
    if is_message_id(text):
        return schema.units.c.message == text
    return None


def recipient_condition(text: str) -> ColumnElement[bool]:
    """The condition on `units` that a recipient (an address or a domain) sets."""
    domain = as_domain(text)
    if domain is not None:
        return schema.units.c.domain == domain
    return schema.units.c.recipient.in_(address_ids_of(text))


def sender_condition(text: str) -> ColumnElement[bool]:
    """The condition on `messages` that a sender sets: MAIL FROM or the From field, an address or a domain; `<>`."""
    return or_(schema.messages.c.mail_from.in_(address_ids_of(text)), *author_conditions(text))


def author_conditions(text: str) -> list[ColumnElement[bool]]:
    """The conditions on `messages`, any of which will do, that a sender sets on the From field; none for `<>`."""
    author = schema.messages.c.header_from
    if text == NULL_SENDER:
        return []
    domain = as_domain(text)
    return [author == form for form in _forms(text)] if domain is None else [schema.domain_part(author) == domain]


def address_condition(text: str) -> ColumnElement[bool]:
    """The condition on `addresses` that an address, a domain, or the null sender (`<>`) sets."""
    address = schema.addresses.c.address
    domain = None if text == NULL_SENDER else as_domain(text)
    if domain is not None:
        return schema.domain_part(address) == domain
    return address.in_([""] if text == NULL_SENDER else _forms(text))


def address_ids_of(text: str) -> Select[tuple[int]]:
    """The surrogate ids of an address, of all addresses of a domain, or of the null sender (`<>`)."""
    return select(schema.addresses.c.id).where(address_condition(text))


def as_domain(text: str) -> str | None:
    """The domain that is meant, None when an address is: a name with a dot and no local part."""
    local, at, domain = text.strip().rpartition("@")
    if local or not (at or "." in domain):
        return None
    return lookup_form(domain)


def _forms(text: str) -> list[str]:
    """An address as it may be stored: as typed, and with its domain in A-labels."""
    address = clean(normalise(text.strip().strip("<>")))
    local, at, domain = address.rpartition("@")
    labels = lookup_form(domain) if at else None
    return [address] if labels in (None, domain) else [address, f"{local}@{labels}"]
