"""The shipped data: that it reads, says where it comes from, and holds together; and how names and domains are compared."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailguard.checks.identity_data import above_of, fold_name, organisation, senders, words_of
from mailguard.checks.identity_names import named_in_display, named_in_logo, named_in_subject, named_in_text

DOMAIN = re.compile(r"(?:[a-z0-9-]+\.)+[a-z0-9-]+")


def brands(text: str) -> set[str]:
    return {brand.name for brand in named_in_display(text).brands}


@pytest.mark.parametrize("name", ["brands.txt", "freemail.txt", "hosting.txt", "known.txt", "services.txt"])
def test_each_file_says_its_source_licence_and_date(name: str) -> None:
    head = (files("mailguard.checks") / "data" / name).read_text("utf-8").split("\n\n")[0]
    assert "Source: " in head
    assert re.search(r"[Ll]icence", head)
    assert re.search(r"As of 20\d\d-\d\d-\d\d", head)


def test_there_are_brands_enough_and_each_has_a_domain() -> None:
    known = senders()
    assert len(known.brands) >= 600
    assert all(brand.domains or brand.labels for brand in known.brands)
    assert not [domain for brand in known.brands for domain in brand.domains if not DOMAIN.fullmatch(domain)]


def test_no_brand_owns_what_anybody_can_have() -> None:
    known = senders()
    owned = {domain for brand in known.brands for domain in brand.domains}
    assert not owned & {"amazonses.com", "amazonaws.com", "onmicrosoft.com", "googleusercontent.com", "github.io"}


def test_domains_of_services_and_hosts_are_domains() -> None:
    known = senders()
    every = [*known.services, *known.mailboxes, *known.freemail, *known.known]
    assert not [domain for domain in every if not DOMAIN.fullmatch(domain)]
    hosts = {name for kind, names in known.hosts.items() if kind != "suffixes" for name in names}
    assert not [name for name in hosts if not DOMAIN.fullmatch(name)]
    assert {"shorteners", "pages", "files", "images", "neutral", "networks", "suffixes"} == set(known.hosts)


def test_ownership_of_domains() -> None:
    amazon = senders().names["amazon"]
    assert amazon.owns("www.amazon.co.jp")
    assert amazon.owns("mail.amazon.de")
    assert not amazon.owns("amazon.xyz")
    assert not amazon.owns("amazon.tk")
    assert not amazon.owns("amazon.com.evil.test")
    savings = senders().names["sparkasse"]
    assert savings.may_own("www.sparkasse-musterstadt.de")
    assert not savings.owns("www.sparkasse-musterstadt.de")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("PayPal", {"PayPal"}),
        ("PAYPAL Inc", {"PayPal"}),
        ("PayPalSupport", {"PayPal"}),
        ("Pay-Pal Service", {"PayPal"}),
        ("Société Générale", {"Société Générale"}),
        ("Societe Generale", {"Société Générale"}),
        ("楽天市場", {"Rakuten"}),
        ("三井住友カード株式会社", {"三井住友銀行"}),
        ("Сбербанк", {"Sberbank"}),
        ("Apple", {"Apple"}),
        ("Apple Support", {"Apple"}),
        ("Apple Garden", set()),
        ("Chase Miller", set()),
        ("Chase Online", {"Chase"}),
        ("Orange Juice Club", set()),
        ("UPS", {"UPS"}),
        ("Start Ups Weekly", set()),
        ("Jane Doe", set()),
        ("", set()),
    ],
)
def test_brands_in_a_display_name(text: str, names: set[str]) -> None:
    assert brands(text) == names


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Your Netflix membership", {"Netflix"}),
        ("Versandt mit DHL", set()),
        ("Payé par PayPal", set()),
        ("See https://www.netflix.com/ and x@netflix.com", set()),
        ("Chase your dreams", set()),
    ],
)
def test_brands_in_a_text(text: str, names: set[str]) -> None:
    assert {brand.name for brand in named_in_text(text)} == names


def test_words_that_only_look_like_a_name() -> None:
    assert [brand.name for _, brand in named_in_subject("Your Netf1ix bill").imitations] == ["Netflix"]
    assert [brand.name for _, brand in named_in_display("Pаypal").imitations] == ["PayPal"]  # with a Cyrillic a
    assert not named_in_subject("Order 4711 of 1password").imitations


def test_goods_and_networks_are_spoken_of() -> None:
    known = senders()
    assert known.names["samsung"].spoken_of
    assert known.names["youtube"].spoken_of
    assert not known.names["paypal"].spoken_of
    assert not known.names["dhl"].spoken_of


def test_only_the_first_pictures_are_logos() -> None:
    html = '<img alt="Acme"><img alt="Tools"><img alt="Netflix">'
    assert named_in_logo(html) == ()
    assert [brand.name for brand in named_in_logo('<img alt="" src="x"><img alt="Netflix">')] == ["Netflix"]


def test_folding() -> None:
    assert words_of("PayPal & Smart_TV Österreich") == ["Pay", "Pal", "Smart", "TV", "Osterreich"]
    assert fold_name("T-Mobile") == fold_name("t mobile") == "tmobile"
    assert fold_name("ガス") == "ガス"


def test_domains_above() -> None:
    assert above_of("a.b.example.com") == ("a.b.example.com", "b.example.com", "example.com")
    assert above_of("com") == ("com",)
    assert organisation("a.b.example.co.uk") == "example.co.uk"
    assert organisation("localhost") == "localhost"


@settings(deadline=None)
@given(st.text(max_size=200))
def test_any_text_can_be_searched(text: str) -> None:
    named_in_display(text)
    named_in_subject(text)
    named_in_logo(text)
