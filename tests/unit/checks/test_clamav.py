"""The virus scan: what is malware and what is only a symbol, and a scanner that is away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mailguard.checks.clamav import SYMBOLS, ClamavCheck
from mailguard.checks.runner import Runner
from mailguard.core.verdict import CheckStatus
from mailguard.net.clamd import ClamdClient, ClamdUnavailable, ScanKind, ScanResult
from mailguard.net.clamd_probe import nested_archive
from tests.servers.clamd import EICAR, EICAR_NAME, Clamd, installed, private_clamd
from tests.unit.checks.contexts import PLAIN, context


class Scanner:
    def __init__(self, answer: ScanResult | Exception) -> None:
        self._answer = answer

    async def scan(self, content: bytes) -> ScanResult:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


@pytest.mark.parametrize("kind", [kind for kind in ScanKind if kind is not ScanKind.CLEAN])
async def test_only_a_signature_is_malware(kind: ScanKind) -> None:
    result = await ClamavCheck(Scanner(ScanResult(kind, "Some.Name"))).run(context(), {})
    assert result.malware == (("Some.Name",) if kind is ScanKind.FOUND else ())
    assert [symbol.name for symbol in result.symbols] == [f"CLAMAV_{kind.upper()}"]
    assert result.symbols[0].evidence == ("Some.Name",)
    assert kind in SYMBOLS


async def test_clean() -> None:
    result = await ClamavCheck(Scanner(ScanResult(ScanKind.CLEAN))).run(context(), {})
    assert (result.status, result.symbols, result.malware) == (CheckStatus.OK, (), ())


async def test_a_scanner_that_is_away_is_a_temperror() -> None:
    findings = await Runner([ClamavCheck(Scanner(ClamdUnavailable("gone")))]).run(context())
    assert findings.failed_checks == ("clamav",)
    assert [symbol.name for symbol in findings.symbols] == ["CLAMAV_TEMPERROR"]
    assert findings.malware == ()


@pytest.fixture(scope="module")
def clamd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clamd]:
    if not installed():
        pytest.skip("clamd is not installed")
    with private_clamd(tmp_path_factory.mktemp("clamd"), StreamMaxLength="1M") as running:
        yield running


async def test_with_a_real_clamd(clamd: Clamd, tmp_path: Path) -> None:
    client = ClamdClient(clamd.address)
    runner = Runner([ClamavCheck(client)])
    for raw, malware, symbols in (
        (PLAIN, (), []),
        (PLAIN + EICAR, (EICAR_NAME,), ["CLAMAV_FOUND"]),
        (nested_archive(60), (), ["CLAMAV_LIMIT"]),
        (PLAIN + b"x" * 2_000_000, (), ["CLAMAV_TOO_LARGE"]),
    ):
        findings = await runner.run(context(raw))
        assert (findings.malware, [symbol.name for symbol in findings.symbols]) == (malware, symbols)
    await client.close()
