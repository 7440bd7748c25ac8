"""The identity check: whether who authentically sent a mail is who its From, display name, named brand and links stand for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mailguard.checks.base import CheckContext
from mailguard.checks.identity_author import address_facts, author_facts, name_facts, path_facts
from mailguard.checks.identity_brand import brand_facts
from mailguard.checks.identity_bulk import bulk_facts
from mailguard.checks.identity_data import senders
from mailguard.checks.identity_links import (
    call_facts,
    image_facts,
    image_hosts,
    imitation_facts,
    led,
    link_facts,
    text_facts,
)
from mailguard.checks.identity_lookalike import imitation
from mailguard.checks.identity_names import named_in_display
from mailguard.checks.identity_shape import is_real
from mailguard.checks.identity_symbols import SYMBOLS
from mailguard.checks.identity_text import text_sender_facts
from mailguard.checks.identity_view import Fact, View, view_of
from mailguard.core.verdict import CheckResult, Symbol

EVIDENCE_LIMIT = 100
"""Characters of one piece of evidence."""


class IdentityCheck:
    """Reports the facts of SYMBOLS that hold, each once, with what it was seen in."""

    name = "identity"
    needs: tuple[str, ...] = ("spf", "dkim", "dmarc", "arc")
    waits = False

    def __init__(self) -> None:
        # What is worked out from the files takes 50 ms: before the first mail, not while it waits.
        senders()
        imitation("secure-acme.example")
        named_in_display("Acme 1")
        is_real("acme.example")

    async def run(self, context: CheckContext, results: Mapping[str, CheckResult]) -> CheckResult:
        """See Check. Works with results that passed, failed, were recorded, or are missing."""
        view = view_of(context, results)
        seen: dict[str, tuple[str, ...]] = {}
        for name, evidence in facts(view):
            seen.setdefault(name, evidence)
        symbols = tuple(
            Symbol(name, *SYMBOLS[name], tuple(one[:EVIDENCE_LIMIT] for one in evidence if one))
            for name, evidence in seen.items()
        )
        detail = f"{view.domain or 'no domain'}: {view.auth.author}"
        return CheckResult(self.name, symbols=symbols, detail=detail)


def facts(view: View) -> Iterator[Fact]:
    """All facts about a mail, in the order of SYMBOLS more or less; one may come more than once."""
    links = led(view)
    display = named_in_display(view.name)
    images = image_hosts(view.message.html)
    yield from author_facts(view)
    yield from name_facts(view, display)
    yield from address_facts(view)
    yield from path_facts(view)
    yield from brand_facts(view, links, display, images)
    yield from link_facts(view, links)
    yield from imitation_facts(view, links)
    yield from call_facts(view, links)
    yield from text_facts(view, links)
    yield from image_facts(view, images)
    yield from text_sender_facts(view, links)
    yield from bulk_facts(view, links)
