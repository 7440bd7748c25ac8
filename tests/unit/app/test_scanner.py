"""What `mailguard scan` judges with: the tenant's own names count there too, as far as no database is needed."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailguard.app.filter import build_scanner
from mailguard.config import load_settings
from mailguard.core.tenant import Tenant, Vip

ROOT = Path(__file__).parents[3]
ACME = Tenant(2, "acme", domains=("acme-traders.test",), vips=(Vip("Joan Miller"),))
RAW = b"From: Joan Miller <j@acme-tradres.test>\r\nTo: a@acme-traders.test\r\nSubject: x\r\n\r\nHello\r\n"


@pytest.mark.parametrize(("tenant", "seen"), [(ACME, True), (Tenant(0, ""), False)])
async def test_a_tenants_names_count_in_a_scan(tmp_path: Path, tenant: Tenant, seen: bool) -> None:
    environ = {"MAILGUARD_POLICIES__PATH": str(ROOT / "policies"), "MAILGUARD_STORAGE__PATH": str(tmp_path)}
    settings = load_settings(None, environ, search=())
    async with build_scanner(settings, checks=["rules"], tenant=tenant, budget=10, offline=True) as scanner:
        report = await scanner.scan(RAW, client_ip="127.0.0.1", helo="", mail_from="", recipient="a@acme-traders.test")
    found = {symbol.name: symbol.check for symbol in report.verdict.symbols}
    assert (found.get("VIP_IMPERSONATION") == "history") is seen
    assert ("OWN_DOMAIN_LOOKALIKE" in found) is seen
    assert "FIRST_CONTACT" not in found
