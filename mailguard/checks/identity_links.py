"""Where a mail's links and pictures lead, seen against who sent it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import re2

from mailguard.checks.identity_data import organisation
from mailguard.checks.identity_lookalike import Trick, imitation
from mailguard.checks.identity_shape import has_cheap_suffix, is_official, is_random
from mailguard.checks.identity_view import Fact, View
from mailguard.message.urls import Link, link_of

LINK_LIMIT = 150
"""Links of one mail that are looked at."""
IMAGE_LIMIT = 60
HTML_LIMIT = 256 * 1024
"""Characters of HTML in which pictures are looked for."""

_HOST = re.compile(r"\s{0,3}(?:[hH][tT]{2}[pP][sS]?:)?//([^/\"'?#\s>:]{3,200})")
_WRITTEN = re.compile(
    r"\s*(?:(https?://|www\.)\S+|[a-z0-9-]+(?:\.[a-z0-9-]+){0,3}\.(?:com|net|org|edu|gov|info|biz|[a-z]{2}))(/\S*)?\s*",
    re.IGNORECASE,
)
_VIEW = re.compile(
    r"browser|online|web ?version|webversion|newsletter|navegador|navigateur|ansehen|anzeigen|view (?:in|on|this)|"
    r"unsubscri|abmeld|désabonn|desabonn|désinscri|cancelar|darse de baja|disiscri|afmeld|uitschrijf|preferences|"
    r"privacy|datenschutz|impressum|terms|skip to",
    re.IGNORECASE,
)
_UNSUBSCRIBE = re2.compile(
    r"(?i)"
    r"unsubscri|opt.?out|abmeld|abbestell|austrag|désabonn|desabonn|désinscri|se désins|cancelar (?:a |la )?(?:inscri|suscri)|"
    r"descadastr|baja|disiscri|annulla (?:l')?iscrizione|afmeld|uitschrijv|avregistrer|avsluta|afmeld|wypisz|rezygn|отписа|"
    r"配信停止|退订|取消订阅|수신거부",
)


class Kind(StrEnum):
    """Whose a linked host is."""

    OWN = "own"
    SERVICE = "service"
    """Of a service that took part in sending the mail."""
    OTHER_SERVICE = "other service"
    NEUTRAL = "neutral"
    SHORT = "shortener"
    PAGES = "pages"
    FILES = "files"
    KNOWN = "known"
    FOREIGN = "foreign"


_AT_HOME = frozenset({Kind.OWN, Kind.SERVICE})
ANYBODY = frozenset({Kind.SHORT, Kind.PAGES, Kind.FILES})
"""Hosts that say nothing of whose page it is."""


@dataclass(frozen=True, slots=True)
class Led:
    """A link and whose host it leads to."""

    link: Link
    kind: Kind


def kind_of(view: View, host: str) -> Kind:
    """Whose a host is, as the sender of this mail sees it."""
    known = view.senders
    if view.is_own(host):
        return Kind.OWN
    if known.is_kind("neutral", host):
        return Kind.NEUTRAL
    service = known.service_of(host)
    if service and service in view.services:
        return Kind.SERVICE
    for name, kind in (("shorteners", Kind.SHORT), ("files", Kind.FILES), ("pages", Kind.PAGES)):
        if known.is_kind(name, host):
            return kind
    if service:
        return Kind.OTHER_SERVICE
    return Kind.KNOWN if known.is_well_known(host) or is_official(host) else Kind.FOREIGN


def led(view: View) -> list[Led]:
    """The links of a mail that have a host, each with whose it is."""
    kinds: dict[str, Kind] = {}
    found = []
    for link in view.message.links[:LINK_LIMIT]:
        if link.host:
            kind = kinds.get(link.host)
            if kind is None:
                kind = kinds[link.host] = kind_of(view, link.host)
            found.append(Led(link, kind))
    return found


def link_facts(view: View, links: list[Led]) -> Iterator[Fact]:
    """Facts about where links lead as a whole."""
    counted = [one for one in links if one.kind is not Kind.NEUTRAL]
    if not counted:
        yield "LINKS_NONE", ()
        return
    hosts = Counter(one.link.host for one in counted)
    home = sum(one.kind in _AT_HOME for one in counted)
    foreign = tuple(dict.fromkeys(one.link.host for one in counted if one.kind not in _AT_HOME))
    top = tuple(host for host, _ in hosts.most_common(2))
    if home == len(counted):
        yield ("LINKS_ALL_OWN_AUTHENTIC" if view.passes else "LINKS_ALL_OWN"), top
    elif 2 * home >= len(counted):
        yield ("LINKS_MOST_OWN_AUTHENTIC" if view.passes else "LINKS_MOST_OWN"), top
    elif home:
        yield "LINKS_SOME_OWN", foreign[:3]
    else:
        yield from _not_at_home(view, counted, foreign)
    yield from _kinds(counted)


def _not_at_home(view: View, counted: list[Led], foreign: tuple[str, ...]) -> Iterator[Fact]:
    if all(one.kind is Kind.OTHER_SERVICE for one in counted):
        yield "LINKS_ALL_SERVICE", foreign[:3]
        return
    if all(one.kind in {Kind.KNOWN, Kind.OTHER_SERVICE} for one in counted):
        yield "LINKS_ALL_KNOWN", foreign[:3]
        return
    if not view.freemail:
        yield "LINKS_NONE_OWN", foreign[:3]
        if view.fails:
            yield "LINKS_NONE_OWN_UNAUTHENTIC", foreign[:3]
    if len({organisation(host) for host in foreign}) == 1:
        yield "LINKS_ONE_FOREIGN", foreign[:1]
        if len({one.link.url for one in counted}) == 1:
            yield "LINKS_ONE_FOREIGN_URL", foreign[:1]
    if all(one.kind in ANYBODY for one in counted):
        yield "LINKS_ALL_ANYBODY", foreign[:3]


def _kinds(counted: list[Led]) -> Iterator[Fact]:
    for kind, name in (
        (Kind.SHORT, "LINK_SHORTENED"),
        (Kind.PAGES, "LINK_FREE_PAGE"),
        (Kind.FILES, "LINK_FILE_HOST"),
        (Kind.OTHER_SERVICE, "LINK_OTHER_SERVICE"),
    ):
        hosts = tuple(dict.fromkeys(one.link.host for one in counted if one.kind is kind))
        if hosts:
            yield name, hosts[:3]
    foreign = {one.link.host for one in counted if one.kind is Kind.FOREIGN}
    cheap = tuple(sorted(host for host in foreign if has_cheap_suffix(host)))
    if cheap:
        yield "LINK_DOMAIN_CHEAP", cheap[:3]
    random = tuple(sorted(host for host in foreign if is_random(organisation(host).partition(".")[0])))
    if random:
        yield "LINK_DOMAIN_RANDOM", random[:3]
    if len({organisation(host) for host in foreign}) >= 5:
        yield "LINKS_MANY_FOREIGN", tuple(sorted(foreign))[:3]


def call_facts(view: View, links: list[Led]) -> Iterator[Fact]:
    """Facts about the link that the mail wants followed: the first with a text of its own that is no formality."""
    for one in links:
        text = one.link.text
        if one.kind is Kind.NEUTRAL or not 2 <= len(text) <= 60 or _VIEW.search(text):
            continue
        if one.kind in _AT_HOME:
            yield "CALL_OWN", (one.link.host,)
        elif one.kind in ANYBODY:
            yield "CALL_ANYBODY", (one.link.host, text)
        elif one.kind is Kind.FOREIGN and not view.freemail:
            yield "CALL_FOREIGN", (one.link.host, text)
        elif one.kind is Kind.FOREIGN and not _WRITTEN.fullmatch(text):
            yield "FREEMAIL_CALL", (one.link.host, text)
        return


def text_facts(view: View, links: list[Led]) -> Iterator[Fact]:
    """Facts about links whose text is a URL, or the name of a web site, and which lead to another."""
    for one in links:
        text = one.link.text
        if not 4 <= len(text) <= 200 or "." not in text or not _WRITTEN.fullmatch(text):
            continue
        shown = link_of(text.strip() if "://" in text else f"http://{text.strip()}")
        if shown is None or not shown.host or organisation(shown.host) == organisation(one.link.host):
            continue
        evidence = (shown.host, one.link.host)
        if one.kind in {Kind.OWN, Kind.SERVICE, Kind.OTHER_SERVICE, Kind.NEUTRAL} or _same_owner(view, *evidence):
            yield "LINK_TEXT_TRACKED", evidence
        elif view.senders.brand_of(shown.host) is not None:
            yield "LINK_TEXT_BRAND_ELSEWHERE", evidence
        else:
            yield "LINK_TEXT_ELSEWHERE", evidence


def _same_owner(view: View, one: str, other: str) -> bool:
    brand = view.senders.brand_of(one)
    if brand is not None and brand.may_own(other):
        return True
    label = organisation(one).partition(".")[0]
    return len(label) >= 4 and label == organisation(other).partition(".")[0]


def imitation_facts(view: View, links: list[Led]) -> Iterator[Fact]:
    """Facts about linked hosts that pass for a well-known one."""
    for host in dict.fromkeys(one.link.host for one in links if one.kind in {Kind.FOREIGN, Kind.PAGES}):
        found = imitation(host)
        if found is not None and found.brand is not view.brand:
            name = "LOOKALIKE_LINK_HOST" if found.trick is Trick.HOST else "LOOKALIKE_LINK"
            yield name, (host, found.brand.name)


def image_hosts(html: str) -> list[str]:
    """The hosts that pictures come from, each once."""
    hosts: dict[str, None] = {}
    # Splitting at a fixed string is ten times faster than a pattern that begins with a choice.
    for mark in ('src="', "src='", 'SRC="'):
        for piece in html[:HTML_LIMIT].split(mark)[1:]:
            match = _HOST.match(piece)
            if match:
                hosts[match[1].lower()] = None
                if len(hosts) >= IMAGE_LIMIT:
                    return list(hosts)
    return list(hosts)


def image_facts(view: View, hosts: list[str]) -> Iterator[Fact]:
    """Facts about whose hosts the pictures come from."""
    known = view.senders
    own, foreign, anybody, branded = [], [], [], []
    for host in hosts:
        service = known.service_of(host)
        brand = known.brand_of(host)
        if view.is_own(host) or (service and service in view.services):
            own.append(host)
        elif known.is_kind("images", host):
            anybody.append(host)
        elif service or known.is_kind("networks", host) or known.is_kind("files", host):
            continue
        elif brand is not None and not brand.may_own(view.domain):
            branded.append(host)
        else:
            foreign.append(host)
    if own:
        yield "IMAGES_OWN", tuple(own[:2])
    elif foreign:
        yield "IMAGES_FOREIGN", tuple(foreign[:2])
    if anybody:
        yield "IMAGES_ANYBODY", tuple(anybody[:2])
    if branded:
        yield "IMAGES_OF_BRAND", tuple(branded[:2])


def unsubscribe_links(links: list[Led]) -> list[Led]:
    """Links whose text or path takes back a subscription."""
    looked = [f"{one.link.text} {one.link.url.partition('?')[0][:150]}".encode("utf-8", "replace") for one in links]
    if not _UNSUBSCRIBE.search(b"\n".join(looked)):
        return []
    return [one for one, text in zip(links, looked, strict=True) if _UNSUBSCRIBE.search(text)]
