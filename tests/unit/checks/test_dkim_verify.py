"""DKIM signatures made by dkimpy, whole, tampered with and malformed; keys of every kind (RFC 6376, 8301, 8463)."""

from __future__ import annotations

import asyncio
import re
import time

import dkim
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailguard.checks.dkim import DkimCheck
from mailguard.checks.dkim_message import FIELDS_LIMIT, HEADER_LIMIT, Canonicalisation, SignedMessage, canonical_body
from mailguard.checks.dkim_verify import DkimResult, verify_dkim
from mailguard.core.verdict import AuthOutcome, CheckStatus
from mailguard.net.dns import StaticResolver, Zone
from tests.unit.checks.mail import context
from tests.unit.checks.signing import RAW, ed25519_signer, rsa_signer, signed, zone


async def verify(raw: bytes, at: Zone | None = None, *, now: int | None = None) -> tuple[DkimResult, ...]:
    return await verify_dkim(StaticResolver(at if at is not None else zone()), raw, now=now or _now())


def _now() -> int:
    """The time of the call, not of the import: what is signed later than minutes after it is signed in the future."""
    return int(time.time())


async def outcome(raw: bytes, at: Zone | None = None, *, now: int | None = None) -> str:
    (result,) = await verify(raw, at, now=now)
    return f"{result.outcome}: {result.reason}".removesuffix(": ")


@pytest.mark.parametrize("header", [b"simple", b"relaxed"])
@pytest.mark.parametrize("body", [b"simple", b"relaxed"])
@pytest.mark.parametrize("signer", [rsa_signer(), rsa_signer(2048), ed25519_signer()], ids=["rsa1024", "rsa2048", "ed"])
async def test_every_form_verifies(header: bytes, body: bytes, signer: object) -> None:
    raw = signed(signer=signer, canonicalise=(header, body))  # type: ignore[arg-type]
    (result,) = await verify(raw, zone(signer))  # type: ignore[arg-type]
    assert (result.outcome, result.domain, result.selector) == (AuthOutcome.PASS, "a.test", "s1")
    changed = raw.replace(b"Hello  Bob", b"Hello  Eve")
    assert (await outcome(changed, zone(signer))) == "fail: the body has been changed"  # type: ignore[arg-type]


async def test_what_forwarding_does_and_does_not_break() -> None:
    raw = signed(canonicalise=(b"relaxed", b"relaxed"))
    assert await outcome(b"Received: from us\r\nX-MailGuard-Id: 1\r\n" + raw) == "pass"
    assert await outcome(raw.replace(b"Subject:  Hello \t there", b"SUBJECT: Hello\r\n there")) == "pass"
    assert await outcome(raw + b"\r\n\r\n") == "pass"
    assert await outcome(raw.replace(b"a test. \r\n", b"a test.\r\n")) == "pass"
    assert await outcome(raw.replace(b"\r\n", b"\n")) == "pass"
    tagged = raw.replace(b"Subject:  Hello", b"Subject: [spam] Hello")
    assert await outcome(tagged) == "fail: the signature is not of this header"
    assert await outcome(raw + b"footer\r\n") == "fail: the body has been changed"


async def test_empty_bodies() -> None:
    head = RAW.partition(b"\r\n\r\n")[0]
    for body in (b"", b"\r\n", b"\r\n\r\n", b"\r\n \r\n\t\r\n"):
        for form in (b"simple", b"relaxed"):
            raw = signed(head + b"\r\n" + body, canonicalise=(b"relaxed", form))
            assert await outcome(raw) == "pass", (body, form)


async def test_the_lowest_field_of_a_name_is_the_signed_one() -> None:
    raw = signed(canonicalise=(b"relaxed", b"simple"))
    # dkimpy signs From once more than there is: a second one breaks the signature, wherever it is put
    assert (await outcome(b"From: eve@evil.test\r\n" + raw)).startswith("fail")


