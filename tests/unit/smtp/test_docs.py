"""docs/smtp.md names every setting with its default, and every reply."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from mailguard.core.reply import Reply
from mailguard.smtp import replies
from mailguard.smtp.door import SmtpSettings

TEXT = (Path(__file__).resolve().parents[3] / "docs" / "smtp.md").read_text("utf-8")


def test_every_setting_is_documented_with_its_default() -> None:
    documented = dict(re.findall(r"^\| `(\w+)` \|([^|]*)\|", TEXT, re.M))
    for field in fields(SmtpSettings):
        if field.name == "hostname":
            continue
        default = ", ".join(field.default) if isinstance(field.default, tuple) else str(field.default)
        assert documented.pop(field.name).strip() == default, field.name
    assert documented == {}


def test_every_reply_is_documented() -> None:
    section = TEXT[TEXT.index("## Replies") :]
    rows: dict[str, str] = {}
    for code, rest in re.findall(r"^\| (\d{3})\b([^\n]*)$", section, re.M):
        rows[code] = rows.get(code, "") + rest
    for name, reply in vars(replies).items():
        if isinstance(reply, Reply) and reply.enhanced:
            assert reply.enhanced in rows[str(reply.code)], name
