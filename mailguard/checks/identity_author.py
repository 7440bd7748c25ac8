"""Facts about the From field, and about the other addresses of a mail against it: Reply-To, Sender, Return-Path, Message-ID, To."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mailguard.checks.identity_auth import Known
from mailguard.checks.identity_data import fold_name, organisation, words_of
from mailguard.checks.identity_lookalike import imitation
from mailguard.checks.identity_names import Named
from mailguard.checks.identity_shape import digits, has_cheap_suffix, is_official, is_random, is_real, is_reserved
from mailguard.checks.identity_view import Fact, View, name_fits_domain
from mailguard.core.address import domain_of
from mailguard.net.dns import lookup_name

_ADDRESS = re.compile(r"[^\s<>\"'()\[\],;:]{1,64}@([a-z0-9-]+(?:\.[a-z0-9-]+)+)", re.IGNORECASE)
_SITE = re.compile(
    r"(?<![@\w.-])(?:[a-z0-9-]+\.){1,4}(?:com|net|org|de|fr|it|es|nl|uk|br|in|jp|gov|us|info)(?![\w.-])", re.IGNORECASE
)
_GENERIC = re.compile(
    r"\b(?:support|help ?desk|service ?desk|it.?(?:support|team|admin)\w*|admin\w*|webmail|mail ?(?:server|admin\w*|team|support|box)"
    r"|e-?mail (?:admin\w*|support|team|server|service)|postmaster|system|security|account(?:s| team| alert)?|billing"
    r"|hr|human resources|payroll|notification\w*|alert\w*|customer (?:service|care|support)|verification|reward\w*|winner"
    r"|delivery|parcel|package|voice ?mail|fax|scanner|document\w*|invoice\w*|payment\w*|kundenservice|kundendienst"
    r"|sicherheit\w*|konto\w*|buchhaltung|servizio clienti|assistenza|service client|assistance|atención al cliente"
    r"|soporte|suporte|atendimento|segurança|seguridad|banco|bank|finance\w*|refund\w*|claim\w*|subscription\w*|antivirus)\b",
    re.IGNORECASE,
)
_COMPANY = re.compile(
    r"\b(?:gmbh|ag|inc|llc|ltd|corp|s\.?a\.?|s\.?r\.?l\.?|ltda|b\.?v\.?|oy|ab|plc|kg|bank|group|company)\b\.?",
    re.IGNORECASE,
)
_UNDISCLOSED = re.compile(r"undisclosed|recipients?:\s*;", re.IGNORECASE)
_ROLES_WORDS = """
    noreply no-reply donotreply do-not-reply info newsletter news support hello contact team service notifications notification
    notify updates mail marketing sales office billing accounts orders order kontakt hallo noresponder nepasrepondre nao-responda
