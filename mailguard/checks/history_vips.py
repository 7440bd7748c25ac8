"""Mail that bears the name of one of a tenant's VIPs, and is not theirs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mailguard.checks.history_author import Author
from mailguard.checks.history_own import Fact, OwnNames
from mailguard.checks.identity_auth import Known
from mailguard.core.names import Likeness, same_person
from mailguard.core.tenant import Vip


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What makes it worse that a name is borrowed: the author is a `stranger`, and the rules that saw it ask (`asks`)."""

    stranger: bool
    asks: tuple[str, ...]


def vip_facts(vips: tuple[Vip, ...], own: OwnNames, author: Author, around: Circumstances) -> Iterator[Fact]:
    """What is seen of the VIPs in one author's name and address."""
    found = _borrowed(vips, own, author)
    if found is None:
        return
    vip, likeness = found
    evidence = (author.name, f"for {vip.name}", author.address)
    if author.address in vip.addresses:
        yield "VIP_FORGED", evidence
    elif author.proven and author.well_known and not author.freemail:
        # A service that sends in people's names: signatures, shared documents, networks.
        yield "VIP_AT_SERVICE", evidence
        return
    elif likeness is Likeness.SAME:
        yield "VIP_IMPERSONATION", evidence
    else:
        yield "VIP_NAME_SIMILAR", evidence
    if around.stranger:
        yield "VIP_FROM_STRANGER", (author.address,)
    if author.freemail:
        yield "VIP_FROM_FREEMAIL", (author.address,)
    elsewhere = author.replies_to_other
    if elsewhere and elsewhere.lower() not in vip.addresses:
        yield "VIP_REPLY_ELSEWHERE", (elsewhere,)
    if around.asks:
        yield "VIP_ASKS", around.asks


def _borrowed(vips: tuple[Vip, ...], own: OwnNames, author: Author) -> tuple[Vip, Likeness] | None:
    """The VIP whose name an author bears without being them; one with the same name before one with a similar."""
    similar: tuple[Vip, Likeness] | None = None
    if own.owns(author.domain) and author.proof is not Known.FAIL:
        return None  # the tenant's own people, whatever address they use
    shown = author.name.lower()
    for vip in vips:
        likeness = Likeness.SAME if any(address in shown for address in vip.addresses) else None
        likeness = likeness or same_person(author.name, vip.name)
        if likeness is None and author.address not in vip.addresses:
            continue
        if author.address in vip.addresses:
            if author.proof is Known.FAIL:
                return vip, Likeness.SAME
            return None
        if likeness is Likeness.SAME:
            return vip, likeness
        if likeness is not None:
            similar = similar or (vip, likeness)
    return similar
