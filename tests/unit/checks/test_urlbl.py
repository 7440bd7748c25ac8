"""Block lists of domains: which names are asked about, how, and what an answer becomes."""

from __future__ import annotations

from mailguard.checks.lists import ListKind, ListLookups, ReturnCode, Zone
from mailguard.checks.urlbl import UrlblCheck
from mailguard.core.verdict import AuthMethod, AuthOutcome, AuthResult, CheckResult, CheckStatus
from mailguard.net.dns import StaticResolver
from tests.unit.checks.contexts import context

BAD = Zone("dbl.example", (ReturnCode("DBL", 4.0, ("127.0.1.2",), "spam"),), kind=ListKind.DOMAIN)
NUMERIC = Zone("uri.example", (ReturnCode("URI", 4.0, bits=8),), kind=ListKind.DOMAIN, numeric=True)
RAW = b"""From: A <a@news.shop.co.uk>
Reply-To: b@reply.example.org
Subject: x
Content-Type: text/html

<a href="http://deep.link.phish.example.com/x">one</a> <a href="https://phish.example.com">again</a>
<a href="http://0x08080808/">numeric</a> <a href="http://192.168.1.1/">private</a> <a href="http://localhost/">none</a>
""".replace(b"\n", b"\r\n")
LISTED: dict[str, object] = {"A": ["127.0.1.2"]}


async def check(zone: dict[str, dict[str, object]], *zones: Zone, **more: object) -> tuple[CheckResult, list[str]]:
    resolver = StaticResolver(zone)  # type: ignore[arg-type]
    dkim = CheckResult(
        "dkim",
        auth=(
            AuthResult(AuthMethod.DKIM, AuthOutcome.PASS, "mail.signer.example.net"),
            AuthResult(AuthMethod.DKIM, AuthOutcome.FAIL, "forged.example"),
        ),
    )
    made = UrlblCheck(zones or (BAD,), ListLookups(), **more)  # type: ignore[arg-type]
    result = await made.run(
        context(RAW, resolver=resolver, helo="mx.helo.example.it", mail_from="x@bounce.shop.co.uk"), {"dkim": dkim}
    )
    return result, [name for name, _ in resolver.queries]


async def test_no_zone_is_asked_by_default() -> None:
    result, asked = await check({}, Zone("bl.example", ()))
    assert (result.status, asked) == (CheckStatus.SKIPPED, [])


async def test_organisational_domains_are_asked_once_senders_first() -> None:
    _, asked = await check({})
    assert asked == [
        f"{name}.dbl.example" for name in ("shop.co.uk", "example.net", "example.org", "example.it", "example.com")
    ]


async def test_links_and_senders_have_symbols_of_their_own() -> None:
    result, _ = await check({"shop.co.uk.dbl.example": LISTED, "example.com.dbl.example": LISTED})
    assert [(symbol.name, symbol.score, symbol.evidence) for symbol in result.symbols] == [
        ("DBL_SENDER", 4.0, ("From shop.co.uk: dbl.example=127.0.1.2",)),
        ("DBL", 4.0, ("link example.com: dbl.example=127.0.1.2",)),
    ]
    assert "spam" in result.symbols[0].description


async def test_addresses_go_reversed_to_lists_that_take_them() -> None:
    result, asked = await check({"8.8.8.8.uri.example": {"A": ["127.0.0.12"]}}, BAD, NUMERIC)
    assert "8.8.8.8.uri.example" in asked
    assert "8.8.8.8.dbl.example" not in asked
    assert not any("168" in name for name in asked), "private addresses are nobody's business"
    assert [symbol.name for symbol in result.symbols] == ["URI"]
    assert result.symbols[0].evidence == ("link 8.8.8.8: uri.example=127.0.0.12",)


async def test_questions_are_bounded_and_what_was_left_out_is_said() -> None:
    result, asked = await check({}, BAD, NUMERIC, queries=3)
    assert len(asked) == 3
    assert asked[0] == "shop.co.uk.dbl.example"
    assert "left out" in result.detail


async def test_a_list_that_fails_is_a_visible_temperror_and_hides_no_other() -> None:
    failing: dict[str, dict[str, object]] = {
        f"{name}.dbl.example": {"A": "SERVFAIL"} for name in ("shop.co.uk", "example.net", "example.org", "example.com")
    }
    result, _ = await check({**failing, "example.com.uri.example": {"A": ["127.0.0.8"]}}, BAD, NUMERIC)
    assert result.status is CheckStatus.TEMPERROR
    assert [symbol.name for symbol in result.symbols] == ["URI", "URLBL_TEMPERROR"]
    assert "dbl.example" in result.detail


async def test_lists_of_addresses_may_be_asked_about_links() -> None:
    addresses = Zone("sbl.example", (ReturnCode("SBL", 4.0),), numeric=True)
    result, asked = await check({"8.8.8.8.sbl.example": {"A": ["127.0.0.2"]}}, addresses)
    assert [(symbol.name, symbol.evidence) for symbol in result.symbols] == [
        ("SBL_LINK", ("link 8.8.8.8: sbl.example=127.0.0.2",))
    ]
    assert asked == ["8.8.8.8.sbl.example", "1.0.0.127.sbl.example"]
