"""Organisational domains by the Public Suffix List."""

from __future__ import annotations

import pytest

from mailguard.net.suffixes import aligned, is_registrable, organisation_of


@pytest.mark.parametrize(
    ("domain", "organisation"),
    [
        ("example.com", "example.com"),
        ("a.b.example.com", "example.com"),
        ("mail.example.co.uk", "example.co.uk"),
        ("someone.github.io", "someone.github.io"),
        ("co.uk", ""),
        ("com", ""),
        ("", ""),
        ("host.unknown-suffix", "host.unknown-suffix"),
    ],
)
def test_the_registrable_domain(domain: str, organisation: str) -> None:
    assert organisation_of(domain) == organisation


@pytest.mark.parametrize(
    ("domain", "registrable"),
    [
        ("example.com", True),
        ("a.example.co.uk", True),
        ("xn--bcher-kva.xn--55qx5d.cn", True),
        ("co.uk", False),
        ("com", False),
        ("", False),
        ("host.unknown-suffix", False),
    ],
)
def test_what_can_be_registered(domain: str, registrable: bool) -> None:
    assert is_registrable(domain) == registrable


def test_alignment_is_by_organisation() -> None:
    assert aligned("a.example.com", "b.example.com")
    assert not aligned("one.co.uk", "other.co.uk")
    assert not aligned("com", "org")
