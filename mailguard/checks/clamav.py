"""The virus scan by clamd. Only a signature's match is malware; limits, encryption, heuristics and PUAs are symbols."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from mailguard.checks.base import CheckContext
from mailguard.core.verdict import CheckResult, Symbol
from mailguard.net.clamd import ScanKind, ScanResult


class Scanner(Protocol):
    """What the check asks of net.clamd.ClamdClient."""

    async def scan(self, content: bytes) -> ScanResult:
        """Scan a whole mail. Raises UnavailableError (ClamdUnavailable) when that could not be done."""
        ...


SYMBOLS: Mapping[ScanKind, Symbol] = {
    ScanKind.FOUND: Symbol("CLAMAV_FOUND", 0.0, "a virus signature matched"),
    ScanKind.LIMIT: Symbol("CLAMAV_LIMIT", 1.0, "not scanned to the end: one of the scanner's limits was reached"),
    ScanKind.ENCRYPTED: Symbol("CLAMAV_ENCRYPTED", 1.0, "holds an encrypted file that cannot be scanned"),
    ScanKind.HEURISTIC: Symbol("CLAMAV_HEURISTIC", 3.0, "one of the scanner's heuristics matched"),
    ScanKind.PUA: Symbol("CLAMAV_PUA", 2.0, "holds a potentially unwanted application"),
    ScanKind.TOO_LARGE: Symbol("CLAMAV_TOO_LARGE", 0.5, "larger than the scanner takes: not scanned"),
}
"""What each answer of clamd but CLEAN is reported as. CLAMAV_FOUND has no points: malware has an action of its own."""


class ClamavCheck:
    """Scans the mail as it came. An UnavailableError goes up to the runner, which makes it CLAMAV_TEMPERROR."""

    name = "clamav"
    needs: tuple[str, ...] = ()

    def __init__(self, scanner: Scanner) -> None:
        self._scanner = scanner

    async def run(self, context: CheckContext, results: Mapping[str, CheckResult]) -> CheckResult:
        """See Check."""
        scan = await self._scanner.scan(context.message.raw)
        if scan.kind is ScanKind.CLEAN:
            return CheckResult(self.name, detail="clean")
        base = SYMBOLS[scan.kind]
        symbol = Symbol(base.name, base.score, base.description, (scan.name,) if scan.name else ())
        malware = (scan.name,) if scan.kind is ScanKind.FOUND else ()
        return CheckResult(self.name, symbols=(symbol,), malware=malware, detail=scan.name or base.description)
