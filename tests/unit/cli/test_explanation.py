"""What explains a score: order, evidence, pages, margins, and what is said when nothing was recorded."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailguard.cli import explanation
from mailguard.cli.explanation import explain_symbols, margins, page_of
from mailguard.core.decision import Action
from mailguard.core.verdict import ScoredSymbol
from mailguard.policy.profile import Policy, Threshold


def told(
    capsys: pytest.CaptureFixture[str], *symbols: ScoredSymbol, unknown: frozenset[str] = frozenset()
) -> list[str]:
    explain_symbols(symbols, indent="", unknown=unknown)
    return [line.strip() for line in capsys.readouterr().out.splitlines()]


def test_each_symbol_says_where_it_was_seen_and_what_explains_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert told(
        capsys,
        ScoredSymbol("DKIM_VALID", -0.1, "a signature verifies", ("a.test",), "dkim"),
        ScoredSymbol("BAYES", 3.21, "the words", ('subject: "verify your account" +1.2', "a.zip/b.exe"), "rules"),
        ScoredSymbol("FACT", 0.0, "", (), "rules"),
    ) == [
        "+3.21  BAYES: the words",
        'subject: "verify your account" +1.2',
        "a.zip/b.exe",
        "→ docs/checks/rules.md",
        "-0.10  DKIM_VALID: a signature verifies",
        "a.test",
        "→ docs/checks/dkim.md",
        "+0.00  FACT",
        "→ docs/checks/rules.md",
    ]


def test_what_was_not_recorded_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, ScoredSymbol("OLD", 2.0), unknown=frozenset({"OLD"})) == [
        "+2.00  OLD",
        "(what it was seen in is not recorded)",
    ]


def test_evidence_is_hostile_and_may_be_long(capsys: pytest.CaptureFixture[str]) -> None:
    symbol = ScoredSymbol("X", 1.0, "", ("\x1b[2Jhttp://evil.test/\n" + "a" * 1000, *(str(n) for n in range(20))))
    lines = told(capsys, symbol)
    assert lines[1].startswith("[2Jhttp://evil.test/ aaa")
    assert len(lines[1]) <= explanation.EVIDENCE_LIMIT
    assert lines[-1] == f"and {21 - explanation.PIECES_LIMIT} more"


def test_pages_and_their_anchors(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "checks").mkdir()
    page = '# X\n\n## `SOME_SYMBOL`\n\ntext\n\n### Two words\n\n| <a id="in_table"></a>`IN_TABLE` |\n'
    (tmp_path / "checks" / "made.md").write_text(page)
    monkeypatch.setattr(explanation, "_DOCS", tmp_path)
    assert page_of("made", "SOME_SYMBOL") == "docs/checks/made.md#some_symbol"
    assert page_of("made", "IN_TABLE") == "docs/checks/made.md#in_table"
    assert page_of("made", "OTHER") == "docs/checks/made.md"
    assert page_of("unmade", "OTHER") == "docs/checks/unmade.md"
    assert page_of("", "OTHER") == ""


@pytest.mark.parametrize(
    ("score", "text"),
    [
        (0.0, "0: 5 under tag (5)"),
        (5.0, "5: 0 over tag (5), 3 under quarantine (8)"),
        (6.2, "6.2: 1.2 over tag (5), 1.8 under quarantine (8)"),
        (7.98, "7.98: 2.98 over tag (5), 0.02 under quarantine (8)"),
        (20.0, "20: 5 over reject (15)"),
    ],
)
def test_how_far_the_next_action_is(score: float, text: str) -> None:
    assert margins(score, Policy().thresholds) == text
    assert margins(score, (Threshold(8.0, Action.QUARANTINE),)[:0]) == f"{score:g}"
