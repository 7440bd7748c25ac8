"""The traits by which a sender's next mail is known: authenticated ones only."""

from __future__ import annotations

import pytest

from mailguard.core.verdict import AuthMethod, AuthOutcome, AuthResult
from mailguard.learning.traits import Trait, TraitKind, traits_of
from mailguard.message.parse import parse

DKIM = AuthResult(AuthMethod.DKIM, AuthOutcome.PASS, "mail.shop.example")
SPF = AuthResult(AuthMethod.SPF, AuthOutcome.PASS, "bounces.shop.example")
DMARC = AuthResult(AuthMethod.DMARC, AuthOutcome.PASS, "shop.example")
FAILED = AuthResult(AuthMethod.DKIM, AuthOutcome.FAIL, "shop.example")
OTHER = AuthResult(AuthMethod.DKIM, AuthOutcome.PASS, "mailer.example")


def of(
    subject: str = "Offers of week 12", sender: str = "news@shop.example", more: str = "", auth: object = (DMARC,)
) -> dict[TraitKind, Trait]:
    raw = f"From: Shop <{sender}>\r\nSubject: {subject}\r\n{more}\r\nhello\r\n".encode()
    return {trait.kind: trait for trait in traits_of(parse(raw), auth)}  # type: ignore[arg-type]


@pytest.mark.parametrize("auth", [(DMARC,), (DKIM,), (SPF,), (FAILED, OTHER, SPF)])
def test_an_authenticated_sender_has_its_address_domain_and_shape(auth: tuple[AuthResult, ...]) -> None:
    assert of(auth=auth) == of()
    assert of().keys() == {TraitKind.ADDRESS, TraitKind.DOMAIN, TraitKind.SHAPE}


@pytest.mark.parametrize("auth", [(), (FAILED,), (OTHER,)])
def test_what_nothing_vouches_for_has_none(auth: tuple[AuthResult, ...]) -> None:
    assert of(auth=auth) == {}
    assert of(auth=auth, more="List-Id: <news.shop.example>\r\n") == {}


def test_two_authors_have_none() -> None:
    assert of(sender="a@shop.example>, <b@shop.example") == {}


def test_numbers_and_replies_do_not_change_the_shape() -> None:
    assert of("Re: Offers of week 13 only")[TraitKind.SHAPE] == of()[TraitKind.SHAPE]
    assert of("Your invoice")[TraitKind.SHAPE] != of()[TraitKind.SHAPE]
    assert of("")[TraitKind.ADDRESS] == of()[TraitKind.ADDRESS]


def test_of_a_provider_of_mailboxes_only_the_address_counts() -> None:
    auth = (AuthResult(AuthMethod.DMARC, AuthOutcome.PASS, "gmail.com"),)
    ann, bob = of(sender="ann@gmail.com", auth=auth), of(sender="bob@gmail.com", auth=auth)
    assert ann.keys() == {TraitKind.PERSON, TraitKind.SHAPE}
    assert not set(ann.values()) & set(bob.values())


def test_a_list_is_known_by_its_id_whoever_writes_to_it() -> None:
    more = "List-Id: The news <news.lists.example>\r\n"
    auth = (AuthResult(AuthMethod.DKIM, AuthOutcome.PASS, "lists.example"),)
    ann, bob = of(sender="ann@a.example", more=more, auth=auth), of("Hi", sender="bob@b.example", more=more, auth=auth)
    assert ann == bob
    assert ann.keys() == {TraitKind.LIST}
    assert of(sender="x@a.example", more=more, auth=(OTHER,)) == {}  # a List-Id that its signer does not own
