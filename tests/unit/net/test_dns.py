"""The static resolver, and what names and records look like to all resolvers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailguard.net.dns import DnsTemporaryError, Rcode, StaticResolver, lookup_name, reverse_name

ZONE = {
    "A.test": {"A": ["192.0.2.1"], "AAAA": ["2001:db8::1"], "TXT": ["v=spf1 -all", ["two ", "strings"], b"\xff"]},
    "mail.test.": {"MX": [(20, "B.test."), [10, "a.test"]]},
    "null.test": {"MX": [(0, "")]},
    "alias.test": {"CNAME": ["a.test."]},
    "loop.test": {"CNAME": ["loop.test"]},
    "slow.test": {"TXT": "TIMEOUT", "A": ["192.0.2.9"]},
    "broken.test": {"*": "SERVFAIL"},
    "1.2.0.192.in-addr.arpa": {"PTR": ["a.test."]},
    "x.deep.test": {"A": ["192.0.2.5"]},
}


@pytest.fixture
def resolver() -> StaticResolver:
    return StaticResolver(ZONE)


async def test_every_type_comes_in_its_form(resolver: StaticResolver) -> None:
    assert await resolver.a("a.TEST.") == ("192.0.2.1",)
    assert await resolver.a_and_aaaa("a.test") == ("2001:db8::1", "192.0.2.1")
    assert await resolver.txt("a.test") == (b"v=spf1 -all", b"two strings", b"\xff")
    assert await resolver.mx("mail.test") == ((10, "a.test"), (20, "b.test"))
    assert await resolver.mx("null.test") == ((0, ""),)
    assert await resolver.ptr("192.0.2.1") == ("a.test",)
    assert await resolver.a("alias.test") == ("192.0.2.1",)


async def test_nxdomain_differs_from_nodata(resolver: StaticResolver) -> None:
    assert (await resolver.query("nowhere.test", "A")).rcode is Rcode.NXDOMAIN
    for name in ("mail.test", "deep.test"):  # another type, an empty non-terminal
        answer = await resolver.query(name, "A")
        assert answer.exists
        assert answer.records == ()
    assert await resolver.txt("nowhere.test") == ()


async def test_failures_are_temporary_errors(resolver: StaticResolver) -> None:
    for name in ("slow.test", "broken.test", "loop.test"):
        with pytest.raises(DnsTemporaryError):
            await resolver.txt(name)
    assert await resolver.a("slow.test") == ("192.0.2.9",)
    with pytest.raises(DnsTemporaryError):
        await StaticResolver(offline=True).a("a.test")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Example.TEST.", "example.test"),
        ("_dmarc.bücher.test", "_dmarc.xn--bcher-kva.test"),
        ("", None),
        (".", None),
        ("a..b", None),
        ("A b+c=d.test", "a b+c=d.test"),
        ("a\\b.test", None),
        ("a\tb.test", None),
        ("bücher\u3002test", "xn--bcher-kva.test"),
        ("x" * 64 + ".test", None),
        (".".join(["abcdefg"] * 32), None),
        ("-\u0301.test", None),
    ],
)
def test_lookup_name(name: str, expected: str | None) -> None:
    assert lookup_name(name) == expected


def test_reverse_names() -> None:
    assert reverse_name("192.0.2.1") == "1.2.0.192.in-addr.arpa"
    assert reverse_name("2001:db8::1").endswith("8.b.d.0.1.0.0.2.ip6.arpa")


@given(st.text(max_size=300))
def test_any_text_gives_a_name_that_dns_can_carry_or_none(text: str) -> None:
    name = lookup_name(text)
    assert name is None or (
        name.isascii() and len(name) <= 253 and all(0 < len(label) < 64 for label in name.split("."))
    )


@pytest.mark.parametrize("name", ["a.test\n", "a\n.test", "\n", "a.test\n."])
def test_a_line_end_is_no_part_of_a_name(name: str) -> None:
    assert lookup_name(name) is None