async def test_length_limits() -> None:
    raw = signed(length=True)
    (whole,) = await verify(raw)
    assert (whole.outcome, whole.limited, whole.partial) == (AuthOutcome.PASS, True, False)
    (added,) = await verify(raw + b"<a href=http://evil.test>click</a>\r\n")
    assert (added.outcome, added.partial) == (AuthOutcome.POLICY, True)
    assert await outcome(re.sub(rb"l=\d+", b"l=99999", raw)) == "permerror: l= is more than the body has"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (b"v=1", b"v=2", "permerror: unknown version in v="),
        (b"a=rsa-sha256", b"a=rsa-sha1", "permerror: rsa-sha1 is not accepted any more (RFC 8301)"),
        (b"a=rsa-sha256", b"a=rsa-md5", "permerror: unknown algorithm in a="),
        (b"a=rsa-sha256", b"a=ed25519-sha256", "permerror: the key is of another type"),
        (b"c=relaxed/relaxed", b"c=nowsp", "permerror: unknown canonicalisation in c="),
        (b"d=a.test", b"d=", "permerror: no d="),
        (b"d=a.test", b"d=a(b.test", "permerror: no domain name in d="),
        (b"s=s1", b"s=", "permerror: no s="),
        (b"s=s1", b"s=none", "permerror: there is no key"),
        (b"q=dns/txt", b"q=http", "permerror: no known query method in q="),
        (b"i=@a.test", b"i=@b.test", "permerror: i= is not in the domain of d="),
        (b"i=@a.test", b"i=@nota.test", "permerror: i= is not in the domain of d="),
        (b"i=@a.test", b"i=a.test", "permerror: i= is not in the domain of d="),
        (b"q=dns/txt", b"x=99", "permerror: x= is before t="),
        (b"q=dns/txt", b"l=-1", "permerror: l= is not a number"),
        (b"bh=", b"bh=%", "permerror: bh= is not base64"),
        (b"q=dns/txt", b"v=1", "permerror: tag v= appears twice"),
        (b"q=dns/txt", b"nonsense", "permerror: syntax error in the tag list"),
        (b"h=", b"h=x-", "permerror: From is not signed"),
    ],
)
async def test_malformed_signatures(old: bytes, new: bytes, expected: str) -> None:
    raw = signed(RAW.replace(b"From: Ann", b"from: Ann"))
    raw = re.sub(rb" h=[^;]+;", b" h=to:subject;", raw) if old == b"h=" else raw.replace(b" " + old, b" " + new, 1)
    assert await outcome(raw) == expected


async def test_times() -> None:
    raw = signed()
    stamped = int(re.search(rb"t=(\d+)", raw)[1])  # type: ignore[index]
    assert await outcome(raw, now=stamped - 299) == "pass"
    assert await outcome(raw, now=stamped - 301) == "policy: signed in the future"
    expiring = raw.replace(b" q=dns/txt;", f" x={stamped + 10};".encode())
    assert (
        await outcome(expiring, now=stamped + 11) == "fail: the signature is not of this header"
    )  # not yet past leeway
    assert await outcome(expiring, now=stamped + 311) == "policy: the signature has expired"


P = rsa_signer().record.partition("p=")[2]


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (f"p={P}", "pass"),
        (f"v=DKIM1; h=sha256; s=email; t=s; n=note; p={P[:40]} \t{P[40:]};", "pass"),
        (f"v=DKIM1; s=other:*; p={P}", "pass"),
        ("v=DKIM1; p=", "permerror: the key is revoked"),
        ("v=DKIM1", "permerror: no p= in the key record"),
        (f"v=DKIM2; p={P}", "permerror: unknown version of the key record"),
        (f"p={P}; v=DKIM1", "permerror: unknown version of the key record"),
        (f"v=DKIM1; k=dsa; p={P}", "permerror: the key is of another type"),
        (f"v=DKIM1; h=sha1; p={P}", "permerror: the key is not for sha256"),
        (f"v=DKIM1; s=tlsrpt; p={P}", "permerror: the key is not for email"),
        ("v=DKIM1; p=AAAA", "permerror: p= is not a key"),
        (f"v=DKIM1; p={P[:-8]}", "permerror: p= is not a key"),
        ("v=DKIM1; p=%%%", "permerror: p= is not a key"),
        ("nonsense", "permerror: syntax error in the tag list"),
    ],
)
async def test_key_records(record: str, expected: str) -> None:
    assert await outcome(signed(), zone(record=record)) == expected


async def test_short_keys_do_not_count() -> None:
    """RFC 8301 §3.2. dkimpy signs with any; the key is one of 512 bits."""
    short = (
        "v=DKIM1; p=MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBALgSoqXVSEmfcIsOzw7oRuCCOwsmtX/SJnTWxYyj2leFxfS/AVJ+dYfY+hXqMsT7l+"
        "MZvvh/R1WzN4MO/kI/7XsCAwEAAQ=="
    )
    assert await outcome(signed(), zone(record=short)) == "policy: an RSA key of 512 bits is not accepted"


