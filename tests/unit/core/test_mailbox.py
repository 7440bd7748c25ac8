"""Which mailbox an address means: case, quotes, what the sender added, the domain behind an alias."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailguard.core.address import is_mailbox
from mailguard.core.mailbox import mailboxes, moved, original_recipient

ADDRESSES = [
    # address, separators, keys, addresses as asked
    ("Joe@Client.TEST", "+", ["joe@client.test"], ["Joe@"]),
    ("joe+news@client.test", "+", ["joe@client.test", "joe+news@client.test"], ["joe@", "joe+news@"]),
    ("Joe+News+More@client.test", "+", ["joe@client.test", "joe+news+more@client.test"], ["Joe@", "Joe+News+More@"]),
    ("joe+@client.test", "+", ["joe@client.test", "joe+@client.test"], ["joe@", "joe+@"]),
    ("+joe@client.test", "+", ["+joe@client.test"], ["+joe@"]),
    ("joe-news@client.test", "+", ["joe-news@client.test"], ["joe-news@"]),
    ("joe-news@client.test", "+-", ["joe@client.test", "joe-news@client.test"], ["joe@", "joe-news@"]),
    ("joe+news@client.test", "", ["joe+news@client.test"], ["joe+news@"]),
    ('"joe"@client.test', "+", ["joe@client.test"], ["joe@"]),
    ('"j\\oe+x"@client.test', "+", ["joe@client.test", "joe+x@client.test"], ["joe@", "joe+x@"]),
    ('"joe doe+x"@client.test', "+", ['"joe doe+x"@client.test'], ['"joe doe+x"@']),
    ("joe.+x@client.test", "+", ["joe.+x@client.test"], ["joe.+x@"]),
    ("JÖRG+x@client.test", "+", ["jörg@client.test", "jörg+x@client.test"], ["JÖRG@", "JÖRG+x@"]),
    ("Jo\u0308rg@client.test", "+", ["jörg@client.test"], ["Jo\u0308rg@"]),
]


@pytest.mark.parametrize(("address", "separators", "keys", "asked"), ADDRESSES, ids=[row[0] for row in ADDRESSES])
def test_an_address_means_these_mailboxes(address: str, separators: str, keys: list[str], asked: list[str]) -> None:
    meant = mailboxes(address, domain="client.test", separators=separators)
    assert [mailbox.key for mailbox in meant] == keys
    assert [mailbox.address for mailbox in meant] == [f"{local}client.test" for local in asked]


LOCAL = st.from_regex(r"[A-Za-z0-9+\-_=]{1,20}(\.[A-Za-z0-9+\-_=]{1,20})?", fullmatch=True)


@given(LOCAL, st.text("+-_=", max_size=3))
def test_mailboxes_are_addresses_and_the_whole_one_comes_last(local: str, separators: str) -> None:
    meant = mailboxes(f"{local}@Alias.test", domain="client.test", separators=separators)
    assert 1 <= len(meant) <= 2
    assert meant[-1].key == f"{local.lower()}@client.test"
    for mailbox in meant:
        assert is_mailbox(mailbox.address)
        assert mailbox.key == mailbox.address.lower()
        base = mailbox.address.partition("@")[0]
        assert local.startswith(base)
    if len(meant) == 2:
        base, rest = meant[0].address.partition("@")[0], local[len(meant[0].address.partition("@")[0]) :]
        assert rest[0] in separators
        assert not set(base[1:]) & set(separators)


@given(LOCAL)
def test_case_makes_no_difference(local: str) -> None:
    keys = [
        [mailbox.key for mailbox in mailboxes(f"{text}@client.test", domain="client.test", separators="+")]
        for text in (local, local.upper(), local.lower())
    ]
    assert keys[0] == keys[1] == keys[2]


@given(st.text(max_size=40))
def test_any_local_part_means_something(local: str) -> None:
    assert mailboxes(f"{local}@client.test", domain="client.test", separators="+-")


def test_an_address_of_an_alias_is_moved_as_it_is() -> None:
    assert moved('"A b"@alias.test', domain="client.test") == '"A b"@client.test'
    assert moved("Joe+x@Alias.TEST", domain="client.test") == "Joe+x@client.test"


def test_the_original_recipient_is_told_as_xtext() -> None:
    assert original_recipient("joe+x=y@alias.test") == "rfc822;joe+2Bx+3Dy@alias.test"
    assert original_recipient('"a b"@alias.test') == 'rfc822;"a+20b"@alias.test'
    assert original_recipient("jörg@alias.test") == ""
