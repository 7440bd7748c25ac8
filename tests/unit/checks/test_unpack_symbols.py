"""The closed table: what is reported stands in it, and what stands in it is reported."""

from __future__ import annotations

import re
from pathlib import Path

import mailguard
from mailguard.checks.unpack_symbols import SYMBOLS

PACKAGE = Path(mailguard.__file__).parent
NAME = re.compile(
    r'"((?:UNPACK|ARCHIVE|OFFICE|RTF|ONENOTE|SHORTCUT|PDF|PAGE|SVG|DISK|INSTALLER|YARA|MAIL)(?:_[A-Z0-9]+)*)"'
)
"""A symbol in the source, by what names start with."""
NO_SYMBOLS = frozenset({"PAGE", "SVG", "OFFICE", "PDF"})


def named(*paths: Path) -> set[str]:
    return {name for path in paths for name in NAME.findall(path.read_text(encoding="utf-8"))} - NO_SYMBOLS


def test_what_the_sandbox_reports_stands_in_the_table() -> None:
    sandbox = named(*(PACKAGE / "sandbox" / "unpack").rglob("*.py"), PACKAGE / "checks" / "unpack.py")
    assert len(sandbox) > 50
    assert sandbox <= SYMBOLS.keys()


def test_what_stands_in_the_table_is_reported() -> None:
    tables = {"unpack_symbols.py"}
    sources = [
        path
        for folder in ("sandbox", "checks", "message")
        for path in (PACKAGE / folder).rglob("*.py")
        if path.name not in tables
    ]
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    assert [name for name in SYMBOLS if f'"{name}"' not in text] == []


def test_each_is_documented() -> None:
    docs = PACKAGE.parent / "docs" / "checks"
    text = "\n".join(path.read_text(encoding="utf-8") for path in docs.glob("*.md"))
    assert [name for name in SYMBOLS if f"`{name}`" not in text] == []
