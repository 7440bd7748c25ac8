"""The author of a mail as a tenant may know it: which address, under which name, proven or not, and where answers go."""

from __future__ import annotations

from dataclasses import dataclass

from mailguard.checks.base import CheckContext
from mailguard.checks.identity_auth import Known, authentication
from mailguard.checks.identity_data import organisation, senders
from mailguard.core.address import domain_of, local_part_of
from mailguard.core.verdict import Findings
from mailguard.message.fields import Mailbox
from mailguard.net.dns import lookup_name

MAILBOX_LIMIT = 10
"""Mailboxes of From and of Reply-To that are looked at."""
NAME_LIMIT = 128
ADDRESS_LIMIT = 320
"""Characters of an address; a longer one is nobody's."""


@dataclass(frozen=True, slots=True)
class Author:
    """Domains are in look-up form; `organisation` is the registrable one. `address` is in normal form, with that domain.

    `proof`: whether the author's organisation vouches for the mail (aligned DKIM or SPF, DMARC); UNKNOWN: it could not be
    asked. `shared`: the domain is anybody's (freemail, a service that sends for others). `well_known`: a large sender's.
    """

    address: str
    domain: str
    organisation: str
    name: str
    proof: Known
    freemail: bool
    shared: bool
    well_known: bool
    replies: tuple[Mailbox, ...]

    @property
    def proven(self) -> bool:
        """Whether it surely is who it says."""
        return self.proof is Known.PASS

    def replies_elsewhere(self, own: frozenset[str]) -> str:
        """The first address that answers go to of neither the author's organisation nor one of `own`; empty: none."""
        for box in self.replies:
            name = domain_form(box.address)
            if name and organisation(name) != self.organisation and organisation(name) not in own:
                return box.address[:ADDRESS_LIMIT]
        return ""

    @property
    def replies_to_other(self) -> str:
        """The first address that answers go to other than the author's; empty: none."""
        return next(
            (box.address[:ADDRESS_LIMIT] for box in self.replies if address_form(box.address) != self.address), ""
        )


def author_of(context: CheckContext, findings: Findings) -> Author | None:
    """The author of a mail; None when From names none or several."""
    boxes = context.message.from_mailboxes
    if len(boxes) != 1:
        return None
    address = address_form(boxes[0].address)
    domain = domain_of(address)
    if not domain or len(address) > ADDRESS_LIMIT:
        return None
    known = senders()
    name = organisation(domain)
    results = {result.check: result for result in findings.results}
    freemail = domain in known.freemail
    return Author(
        address=address,
        domain=domain,
        organisation=name,
        name=boxes[0].name[:NAME_LIMIT],
        proof=authentication(context, results, domain).author,
        freemail=freemail,
        shared=freemail or (bool(known.service_of(domain)) and known.brand_of(domain) is None),
        well_known=known.is_well_known(domain) or bool(known.service_of(domain)),
        replies=tuple(context.message.mailboxes("reply-to")[:MAILBOX_LIMIT]),
    )


def domain_form(address: str) -> str:
    """The domain of an address in look-up form; empty when it has none."""
    name = lookup_name(domain_of(address.strip())) or ""
    return "" if name.startswith("[") else name


def address_form(address: str) -> str:
    """An address as it is compared: small letters, its domain in look-up form; empty when it has no domain."""
    domain = domain_form(address)
    return f"{local_part_of(address.strip()).lower()}@{domain}" if domain else ""
