"""Domains that pass for a well-known one, and those that do not, however near they are."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailguard.checks.identity_lookalike import Trick, imitation
from mailguard.checks.identity_shape import has_cheap_suffix, is_official, is_random


@pytest.mark.parametrize(
    ("domain", "trick", "brand"),
    [
        ("paypa1.com", Trick.LOOKS, "PayPal"),
        ("xn--pypal-4ve.com", Trick.LOOKS, "PayPal"),
        ("rnicrosoft.com", Trick.LOOKS, "Microsoft"),
        ("paypall.com", Trick.EDIT, "PayPal"),
        ("netfllx.com", Trick.LOOKS, "Netflix"),
        ("micorsoft.com", Trick.EDIT, "Microsoft"),
        ("paypal-secure-login.com", Trick.WORDS, "PayPal"),
        ("secure-paypal.net", Trick.WORDS, "PayPal"),
        ("paypalsupport.com", Trick.WORDS, "PayPal"),
        ("login-dhl.com", Trick.WORDS, "DHL"),
        ("apple-support-id.com", Trick.WORDS, "Apple"),
        ("netflix.xyz", Trick.SUFFIX, "Netflix"),
        ("paypal.com.evil.test", Trick.HOST, "PayPal"),
        ("www.amazon.normarara.biz", Trick.HOST, "Amazon"),
        ("paypal-login.pages.dev", Trick.WORDS, "PayPal"),
    ],
)
def test_imitations(domain: str, trick: Trick, brand: str) -> None:
    found = imitation(domain)
    assert found is not None
    assert (found.trick, found.brand.name) == (trick, brand)


@pytest.mark.parametrize(
    "domain",
    [
        "paypal.com",
        "www.paypal.co.uk",
        "amazon.com.br",
        "paypal.zendesk.com",
        "sparkasse-musterstadt.de",
        "volksbank-musterstadt.de",
        "pineapple.com",
        "cnsnews.com",
        "nypost.com",
        "online.com",
        "fortune.com",
        "purchase.com",
        "wiser-owl.com",
        "ringring.test",
        "gmx.de",
        "acme-tools.test",
        "192.0.2.1",
        "com",
        "",
    ],
)
def test_no_imitations(domain: str) -> None:
    assert imitation(domain) is None


@settings(deadline=None)
@given(st.text("abcdefghijklmnopqrstuvwxyz0123456789-.", max_size=60))
def test_any_domain_can_be_asked_about(domain: str) -> None:
    imitation(domain)
    is_random(domain)
    is_official(domain)
    has_cheap_suffix(domain)


@pytest.mark.parametrize("label", ["ljlnndskmdsfb", "bxkbfdczxlqpq", "jv3a4awsri7hpa287p", "mwxbqtdfvxjbt"])
def test_typed_at_random(label: str) -> None:
    assert is_random(label)


@pytest.mark.parametrize(
    "label",
    [
        "schreibsuchti",
        "sparksuite",
        "harvestlane",
        "newsletter",
        "github",
        "xn--mller-kva",
        "raiffeisen",
        "strassenverkehr",
    ],
)
def test_not_typed_at_random(label: str) -> None:
    assert not is_random(label)


def test_endings() -> None:
    assert has_cheap_suffix("prize.click")
    assert has_cheap_suffix("shop.my.id")
    assert not has_cheap_suffix("shop.com")
    assert is_official("ca11.uscourts.gov")
    assert is_official("hmrc.gov.uk")
    assert not is_official("gov.evil.test")
