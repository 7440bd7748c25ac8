"""Every symbol has its line in docs/checks/, with the points it has."""

from __future__ import annotations

from pathlib import Path

from mailguard.checks import attachments, clamav
from mailguard.checks.rules import PLACES
from mailguard.checks.rules_file import load_rules

ROOT = Path(__file__).parents[3]


def page(name: str) -> str:
    return (ROOT / "docs" / "checks" / f"{name}.md").read_text()


def test_symbols_of_clamav() -> None:
    text = page("clamav")
    for symbol in clamav.SYMBOLS.values():
        assert f"| `{symbol.name}` | {symbol.score if symbol.score else 0}" in text


def test_symbols_of_attachments() -> None:
    text = page("attachments")
    for name, (points, _) in attachments.SYMBOLS.items():
        assert f"| `{name}` | {points} |" in text


def test_rules_and_places() -> None:
    text = page("rules")
    for rule in load_rules(ROOT / "policies" / "rules").rules:
        assert rule.hidden or f"| `{rule.name}` | {rule.score:g} | {rule.description} |" in text
    for place in PLACES:
        assert f"`{place}`" in text


def test_dnsbl() -> None:
    assert "DNSBL_TEMPERROR" in page("dnsbl")
