"""Scanners of rules: made aside while mail goes on being filtered, kept, and used only where they must be our own."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import hyperscan
import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from mailguard.checks import rules_scanner
from mailguard.checks.rules import Rule, Rules
from mailguard.checks.rules_cache import KeptRules
from mailguard.checks.rules_file import RulesFiles
from mailguard.checks.rules_octets import ANYTHING
from mailguard.checks.rules_scanner import NAME, KeptScanners, Scanner, compiled
from mailguard.ops.derived import DerivedFiles
from tests.servers.ports import wait_until
from tests.unit.checks.contexts import context

PATTERNS = ("(?im)pay now", r"(?im)b[eu]y", "(?m)Code [0-9]{4}", "(?im)größe", "(?im)last$")
RULES = """\
rules:
  - {name: WORD, description: a word, score: 1, where: [subject, body], patterns: [pay now, "b[eu]y", one, two, three],
     hits: [pay now, buy, one, two, three]}
"""
MAIL = b"From: a@b.example\r\nSubject: pay NOW\r\n\r\nwho buys\r\nthree\r\n"


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules_scanner, "PATIENCE", 0.0)


@pytest.fixture
def files(tmp_path: Path) -> DerivedFiles:
    """Where scanners are kept."""
    return DerivedFiles(tmp_path / "cache")


def obtained(scanners: KeptScanners, patterns: Sequence[str] = PATTERNS) -> Scanner:
    """The scanner of the patterns, when it has been made."""
    found: list[Scanner | None] = []

    def there() -> bool:
        found.append(scanners.obtain(patterns))
        return found[-1] is not None

    wait_until(there, what="a scanner")
    assert found[-1] is not None
    return found[-1]


def events(logged: list[EventDict]) -> list[str]:
    """What was logged."""
    return [str(entry["event"]) for entry in logged]


def test_it_names_what_may_match() -> None:
    scanner = Scanner(compiled(PATTERNS))
    assert scanner.candidates("PAY NOW for a GRÖSSE, a Größe, at last".encode()) == [0, 3, 4]
    assert scanner.candidates(b"code 1234, Code 1234\nbuy LAST\nleast") == [1, 2, 4]
    assert scanner.candidates(b"") == []


def test_a_line_may_begin_where_a_text_ends() -> None:
    assert Scanner(compiled([r"(?m)a\n^", r"(?m)a$"])).candidates(b"a\n") == [0, 1]


def test_a_pattern_that_is_too_much_for_it_is_always_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules_scanner, "octet_pattern", lambda pattern: "(?<=a" if pattern == "bad" else pattern)
    scanner = Scanner(compiled(["one", "bad", ANYTHING]))
    assert scanner.candidates(b"none of them") == [0, 1, 2]
    assert scanner.candidates(b"x") == [1, 2]


def test_several_threads_may_use_one() -> None:
    scanner = Scanner(compiled(PATTERNS))
    texts = [b"pay now " * 20_000, b"to beY or not " * 20_000, b"Code 0123 " * 20_000, b"nothing " * 20_000]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(scanner.candidates, texts * 8))
    assert found == [[0], [1], [2], []] * 8


def test_it_is_made_aside_and_kept(files: DerivedFiles) -> None:
    scanners = KeptScanners(files)
    assert scanners.get(PATTERNS) is None
    assert scanners.obtain(PATTERNS) is None  # a process has begun, and is not waited for
    assert obtained(scanners).candidates(b"pay now") == [0]
    again = KeptScanners(files).get(PATTERNS)
    assert again is not None
    assert again.candidates(b"pay now") == [0]
    assert KeptScanners(files).get(PATTERNS[1:]) is None


def test_what_has_just_changed_is_not_compiled_yet(files: DerivedFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules_scanner, "PATIENCE", 3600.0)
    with capture_logs() as logged:
        assert KeptScanners(files).obtain(PATTERNS) is None
    assert logged == []
    assert not files.folder.exists()


def test_of_two_workers_one_makes_it(files: DerivedFiles) -> None:
    one, other = KeptScanners(files), KeptScanners(files)
    lock = files.lock(NAME)
    assert lock is not None
    with capture_logs() as logged:
        assert one.obtain(PATTERNS) is None
        assert logged == []
        os.close(lock)
        assert one.obtain(PATTERNS) is None
        assert events(logged) == ["scanner_being_made"]
        assert obtained(other).candidates(b"buy") == [1]
        assert obtained(one).candidates(b"buy") == [1]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-1] + b"!"), "the file is damaged"),
        (lambda path: os.truncate(path, 50), "the file is damaged"),
        (lambda path: path.chmod(0o666), "the file can be written by others"),
    ],
)
def test_one_that_may_not_be_ours_is_made_anew(files: DerivedFiles, spoil: Callable[[Path], None], reason: str) -> None:
    files.put(NAME, rules_scanner._key(PATTERNS), compiled(PATTERNS))
    spoil(files.folder / NAME)
    with capture_logs() as logged:
        assert KeptScanners(files).get(PATTERNS) is None
        assert obtained(KeptScanners(files)).candidates(b"buy") == [1]
    assert logged[0]["event"] == "kept_scanner_unusable"
    assert logged[0]["reason"] == reason
    assert "scanner_being_made" in events(logged)


def test_what_the_library_does_not_take_is_made_anew(files: DerivedFiles) -> None:
    files.put(NAME, rules_scanner._key(PATTERNS), b"no database of this library")
    with capture_logs() as logged:
        assert KeptScanners(files).get(PATTERNS) is None
        assert obtained(KeptScanners(files)).candidates(b"buy") == [1]
    assert logged[0]["event"] == "kept_scanner_unusable"


def test_another_processor_library_or_code_has_another_scanner(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {rules_scanner._key(PATTERNS), rules_scanner._key(PATTERNS[::-1]), rules_scanner._key(["".join(PATTERNS)])}
    with monkeypatch.context() as patched:
        patched.setattr(rules_scanner.platform, "machine", lambda: "another")
        keys.add(rules_scanner._key(PATTERNS))
    with monkeypatch.context() as patched:
        patched.setattr(rules_scanner, "version", lambda _: "99.9")
        keys.add(rules_scanner._key(PATTERNS))
    with monkeypatch.context() as patched:
        patched.setattr(rules_scanner, "_CODE", rules_scanner._CODE[:1])
        keys.add(rules_scanner._key(PATTERNS))
    with monkeypatch.context() as patched:
        patched.setattr(rules_scanner, "_OF_PROCESSOR", ())
        keys.add(rules_scanner._key(PATTERNS))
    assert len(keys) == 7
    assert rules_scanner._key(PATTERNS) in keys


def test_when_it_cannot_be_made_it_is_said_once(files: DerivedFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    scanners = KeptScanners(files)
    with capture_logs() as logged:
        wait_until(lambda: scanners.obtain(PATTERNS) or "scanner_not_made" in events(logged), what="a failure")
        for _ in range(3):
            assert scanners.obtain(PATTERNS) is None
    assert [(entry["event"], entry.get("reason")) for entry in logged] == [
        ("scanner_being_made", None),
        ("scanner_not_made", "exit code 1"),
    ]
    monkeypatch.undo()


def test_where_nothing_can_be_kept_it_is_said_once(files: DerivedFiles) -> None:
    files.folder.touch()
    scanners = KeptScanners(files)
    with capture_logs() as logged:
        for _ in range(3):
            assert scanners.obtain(PATTERNS) is None
    assert events(logged).count("scanner_not_made") == 1


def test_one_that_takes_too_long_is_ended(files: DerivedFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules_scanner, "TIME_LIMIT", 0.0)
    scanners = KeptScanners(files)
    with capture_logs() as logged:
        wait_until(lambda: scanners.obtain(PATTERNS) or "scanner_not_made" in events(logged), what="a failure")
    assert logged[-1]["reason"] == "exit code -9"


def test_rules_match_the_same_before_and_after(tmp_path: Path, files: DerivedFiles) -> None:
    folder = tmp_path / "rules"
    folder.mkdir()
    (folder / "a.yaml").write_text(RULES)
    rules = RulesFiles(folder, kept=KeptRules(files))
    rules.load()
    before = rules.current
    assert not before.scanned

    def hastened() -> bool:
        rules.hasten()
        return rules.current.scanned

    wait_until(hastened, what="a scanner")
    after = rules.current
    assert after.match(context(MAIL)) == before.match(context(MAIL)) == {"WORD": ("pay NOW", "buy")}
    assert after.hash == before.hash
    (folder / "a.yaml").write_text(RULES.replace("score: 1", "score: 2"))  # the same patterns: the scanner is there
    assert rules.reload() == ()
    assert rules.current.scanned
    (folder / "a.yaml").write_text(RULES.replace("pay now", "who"))
    assert rules.reload() == ()
    assert not rules.current.scanned
    wait_until(hastened, what="another scanner")
    assert rules.current.match(context(MAIL)) == {"WORD": ("who",)}


def test_too_many_patterns_are_not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = Rules([Rule("WORD", "a word", 1.0, ("body",), tuple(f"(?im)word{number}" for number in range(10)))])
    assert len(rules.patterns) == 10
    monkeypatch.setattr("mailguard.checks.rules.MANY", 9)
    assert rules.patterns == ()


def test_few_patterns_are_not_worth_one(tmp_path: Path, files: DerivedFiles) -> None:
    (tmp_path / "a.yaml").write_text("rules: [{name: AB, description: a, where: body, patterns: ab, hits: [ab]}]")
    rules = RulesFiles(tmp_path / "a.yaml", kept=KeptRules(files))
    rules.load()
    rules.hasten()
    assert not rules.current.scanned
    assert not (files.folder / NAME).exists()


def test_the_library_refuses_what_is_no_database() -> None:
    with pytest.raises(hyperscan.error):
        Scanner(b"")