"""
_ROLES = frozenset(_ROLES_WORDS.split())
_HOST_OF_ID = re.compile(r"@\[?([^>\]\s]{1,255})")
_STATES = {Known.PASS: "AUTHENTIC", Known.FAIL: "FORGED", Known.UNKNOWN: "UNVERIFIED"}
_AUTHOR = {Known.PASS: "AUTHOR_AUTHENTIC", Known.FAIL: "AUTHOR_UNAUTHENTIC", Known.UNKNOWN: "AUTHOR_UNVERIFIED"}
_ADDED_ID = "@mx.google.com"
"""What a receiver puts where there was no usable Message-ID."""


def author_facts(view: View) -> Iterator[Fact]:
    """Whether the author is authenticated, and what is known of the domain."""
    if not view.domain:
        yield "AUTHOR_WITHOUT_DOMAIN", ()
        return
    seen = (view.domain,)
    yield _AUTHOR[view.auth.author], seen
    if view.auth.author_signed:
        yield "AUTHOR_SIGNED", seen
    if view.via_list:
        yield "AUTHOR_VIA_LIST", (view.via_list,)
    yield from _signatures(view)
    # A list breaks what its members' domains vouch for, without their being forged.
    state = "UNVERIFIED" if view.via_list else _STATES[view.auth.author]
    if view.freemail:
        yield f"FREEMAIL_{state}", seen
        return
    if view.senders.is_well_known(view.domain):
        yield f"WELL_KNOWN_{state}", seen
    if is_official(view.domain):
        yield f"OFFICIAL_{state}", seen
    yield from _domain_shape(view)
    found = imitation(view.domain)
    if found is not None:
        yield "LOOKALIKE_AUTHOR", (view.domain, found.brand.name, str(found.trick))


def _signatures(view: View) -> Iterator[Fact]:
    """Who signed, when it is not the author."""
    auth, known = view.auth, view.senders
    if auth.dkim is Known.PASS and not auth.author_signed:
        by_service = any(known.service_of(domain) or known.mailbox_of(domain) for domain in auth.signers)
        yield ("SIGNED_BY_SERVICE" if by_service else "SIGNED_BY_STRANGER"), auth.signers[:2]
    elif auth.dkim is Known.UNKNOWN and auth.claimed:
        own = any(organisation(domain) == view.organisation for domain in auth.claimed)
        yield ("SIGNATURE_NAMES_AUTHOR" if own else "SIGNATURE_NAMES_OTHER"), auth.claimed[:2]
    if not auth.claimed:
        yield "SIGNATURE_MISSING", ()
    if view.fails and auth.sealers:
        yield "AUTHOR_SEALED", auth.sealers[:1]


def _domain_shape(view: View) -> Iterator[Fact]:
    label = view.organisation.partition(".")[0]
    seen = (view.domain,)
    known = view.senders
    if known.is_well_known(view.domain):
        return
    if known.is_kind("pages", view.domain) or known.is_kind("files", view.domain):
        yield "AUTHOR_DOMAIN_FREE_PAGE", seen
    elif view.domain.endswith(".onmicrosoft.com"):
        yield "AUTHOR_DOMAIN_TENANT", seen
    elif known.service_of(view.domain):
        yield "AUTHOR_DOMAIN_SERVICE", seen
    if is_reserved(view.domain):
        return
    if not is_real(view.domain):
        yield "AUTHOR_DOMAIN_UNREAL", seen
    if digits(label) >= 3:
        yield "AUTHOR_DOMAIN_DIGITS", seen
    if label.count("-") >= 2 and not label.startswith("xn--"):
        yield "AUTHOR_DOMAIN_HYPHENS", seen
    if "xn--" in view.domain:
        yield "AUTHOR_DOMAIN_PUNYCODE", seen
    if has_cheap_suffix(view.domain):
        yield "AUTHOR_DOMAIN_CHEAP", seen
    hosts = view.domain.removesuffix(view.organisation).rstrip(".").split(".")
    if is_random(label):
        yield "AUTHOR_DOMAIN_RANDOM", seen
    if any(is_random(host) for host in hosts if len(host) >= 6):
        yield "AUTHOR_HOST_RANDOM", seen
    if len([host for host in hosts if host]) >= 3:
        yield "AUTHOR_DOMAIN_DEEP", seen
    if len(label) >= 25:
        yield "AUTHOR_DOMAIN_LONG", seen


def name_facts(view: View, named: Named) -> Iterator[Fact]:
    """What the display name and the local part say."""
    name, local = view.name.strip(), view.local
    if not name:
        yield "AUTHOR_NAME_MISSING", ()
    else:
        yield from _name_against_domain(view, name)
    if named.imitations:
        yield "LOOKALIKE_NAME", tuple(f"{word} ({brand.name})" for word, brand in named.imitations[:2])
    if local and view.domain:
        yield from _local_part(view, local, name)


def _name_against_domain(view: View, name: str) -> Iterator[Fact]:
    if name.casefold() == view.address.casefold():
        yield "AUTHOR_NAME_IS_ADDRESS", ()
    for match in _ADDRESS.finditer(name):
        if organisation(lookup_name(match[1]) or "") != view.organisation:
            yield "AUTHOR_NAME_OTHER_ADDRESS", (match[0], view.address)
            break
    site = _SITE.search(_ADDRESS.sub(" ", name)) if "." in name else None
    if site and not view.is_own(site[0].lower()):
        yield "AUTHOR_NAME_OTHER_SITE", (site[0], view.domain)
    if "_" in name:
        yield "AUTHOR_NAME_UNDERSCORES", (name,)
    generic = _GENERIC.search(name)
    if view.freemail:
        company = _COMPANY.search(name)
        if generic or company:
            yield "FREEMAIL_FIRM", (name, view.address)
        elif _is_of_name(name, view.local):
            yield "AUTHOR_LOCAL_FITS_NAME", (view.local,)
        return
    if name_fits_domain(view):
        yield ("AUTHOR_NAME_FITS_AUTHENTIC" if view.passes else "AUTHOR_NAME_FITS_DOMAIN"), (name, view.domain)
    elif _is_of_name(name, view.local):
        yield "AUTHOR_LOCAL_FITS_NAME", (view.local,)
    elif view.domain:
        yield "AUTHOR_NAME_UNLIKE_DOMAIN", (name, view.domain)
        if generic and not view.passes:
            yield "AUTHOR_NAME_GENERIC", (name, view.domain)


def _is_of_name(name: str, local: str) -> bool:
    """Whether a local part is made of a person's name: `jane.doe`, `jdoe`, `doe`."""
    words = [word.casefold() for word in words_of(name) if len(word) >= 3][:6]
    bare = fold_name(local.partition("+")[0])
    return len(bare) >= 3 and any(word in bare or bare in word for word in words)


