"""Facts about what the text says of its sender: its domain's name, and the addresses to write to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

from mailguard.checks.identity_data import organisation
from mailguard.checks.identity_links import Kind, Led
from mailguard.checks.identity_view import Fact, View, name_fits
from mailguard.message.addresses import addresses_in

TEXT_LIMIT = 6_000
"""Characters at the top, and at the end, in which the sender is looked for."""
ADDRESS_LIMIT = 10
"""Addresses of the text that are looked at."""

_DOMAIN = re.compile(r"(?:[a-zA-Z0-9-]{1,63}\.){1,5}[a-zA-Z]{2,24}\b")
_LOCAL = re.compile(r"[a-zA-Z0-9._%+-]{1,64}")
_REPLY = re.compile(r"(?:re|aw|sv|antw|odp|rv|ref|回复|答复|reply)\s{0,2}(?:\[\d+\])?\s{0,2}[:：]", re.IGNORECASE)


def text_sender_facts(view: View, links: list[Led]) -> Iterator[Fact]:
    """Whether the text tells of From's domain, and whom it asks to write to."""
    text = view.message.visible_text
    if len(text) > 2 * TEXT_LIMIT:
        text = f"{text[:TEXT_LIMIT]}\n{text[-TEXT_LIMIT:]}"
    label = view.organisation.partition(".")[0]
    if not view.freemail and len(label) >= 4:
        folded = f"{view.message.shown_subject.text[:500]} {text}".casefold()
        if label in folded or label.replace("-", " ") in folded:
            yield "TEXT_NAMES_AUTHOR", (label,)
    yield from _addresses(view, text)
    yield from _links_of_name(view, links)
    yield from _thread(view)


def _addresses(view: View, text: str) -> Iterator[Fact]:
    if "@" not in text and not any(link.url[:7].lower() == "mailto:" for link in view.message.links[:50]):
        return
    own = view.address.casefold()
    mails = (link.url[7:].partition("?")[0] for link in view.message.links[:50] if link.url[:7].lower() == "mailto:")
    found = dict.fromkeys(map(str.casefold, _found(f"{text} {' '.join(mails)}")))
    for address in found:
        domain = address.rpartition("@")[2]
        if address == own:
            continue
        if view.is_own(domain):
            yield "TEXT_ADDRESS_OWN", (address,)
        elif domain in view.senders.freemail:
            yield ("TEXT_ADDRESS_OTHER_FREEMAIL" if view.freemail else "TEXT_ADDRESS_FREEMAIL"), (address, own)


def _found(text: str) -> Iterator[str]:
    """The first addresses of a text: `[a-zA-Z0-9._%+-]{1,64}@` and a domain."""
    return (text[start:end] for start, end in islice(addresses_in(text, _LOCAL, _DOMAIN), ADDRESS_LIMIT))


def _links_of_name(view: View, links: list[Led]) -> Iterator[Fact]:
    """Whether links lead to a domain that the display name tells of, though From's does not."""
    if len(view.name) < 4:
        return
    for host in dict.fromkeys(one.link.host for one in links if one.kind is Kind.FOREIGN):
        if name_fits(view.name, organisation(host)):
            yield "LINKS_FIT_NAME", (view.name, host)
            return


def _thread(view: View) -> Iterator[Fact]:
    message = view.message
    answers = bool(message.fields("in-reply-to") or message.fields("references"))
    if _REPLY.match(message.subject.lstrip()):
        yield ("REPLY_IN_THREAD" if answers else "REPLY_WITHOUT_THREAD"), (message.subject[:60],)
