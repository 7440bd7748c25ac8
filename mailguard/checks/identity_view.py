"""One mail as the identity check sees it: whose it says it is, who vouches for it, and which hosts belong to its sender."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from mailguard.checks.base import CheckContext
from mailguard.checks.identity_auth import Authentication, Known, authentication
from mailguard.checks.identity_data import Brand, Senders, fold_name, organisation, senders
from mailguard.core.address import domain_of, local_part_of
from mailguard.core.verdict import CheckResult
from mailguard.message.normalise import normalise
from mailguard.message.parse import Message
from mailguard.net.dns import lookup_name

Fact = tuple[str, tuple[str, ...]]
"""A symbol's name and its evidence."""

NAME_LIMIT = 300
"""Characters of a display name that are looked at."""
_LIST_ID = re.compile(r"<\s*([^<>\s]{1,255})\s*>")
_PROVIDERS_OWN = frozenset(
    {"noreply", "no-reply", "no_reply", "donotreply", "postmaster", "mailer-daemon", "newsletter"}
)
"""Local parts that providers of mailboxes keep for themselves: `noreply@` of such a domain is the provider."""
LABEL_LEAST = 4
"""Letters from which a firm's label counts as its own below another suffix: `acme.example` and `acme.test`."""


@dataclass(frozen=True, slots=True)
class View:
    """What the facts are worked out from. Domains are in look-up form; `domain` is empty when From has none."""

    message: Message
    senders: Senders
    auth: Authentication
    name: str
    """The display name in From, its tricks undone."""
    address: str
    local: str
    domain: str
    organisation: str
    brand: Brand | None
    """The brand that From's domain belongs to."""
    freemail: bool
    own: frozenset[str]
    """Organisational domains of From, and, unless From is forged, of whoever took part in sending and is no service."""
    own_label: str
    services: frozenset[str]
    """The services that took part in sending it."""
    via_list: str
    """The domain of the mailing list that surely sent it on, as its List-Id and the envelope or a signature say; or empty."""

    def is_own(self, host: str) -> bool:
        """Whether a host is the sender's: of its domains, of its brand, or of the same name below another suffix."""
        name = organisation(host)
        if name in self.own or (self.brand is not None and self.brand.owns(host)):
            return True
        return bool(self.own_label) and name.partition(".")[0] == self.own_label and "." in name

    @property
    def passes(self) -> bool:
        """Whether the author's domain is authenticated."""
        return self.auth.author is Known.PASS

    @property
    def fails(self) -> bool:
        """Whether it is known not to be."""
        return self.auth.author is Known.FAIL


def view_of(context: CheckContext, results: Mapping[str, CheckResult]) -> View:
    """What is to be known of a mail before its facts."""
    known = senders()
    message = context.message
    box = message.from_mailboxes[0] if message.from_mailboxes else None
    address = box.address if box else ""
    domain = lookup_name(domain_of(address)) or ""
    if domain.startswith("["):
        domain = ""
    auth = authentication(context, results, domain)
    local = local_part_of(address).strip('"').lower()
    freemail = domain in known.freemail and not (local in _PROVIDERS_OWN and auth.author is not Known.FAIL)
    name = organisation(domain)
    shared = freemail or (bool(known.service_of(domain)) and known.brand_of(domain) is None)
    own = set() if shared or not name else {name}
    services = set()
    for sender in auth.senders:
        service = known.service_of(sender)
        if service:
            services.add(service)
        elif auth.author is not Known.FAIL and not known.mailbox_of(sender) and sender not in known.freemail:
            own.add(organisation(sender))
    label = "" if shared else name.partition(".")[0]
    return View(
        message=message,
        senders=known,
        auth=auth,
        name=normalise(box.name[:NAME_LIMIT]).text if box else "",
        address=address,
        local=local,
        domain=domain,
        organisation=name,
        brand=None if freemail else known.brand_of(domain),
        freemail=freemail,
        own=frozenset(own),
        own_label=label if len(label) >= LABEL_LEAST else "",
        services=frozenset(services),
        via_list=_list_of(message, auth) if auth.author is Known.FAIL else "",
    )


def list_id(message: Message) -> str:
    """What stands in the angle brackets of List-Id (RFC 2919), in lower case; empty when there is none."""
    match = _LIST_ID.search(message.get("list-id"))
    return match[1].lower() if match else ""


def _list_of(message: Message, auth: Authentication) -> str:
    domain = lookup_name(list_id(message)) or ""
    if not domain:
        return ""
    proven = (*auth.signers, *((auth.envelope,) if auth.spf is Known.PASS else ()))
    name = organisation(domain)
    return name if any(organisation(sender) == name for sender in proven) else ""


def name_fits_domain(view: View) -> bool:
    """Whether the display name and From's domain tell of the same."""
    return name_fits(view.name, view.organisation)


def name_fits(name: str, domain: str) -> bool:
    """Whether a display name and a registrable domain tell of the same: `Acme Newsletter` of acme.example."""
    folded = fold_name(name)
    label = fold_name(domain.partition(".")[0])
    if len(label) < 3 or len(folded) < 3:
        return False
    if label in folded or folded in label:
        return True
    words = name.casefold().split()
    return any(len(word) >= 4 and word.isalnum() and fold_name(word) in label for word in words[:8])