def _local_part(view: View, local: str, name: str) -> Iterator[Fact]:
    seen = (view.address,)
    bare = local.partition("+")[0]
    if bare in _ROLES:
        yield "AUTHOR_LOCAL_ROLE", seen
    elif not _is_of_name(name, local):
        if is_random(bare.replace(".", "").replace("-", "").replace("_", "")):
            yield "AUTHOR_LOCAL_RANDOM", seen
        if digits(bare) >= 4:
            yield "AUTHOR_LOCAL_DIGITS", seen
    if len(bare) > 30:
        yield "AUTHOR_LOCAL_LONG", seen
    for word in words_of(bare)[:6]:
        brand = view.senders.names.get(word.casefold()) if len(word) >= 4 else None
        if brand is not None and not brand.may_own(view.domain):
            yield "AUTHOR_LOCAL_BRAND", (view.address, brand.name)
            break


def address_facts(view: View) -> Iterator[Fact]:
    """Reply-To, Sender and To against From."""
    message = view.message
    replies = [box.address for box in message.mailboxes("reply-to")[:5]]
    if replies:
        yield from _reply(view, replies)
    senders = message.fields("sender")
    if senders:
        boxes = message.mailboxes("sender")
        domain = lookup_name(domain_of(boxes[0].address)) if boxes else None
        if domain is None:
            yield "SENDER_MALFORMED", (message.get("sender")[:80],)
        elif not view.is_own(domain) and not view.senders.service_of(domain):
            yield "SENDER_FOREIGN", (domain,)
    to = message.get("to")
    if not to.strip() or _UNDISCLOSED.search(to[:200]):
        yield ("FREEMAIL_TO_UNDISCLOSED" if view.freemail else "RECIPIENT_UNDISCLOSED"), ()
    elif (
        view.address
        and len(to) < 400
        and [box.address.lower() for box in message.mailboxes("to")[:2]] == [view.address.lower()]
    ):
        yield "RECIPIENT_IS_AUTHOR", (view.address,)


def _reply(view: View, replies: list[str]) -> Iterator[Fact]:
    domains = [(reply, lookup_name(domain_of(reply)) or "") for reply in replies]
    if all(view.is_own(domain) for _, domain in domains if domain):
        yield "REPLY_TO_OWN", ()
        return
    # Who writes by a service's own domain has no other way to be answered.
    by_service = bool(view.senders.service_of(view.domain)) and not name_fits_domain(view)
    for reply, domain in domains:
        if not domain or domain == view.domain or view.is_own(domain):
            continue
        if by_service or view.senders.service_of(domain):
            yield "REPLY_TO_SERVICE", (reply,)
        elif domain in view.senders.freemail:
            yield ("REPLY_TO_OTHER_FREEMAIL" if view.freemail else "REPLY_TO_FREEMAIL"), (reply, view.address)
        else:
            yield "REPLY_TO_FOREIGN", (reply, view.address)
        found = imitation(domain)
        if found is not None and found.brand is not view.brand:
            yield "LOOKALIKE_REPLY_TO", (domain, found.brand.name)


def path_facts(view: View) -> Iterator[Fact]:
    """Return-Path and Message-ID against From."""
    if not view.domain:
        return
    bounce = view.auth.envelope
    if bounce:
        of_brand = view.brand is not None and view.brand.owns(bounce)
        if of_brand or organisation(bounce) == view.organisation:
            yield "RETURN_PATH_OWN", (bounce,)
        else:
            yield ("RETURN_PATH_SERVICE" if view.senders.service_of(bounce) else "RETURN_PATH_FOREIGN"), (bounce,)
    written = view.message.message_id
    match = _HOST_OF_ID.search(written)
    if match is None or written.rstrip("> ").endswith(_ADDED_ID):
        return
    host = match[1].rstrip(".").lower()
    known = view.senders
    if view.is_own(host) or host == view.domain:
        yield "MESSAGE_ID_OWN", (host,)
    elif service := known.service_of(host):
        took_part = view.auth.dkim is Known.UNKNOWN or service in view.services
        yield ("MESSAGE_ID_SERVICE" if took_part else "MESSAGE_ID_OTHER_SERVICE"), (host,)
    elif known.mailbox_of(host):
        yield "MESSAGE_ID_MAILBOX", (host,)
    elif "." not in host:
        yield ("MESSAGE_ID_RANDOM" if is_random(host) else "MESSAGE_ID_BARE"), (host,)
    else:
        yield "MESSAGE_ID_FOREIGN", (host,)