async def test_identity_below_d_needs_a_key_that_allows_it() -> None:
    raw = signed(identity=b"x@sub.a.test")
    assert await outcome(raw) == "pass"
    assert await outcome(raw, zone(record=f"v=DKIM1; t=s; p={P}")) == "permerror: the key is not for subdomains in i="


async def test_a_key_under_test_makes_failures_neutral() -> None:
    testing = zone(record=f"v=DKIM1; t=y; p={P}")
    assert await outcome(signed(), testing) == "pass"
    assert (await outcome(signed() + b"x", testing)).startswith("neutral: the body has been changed")


async def test_the_first_record_that_fits_counts_when_there_are_several() -> None:
    at = {"s1._domainkey.a.test": {"TXT": ["v=spf1 -all", rsa_signer().record]}}
    assert await outcome(signed(), at) == "pass"


async def test_no_answer_is_a_temperror() -> None:
    assert (await outcome(signed(), {"s1._domainkey.a.test": {"TXT": "TIMEOUT"}})).startswith("temperror")


async def test_all_signatures_count_up_to_the_limit() -> None:
    raw = RAW
    for i in range(4):
        raw = signed(raw, domain=f"d{i}.test", signer=ed25519_signer())
    at = {f"s1._domainkey.d{i}.test": {"TXT": [ed25519_signer().record]} for i in (0, 3)}
    results = await verify(raw, at)
    assert [(result.domain, str(result.outcome)) for result in results] == [
        ("d3.test", "pass"),
        ("d2.test", "permerror"),
        ("d1.test", "permerror"),
        ("d0.test", "pass"),
    ]
    assert len(await verify_dkim(StaticResolver(at), raw, now=_now(), limit=2)) == 2


async def test_a_key_is_asked_for_once() -> None:
    raw = signed(signed(signed()))
    resolver = StaticResolver(zone())
    await verify_dkim(resolver, raw, now=_now())
    assert resolver.queries == [("s1._domainkey.a.test", "TXT")]


async def test_a_big_body_is_hashed_in_pieces() -> None:
    raw = RAW + b"some text with  spaces \t and\ttabs   \r\n" * 80_000 + b"\r\n" * 600_000 + b"end \t \r\n\r\n"
    for form in (b"simple", b"relaxed"):
        assert await outcome(signed(raw, canonicalise=(b"relaxed", form))) == "pass"


@pytest.mark.parametrize("filler", [b" " * 3_000_000, b"\t \r\n" * 700_000, b"\r" * 2_000_000, b" \r\n" * 900_000])
async def test_hostile_bodies_take_linear_time(filler: bytes) -> None:
    raw = signed()
    started = time.process_time()
    await outcome(raw + filler)
    assert time.process_time() - started < 2


async def test_a_million_fields_are_not_told_apart() -> None:
    many = b"X-A: b\r\n" * 1_000_000
    assert await verify(many + RAW) == ()
    assert len(SignedMessage.of(signed() + many).fields) < FIELDS_LIMIT
    assert len(SignedMessage.of(signed().replace(b"\r\n\r\n", b"\r\n" + many + b"\r\n", 1)).fields) == FIELDS_LIMIT + 1


async def test_a_signature_far_below_an_honest_header_does_not_count() -> None:
    raw = signed()
    assert await verify(b"X-A: " + b"b" * HEADER_LIMIT + b"\r\n" + raw) == ()
    assert [one.outcome for one in await verify(b"X-A: b\r\n" + raw)] == ["pass"]


@pytest.mark.parametrize(
    "value",
    [
        b"b=" + b"\r\n " * 30_000 + b"x",
        b"v=1; a=rsa-sha256; d=a.test; s=s1; h=" + b":".join([b"from"] * 6_000) + b"; bh=AA==; b=AA==",
        b";" * 32_000,
        b"=" * 32_000,
        b"v=1; " + b"x=1; " * 50_000,
    ],
)
async def test_hostile_signatures_take_little_time(value: bytes) -> None:
    started = time.process_time()
    results = await verify((b"DKIM-Signature: " + value + b"\r\n") * 10 + RAW)
    assert len(results) == 10
    assert time.process_time() - started < 1


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_nothing_raises(data: st.DataObject) -> None:
    raw = signed()
    at = data.draw(st.integers(0, len(raw) - 1))
    piece = data.draw(
        st.one_of(st.binary(max_size=8), st.sampled_from([b";", b"=", b"\r\n", b"\r\n ", b"\x00", b"\xff"]))
    )
    cut = data.draw(st.integers(0, 20))
    record = data.draw(st.one_of(st.binary(max_size=60), st.just(rsa_signer().record.encode())))
    mangled = raw[:at] + piece + raw[at + cut :]
    results = asyncio.run(verify(mangled, {"s1._domainkey.a.test": {"TXT": [record]}}))
    for result in results:
        assert result.reason.isprintable()
        assert result.domain.isprintable()


