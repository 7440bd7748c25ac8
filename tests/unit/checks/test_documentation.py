"""Every symbol has its line in docs/checks/, with the points it has."""

from __future__ import annotations

from pathlib import Path

from mailguard.checks import (
    attachments,
    clamav,
    client,
    html,
    qr_links,
    reputation,
    sandboxed,
    unpack_links,
    unpack_symbols,
)
from mailguard.checks.known_lists import KNOWN
from mailguard.checks.lists import ListKind
from mailguard.checks.rules import PLACES
from mailguard.checks.rules_file import load_rules
from mailguard.learning.scale import LEARNED_HAM, LEARNED_SPAM, Scale
from mailguard.message import pictures

ROOT = Path(__file__).parents[3]


def page(name: str) -> str:
    return (ROOT / "docs" / "checks" / f"{name}.md").read_text()


def test_symbols_of_clamav() -> None:
    text = page("clamav")
    for symbol in clamav.SYMBOLS.values():
        assert f"| `{symbol.name}` | {symbol.score if symbol.score else 0}" in text


def test_symbols_of_client() -> None:
    text = page("client")
    for name, (points, says) in client.SYMBOLS.items():
        assert f"| `{name}` | {points:g} | {says} |" in text


def test_symbols_of_reputation() -> None:
    text = page("reputation")
    for name, (points, says) in reputation.SYMBOLS.items():
        assert f"| `{name}` | {points:g} | {says} |" in text


def test_symbols_of_attachments() -> None:
    text = page("attachments")
    for name, (points, _) in attachments.SYMBOLS.items():
        assert f"| `{name}` | {points} |" in text


def test_symbols_of_codes_and_of_the_sandbox() -> None:
    text = page("qr")
    for name, (points, says) in {**qr_links.SYMBOLS, **sandboxed.SYMBOLS}.items():
        assert f"| `{name}` | {points:g} | {says} |" in text
    for limit in (pictures.PICTURES, pictures.PDFS, pictures.SIDE, f"{pictures.PIXELS // 10**6} million"):
        assert f" {limit} " in text


def test_symbols_of_what_lies_in_files() -> None:
    text = page("unpack")
    elsewhere = {**attachments.SYMBOLS, **html.SYMBOLS, **qr_links.SYMBOLS}
    for name, (points, says) in {**unpack_symbols.SYMBOLS, **unpack_links.SYMBOLS}.items():
        assert name in elsewhere or f"| `{name}` | {points:g} | {says} |" in text


def test_symbols_of_learned() -> None:
    text = page("learned")
    most = Scale().most
    assert f"| `{LEARNED_HAM}` | -{most:g} to 0 |" in text
    assert f"| `{LEARNED_SPAM}` | 0 to {most:g} |" in text


def test_rules_and_places() -> None:
    text = page("rules")
    for rule in load_rules(ROOT / "policies" / "rules").rules:
        assert rule.hidden or f"| `{rule.name}` | {rule.score:g} | {rule.description} |" in text
    for place in PLACES:
        assert f"`{place}`" in text


def test_dns_lists() -> None:
    assert "DNSBL_TEMPERROR" in page("dnsbl")
    assert "URLBL_TEMPERROR" in page("urlbl")
    for name, make in KNOWN.items():
        zone = make("")
        text = page("dnsbl" if zone.kind is ListKind.IP else "urlbl")
        assert f"| `{name}` | `{zone.name}`" in page("dnsbl")
        for meaning in zone.meanings:
            (line,) = (line for line in text.splitlines() if line.startswith("|") and f"`{meaning.symbol}`" in line)
            assert f"{meaning.score:g}" in line.split("|")[2].replace(" ", "").split(",")
