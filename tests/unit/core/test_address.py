"""Addresses as RFC 5321 writes them: what is a mailbox, and what only looks like one."""

from __future__ import annotations

import pytest

from mailguard.core.address import is_mailbox, split_path


@pytest.mark.parametrize(
    "address", ["joe@example.com", "joe@example.com.", '"joe x"@example.com', "joe@[192.0.2.1]", "joe@[IPv6:::1]"]
)
def test_mailboxes_can_stand_in_a_path(address: str) -> None:
    assert is_mailbox(address)
    assert split_path(f"<{address}> SIZE=1") == (address, "SIZE=1")


@pytest.mark.parametrize("address", ["joe@[a<b]", "joe@[a>b]", "joe@[x><y@z]", 'joe@["x]'])
def test_angle_brackets_and_quotes_in_an_address_literal_are_refused(address: str) -> None:
    assert not is_mailbox(address)


@pytest.mark.parametrize("address", ["joe@example.com\n", "joe@[192.0.2.1]\n", "joe@example.com.\n"])
def test_a_line_end_is_no_part_of_a_mailbox(address: str) -> None:
    assert not is_mailbox(address)
