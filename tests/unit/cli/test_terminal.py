"""The terminal as a sink, and times as admins type them."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailguard.cli import terminal
from mailguard.cli.when import point, shown, shown_span, span
from mailguard.core.clock import DAY, HOUR, MINUTE
from mailguard.core.errors import ConfigError

NOW = 1_795_500_000_000


@given(st.text())
def test_nothing_invisible_passes(text: str) -> None:
    shown_text = terminal.safe(text)
    assert not [c for c in shown_text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")]
    assert terminal.safe(shown_text) == shown_text
    shown_text.encode("utf-8")


@given(st.text(), st.integers(1, 20))
def test_a_limit_is_kept(text: str, limit: int) -> None:
    assert len(terminal.safe(text, limit=limit)) <= limit


def test_letters_of_all_scripts_stay() -> None:
    for text in ("Grüße, Jörg", "Ελληνικά", "日本語", "שלום", "مرحبا", "🎉"):
        assert terminal.safe(text) == text


def test_a_line_is_the_same_with_and_without_colours(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    line = "[red]x[/red] :smile: 日本語 " + "long " * 100
    for style in ("", "bold red"):
        terminal.say(line, style=style)
    plain = capsys.readouterr().out
    assert plain == f"{line}\n" * 2
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(terminal, "_console_on", terminal._console_on.__wrapped__)
    for style in ("", "bold red"):
        terminal.say(line, style=style)
    coloured = capsys.readouterr().out
    assert "\x1b[1;31m" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == plain


def test_tables_take_text_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.print_table(("A", "B"), [("[red]x[/red] :smile: \x1b[2J", "b\nc")])
    out = capsys.readouterr().out
    assert "[red]x[/red] :smile: [2J" in out
    assert "b c" in out
    assert len(out.splitlines()) == 2


def test_long_lines_are_whole_in_a_pipe(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    terminal.print_table(("A", "B"), [("x" * 300, "y" * 300)])
    terminal.say("z" * 300)
    assert [len(line.split()) for line in capsys.readouterr().out.splitlines()] == [2, 2, 1]


def test_spans_and_points() -> None:
    assert span("90m", option="x") == 90 * MINUTE
    assert span("2w", option="x") == 14 * DAY
    assert point("7d", option="x", now=NOW) == NOW - 7 * DAY
    assert point("7d", option="x", now=NOW, ahead=True) == NOW + 7 * DAY
    assert point("2026-11-24", option="x", now=NOW) == 1_795_478_400_000
    assert point("2026-11-24T06:00", option="x", now=NOW) == NOW
    assert point("2026-11-24T07:00+01:00", option="x", now=NOW) == NOW
    assert point("999999w", option="x", now=NOW) == 0


@given(st.text(max_size=20))
def test_what_is_no_time_is_a_config_error(text: str) -> None:
    try:
        assert isinstance(point(text, option="--since", now=NOW), int)
    except ConfigError as error:
        assert error.problems[0].where == "--since"


def test_shown() -> None:
    assert shown(NOW) == "2026-11-24 06:00:00Z"
    assert shown(0) == ""
    for length, text in ((0, "0s"), (59_999, "59s"), (HOUR + 2 * MINUTE, "1h 2m"), (3 * DAY + 4 * HOUR + 5, "3d 4h")):
        assert shown_span(length) == text
