"""DMARC records, the tree walk, the Organizational Domain, the policy that applies (RFC 9989)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailguard.checks.dmarc_policy import (
    Discovered,
    Record,
    applicable,
    exists,
    organisational_domain,
    parse_record,
    policy_for,
    tree_walk,
    walk_names,
)
from mailguard.core.verdict import DmarcPolicy
from mailguard.net.dns import DnsTemporaryError, StaticResolver, Zone

NONE, QUARANTINE, REJECT = DmarcPolicy.NONE, DmarcPolicy.QUARANTINE, DmarcPolicy.REJECT


@pytest.mark.parametrize(
    ("text", "record"),
    [
        (b"v=DMARC1; p=reject", Record(REJECT)),
        (b"v=DMARC1", Record()),
        (b"v=DMARC1;", Record()),
        (b"v=DMARC1; sp=reject", Record(NONE, REJECT)),  # a missing p is none
        (b" V = DMARC1 ;P=Quarantine; np=reject ;", Record(QUARANTINE, np=REJECT)),
        (b"v=DMARC1; p=reject; adkim=s; aspf=S; psd=y; t=y", Record(REJECT, None, None, True, True, "y", True)),
        (b"v=DMARC1; p=reject; pct=5; rf=afrf; new=1; adkim=x; psd=z; t=1", Record(REJECT)),
        (b"v=DMARC1; p=reject; p=none", Record(REJECT)),
        (b"v=DMARC1; p=rejekt; rua=mailto:x@a.test", Record()),
        (b"v=DMARC1; p=rejekt", Record(applies=False)),
        (b"v=DMARC1; p=reject; sp=", Record(applies=False)),
        (b"v=DMARC1; p=reject; np=no; rua=x@a.test", Record(applies=False)),
        (b"v=dmarc1; p=reject", None),
        (b"v=DMARC10; p=reject", None),
        (b"p=reject; v=DMARC1", None),
        (b"v=spf1 -all", None),
        (b"", None),
        (b"v=DMARC1; p=\xff\xfe; rua=mailto:a@b.test", Record()),
    ],
)
def test_records(text: bytes, record: Record | None) -> None:
    assert parse_record(text) == record


@given(st.binary(max_size=200))
def test_no_record_raises(text: bytes) -> None:
    parse_record(text)
    parse_record(b"v=DMARC1;" + text)


def test_a_walk_asks_eight_times_at_most() -> None:
    assert walk_names("a.mail.example.com") == ["a.mail.example.com", "mail.example.com", "example.com", "com"]
    assert walk_names("a.b.c.d.e.f.g.h.i.j.mail.example.com") == [
        "a.b.c.d.e.f.g.h.i.j.mail.example.com",
        "g.h.i.j.mail.example.com",
        "h.i.j.mail.example.com",
        "i.j.mail.example.com",
        "j.mail.example.com",
        "mail.example.com",
        "example.com",
        "com",
    ]
    assert len(walk_names("1.2.3.4.5.6.7.8")) == 8
    assert walk_names("1.2.3.4.5.6.7.8")[1] == "2.3.4.5.6.7.8"
    assert walk_names("com") == ["com"]


def zone(**records: str) -> Zone:
    return {f"_dmarc.{name.replace('_', '.')}": {"TXT": [text]} for name, text in records.items()}


@pytest.mark.parametrize(
    ("domain", "records", "organisation", "source"),
    [
        # RFC 9989 §4.10.2's own examples
        ("a.mail.example.com", {"mail_example_com": "p=none", "example_com": "p=none"}, "example.com", "example.com"),
        ("a.mail.example.com", {"mail_example_com": "psd=n"}, "mail.example.com", "mail.example.com"),
        ("a.mail.example.com", {"com": "psd=y"}, "example.com", "com"),
        # a public suffix of two labels
        ("a.b.co.test", {"co_test": "psd=y", "b_co_test": "p=none"}, "b.co.test", "b.co.test"),
        ("co.test", {"co_test": "psd=y"}, "co.test", "co.test"),
        # an own record beats the organisation's; the organisation is still the topmost
        ("a.b.test", {"a_b_test": "p=none", "b_test": "p=none"}, "b.test", "a.b.test"),
        # psd=n hides what is above
        ("a.b.test", {"a_b_test": "psd=n", "b_test": "p=none"}, "a.b.test", "a.b.test"),
        # nothing in between is used
        ("a.b.c.test", {"b_c_test": "p=none", "c_test": "p=none", "test": "psd=y"}, "c.test", "c.test"),
        ("a.b.test", {}, "a.b.test", None),
    ],
)
async def test_organisation_and_applicable_record(
    domain: str, records: dict[str, str], organisation: str, source: str | None
) -> None:
    walk = await tree_walk(
        StaticResolver(zone(**{name: f"v=DMARC1; {tags}" for name, tags in records.items()})), domain
    )
    assert organisational_domain(domain, walk) == organisation
    found = applicable(domain, walk)
    assert (found.domain if found else None) == source


async def test_several_records_are_none() -> None:
    resolver = StaticResolver({"_dmarc.a.test": {"TXT": ["v=DMARC1; p=reject", "v=DMARC1; p=none", "other"]}})
    assert await tree_walk(resolver, "a.test") == []


async def test_a_failure_beyond_the_end_of_the_walk_does_not_matter() -> None:
    resolver = StaticResolver({"_dmarc.a.test": {"TXT": ["v=DMARC1; psd=n"]}, "_dmarc.test": {"TXT": "TIMEOUT"}})
    assert [name for name, _ in await tree_walk(resolver, "a.test")] == ["a.test"]
    with pytest.raises(DnsTemporaryError):
        await tree_walk(resolver, "b.test")


@pytest.mark.parametrize(
    ("record", "author", "policy"),
    [
        (Record(REJECT, NONE, NONE), "o.test", REJECT),
        (Record(REJECT), "sub.o.test", REJECT),
        (Record(REJECT, QUARANTINE), "sub.o.test", QUARANTINE),
        (Record(NONE, QUARANTINE, REJECT), "sub.o.test", QUARANTINE),
        (Record(NONE, QUARANTINE, REJECT), "gone.o.test", REJECT),
        (Record(NONE, QUARANTINE), "gone.o.test", QUARANTINE),
        (Record(REJECT, np=NONE), "mx.o.test", REJECT),  # NODATA for A, but it has an MX
        (Record(REJECT, np=NONE), "txt.o.test", NONE),  # exists in DNS, yet not as a mail domain
        (Record(REJECT, np=NONE), "slow.o.test", REJECT),
        (Record(REJECT, testing=True), "o.test", QUARANTINE),
        (Record(QUARANTINE, testing=True), "o.test", NONE),
        (Record(NONE, np=REJECT, testing=True), "gone.o.test", QUARANTINE),
    ],
)
async def test_which_policy_applies(record: Record, author: str, policy: DmarcPolicy) -> None:
    resolver = StaticResolver(
        {
            "sub.o.test": {"A": ["192.0.2.1"]},
            "mx.o.test": {"MX": [(10, "o.test")]},
            "txt.o.test": {"TXT": ["x"]},
            "slow.o.test": {"*": "TIMEOUT"},
        }
    )
    assert await policy_for(resolver, Discovered(author, "o.test", record)) is policy


async def test_existence() -> None:
    resolver = StaticResolver({"six.test": {"AAAA": ["2001:db8::1"]}})
    assert await exists(resolver, "six.test")
    assert not await exists(resolver, "nowhere.test")
