"""The organisational domain of a name by the Public Suffix List, for all but DMARC, which walks the DNS instead (RFC 9989)."""

from __future__ import annotations

from copy import copy
from functools import cache

from publicsuffixlist import PublicSuffixList


def organisation_of(domain: str) -> str:
    """The registrable domain of a name in look-up form: `example.co.uk` of `mail.example.co.uk`; empty of a public suffix.

    Suffixes that are private companies' count too (`github.io`): whoever has a name below one is its own organisation.
    """
    return _suffixes().privatesuffix(domain) or ""


def is_registrable(domain: str) -> bool:
    """Whether a name in look-up form is below a suffix that the list knows: more than `com`, and nothing below `.nowhere`."""
    return bool(_known_suffixes().privatesuffix(domain))


def aligned(one: str, other: str) -> bool:
    """Whether two domains (in look-up form) belong to the same organisation: relaxed alignment."""
    if one == other:
        return True
    organisation = organisation_of(one)
    return bool(organisation) and organisation == organisation_of(other)


@cache
def _suffixes() -> PublicSuffixList:
    return PublicSuffixList()


@cache
def _known_suffixes() -> PublicSuffixList:
    """The same list, without the rule that any other last label is a suffix as well: read once, as reading takes 30 ms."""
    known = copy(_suffixes())
    known.accept_unknown = False
    return known
