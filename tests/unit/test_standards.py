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


def sections() -> list[list[str]]:
    """The rows of the page's table of RFC 5321."""
    page = (ROOT / "docs/standards.md").read_text(encoding="utf-8")
    table = page.partition("section by section\n\n")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line[:1] == "|"]
    return rows[2:]


def test_every_section_of_rfc_5321_that_is_cited_stands_in_its_table() -> None:
    told = {section for row in sections() for section in row[0].split(", ")}
    cited: dict[str, Path] = {}
    for folder, pattern in (("mailguard", "*.py"), ("tests/chat/dialogues", "*.chat")):
        for path in sorted((ROOT / folder).rglob(pattern)):
            for group in re.findall(r"RFC 5321 ((?:§[0-9.]*[0-9](?:, |; | and )?)+)", path.read_text(encoding="utf-8")):
                cited |= dict.fromkeys(re.findall(r"§([0-9.]*[0-9])", group), path)
    assert len(cited) > 40
    missing = {
        section: str(path.relative_to(ROOT))
        for section, path in cited.items()
        if not any(section == one or section.startswith(f"{one}.") for one in told)
    }
    assert not missing, f"docs/standards.md says nothing of RFC 5321 {missing}"


def test_what_the_table_of_rfc_5321_says_is_shown_where_it_says() -> None:
    for section, _what, state, _note, shown in sections():
        assert state in ("met", "partly", "not done"), section
        assert shown or state == "not done", section
        for path in re.findall(r"`([^`]+)`", shown):
            assert (ROOT / path).exists(), f"{section}: {path}"


def test_states_are_of_few_words() -> None:
    """So that nothing can be claimed in passing."""
    page = (ROOT / "docs/standards.md").read_text(encoding="utf-8").partition("## Conformance suites")[0]
    states = set(re.findall(r"^\| [0-9–,. ]+ \| [^|]+ \| ([a-z ]+) \|", page, re.M))
    assert states == {"met", "partly", "planned", "not offered", "not done", "not used"}


def test_every_check_of_authentication_has_a_page_with_its_symbols() -> None:
    for check, prefix in (("spf", "SPF"), ("dkim", "DKIM"), ("dmarc", "DMARC"), ("arc", "ARC")):
        page = (ROOT / "docs/checks" / f"{check}.md").read_text(encoding="utf-8")
        source = (ROOT / "mailguard/checks" / f"{check}.py").read_text(encoding="utf-8")
        for symbol in set(re.findall(rf'"({prefix}_[A-Z_]+)"', source)):
            assert symbol in page, f"docs/checks/{check}.md says nothing of {symbol}"
