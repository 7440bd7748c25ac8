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
    domain = _as_domain(text)
    if domain is not None:
        return schema.units.c.domain == domain
    return schema.units.c.recipient.in_(_address_ids(text))


def sender_condition(text: str) -> ColumnElement[bool]:
    """The condition on `messages` that a sender sets: MAIL FROM or the From field, an address or a domain; `<>`."""
    messages = schema.messages
    if text == NULL_SENDER:
        return messages.c.mail_from.in_(_address_ids(""))
    domain = _as_domain(text)
    if domain is None:
        return or_(messages.c.mail_from.in_(_address_ids(text)), messages.c.header_from.in_(_forms(text)))
    return or_(
        messages.c.mail_from.in_(_domain_ids(domain)),
        messages.c.header_from.endswith(f"@{domain}", autoescape=True),
    )


def _as_domain(text: str) -> str | None:
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


def _address_ids(text: str) -> Select[tuple[int]]:
    return select(schema.addresses.c.id).where(schema.addresses.c.address.in_(_forms(text)))


def _domain_ids(domain: str) -> Select[tuple[int]]:
    return select(schema.addresses.c.id).where(schema.addresses.c.address.endswith(f"@{domain}", autoescape=True))


def address_ids_of(text: str) -> Select[tuple[int]]:
    """The surrogate ids of an address, of all addresses of a domain, or of the null sender (`<>`)."""
    if text == NULL_SENDER:
        return _address_ids("")
    domain = _as_domain(text)
    return _address_ids(text) if domain is None else _domain_ids(domain)
