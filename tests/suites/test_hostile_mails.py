"""Every malformed mail of the MIME corpora through the checks of authentication: a result each time, and soon."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mailguard.checks.arc import ArcCheck
from mailguard.checks.dkim import DkimCheck
from mailguard.checks.dmarc import DmarcCheck
from mailguard.checks.spf import SpfCheck
from mailguard.core.verdict import CheckResult
from mailguard.net.dns import StaticResolver
from tests.unit.checks.mail import context

pytestmark = pytest.mark.corpora


@pytest.mark.parametrize("offline", [False, True])
async def test_mime_corpora(corpora: Callable[[str], Path], offline: bool) -> None:
    slowest = (0.0, "")
    count = 0
    for path in sorted(corpora("mime_corpora").rglob("*")):
        if not path.is_file() or path.stat().st_size > 5_000_000:
            continue
        raw = path.read_bytes()
        started = time.perf_counter()
        mail = context(raw=raw, resolver=StaticResolver(offline=offline))
        results: dict[str, CheckResult] = {}
        for check in (SpfCheck(), DkimCheck(), ArcCheck(), DmarcCheck()):
            results[check.name] = await check.run(mail, results)
            assert results[check.name].symbols, path
        slowest = max(slowest, (time.perf_counter() - started, path.name))
        count += 1
    assert count > 1_700
    assert slowest[0] < 2, slowest
