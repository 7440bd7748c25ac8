"""A report as one HTML file: no script, nothing from elsewhere, readable in light and dark and on paper. All text is escaped."""

from __future__ import annotations

from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from mailguard.billing.render.text import plain
from mailguard.billing.render.xml import Element, fragment
from mailguard.billing.report.facts import Facts
from mailguard.billing.report.words import page


def report_html(facts: Facts, *, by: str) -> str:
    """The page. `by` names the provider."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["plain"] = plain
    environment.filters["svg"] = _svg
    template = environment.from_string(files(__package__).joinpath("report.html").read_text(encoding="utf-8"))
    return template.render(page=page(facts, by=by), days=facts.days)


def _svg(chart: Element) -> Markup:
    return Markup(fragment(chart))  # noqa: S704  # its writer has escaped every text and attribute
