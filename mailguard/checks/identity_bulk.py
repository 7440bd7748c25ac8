"""Facts about the manners of bulk mail: whether subscriptions can be taken back, at whose host, and whether its fields agree."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator

from mailguard.checks.identity_auth import Known
from mailguard.checks.identity_data import organisation
from mailguard.checks.identity_links import Kind, Led, kind_of, unsubscribe_links
from mailguard.checks.identity_view import Fact, View, list_id
from mailguard.core.address import domain_of
from mailguard.message.urls import link_of
from mailguard.net.dns import lookup_name

_TARGET = re.compile(r"<\s*([^<>]{1,2000}?)\s*>")
_ONE_CLICK = re.compile(r"list-?unsubscribe\s*=\s*one-click", re.IGNORECASE)
_FEEDBACK = {
    "amazonses": "Amazon SES",
    "mc": "Mailchimp",
    "sg": "SendGrid",
    "sendinblue": "Brevo",
    "klaviyo": "Klaviyo",
}
"""What services write last in Feedback-ID, to their names in services.txt."""
_AT_HOME = frozenset({Kind.OWN, Kind.SERVICE, Kind.OTHER_SERVICE})
MARKETING_LINKS = 5
"""Links of HTML from which a mail looks like bulk mail."""


def bulk_facts(view: View, links: list[Led]) -> Iterator[Fact]:
    """List-Unsubscribe (RFC 2369, RFC 8058), Feedback-ID, List-Id and Precedence against the sender."""
    message = view.message
    header = message.get("list-unsubscribe")
    post = message.get("list-unsubscribe-post")
    complete = False
    if header:
        complete = yield from _unsubscribe(view, header, post)
    elif post:
        yield "UNSUBSCRIBE_MALFORMED", ("List-Unsubscribe-Post without List-Unsubscribe",)
    yield from _lists(view)
    feedback = message.get("feedback-id")
    if feedback:
        yield from _feedback(view, feedback)
    offered = unsubscribe_links(links)
    at_home = [one for one in offered if one.kind in _AT_HOME]
    if at_home:
        yield "UNSUBSCRIBE_LINK_OWN", (at_home[0].link.host,)
    elif offered:
        yield "UNSUBSCRIBE_LINK_FOREIGN", (offered[0].link.host,)
    looks_bulk = bool(message.html) and len(links) >= MARKETING_LINKS
    if looks_bulk and not header and not offered:
        yield "BULK_WITHOUT_UNSUBSCRIBE", ()
    if complete and view.passes:
        yield "BULK_COMPLETE", ()
    if (header or offered) and not view.auth.claimed and not list_id(message):
        yield "BULK_UNSIGNED", ()
    if header and view.fails and not view.via_list:
        yield "BULK_UNAUTHENTIC", ()


def _unsubscribe(view: View, header: str, post: str) -> Generator[Fact, None, bool]:
    """Facts about List-Unsubscribe. Returns whether it is one click at the sender's or its service's."""
    targets = [match[1] for match in _TARGET.finditer(header[:4000])][:5]
    if not targets and "://" in header[:20]:
        targets = [header.strip()[:2000]]
    hosts, mails, plain = [], [], False
    for target in targets:
        lowered = target[:8].lower()
        if lowered.startswith("mailto:"):
            domain = lookup_name(domain_of(target[7:].partition("?")[0].strip()))
            mails += [domain] if domain else []
        elif lowered.startswith("http"):
            link = link_of(target)
            hosts += [link.host] if link and link.host else []
            plain = plain or not lowered.startswith("https")
    if not hosts and not mails:
        yield "UNSUBSCRIBE_MALFORMED", (header[:80],)
        return False
    kinds = [kind_of(view, host) for host in (*hosts, *mails)]
    home = any(kind in _AT_HOME for kind in kinds)
    foreign = [host for host, kind in zip((*hosts, *mails), kinds, strict=True) if kind not in _AT_HOME]
    one_click = bool(hosts) and bool(_ONE_CLICK.search(post))
    if one_click:
        yield ("UNSUBSCRIBE_ONE_CLICK" if home else "UNSUBSCRIBE_ONE_CLICK_FOREIGN"), tuple(hosts[:1])
    listed = organisation(lookup_name(list_id(view.message)) or "")
    if home:
        yield "UNSUBSCRIBE_OWN", tuple((*hosts, *mails)[:2])
    elif listed and all(organisation(host) == listed for host in foreign):
        yield "UNSUBSCRIBE_FROM_LIST", tuple(foreign[:1])
    else:
        yield "UNSUBSCRIBE_FOREIGN", tuple(foreign[:2])
        if any(kind in {Kind.KNOWN, Kind.NEUTRAL} for kind in kinds):
            yield "UNSUBSCRIBE_AT_OTHERS", tuple(foreign[:2])
    if plain:
        yield "UNSUBSCRIBE_NOT_HTTPS", tuple(hosts[:1])
    if not hosts:
        yield "UNSUBSCRIBE_BY_MAIL", tuple(mails[:1])
    return one_click and home and not plain


def _feedback(view: View, feedback: str) -> Iterator[Fact]:
    """Feedback-ID: four fields, the last of which names who sends; Amazon SES has two."""
    seen = (feedback[:80],)
    sender = feedback.rpartition(":")[2].strip()
    service = _FEEDBACK.get(sender.lower())
    if service and view.auth.dkim is not Known.UNKNOWN and service not in view.services and view.fails:
        yield "FEEDBACK_ID_FALSE", seen
    elif service or feedback.count(":") >= 2:
        yield "FEEDBACK_ID", seen
    else:
        yield "FEEDBACK_ID_ODD", seen


def _lists(view: View) -> Iterator[Fact]:
    named = list_id(view.message)
    if named:
        domain = lookup_name(named) or ""
        home = view.is_own(domain) or bool(view.senders.service_of(domain))
        yield ("LIST_ID_OWN" if home else "LIST_ID_OTHER"), (named[:80],)
    precedence = view.message.get("precedence").lower()
    if precedence in {"bulk", "list"}:
        yield "PRECEDENCE_BULK", (precedence,)
