"""Other filters, the real daemons: what they say of a mail becomes one symbol of ours."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mailguard.checks.base import CheckContext
from mailguard.checks.engines import EngineCheck, ScoreMapping, rspamd, spamd
from mailguard.checks.runner import Runner
from mailguard.core.envelope import Envelope, Recipient
from mailguard.core.verdict import CheckResult, CheckStatus
from mailguard.net.rspamd import RspamdClient
from mailguard.net.spamd import SpamdClient
from tests.servers import rspamd as rspamd_server
from tests.servers import spamd as spamd_server
from tests.unit.checks.contexts import context

MAPPING = ScoreMapping(scale=0.4, limit=2.5, credit=1.0)
SPAM = b"From: ann@sender.test\r\nTo: bob@client.test\r\nSubject: You are a winner\r\n\r\nHello\r\n"
HAM = SPAM.replace(b"You are a winner", b"Minutes of Monday")


@pytest.fixture(scope="module")
def rspamd_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if not rspamd_server.is_installed():
        pytest.skip("rspamd is not installed: apt-get install rspamd")
    with rspamd_server.private_rspamd(tmp_path_factory.mktemp("rspamd")) as address:
        yield address


@pytest.fixture(scope="module")
def spamd_address() -> Iterator[str]:
    if not spamd_server.is_installed():
        pytest.skip("spamd is not installed: apt-get install spamd")
    with spamd_server.private_spamd() as address:
        yield address


def mail(raw: bytes) -> CheckContext:
    given = context(raw, client_ip="8.8.4.4", helo="mx.sender.test", mail_from="ann@sender.test")
    recipients = (Recipient("bob@client.test", 2, "client.test"),)
    return replace(given, envelope=Envelope("01JDF00000000000000000000X", "ann@sender.test", recipients=recipients))


async def run(check: EngineCheck, raw: bytes) -> CheckResult:
    (result,) = (await Runner([check], budget=30).run(mail(raw))).results
    return result


def rspamd_check(address: str) -> EngineCheck:
    return EngineCheck("rspamd", rspamd(RspamdClient(address, timeout=20)), mapping=MAPPING, max_size=1_000_000)


def spamd_check(address: str) -> EngineCheck:
    return EngineCheck("spamd", spamd(SpamdClient(address, timeout=20)), mapping=MAPPING, max_size=1_000_000)


async def test_rspamd_scores_and_is_told_the_envelope(rspamd_address: str) -> None:
    result = await run(rspamd_check(rspamd_address), SPAM)
    assert result.status is CheckStatus.OK, result.detail
    (symbol,) = result.symbols
    assert (symbol.name, symbol.score) == ("RSPAMD_SCORE", 2.5)  # 3.0, capped
    assert symbol.evidence[0] == "TEST_WINNER 7.5 (winner)"
    assert "TEST_ENVELOPE 0 (8.8.4.4, mx.sender.test, ann@sender.test)" in symbol.evidence
    assert "15" in symbol.description


async def test_rspamd_finds_nothing_in_honest_mail_however_large(rspamd_address: str) -> None:
    result = await run(rspamd_check(rspamd_address), HAM + 500_000 * b"a line of text \r\n"[:16])
    assert result.status is CheckStatus.SKIPPED
    results = await asyncio.gather(*(run(rspamd_check(rspamd_address), HAM + 20_000 * b"a line\r\n") for _ in range(5)))
    assert [one.symbols[0].score for one in results] == 5 * [0.0]


async def test_rspamd_judges_gtube(rspamd_address: str) -> None:
    gtube = b"XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
    result = await run(rspamd_check(rspamd_address), HAM + gtube + b"\r\n")
    assert (result.symbols[0].score, result.symbols[0].evidence) == (2.5, ("GTUBE 0",))


async def test_spamd_scores_and_sees_the_client(spamd_address: str) -> None:
    result = await run(spamd_check(spamd_address), SPAM)
    assert result.status is CheckStatus.OK, result.detail
    (symbol,) = result.symbols
    assert (symbol.name, symbol.score) == ("SPAMD_SCORE", 2.5)
    assert set(symbol.evidence) == {"TEST_WINNER", "TEST_CLIENT", "TEST_SENDER"}
    assert "7.7" in symbol.description


async def test_spamd_finds_nothing_in_honest_mail(spamd_address: str) -> None:
    result = await run(spamd_check(spamd_address), HAM + 20_000 * b"a line\r\n")
    assert result.symbols[0].score == pytest.approx(0.08)


@pytest.mark.parametrize("make", [rspamd_check, spamd_check])
async def test_a_filter_that_is_away_is_a_visible_temperror(make: Callable[[str], EngineCheck], tmp_path: Path) -> None:
    result = await run(make(str(tmp_path / "nothing.sock")), SPAM)
    assert result.status is CheckStatus.TEMPERROR
    assert result.symbols[0].name in ("RSPAMD_TEMPERROR", "SPAMD_TEMPERROR")
    assert "cannot be reached" in result.detail
