"""What sealers say they found, read from ARC-Authentication-Results."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailguard.checks.arc_results import claims_of

GOOGLE = b""" i=1; mx.google.com;
       dkim=pass header.i=@example.com header.s=s1 header.b="a/b;c";
       spf=pass (google.com: domain of x@bounce.example.com designates 192.0.2.1 as permitted sender) smtp.mailfrom=x@bounce.example.com;
       dmarc=pass (p=REJECT sp=REJECT dis=NONE) header.from=example.com"""
MICROSOFT = b" i=2; mx.microsoft.com 1; spf=none; dmarc=fail action=none header.from=B.Example; dkim=none (message not signed); arc=pass (0)"


def shown(value: bytes) -> list[str]:
    return [f"{claim.method}={claim.outcome} {claim.domain}" for claim in claims_of(value)]


@pytest.mark.parametrize(
    ("value", "claims"),
    [
        (GOOGLE, ["dkim=pass example.com", "spf=pass bounce.example.com", "dmarc=pass example.com"]),
        (MICROSOFT, ["dmarc=fail b.example"]),
        (b"i=1; a.test; none", []),
        (b"i=1; a.test; dmarc=pass", []),
        (b"i=1; a.test; dmarc=pass header.from=localhost", []),
        (b"i=1; a.test; dmarc=Pass header.From=A.test", ["dmarc=pass a.test"]),
        (b"i=1; a.test; dmarc/1=pass header.from=a.test", ["dmarc=pass a.test"]),
        (b"i=1; a.test; dmarc=great header.from=a.test", []),
        (b"i=1; a.test; spf=pass smtp.helo=a.test", []),
        (b"i=1; a.test; dkim=pass header.d=a.test header.i=@b.test", ["dkim=pass a.test"]),
        (b"i=1; dmarc=pass header.from=a.test", []),  # that is where the authserv-id stands
        (b"i=1; a.test; (dmarc=pass header.from=a.test)", []),
        (b"i=1; a.test; (x (y) \\) ; dmarc=fail) dmarc=pass header.from=a.test", ["dmarc=pass a.test"]),
        (b'i=1; a.test; spf=fail reason="; dmarc=pass header.from=a.test"', []),
        (b'i=1; a.test; dmarc=pass header.from="a.test', []),
        (b"i=1; a.test; dmarc=fail header.from=a.test header.from=b.test", ["dmarc=fail a.test"]),
        ("i=1; a.test; dmarc=pass header.from=münchen.example".encode(), ["dmarc=pass xn--mnchen-3ya.example"]),
        (b"i=1; a.test;" + 100_000 * b"(", []),
        (b"", []),
    ],
)
def test_claims(value: bytes, claims: list[str]) -> None:
    assert shown(value) == claims


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [b"i=1", b";", b" ", b"(", b")", b'"', b"\\", b"dmarc=pass", b"header.from=a.test", b"=", b"\xff"]
        )
    )
)
def test_nothing_raises_and_results_are_clean(pieces: list[bytes]) -> None:
    for claim in claims_of(b"".join(pieces)):
        assert claim.domain == claim.domain.lower()
        assert "." in claim.domain
