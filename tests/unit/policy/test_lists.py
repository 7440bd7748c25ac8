"""Allow and deny lists: what an entry means, whom it covers, which one rules."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailguard.core.envelope import Session
from mailguard.core.tenant import ListEntry
from mailguard.core.verdict import AuthMethod, AuthResult, ListMatch
from mailguard.policy.lists import Pattern, parse_pattern
from mailguard.policy.profile import Policy
from tests.unit.policy.building import NOW, allow, deny, failed, findings, passed, verdict_of

SPF, DKIM, DMARC = AuthMethod.SPF, AuthMethod.DKIM, AuthMethod.DMARC


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A@B.example", Pattern(address="a@b.example")),
        ("b.example", Pattern(domain="b.example")),
        ("@b.example", Pattern(domain="b.example")),
        ("*.b.example.", Pattern(domain="b.example")),
        (".xyz", Pattern(domain="xyz")),
        ("b\u00fccher.example", Pattern(domain="xn--bcher-kva.example")),
        ("a@b\u00fccher.example", Pattern(address="a@xn--bcher-kva.example")),
    ],
)
def test_a_pattern_is_an_address_or_a_domain(text: str, expected: Pattern) -> None:
    assert parse_pattern(text) == expected


@pytest.mark.parametrize("text", ["192.0.2.0/24", "192.0.2.7", "2001:db8::/32", "[2001:db8::1]", "192.0.2.9/24"])
def test_a_pattern_is_a_range(text: str) -> None:
    assert parse_pattern(text).network is not None


@pytest.mark.parametrize("text", ["", "a b", "a@", "a@b@c d", "192.0.2", "192.0.2.0/99", "@", "*", "<a@b.example>"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be an address"):
        parse_pattern(text)


@given(st.text(max_size=40))
def test_parsing_a_pattern_only_ever_raises_value_error(text: str) -> None:
    try:
        parse_pattern(text)
    except ValueError:
        return


# author, MAIL FROM, authentication, entry → match
AUTHOR = "ann@b.example"
CASES: list[tuple[str, str, Sequence[AuthResult], ListEntry, ListMatch]] = [
    # An allow entry needs an authenticated identity.
    (AUTHOR, AUTHOR, [], allow("b.example"), ListMatch.NONE),
    (AUTHOR, AUTHOR, [failed(SPF, "b.example"), failed(DKIM, "b.example")], allow("b.example"), ListMatch.NONE),
    (AUTHOR, AUTHOR, [passed(SPF, "b.example")], allow("b.example"), ListMatch.ALLOW),
    (AUTHOR, "", [passed(DKIM, "b.example")], allow(AUTHOR), ListMatch.ALLOW),
    (AUTHOR, "", [passed(DMARC, "b.example")], allow(AUTHOR), ListMatch.ALLOW),
    (AUTHOR, "", [passed(DKIM, "b.example")], allow("bob@b.example"), ListMatch.NONE),
    # Somebody else's signature proves nothing about the author.
    (
        AUTHOR,
        "x@evil.example",
        [passed(DKIM, "evil.example"), passed(SPF, "evil.example")],
        allow(AUTHOR),
        ListMatch.NONE,
    ),
    (AUTHOR, "", [passed(DKIM, "evil-b.example")], allow("b.example"), ListMatch.NONE),
    # A parent speaks for its subdomains, a subdomain not for its parent, a top-level domain for nobody.
    ("ann@mail.b.example", "", [passed(DKIM, "b.example")], allow("b.example"), ListMatch.ALLOW),
    (AUTHOR, "", [passed(DKIM, "evil.b.example")], allow("b.example"), ListMatch.NONE),
    (AUTHOR, "", [passed(DKIM, "example")], allow("b.example"), ListMatch.NONE),
    # By MAIL FROM, whoever the author claims to be.
    ("ann@other.example", "bounce@b.example", [passed(SPF, "b.example")], allow("b.example"), ListMatch.ALLOW),
    ("ann@other.example", "bounce@b.example", [failed(SPF, "b.example")], allow("b.example"), ListMatch.NONE),
    # An address range needs no more.
    (AUTHOR, AUTHOR, [], allow("192.0.2.0/24"), ListMatch.ALLOW),
    (AUTHOR, AUTHOR, [], allow("198.51.100.0/24"), ListMatch.NONE),
    (AUTHOR, AUTHOR, [], allow("2001:db8::/32"), ListMatch.NONE),
    # A deny entry takes the sender at its word.
    (AUTHOR, "", [], deny(AUTHOR), ListMatch.DENY),
    ("", "Ann@B.example", [], deny("b.example"), ListMatch.DENY),
    ("ann@deep.sub.b.example", "", [], deny("b.example"), ListMatch.DENY),
    ("ann@notb.example", "", [], deny("b.example"), ListMatch.NONE),
    (AUTHOR, "", [], deny("example"), ListMatch.DENY),
    ("", "", [], deny("192.0.2.1"), ListMatch.DENY),
    ("", "", [], deny("b.example"), ListMatch.NONE),
    ("ann@b\u00fccher.example", "", [], deny("xn--bcher-kva.example"), ListMatch.DENY),
    # Expiry.
    (AUTHOR, "", [], deny(AUTHOR, expires_at=NOW), ListMatch.NONE),
    (AUTHOR, "", [], deny(AUTHOR, expires_at=NOW + 1), ListMatch.DENY),
]


@pytest.mark.parametrize(("author", "mail_from", "auth", "entry", "expected"), CASES)
def test_whom_an_entry_covers(
    author: str, mail_from: str, auth: Sequence[AuthResult], entry: ListEntry, expected: ListMatch
) -> None:
    verdict = verdict_of(findings(auth=auth, author=author), lists=[entry], mail_from=mail_from)
    assert verdict.list_match is expected
    assert verdict.list_entry == ("" if expected is ListMatch.NONE else entry.pattern)


def test_an_ipv4_client_on_an_ipv6_socket_is_its_ipv4_address() -> None:
    assert verdict_of(findings(), lists=[deny("192.0.2.0/24")], client="::ffff:192.0.2.1").list_match is ListMatch.DENY


@pytest.mark.parametrize(
    ("entries", "ruling"),
    [
        ([deny("b.example"), allow(AUTHOR)], allow(AUTHOR)),
        ([allow("b.example"), deny(AUTHOR)], deny(AUTHOR)),
        ([deny("192.0.2.1"), allow("b.example")], allow("b.example")),
        ([allow("b.example"), deny("b.example")], deny("b.example")),
        ([allow("192.0.2.1"), deny("192.0.2.0/24")], allow("192.0.2.1")),
        ([deny("example"), allow("b.example")], allow("b.example")),
    ],
)
def test_the_more_specific_entry_rules_and_on_a_tie_deny(entries: list[ListEntry], ruling: ListEntry) -> None:
    found = findings(auth=[passed(DMARC, "b.example")], author=AUTHOR)
    verdict = verdict_of(found, lists=entries)
    assert (verdict.list_match, verdict.list_entry) == (ListMatch(ruling.kind.value), ruling.pattern)


def test_a_tenants_own_entry_goes_before_the_profiles() -> None:
    policy = Policy(lists=(deny(AUTHOR),))
    found = findings(auth=[passed(DMARC, "b.example")], author=AUTHOR)
    assert verdict_of(found, policy=policy).list_match is ListMatch.DENY
    assert verdict_of(found, policy=policy, lists=[allow("b.example")]).list_match is ListMatch.ALLOW


@pytest.mark.parametrize(
    ("entry", "mail_from", "vouched"),
    [
        (allow(AUTHOR), "", True),
        (allow("192.0.2.1"), "", True),
        (allow("mailer.example"), "bounce@mailer.example", False),
        (deny(AUTHOR), "", False),
    ],
)
def test_only_an_entry_for_the_author_or_the_client_vouches_for_the_author(
    entry: ListEntry, mail_from: str, vouched: bool
) -> None:
    found = findings(auth=[passed(DMARC, "b.example"), passed(SPF, "mailer.example")], author=AUTHOR)
    assert verdict_of(found, lists=[entry], mail_from=mail_from).author_vouched is vouched


@given(st.ip_addresses(), st.ip_addresses(), st.integers(0, 128))
def test_a_range_holds_just_its_addresses(client: IPv4Address | IPv6Address, base: object, length: int) -> None:
    network = ip_network(f"{base}/{min(length, ip_address(str(base)).max_prefixlen)}", strict=False)
    session_address = Session("s", str(client)).address
    match = verdict_of(findings(), lists=[deny(str(network))], client=str(client)).list_match
    assert (match is ListMatch.DENY) is (session_address in network)


def test_an_entry_that_cannot_be_understood_matches_nothing() -> None:
    assert verdict_of(findings(author=AUTHOR), lists=[deny("what is this")]).list_match is ListMatch.NONE
