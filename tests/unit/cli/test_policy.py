"""`mailguard policy`: what it prints, and its exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from mailguard.cli import main
from mailguard.policy.profile import Policy

SHIPPED = Path(__file__).parents[3] / "policies"


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `mailguard` with the profiles at `policies`; gives exit code, output and errors."""
    monkeypatch.delenv("MAILGUARD_CONFIG", raising=False)
    config = tmp_path / "mailguard.toml"

    def run(*arguments: str, policies: Path = SHIPPED) -> tuple[int, str, str]:
        config.write_text(f'[policies]\npath = "{policies}"\n')
        with pytest.raises(SystemExit) as ended:
            main(["--config", str(config), *arguments])
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


def wrong_profiles(tmp_path: Path) -> Path:
    directory = tmp_path / "policies"
    directory.mkdir()
    (directory / "default.yaml").write_text("malware: perhaps\ndeny_lst: reject\n")
    return directory


def test_good_profiles_are_in_order(run: Run) -> None:
    code, out, _ = run("policy", "check")
    assert code == 0
    assert "3 profiles (default, strict, tag-only)" in out


def test_every_problem_is_told_and_the_exit_code_is_2(run: Run, tmp_path: Path) -> None:
    code, out, err = run("policy", "check", str(wrong_profiles(tmp_path)))
    assert code == 2
    assert out == ""
    assert err.splitlines() == [
        "error: default.yaml:1 malware: 'perhaps' is not one of quarantine, reject, discard",
        "error: default.yaml:2 deny_lst: unknown key; did you mean deny_list?",
    ]


def test_problems_as_json(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("policy", "check", "--json", str(wrong_profiles(tmp_path)))
    assert code == 2
    told = json.loads(out)
    assert told["profiles"] == {}
    assert told["problems"][1]["where"] == "default.yaml:2 deny_lst"
    code, out, _ = run("policy", "check", "--json")
    assert code == 0
    assert json.loads(out)["problems"] == []


def test_content_rules_are_checked_too(run: Run, tmp_path: Path) -> None:
    directory = tmp_path / "policies"
    (directory / "rules").mkdir(parents=True)
    (directory / "default.yaml").write_text("")
    rules = directory / "rules" / "mine.yaml"
    rule = "rules:\n  - {{name: LOTTERY, where: subject, patterns: '{}', score: 2, description: x, hits: [lottery]}}\n"
    rules.write_text(rule.format("lottery"))
    code, out, _ = run("policy", "check", policies=directory)
    assert code == 0
    assert out.strip().endswith("1 profiles (default), 1 rules, 0 YARA rules, 0 hashes")
    rules.write_text(rule.format("("))
    code, _, err = run("policy", "check", policies=directory)
    assert code == 2
    assert err.startswith("error: rules/mine.yaml:2 rules[0].patterns")


def test_yara_rules_and_hashes_are_checked_too(run: Run, tmp_path: Path) -> None:
    directory = tmp_path / "policies"
    for folder in ("yara", "hashes"):
        (directory / folder).mkdir(parents=True)
    (directory / "default.yaml").write_text("")
    (directory / "yara" / "mine.yar").write_text("rule A {\n  condition: nothing\n}\n")
    (directory / "hashes" / "mine.txt").write_text("# source: us\n# date: 2026-11-24\nnonsense\n")
    code, out, _ = run("policy", "check", "--json", policies=directory)
    assert code == 2
    assert [one["where"] for one in json.loads(out)["problems"]] == ["yara/mine.yar:2:14", "hashes/mine.txt:3"]


def test_profiles_are_listed_with_their_hashes(run: Run) -> None:
    code, out, _ = run("policy", "list", "--json")
    assert code == 0
    listed = {row["name"]: row for row in json.loads(out)}
    assert listed["default"]["hash"] == Policy().hash
    assert Policy().hash[:12] in run("policy", "list")[1]


def test_a_shown_profile_is_a_profile_that_says_the_same(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("policy", "show", "strict")
    assert code == 0
    directory = tmp_path / "again"
    directory.mkdir()
    (directory / "default.yaml").write_text(out)
    shown = json.loads(run("policy", "show", "strict", "--json")[1])
    again = json.loads(run("policy", "list", "--json", policies=directory)[1])
    assert again[0]["hash"] == shown["hash"]
    assert yaml.safe_load(out)["malware"] == shown["malware"] == "quarantine"


def test_an_unknown_profile_is_not_found(run: Run) -> None:
    code, _, err = run("policy", "show", "lax")
    assert code == 1
    assert "no profile 'lax'; there are default, strict, tag-only" in err


def test_a_hostile_description_does_not_reach_the_terminal(run: Run, tmp_path: Path) -> None:
    directory = tmp_path / "policies"
    directory.mkdir()
    (directory / "default.yaml").write_text('description: "a\\e[31mb"')
    assert "\x1b[31m" not in run("policy", "list", policies=directory)[1]
    assert "\x1b[31m" not in run("policy", "show", "default", policies=directory)[1]
