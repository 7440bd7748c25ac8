"""docs/standards.md tells of every RFC that the code cites."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def test_every_rfc_that_the_code_cites_is_documented() -> None:
    documented = set(re.findall(r"\d{3,5}", (ROOT / "docs/standards.md").read_text(encoding="utf-8")))
    cited: dict[str, str] = {}
    for path in sorted((ROOT / "mailguard").rglob("*.py")):
        for number in re.findall(r"RFC[ -](\d{3,5})", path.read_text(encoding="utf-8")):
            cited.setdefault(number, str(path.relative_to(ROOT)))
    missing = {number: path for number, path in cited.items() if number not in documented}
    assert not missing, f"docs/standards.md says nothing of {missing}"


def test_every_check_of_authentication_has_a_page_with_its_symbols() -> None:
    for check, prefix in (("spf", "SPF"), ("dkim", "DKIM"), ("dmarc", "DMARC"), ("arc", "ARC")):
        page = (ROOT / "docs/checks" / f"{check}.md").read_text(encoding="utf-8")
        source = (ROOT / "mailguard/checks" / f"{check}.py").read_text(encoding="utf-8")
        for symbol in set(re.findall(rf'"({prefix}_[A-Z_]+)"', source)):
            assert symbol in page, f"docs/checks/{check}.md says nothing of {symbol}"