@given(st.binary(max_size=400))
def test_no_field_raises(value: bytes) -> None:
    asyncio.run(verify(b"DKIM-Signature: " + value + b"\r\n" + RAW))
    asyncio.run(verify(value))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from([b"a", b" ", b"\t", b"\r\n", b"word", b"  ", b"\r\n\r\n"]), max_size=30),
    st.sampled_from([b"simple", b"relaxed"]),
    st.sampled_from([b"simple", b"relaxed"]),
)
def test_we_agree_with_dkimpy_on_any_body(pieces: list[bytes], header: bytes, body: bytes) -> None:
    text = b"".join(pieces)
    raw = signed(RAW + text + b"\r\n", canonicalise=(header, body), signer=ed25519_signer())
    assert dkim.verify(raw, dnsfunc=lambda *_, **__: ed25519_signer().record.encode())
    assert asyncio.run(outcome(raw, zone(ed25519_signer()))) == "pass"


async def test_the_check_reports_the_best_signature() -> None:
    raw = signed(signed(domain="gone.test"))
    result = await DkimCheck().run(context(zone(), raw=raw), {})
    assert [symbol.name for symbol in result.symbols] == ["DKIM_VALID"]
    assert result.symbols[0].evidence == ("a.test",)
    assert [str(auth.outcome) for auth in result.auth] == ["pass", "permerror"]
    names = [name for name, _ in result.auth[0].properties]
    assert names == ["header.d", "header.i", "header.s", "header.a", "header.b"]


@pytest.mark.parametrize(
    ("raw", "at", "symbols", "status"),
    [
        (RAW, {}, ["DKIM_NONE"], CheckStatus.OK),
        (signed() + b"x", zone(), ["DKIM_INVALID"], CheckStatus.OK),
        (signed(), {}, ["DKIM_PERMERROR"], CheckStatus.OK),
        (signed(), {"s1._domainkey.a.test": {"*": "TIMEOUT"}}, ["DKIM_TEMPERROR"], CheckStatus.TEMPERROR),
        (signed(length=True), zone(), ["DKIM_VALID", "DKIM_BODY_LENGTH"], CheckStatus.OK),
        (signed(length=True) + b"x\r\n", zone(), ["DKIM_POLICY", "DKIM_PARTIAL_BODY"], CheckStatus.OK),
        (b"DKIM-Signature: x\r\n" * 11 + RAW, {}, ["DKIM_PERMERROR", "DKIM_MANY"], CheckStatus.OK),
    ],
)
async def test_symbols(raw: bytes, at: Zone, symbols: list[str], status: CheckStatus) -> None:
    result = await DkimCheck().run(context(at, raw=raw), {})
    assert [symbol.name for symbol in result.symbols] == symbols
    assert result.status is status
    assert len(result.auth) <= 10


@pytest.mark.parametrize("form", list(Canonicalisation))
def test_a_body_of_empty_lines_takes_no_longer_than_other_text(form: Canonicalisation) -> None:
    lines = b"\r\n" * (16 << 19)
    start = time.process_time()
    assert b"".join(canonical_body(b"x" + lines, 0, form)) == b"x\r\n"
    assert b"".join(canonical_body(b"x" + lines + b"y", 0, form)) == b"x" + lines + b"y\r\n"
    assert time.process_time() - start < 1  # a step for each of them took 2 s


@settings(deadline=None)
@given(st.lists(st.sampled_from([b"\r\n", b"\r", b"\n", b"a"]), max_size=20).map(b"".join), st.integers(0, 3000))
def test_empty_lines_at_the_end_do_not_count(text: bytes, count: int) -> None:
    body = b"x" + text + b"\r\n" * count
    expected = re.sub(rb"(?:\r\n)*\Z", b"", body) + b"\r\n"
    assert b"".join(canonical_body(body, 0, Canonicalisation.SIMPLE)) == expected
