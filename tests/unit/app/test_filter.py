"""What judges mail while its files change, and while what makes them cheaper is being made."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailguard.app.filter import build_filter
from mailguard.checks import rules_scanner
from mailguard.config import Settings
from mailguard.core.tenant import Directory
from mailguard.net.dns import StaticResolver
from tests.servers.ports import wait_until

POLICIES = Path(__file__).parents[3] / "policies"
RULES = """\
rules:
  - {name: WORD, description: a word, score: 1, where: body, patterns: [one, two, three, four], hits: [one, two, three, four]}
"""


async def test_rules_get_their_scanner_as_files_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules_scanner, "PATIENCE", 0.0)
    for path in POLICIES.iterdir():
        if path.name != "rules":
            (tmp_path / path.name).symlink_to(path)
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "some.yaml").write_text(RULES)
    settings = Settings.model_validate({"policies": {"path": str(tmp_path)}, "storage": {"path": str(tmp_path)}})
    directory = Directory.of([], [])
    made = build_filter(settings, directory=lambda: directory, resolver=StaticResolver({}), checks=["rules"])

    def scanned() -> bool:
        made.reload_if_changed()
        return made.rules.current.scanned

    assert not made.rules.current.scanned
    wait_until(scanned, what="the scanner")
    await made.close()
    again = build_filter(settings, directory=lambda: directory, resolver=StaticResolver({}), checks=["rules"])
    assert again.rules.current.scanned
    await again.close()
