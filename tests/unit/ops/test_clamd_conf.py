"""clamd.conf against what the relay relies on."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailguard.ops.clamd_conf import clamd_problems

GOOD = """\
# comment
AlertExceedsMax yes
AlertEncrypted true
StreamMaxLength 60M   # more than SIZE
MaxScanSize 0
MaxFileSize 62914560
"""


def problems(tmp_path: Path, text: str) -> list[str]:
    file = tmp_path / "clamd.conf"
    file.write_text(text)
    return [str(problem).removeprefix(str(tmp_path)) for problem in clamd_problems(file, size_limit=52_428_800)]


def test_a_configuration_that_fits(tmp_path: Path) -> None:
    assert problems(tmp_path, GOOD) == []


def test_what_is_not_set_counts_as_wrong(tmp_path: Path) -> None:
    found = problems(tmp_path, "")
    assert len(found) == 5
    assert found[0].startswith("/clamd.conf AlertExceedsMax: is not set, must be yes")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("AlertExceedsMax no", "/clamd.conf:7 AlertExceedsMax: is 'no', must be yes"),
        ("StreamMaxLength 25M", "/clamd.conf:7 StreamMaxLength: is '25M', must be at least server.size_limit"),
        ("MaxFileSize many", "/clamd.conf:7 MaxFileSize: is 'many', must be at least"),
    ],
)
def test_the_last_line_counts_and_is_named(tmp_path: Path, line: str, expected: str) -> None:
    (found,) = problems(tmp_path, GOOD + line + "\n")
    assert found.startswith(expected)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    (found,) = clamd_problems(tmp_path / "none", size_limit=1)
    assert "No such file" in str(found)
