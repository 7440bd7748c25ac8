"""A report as PDF: the same words and charts as the HTML, on A4; report.typ lays them out."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

from mailguard.billing.render import charts
from mailguard.billing.render.fonts import Fonts, installed_fonts
from mailguard.billing.render.typeset import Value, printable, typeset
from mailguard.billing.report.facts import Facts
from mailguard.billing.report.words import Section, page


def report_pdf(facts: Facts, *, by: str, at: date) -> bytes:
    """The document, dated `at`. What no font can draw is shown as U+FFFD. Raises ConfigError when a font is not installed."""
    fonts = installed_fonts()
    shown = page(_drawable(facts, fonts), by=fonts.drawable(by))
    document: dict[str, Value] = {
        "title": shown.title,
        "tenant": printable(shown.tenant, limit=80),
        "by": printable(shown.by, limit=80),
        "summary": shown.summary,
        "tiles": [{"figure": tile.figure, "words": tile.words, "bad": tile.bad} for tile in shown.tiles],
        "sections": [_section(section) for section in shown.sections],
        "foot": shown.foot,
    }
    return typeset("report.typ", document, package=__package__ or "", at=at, fonts=fonts)


def _drawable(facts: Facts, fonts: Fonts) -> Facts:
    """With foreign names as the fonts have them, for charts are drawn by other means than text."""
    service = facts.service
    levels = tuple(
        replace(
            one,
            commitment=fonts.drawable(one.commitment),
            target=fonts.drawable(one.target),
            measured=fonts.drawable(one.measured),
        )
        for one in service.levels
    )
    return replace(
        facts,
        tenant=fonts.drawable(facts.tenant),
        attacked=tuple(replace(one, name=fonts.drawable(one.name)) for one in facts.attacked),
        spoofed=tuple(replace(one, name=fonts.drawable(one.name)) for one in facts.spoofed),
        service=replace(service, levels=levels),
    )


def _section(section: Section) -> Value:
    return {
        "heading": section.heading,
        "sentences": list(section.sentences),
        "chart": charts.standalone(section.chart) if section.chart is not None else None,
        "rows": [list(row) for row in section.rows],
    }
