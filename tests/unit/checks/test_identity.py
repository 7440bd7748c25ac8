"""The identity check as a whole: which facts it reports of mails of all kinds, with results that passed, failed or are missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailguard.checks import identity_text
from mailguard.checks.identity import IdentityCheck
from mailguard.checks.identity_symbols import SYMBOLS
from tests.unit.checks.identities import FAILED, PASSED, mail, names
from tests.unit.checks.identity_cases import CASES

ROOT = Path(__file__).parents[3]


def test_every_symbol_is_documented_with_its_points() -> None:
    page = (ROOT / "docs" / "checks" / "identity.md").read_text()
    for name, (points, description) in SYMBOLS.items():
        assert f"| `{name}` | {points:g} | {description} |" in page


async def test_needs_the_results_of_authentication() -> None:
    assert IdentityCheck().needs == ("spf", "dkim", "dmarc", "arc")


async def test_a_banks_letter_and_its_forgery() -> None:
    letter = mail(
        "PayPal <service@paypal.com>",
        "Your PayPal statement is ready",
        '<a href="https://www.paypal.com/statement">View statement</a>',
    )
    honest = await names(letter, PASSED("paypal.com"))
    forged = await names(letter, FAILED)
    unknown = await names(letter, {})
    assert {"AUTHOR_AUTHENTIC", "WELL_KNOWN_AUTHENTIC", "BRAND_AUTHENTIC", "LINKS_ALL_OWN_AUTHENTIC"} <= honest
    assert {"AUTHOR_UNAUTHENTIC", "WELL_KNOWN_FORGED", "BRAND_FORGED"} <= forged
    assert {"AUTHOR_UNVERIFIED", "WELL_KNOWN_UNVERIFIED", "BRAND_UNVERIFIED", "LINKS_ALL_OWN"} <= unknown


async def test_a_brand_in_the_name_of_a_stranger() -> None:
    found = await names(
        mail("PayPal Service <x@ringring.test>", "Your account", '<a href="https://pay-check.test/a">Confirm now</a>'),
        FAILED,
    )
    assert {"BRAND_FOREIGN_NAME", "BRAND_NOT_LINKED", "BRAND_FOREIGN_UNAUTHENTIC", "LINKS_NONE_OWN"} <= found


@pytest.mark.parametrize("text", ["Shipped with DHL", "Paid via PayPal", "Versand mit DHL", "Follow us on Facebook"])
async def test_whoever_only_carries_or_pays_is_no_claim(text: str) -> None:
    found = await names(mail("Shop <shop@shop.test>", text, text), PASSED("shop.test"))
    assert not any(name.startswith("BRAND_") for name in found)


def test_every_symbol_has_its_cases() -> None:
    assert set(CASES) == set(SYMBOLS)


@pytest.mark.parametrize("symbol", CASES)
async def test_a_mail_that_has_it_and_one_that_has_not(symbol: str) -> None:
    hit, miss = CASES[symbol].hit, CASES[symbol].miss
    assert symbol in await names(hit.raw, hit.known, mail_from=hit.mail_from)
    assert symbol not in await names(miss.raw, miss.known, mail_from=miss.mail_from)


def test_addresses_that_follow_each_other_closely_are_all_seen() -> None:
    addresses = ["a@x.example", "b@y.example", "c@z.example"]
    assert list(identity_text._found("a@x.example b@y.example,c@z.example")) == addresses
    assert list(identity_text._found(f"@ @@ @{' ' * 280}a@x.example {'b' * 70}@y.example @z.example")) == [
        "a@x.example",
        "b" * 64 + "@y.example",
    ]
