"""Facts about the brands that a mail names, against the domain that it authentically comes from."""

from __future__ import annotations

from collections.abc import Iterator

from mailguard.checks.identity_auth import Known
from mailguard.checks.identity_data import Brand
from mailguard.checks.identity_links import ANYBODY, Kind, Led
from mailguard.checks.identity_names import (
    HEAD_LIMIT,
    Named,
    named_in_logo,
    named_in_subject,
    named_in_text,
    named_in_title,
)
from mailguard.checks.identity_view import Fact, View

_NOT_LEADING = frozenset({Kind.NEUTRAL, Kind.OWN})


def brand_facts(view: View, links: list[Led], display: Named, images: list[str]) -> Iterator[Fact]:
    """What the display name, subject, first lines, title and logo name, each place by itself, and all together."""
    message = view.message
    html = message.html
    subject = named_in_subject(message.shown_subject.text)
    head = named_in_text(message.visible_text[:HEAD_LIMIT])
    # Networks and shops of apps are named where they are linked, in the footer.
    linked = [one.link.host for one in links if one.kind is Kind.NEUTRAL]
    places = {
        "NAME": display.brands,
        "SUBJECT": subject.brands,
        "BODY": _without(linked, (*named_in_title(html), *head)),
        "LOGO": _without(linked, named_in_logo(html)) if html else (),
    }
    named = {brand.name: brand for brands in places.values() for brand in brands}
    if view.brand is not None:
        yield from _own_brand(view, view.brand, named)
    if subject.imitations:
        yield "LOOKALIKE_SUBJECT", tuple(f"{word} ({brand.name})" for word, brand in subject.imitations[:2])
    for place, brands in places.items():
        foreign = [brand for brand in brands if (place == "NAME" or not brand.spoken_of) and not _is_of(view, brand)]
        # Where the sender is named as well, others are spoken of.
        own = view.brand is not None and any(brand.name == view.brand.name for brand in brands)
        if foreign and not own:
            yield f"BRAND_FOREIGN_{place}", tuple(brand.name for brand in foreign[:3])
    claimed = (brand for brand in named.values() if not brand.spoken_of or brand in display.brands)
    strangers = [brand for brand in claimed if not _is_of(view, brand)]
    if strangers and view.brand is None:
        yield from _all_together(view, strangers, places["NAME"], links, images)


def _without(hosts: list[str], brands: tuple[Brand, ...]) -> tuple[Brand, ...]:
    """`brands` each once, without those that a host belongs to."""
    return tuple({brand.name: brand for brand in brands if not any(brand.owns(host) for host in hosts)}.values())


def _own_brand(view: View, brand: Brand, named: dict[str, Brand]) -> Iterator[Fact]:
    seen = (brand.name, view.domain)
    if brand.name not in named:
        return
    match view.auth.author:
        case Known.PASS:
            yield "BRAND_AUTHENTIC", seen
        case Known.FAIL:
            yield "BRAND_FORGED", seen
        case Known.UNKNOWN:
            yield "BRAND_UNVERIFIED", seen


def _is_of(view: View, brand: Brand) -> bool:
    """Whether the mail is from the brand: by From's domain (a mailbox that anybody can have is not), or by who sent it."""
    if view.freemail:
        return False
    if brand.may_own(view.domain):
        return True
    return any(
        brand.owns(domain)
        for domain in view.auth.signers
        if domain not in view.senders.freemail and not view.senders.mailbox_of(domain)
    )


def _all_together(
    view: View, strangers: list[Brand], display: tuple[Brand, ...], links: list[Led], images: list[str]
) -> Iterator[Fact]:
    leading = [one for one in links if one.kind not in _NOT_LEADING]
    names = tuple(brand.name for brand in strangers[:3])
    reached: list[Led] = []
    elsewhere: list[Led] = []
    for one in leading:
        # A form or file that anybody can have at the brand does not lead to the brand.
        theirs = one.kind not in ANYBODY and any(brand.owns(one.link.host) for brand in strangers)
        (reached if theirs else elsewhere).append(one)
    if links and not reached:
        yield "BRAND_NOT_LINKED", names
    elif reached and elsewhere:
        yield "BRAND_LINKED_WITH_OTHERS", (*names[:1], elsewhere[0].link.host)
    elif reached:
        yield "BRAND_LINKED", (*names[:1], reached[0].link.host)
    if any(brand.owns(host) for host in images for brand in strangers):
        yield "BRAND_IMAGES", names
    if len(strangers) == 1 and display and view.fails:
        yield "BRAND_FOREIGN_UNAUTHENTIC", names
    if view.freemail and any(brand in display for brand in strangers):
        yield "BRAND_FREEMAIL", (*names[:1], view.address)
