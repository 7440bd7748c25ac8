"""ARC chains: whole, broken at each link, malformed (RFC 8617). The independent cases are in tests/suites."""

from __future__ import annotations

import asyncio
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailguard.checks.arc import ArcCheck
from mailguard.checks.arc_chain import ArcResult, verify_arc
from mailguard.core.verdict import AuthOutcome, CheckStatus
from mailguard.net.dns import StaticResolver, Zone
from tests.unit.checks.mail import context
from tests.unit.checks.sealing import chain, sealed
from tests.unit.checks.signing import RAW, rsa_signer

KEYS: Zone = {f"s1._domainkey.hop{i}.test": {"TXT": [rsa_signer().record]} for i in range(1, 60)} | {
    "s1._domainkey.hop.test": {"TXT": [rsa_signer().record]}
}
NOW = 1_800_000_000


async def verify(raw: bytes, zone: Zone = KEYS) -> ArcResult:
    return await verify_arc(StaticResolver(zone), raw, now=NOW)


async def test_chains_of_any_length_pass_and_name_their_sealers() -> None:
    assert (await verify(RAW)).outcome is AuthOutcome.NONE
    for length in (1, 2, 5):
        result = await verify(chain(length))
        assert (result.outcome, result.oldest_pass, result.reason) == (AuthOutcome.PASS, 0, "")
        assert result.sealers == tuple(f"hop{i}.test" for i in range(1, length + 1))
        assert result.selectors == length * ("s1",)
        assert [b"spf=pass smtp.mailfrom=ann@a.test" in value for value in result.results] == length * [True]


async def test_a_hop_that_changed_the_mail_is_the_oldest_pass() -> None:
    raw = chain(2).replace(b"Subject:  Hello", b"Subject: [list] Hello")
    assert (await verify(raw)).outcome is AuthOutcome.FAIL
    raw = sealed(raw, domain="hop3.test", instance=3, status="pass")
    result = await verify(raw)
    assert (result.outcome, result.oldest_pass) == (AuthOutcome.PASS, 3)


@pytest.mark.parametrize(
    ("pattern", "replacement", "reason"),
    [
        (rb"Hello  Bob", b"Hello  Eve", "the body has been changed"),
        (rb"Subject:  Hello", b"Subject: x", "the message signature of instance 2 does not verify"),
        (rb"spf=pass", b"spf=fail", "the seal of instance 2 does not verify"),
        (rb"(ARC-Seal: i=1.*?)cv=none", rb"\1cv=pass", "the seal of instance 1 has an impossible cv="),
        (rb"(ARC-Seal: i=2.*?)cv=pass", rb"\1cv=none", "the seal of instance 2 has an impossible cv="),
        (rb"(ARC-Seal: i=2.*?)cv=pass", rb"\1cv=fail", "the seal of instance 2 found the chain broken"),
        (rb"ARC-Seal: i=1[^\r]*\r\n", b"", "instance 1 is incomplete"),
        (rb"(ARC-Seal: i=1[^\r]*\r\n)", rb"\1\1", "instance 1 has two arc-seal fields"),
        (rb"(ARC-[A-Za-z-]+): i=1;", rb"\1: i=3;", "an instance is missing"),
        (rb"(ARC-[A-Za-z-]+): i=1;", rb"\1: i=0;", "no instance from 1 to 50 in i="),
        (rb"(ARC-[A-Za-z-]+): i=2;", rb"\1: i=51;", "no instance from 1 to 50 in i="),
        (rb"(ARC-Seal: i=2); a=rsa-sha256", rb"\1; a=rsa-sha1", "rsa-sha1 is not accepted any more (RFC 8301)"),
        (rb"(ARC-Seal: i=2)", rb"\1; h=from", "h= or bh= in an ARC-Seal"),
        (rb"h=from:", rb"h=arc-seal:from:", "ARC-Seal is signed"),
        (rb"(ARC-Message-Signature: i=2.*?)bh=[^;]+;", rb"\1", "no bh="),
        (rb"(ARC-Seal: i=2)[^\r]*", rb"\1; nonsense", "syntax error in the tag list"),
    ],
)
async def test_broken_chains(pattern: bytes, replacement: bytes, reason: str) -> None:
    raw = re.sub(pattern, replacement, chain(2), flags=re.DOTALL)
    result = await verify(raw)
    assert (result.outcome, result.reason) == (AuthOutcome.FAIL, reason)


async def test_a_forged_seal_fails() -> None:
    raw = chain(1).replace(b"d=hop1.test", b"d=hop2.test")
    assert (await verify(raw)).outcome is AuthOutcome.FAIL


async def test_keys_missing_and_out_of_reach() -> None:
    missing = await verify(chain(2), {})
    assert (missing.outcome, missing.reason) == (AuthOutcome.FAIL, "there is no key")
    away = await verify(chain(2), {**KEYS, "s1._domainkey.hop2.test": {"TXT": "TIMEOUT"}})
    assert away.outcome is AuthOutcome.TEMPERROR


async def test_fifty_sets_are_the_limit() -> None:
    assert (await verify(chain(50))).outcome is AuthOutcome.PASS
    assert (await verify(chain(51))).outcome is AuthOutcome.FAIL


async def test_the_check() -> None:
    result = await ArcCheck().run(context(KEYS, raw=chain(2)), {})
    (symbol,) = result.symbols
    assert (symbol.name, symbol.evidence, symbol.score) == ("ARC_PASS", ("hop2.test", "hop1.test"), 0.0)
    (auth,) = result.auth
    assert (auth.domain, auth.reason, auth.properties) == ("hop2.test", "i=2", (("header.oldest-pass", "0"),))
    away = await ArcCheck().run(context({name: {"*": "TIMEOUT"} for name in KEYS}, raw=chain(1)), {})
    assert (away.symbols[0].name, away.status) == ("ARC_TEMPERROR", CheckStatus.TEMPERROR)
    assert (await ArcCheck().run(context(raw=RAW), {})).symbols[0].name == "ARC_NONE"


@settings(max_examples=200, deadline=None)
@given(
    st.integers(0, 2_000), st.integers(0, 20), st.one_of(st.binary(max_size=8), st.sampled_from([b";", b"=", b"\r\n"]))
)
def test_nothing_raises(at: int, cut: int, piece: bytes) -> None:
    raw = chain(2)
    result = asyncio.run(verify(raw[:at] + piece + raw[at + cut :]))
    assert result.reason.isprintable()
