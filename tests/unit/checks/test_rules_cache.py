"""Rules kept from one start to the next: used when nothing has changed, else read again; never anything but what was read."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest
from structlog.testing import capture_logs

from mailguard.checks import rules_cache
from mailguard.checks.rules import Rules
from mailguard.checks.rules_cache import KeptRules, decode, encode
from mailguard.checks.rules_file import load_rules
from mailguard.core.errors import ConfigError
from mailguard.ops.derived import DerivedFiles
from tests.unit.checks.contexts import context

SHIPPED = Path(__file__).parents[3] / "policies" / "rules"
RULES = dedent("""\
    rules:
      - {name: WORD, description: a word, score: 1.5, where: [subject, body], patterns: [pay now, "b[eu]y"], hits: [pay now, buy]}
      - {name: _CODE, where: body, patterns: 'code [0-9]+', hits: [code 12]}
      - {name: BOTH, description: both, score: 2, prior: 1, all_of: [WORD], any_of: [_CODE]}
""")
MAIL = b"From: a@b.example\r\nSubject: pay now\r\n\r\nthe code 123 for you\r\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of one file of rules, with a cache beside it."""
    folder = tmp_path / "rules"
    folder.mkdir()
    (folder / "some.yaml").write_text(RULES)
    return folder


@pytest.fixture
def load(folder: Path) -> Callable[[], tuple[Rules, list[str]]]:
    """Loads the rules as at another start: what they are, and what the log says of it."""

    def load() -> tuple[Rules, list[str]]:
        with capture_logs() as logged:
            rules = load_rules(folder, KeptRules(DerivedFiles(folder.with_name("cache"))))
        return rules, [entry["event"] for entry in logged]

    return load


Load = Callable[[], tuple[Rules, list[str]]]


def test_the_second_start_uses_what_the_first_has_read(load: Load) -> None:
    first, said = load()
    assert said == ["rules_kept"]
    second, said = load()
    assert said == ["kept_rules_used"]
    assert second.rules == first.rules
    assert second.hash == first.hash
    found = second.match(context(MAIL))
    assert found == first.match(context(MAIL))
    assert set(found) == {"WORD", "_CODE", "BOTH"}


def test_the_rules_that_come_with_us_are_the_same_when_kept() -> None:
    read = load_rules(SHIPPED)
    kept = decode(encode(read))
    assert kept.rules == read.rules
    assert kept.hash == read.hash
    assert encode(kept) == encode(read)


def test_a_changed_rule_is_read(folder: Path, load: Load) -> None:
    load()
    stamp = (folder / "some.yaml").stat()
    (folder / "some.yaml").write_text(RULES.replace("1.5", "2.5"))
    os.utime(folder / "some.yaml", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    rules, said = load()
    assert said == ["rules_kept"]
    assert rules.rules[0].score == 2.5


def test_another_file_or_name_is_read(folder: Path, load: Load) -> None:
    load()
    (folder / "other.yaml").write_text("rules: []\n")
    assert load()[1] == ["rules_kept"]
    (folder / "other.yaml").unlink()
    (folder / "some.yaml").rename(folder / "same.yaml")
    assert load()[1] == ["rules_kept"]


def test_other_code_and_other_libraries_read_anew(load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load()
    monkeypatch.setattr(rules_cache.yaml, "__version__", "99.9")
    assert load()[1] == ["rules_kept"]
    package = tmp_path / "mailguard"
    for name in rules_cache._CODE:
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(Path(rules_cache.mailguard.__path__[0]) / name, package / name)
    monkeypatch.setattr(rules_cache.mailguard, "__path__", [str(package)])
    assert load()[1] == ["kept_rules_used"]
    for changed in ("rules_prefilter.py", "identity_symbols.py"):  # the latter: rules may combine what it names
        with (package / "checks" / changed).open("a") as code:
            code.write("# changed\n")
        assert load()[1] == ["rules_kept"]


def test_a_damaged_cache_is_made_anew(folder: Path, load: Load) -> None:
    first, _ = load()
    kept = folder.with_name("cache") / "rules"
    kept.write_bytes(kept.read_bytes()[:-1] + b" ")
    with capture_logs() as logged:
        again = load_rules(folder, KeptRules(DerivedFiles(folder.with_name("cache"))))
    assert [(entry["event"], entry.get("reason")) for entry in logged] == [
        ("kept_rules_unusable", "the file is damaged"),
        ("rules_kept", None),
    ]
    assert again.rules == first.rules
    assert load()[1] == ["kept_rules_used"]


def test_a_cache_of_another_user_is_not_used(folder: Path, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = load()
    monkeypatch.setattr(os, "geteuid", lambda: folder.stat().st_uid + 1)
    again, said = load()
    assert said == ["kept_rules_unusable", "rules_not_kept"]
    assert again.rules == first.rules


def test_a_full_disk_costs_only_time(folder: Path, load: Load) -> None:
    folder.with_name("cache").touch()
    rules, said = load()
    assert said[-1] == "rules_not_kept"
    assert len(rules) == 3


def test_wrong_rules_are_told_each_time_and_never_kept(folder: Path, load: Load) -> None:
    (folder / "some.yaml").write_text(RULES.replace("hits: [code 12]", "hits: [code]"))
    for _ in range(2):
        with pytest.raises(ConfigError, match="should match"):
            load()
    assert not folder.with_name("cache").exists()
